"""How timm's NesT is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn

from ...border import Origin, refuse_unless, timm
from .parts import SameMaxPool2d

if TYPE_CHECKING:
    from ...model import Model

_POOLS = {"MaxPool2dSame": SameMaxPool2d, "MaxPool2d": partial(nn.MaxPool2d, 3, 2, 1)}


def read_timm(build: Callable[..., Model], module: Any) -> Model:
    """timm's Nest, which takes the one square size that it is made for; padded as TensorFlow does or evenly."""
    pooled = module.global_pool.pool_type
    refuse_unless(pooled == "avg", module, "global_pool", pooled)
    levels = [
        timm.named(f"levels.{s}.transformer_encoder", level.transformer_encoder)
        for s, level in enumerate(module.levels)
    ]
    layers = {name: layer for level in levels for name, layer in level.items()}
    read = partial(timm.block, kinds=["TransformerLayer"])
    settings, each = timm.by_stage(module, levels, read, own=("dim", "heads", "mlp_dim"))
    pools = {f"levels.{s}.pool": level.pool for s, level in enumerate(module.levels) if s}
    norms = {f"{name}.norm": pool.norm for name, pool in pools.items()}
    first, *_ = layers.values()
    timm.same_norm(module, {"levels.0.transformer_encoder.0.norm1": first.norm1, **norms, "norm": module.norm})
    kinds = {type(pool.pool).__name__ for pool in pools.values()}
    refuse_unless(len(kinds) <= 1 and kinds <= _POOLS.keys(), module, "pools of its levels", kinds)
    for name, pool in pools.items():
        conv = pool.conv
        refuse_unless((conv.kernel_size, conv.padding) == ((3, 3), (1, 1)), module, f"{name}.conv", conv)
    return build(
        **timm.patches(module, module.patch_embed),
        **settings,
        num_classes=timm.head(module),
        dim=each["dim"],
        heads=each["heads"],
        mlp_mult=timm.ratio(module, each["mlp_dim"], each["dim"]),
        num_hierarchies=len(levels),
        block_repeats=[len(level) for level in levels],
        drop_path=timm.drop_path(module, layers),
        emb_dropout=0.0,
        pool=_POOLS[next(iter(kinds), "MaxPool2dSame")],
    )


ORIGINS = {"timm.models.nest.Nest": Origin("timm", read_timm)}
