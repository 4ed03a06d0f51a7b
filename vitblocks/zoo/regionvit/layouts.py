"""Key maps of RegionViT."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ...checkpoint.rules import KeyMap, Rule, Table, within
from ...checkpoint.transforms import Compose, Inverted, Permute, Reorder, Tied, Unsqueeze
from ...model import Stage
from ...position import RelativeBias

if TYPE_CHECKING:
    from .model import RegionViT


_MAP_NORM = Compose(Inverted(Unsqueeze(0)), Inverted(Unsqueeze(-1)), Inverted(Unsqueeze(-1)))
"""Theirs is ``(1, channels, 1, 1)``."""

_LOCAL = (
    Rule("patch_embed.proj.{3*i}.{p}", "embed.local.conv.{i}.conv.{p}"),
    Rule("patch_embed.proj.{3*i+1}.{p}", "embed.local.conv.{i}.norm.norm.{p}", _MAP_NORM),
    Rule("patch_embed.proj.{p}", "embed.local.conv.{p}"),
)

# Their downsampling is reachable under two names.
_DOWNSAMPLING = within(
    "layers.{s}.block.0",
    "stages.{s}.transition.transition.conv",
    (
        Rule(("proj.0.{p}", "proj_cls.0.{p}"), "0.norm.{p}", Compose(Tied(2), _MAP_NORM)),
        Rule(("proj.{i}.{p}", "proj_cls.{i}.{p}"), "{i}.{p}", Tied(2)),
    ),
)


def offsets_of(window: tuple[int, int]) -> Reorder:
    """Along each side theirs has the offset key - query at ``(offset + side // 2) % (2 * side - 1)``, ours query - key in order."""
    rows, columns = ([(side // 2 - offset) % (2 * side - 1) for offset in range(1 - side, side)] for side in window)
    return Reorder([row * len(columns) + column for row in rows for column in columns])


def _biases(stage: Stage) -> list[RelativeBias]:
    """The first position bias of a stage, if it has a block; the others are of the same window."""
    return [part for part in stage.modules() if isinstance(part, RelativeBias)][:1]


def official(model: RegionViT) -> Table:
    """The authors' code."""
    biases = [
        Rule(
            f"layers.{s}.block.{{b+1}}.attn.rel_pos",
            f"stages.{s}.blocks.{{b}}.attn.position_bias.table",
            Compose(Permute(1, 0), offsets_of(bias.grid)),
        )
        for s, stage in enumerate(model.stages)
        for bias in _biases(cast(Stage, stage))
    ]
    return (
        *_LOCAL,
        Rule("cls_token.proj.{p}", "embed.regional.{p}"),
        *_DOWNSAMPLING,
        Rule("layers.{s}.peg.{p}", "stages.{s}.on_both_maps.layer.conv.{p}"),
        *biases,
        Rule("layers.{s}.block.{b+1}.{p}", "stages.{s}.blocks.{b}.{p}"),
        Rule("norm.{p}", "norm.{p}"),
        Rule("head.{p}", "head.{p}"),
    )


LAYOUTS: dict[str, KeyMap] = {"official": official}
