"""Key maps of NesT."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ...attention import LocalWindowAttention, Windows
from ...block import Block
from ...checkpoint.rules import KeyMap, Rule, Table
from ...checkpoint.transforms import Functions, Tensors, heads_from_fastest
from ...model import Stage
from ...position import LearnedPosition

if TYPE_CHECKING:
    from .model import NesT


def blocked(windows: Windows, grid: tuple[int, int]) -> Functions:
    """Theirs is a table ``(1, blocks, places of a block, C)``, ours is row-major over the grid."""

    def to_ours(theirs: Tensors) -> Tensors:
        return tuple(windows.join(table, grid) for table in theirs)

    def to_theirs(ours: Tensors) -> Tensors:
        return tuple(windows.split(table, grid) for table in ours)

    return Functions(to_ours, to_theirs)


def timm(model: NesT) -> Table:
    """timm's Nest, which merges its heads with the head as the fastest index."""
    levels: list[Rule] = []
    for s, stage in enumerate(model.stages):
        layers = cast(Stage, stage).layers
        position = next(layer for layer in layers if isinstance(layer, LearnedPosition))
        attn = cast(LocalWindowAttention, next(layer for layer in layers if isinstance(layer, Block)).attn)
        heads = heads_from_fastest(attn.heads, attn.head_dim, dim=1)
        blocks = blocked(cast(Windows, attn.windows), position.grid)
        levels += [
            Rule(f"levels.{s}.pos_embed", f"stages.{s}.learned_position.table", blocks),
            Rule(
                f"levels.{s}.transformer_encoder.{{b}}.attn.proj.weight",
                f"stages.{s}.blocks.{{b}}.attn.proj.weight",
                heads,
            ),
        ]
    return (
        Rule("patch_embed.proj.{p}", "embed.conv.{p}"),
        *levels,
        Rule("levels.{s}.transformer_encoder.{b}.{p}", "stages.{s}.blocks.{b}.{p}"),
        Rule("levels.{s}.pool.conv.{p}", "stages.{s}.transition.conv.0.{p}"),
        Rule("levels.{s}.pool.norm.{p}", "stages.{s}.transition.conv.1.norm.{p}"),
        Rule("norm.{p}", "norm.{p}"),
        Rule("head.{p}", "head.{p}"),
    )


LAYOUTS: dict[str, KeyMap] = {"timm": timm}
