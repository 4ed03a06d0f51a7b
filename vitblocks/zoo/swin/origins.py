"""How other libraries' Swin is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from torch import Tensor

from ...border import Origin, rate_of, refuse_unless, timm, transformers
from ...checkpoint.rules import other_names
from ...grid import to_pair
from .layouts import hf_swin

if TYPE_CHECKING:
    from ...attention import WindowAttention
    from ...block import Block
    from ...model import Model


def read_timm(build: Callable[..., Model], module: Any) -> Model:
    """timm's SwinTransformer, at the size it is made for or at any. Windows that ours would not have are refused."""
    stages, blocks, settings, each, dims = timm_pyramid(module, _block)
    model = build(
        **timm.patches(module, module.patch_embed, normed=True),
        **settings,
        num_classes=timm.classifier_head(module),
        dim=dims[0],
        depths=[len(stage) for stage in stages],
        heads=each["heads"],
        window=_windows(module),
        mlp_ratio=timm.ratio(module, each["mlp_dim"], dims),
        drop_path=timm.drop_path(module, blocks),
        emb_dropout=0.0,
        padding="timm",
        full_windows=any(block.always_partition for block in blocks.values()),
    )
    require_same_windows(module, blocks, model)
    return model


class Pyramid(NamedTuple):
    """Another library's Swin: the blocks of each stage by name, all blocks, what is alike in them, what each stage has, its channels."""

    stages: list[dict[str, Any]]
    blocks: dict[str, Any]
    settings: dict[str, Any]
    each: dict[str, list[Any]]
    dims: list[int]


def timm_pyramid(module: Any, read: timm.Read, own: Sequence[str] = ()) -> Pyramid:
    """Of timm's SwinTransformer and SwinTransformerV2, whose stages double the channels and whose norms are all alike; else refused."""
    pyramid = _pyramid(module, "layers", module.layers, read, own)
    timm.same_norm(
        module,
        {
            "layers.0.blocks.0.norm1": module.layers[0].blocks[0].norm1,
            "patch_embed.norm": module.patch_embed.norm,
            "norm": module.norm,
            **{f"layers.{s}.downsample.norm": stage.downsample.norm for s, stage in enumerate(module.layers) if s},
        },
    )
    return pyramid


def hf_pyramid(module: Any, read: timm.Read, own: Sequence[str] = ()) -> Pyramid:
    """The same of transformers' Swin and Swin V2, without positions in the embeddings or a mask token."""
    base = module.base_model
    for name in ("position_embeddings", "mask_token"):
        theirs = getattr(base.embeddings, name)
        refuse_unless(theirs is None, module, name, theirs)
    layers = base.encoder.layers
    pyramid = _pyramid(module, "encoder.layers", layers, read, own)
    timm.same_norm(
        module,
        {
            "encoder.layers.0.blocks.0.layernorm_before": layers[0].blocks[0].layernorm_before,
            "embeddings.norm": base.embeddings.norm,
            "layernorm": base.layernorm,
            **{f"encoder.layers.{s}.downsample.norm": stage.downsample.norm for s, stage in enumerate(layers[:-1])},
        },
    )
    return pyramid


def _pyramid(module: Any, where: str, layers: Any, read: timm.Read, own: Sequence[str]) -> Pyramid:
    stages = [timm.named(f"{where}.{s}.blocks", stage.blocks) for s, stage in enumerate(layers)]
    settings, each = timm.by_stage(module, stages, read, own=("dim", "heads", "mlp_dim", *own))
    dims = each["dim"]
    refuse_unless(dims == [dims[0] * 2**s for s in range(len(dims))], module, "channels of its stages", dims)
    return Pyramid(stages, {name: block for stage in stages for name, block in stage.items()}, settings, each, dims)


def require_same_windows(module: Any, blocks: Mapping[str, Any], model: Model) -> None:
    """Refuse windows that ours would not have: of another size or shift than those of their blocks, which say one number or two."""
    for (name, theirs), (_, ours) in zip(blocks.items(), model.blocks(), strict=True):
        windows = cast("WindowAttention", cast("Block", ours).attn).windows
        same = {"window_size": getattr(windows, "size", None), "shift_size": getattr(windows, "shift", (0, 0))}
        for what, found in same.items():
            value = getattr(theirs, what)
            refuse_unless(
                found == (value if isinstance(value, tuple) else (value, value)), module, f"{what} of {name}", value
            )


def _windows(module: Any) -> Any:
    """The size of all windows, where those of some stages are less only because their maps are; or else a list of one for each stage."""
    firsts = [stage.blocks[0] for stage in module.layers]
    largest = tuple(max(block.window_size[i] for block in firsts) for i in range(2))
    clipped = [tuple(min(sides) for sides in zip(largest, block.input_resolution, strict=True)) for block in firsts]
    sizes = [block.window_size for block in firsts]
    same = all(size in (largest, less) for size, less in zip(sizes, clipped, strict=True))
    return largest if same else sizes


_block = partial(timm.block, attentions=["WindowAttention"], kinds=["SwinTransformerBlock"])


def read_hf(build: Callable[..., Model], module: Any) -> Model:
    """transformers' SwinForImageClassification, or its SwinModel: the mean of all patches. It takes every size."""
    base = module.base_model
    stages, blocks, settings, each, dims = hf_pyramid(module, _hf_block)
    patches = transformers.patches(module, base.embeddings.patch_embeddings.projection)
    size, merges = to_pair(module.config.image_size, "image_size"), 2 ** (len(dims) - 1)
    last = min(-(-side // (patch * merges)) for side, patch in zip(size, patches["patch_size"], strict=True))
    model = build(
        **patches,
        image_size=size if last >= settings["window"][0] else None,  # with smaller maps theirs takes only larger images
        **settings,
        num_classes=0 if base is module else transformers.classes(module, "classifier"),
        dim=dims[0],
        depths=[len(stage) for stage in stages],
        heads=each["heads"],
        mlp_ratio=timm.ratio(module, each["mlp_dim"], dims),
        drop_path=timm.drop_path(module, blocks),
        emb_dropout=rate_of(base.embeddings.dropout),
        padding="hf",
    )
    return transformers.without_inner_dropout(model)


def _hf_block(module: Any, name: str, theirs: Any) -> dict[str, Any]:
    return {**transformers.layer(module, name, theirs), "window": theirs.attention.relative_position_bias.window_size}


def _call_hf(module: Any, images: Tensor) -> Tensor:
    """Its logits, or of a base model its features, with the windows that its blocks were made with.

    A block there forgets its shift for good once it was given a map that a window covers. It is left as it was found.
    """
    found = []
    for stage in module.base_model.encoder.layers:
        for i, block in enumerate(stage.blocks):
            found.append((block, block.window_size, block.shift_size))
            block.window_size = block.attention.relative_position_bias.window_size[0]
            block.shift_size = i % 2 * (block.window_size // 2)
    try:
        output = module(images)
    finally:
        for block, window, shift in found:
            block.window_size, block.shift_size = window, shift
    given: Tensor = output.last_hidden_state.mean(dim=1) if module.base_model is module else output.logits
    return given


_HF = "transformers.models.swin.modeling_swin"

ORIGINS = {
    "timm.models.swin_transformer.SwinTransformer": Origin("timm", read_timm),
    f"{_HF}.SwinModel": Origin(other_names(hf_swin("")), read_hf, _call_hf),
    f"{_HF}.SwinForImageClassification": Origin(other_names(hf_swin("swin.")), read_hf, _call_hf),
}
