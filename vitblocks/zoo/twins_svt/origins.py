"""How timm's Twins are read, which is one class for both models of the paper."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ...border import Origin, norm_of, rate_of, refuse_unless, timm

if TYPE_CHECKING:
    from ...model import Model

_LOCAL, _REDUCED = "LocallyGroupedAttn", "GlobalSubSampleAttn"
_block = partial(timm.block, attentions=[_LOCAL, _REDUCED], read=["norm"])


def read_timm(build: Callable[..., Model], module: Any) -> Model:
    """timm's Twins: with local attention in turn with global, or with global alone, which becomes a ``TwinsPCPVT``."""
    from .model import TwinsPCPVT  # which has this module's table on its sister

    refuse_unless(module.global_pool == "avg", module, "global_pool", module.global_pool)
    rates = {rate_of(drop) for drop in module.pos_drops}
    refuse_unless(rates == {0.0}, module, "pos_drop_rate", rates)
    stages = [timm.named(f"blocks.{s}", blocks) for s, blocks in enumerate(module.blocks)]
    blocks = {name: block for stage in stages for name, block in stage.items()}
    settings, each = timm.by_stage(module, stages, _block, own=("dim", "heads", "mlp_dim"))
    timm.same_norm(module, {"blocks.0.0.norm1": module.blocks[0][0].norm1, "norm": module.norm})
    pegs = [position.proj[0] for position in module.pos_block]
    sides = {(peg.kernel_size, peg.padding) for peg in pegs}
    refuse_unless(len(sides) == 1 and all(p.stride == 1 for p in module.pos_block), module, "pos_block", pegs)
    reductions = [_reduction(module, stage) for stage in stages]
    shared = {
        **settings,
        "num_classes": timm.head(module),
        "heads": each["heads"],
        "mlp_ratios": [
            timm.ratio(module, [hidden], [dim]) for hidden, dim in zip(each["mlp_dim"], each["dim"], strict=True)
        ],
        "depths": [len(stage) for stage in stages],
        "drop_path": timm.drop_path(module, blocks),
        "peg_kernel_size": pegs[0].kernel_size[0],
        "channels": module.patch_embeds[0].proj.in_channels,
        "image_size": module.patch_embeds[0].img_size,
    }
    patches = [_patch_size(module, s) for s in range(len(stages))]
    kinds = [[type(block.attn).__name__ for block in stage.values()] for stage in stages]
    if all(kind == _REDUCED for stage in kinds for kind in stage):
        return TwinsPCPVT(**shared, dims=each["dim"], patch_sizes=patches, reductions=reductions)
    refuse_unless(len(stages) == 4, module, "number of its stages", len(stages))
    in_turn = [[(_LOCAL, _REDUCED)[b % 2] for b in range(len(stage))] for stage in stages]
    refuse_unless(kinds == in_turn, module, "attentions of its blocks", kinds)
    windows = [_same(module, stage, "ws", _LOCAL) for stage in stages]
    by_name = {"emb_dim": each["dim"], "patch_size": patches, "local_patch_size": windows, "global_k": reductions}
    sizes = {f"s{s + 1}_{name}": value for name, values in by_name.items() for s, value in enumerate(values)}
    return build(**shared, **sizes, padding="attended")


def _same(module: Any, stage: timm.Blocks, name: str, kind: str) -> int:
    """What an attribute of the attentions of a kind is in a stage, the same in all; 1 where there is none."""
    found = {getattr(block.attn, name) for block in stage.values() if type(block.attn).__name__ == kind}
    refuse_unless(len(found) < 2, module, f"{name} of {next(iter(stage))} and others", found)
    return int(next(iter(found), 1))


def _reduction(module: Any, stage: timm.Blocks) -> int:
    for name, block in stage.items():
        if (norm := getattr(block.attn, "norm", None)) is not None:
            refuse_unless(norm.eps == 1e-5, module, f"{name}.attn.norm", norm)
            norm_of(norm)
    return _same(module, stage, "sr_ratio", _REDUCED)


def _patch_size(module: Any, stage: int) -> int:
    embed = module.patch_embeds[stage]
    rows, columns = embed.proj.kernel_size
    refuse_unless(embed.proj.stride == (rows, columns) and rows == columns, module, f"patch_embeds.{stage}", embed.proj)
    refuse_unless(embed.norm.eps == 1e-5, module, f"patch_embeds.{stage}.norm", embed.norm)
    return int(rows)


def as_timm(name: str, make: Callable[..., Model]) -> Model:
    """timm's attends to what pads the windows, as ``padding="attended"`` does; the authors' code masks it."""
    return make(padding="attended")


ORIGINS = {"timm.models.twins.Twins": Origin("timm", read_timm)}
