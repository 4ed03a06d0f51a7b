"""How timm's Swin is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from ...border import Origin, refuse_unless, timm

if TYPE_CHECKING:
    from ...attention import WindowAttention
    from ...block import Block
    from ...model import Model


def read_timm(build: Callable[..., Model], module: Any) -> Model:
    """timm's SwinTransformer, at the size it is made for or at any. Windows that ours would not have are refused."""
    stages = [timm.named(f"layers.{s}.blocks", stage.blocks) for s, stage in enumerate(module.layers)]
    settings, each = timm.by_stage(module, stages, _block, own=("dim", "heads", "mlp_dim"))
    blocks = {name: block for stage in stages for name, block in stage.items()}
    dims = each["dim"]
    refuse_unless(dims == [dims[0] * 2**s for s in range(len(dims))], module, "channels of its stages", dims)
    timm.same_norm(
        module,
        {
            "layers.0.blocks.0.norm1": module.layers[0].blocks[0].norm1,
            "patch_embed.norm": module.patch_embed.norm,
            "norm": module.norm,
            **{f"layers.{s}.downsample.norm": stage.downsample.norm for s, stage in enumerate(module.layers) if s},
        },
    )
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
    for (name, theirs), (_, ours) in zip(blocks.items(), model.blocks(), strict=True):
        windows = cast("WindowAttention", cast("Block", ours).attn).windows
        same = (getattr(windows, "size", None), getattr(windows, "shift", (0, 0)))
        refuse_unless(same[0] == theirs.window_size, module, f"window_size of {name}", theirs.window_size)
        refuse_unless(same[1] == theirs.shift_size, module, f"shift_size of {name}", theirs.shift_size)
    return model


def _windows(module: Any) -> Any:
    """The size of all windows, where those of some stages are less only because their maps are; or else a list of one for each stage."""
    firsts = [stage.blocks[0] for stage in module.layers]
    largest = tuple(max(block.window_size[i] for block in firsts) for i in range(2))
    clipped = [tuple(min(sides) for sides in zip(largest, block.input_resolution, strict=True)) for block in firsts]
    sizes = [block.window_size for block in firsts]
    same = all(size in (largest, less) for size, less in zip(sizes, clipped, strict=True))
    return largest if same else sizes


_block = partial(timm.block, attentions=["WindowAttention"], kinds=["SwinTransformerBlock"])

ORIGINS = {"timm.models.swin_transformer.SwinTransformer": Origin("timm", read_timm)}
