"""How other libraries' Hieras are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn

from ...border import Origin, activation_of, refuse_unless, timm, transformers
from ...position import resize_table
from .layouts import hf_named
from .parts import DoublingBlock, ExpandingBlock

if TYPE_CHECKING:
    from ...model import Model

Blocks = Sequence[Any]


def read_timm(build: Callable[..., Model], module: Any) -> Model:
    """timm's Hiera of images, which takes them in one size."""
    ends = [end + 1 for end in module.stage_ends]
    stages = [list(module.blocks)[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    refuse_unless(module.pos_embed is not None, module, "sep_pos_embed", True)
    refuse_unless(module.patch_drop_rate == 0, module, "patch_drop_rate", module.patch_drop_rate)
    blocks = timm.named("blocks", module.blocks)
    settings = timm.alike(module, blocks, _timm_block)
    firsts = {block.proj is None for block in module.blocks if block.do_expand}
    tiled = module.pos_embed_win is not None
    gamma = getattr(module.blocks[0].ls1, "gamma", None)
    timm.same_norm(module, {"blocks.0.norm1": module.blocks[0].norm1, "head.norm": module.head.norm})
    return build(
        image_size=tuple(n * s for n, s in zip(module.tokens_spatial_shape, module.patch_stride, strict=True)),
        num_classes=_timm_head(module),
        **_stages(module, stages, [block[0].attn.q_stride for block in stages], "window_size"),
        window=tuple(module.mask_unit_size),
        query_stride=tuple(module.q_stride),
        **_patches(module.patch_embed.proj),
        **settings,
        mlp_ratio=timm.ratio(module, *_widths(module.blocks)),
        drop_path=timm.drop_path(module, blocks),
        layer_scale=None if gamma is None else 1.0,  # any: weights come with the rest
        position_grid=tuple(module.pos_embed.shape[2:]) if tiled else None,
        resize=partial(resize_table, antialias=True),
        pooling_block=DoublingBlock if firsts == {True} else ExpandingBlock,
    )


def _timm_block(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    inner = timm.mlp(module, f"{name}.mlp", theirs.mlp)
    refuse_unless(inner["dropout"] == 0, module, f"drop rates of {name}.mlp", inner["dropout"])
    norms = {f"{name}.{part}": getattr(theirs, part) for part in ("norm1", "norm2")}
    return {"norm": timm.same_norm(module, norms), "activation": inner["activation"]}


def _timm_head(module: Any) -> int:
    """The classes of a head that takes the mean of all patches, norms it, and has one Linear."""
    head = module.head
    refuse_unless(head.pool_type == "avg", module, "global_pool", head.pool_type)
    timm.refuse_identity(module, "head.pre_logits", head.pre_logits)
    timm.refuse_rate(module, "drop_rate", head.drop)
    return timm.head(module, "head.fc")


def _widths(blocks: Blocks) -> tuple[list[int], list[int]]:
    """The hidden widths of the feed-forwards, and the channels they go with."""
    return [block.mlp.fc1.out_features for block in blocks], [block.mlp.fc1.in_features for block in blocks]


def _patches(conv: Any) -> dict[str, Any]:
    """Of the convolution that embeds."""
    names = {"patch_size": conv.kernel_size, "patch_stride": conv.stride, "patch_padding": conv.padding}
    return {**names, "channels": conv.in_channels}


def _stages(module: nn.Module, stages: Sequence[Blocks], strides: Sequence[int], area: str) -> dict[str, Any]:
    """Widths, heads and kinds of attention of the stages, where the queries of their first blocks have these flat strides.

    The first block of a stage attends as the stage before it. An attention knows its mask unit by the number of its tokens, after pooling,
    under the name ``area``.
    """
    pools = sum(stride > 1 for stride in strides)
    step = max(strides)
    plain = [1, *[step] * pools, *[1] * (len(stages) - 1 - pools)]
    refuse_unless([*strides] == plain, module, "strides of the first blocks of its stages", [*strides])
    following = [bool(stage[0].attn.use_mask_unit_attn) for stage in stages[1:]]
    in_units = [*following, len(stages[-1]) > 1 and bool(stages[-1][-1].attn.use_mask_unit_attn)]
    unit = getattr(stages[0][0].attn, area)
    for s, stage in enumerate(stages):
        for b, block in enumerate(stage):
            own, place = block.attn, f"block {b} of stage {s}"
            same = bool(own.use_mask_unit_attn) == in_units[s if b or not s else s - 1]
            refuse_unless(same, module, f"use_mask_unit_attn in {place}", own.use_mask_unit_attn)
            size, wanted = getattr(own, area), unit // step ** min(s, pools)
            refuse_unless(not own.use_mask_unit_attn or size == wanted, module, f"mask unit in {place}", size)
    return {
        "dims": [stage[0].mlp.fc1.in_features for stage in stages],
        "depths": [len(stage) for stage in stages],
        "heads": [_heads(stage[0].attn) for stage in stages],
        "in_units": in_units,
        "query_pools": pools,
    }


def _heads(attn: Any) -> int:
    return int(getattr(attn, "num_heads", None) or attn.heads)


def read_hf(build: Callable[..., Model], module: Any) -> Model:
    """transformers' HieraForImageClassification, or its HieraModel with a pooler."""
    base = module.base_model
    refuse_unless(not base.embeddings.is_mae, module, "is_mae", True)
    refuse_unless(base.pooler is not None, module, "pooler", None)
    first = base.encoder.stages[0].layers[0].layernorm_before
    timm.same_norm(
        module, {"encoder.stages.0.layers.0.layernorm_before": first, "pooler.layernorm": base.pooler.layernorm}
    )
    classes = 0 if base is module else transformers.classes(module, "classifier")
    return read_hf_encoder(build, module, num_classes=classes)


def read_hf_encoder(build: Callable[..., Model], module: Any, num_classes: int = 0) -> Model:
    """What is below the pooler of transformers' Hieras, the encoder of its pre-training, too."""
    base, config = module.base_model, module.config
    stages = [list(stage.layers) for stage in base.encoder.stages]
    layers = {
        f"encoder.stages.{s}.layers.{b}": block for s, stage in enumerate(stages) for b, block in enumerate(stage)
    }
    settings = timm.alike(module, layers, _hf_layer)
    return build(
        image_size=tuple(config.image_size),
        num_classes=num_classes,
        **_stages(module, stages, [stage[0].attn.query_stride for stage in stages], "window_size"),
        window=tuple(config.masked_unit_size),
        query_stride=tuple(config.query_stride),
        **_patches(base.embeddings.patch_embeddings.projection),
        **settings,
        mlp_ratio=timm.ratio(module, *_widths([*layers.values()])),
        drop_path=timm.drop_path(module, layers),
    )


def _hf_layer(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    norms = {f"{name}.{part}": getattr(theirs, part) for part in ("layernorm_before", "layernorm_after")}
    return {"norm": timm.same_norm(module, norms), "activation": activation_of(theirs.mlp.activation_fn)}


_HF = "transformers.models.hiera.modeling_hiera"

ORIGINS = {
    "timm.models.hiera.Hiera": Origin("timm", read_timm),
    f"{_HF}.HieraModel": Origin(hf_named(""), read_hf, transformers.mean_features_of_any_size),
    f"{_HF}.HieraForImageClassification": Origin(hf_named("hiera."), read_hf, transformers.logits_of_any_size),
}
