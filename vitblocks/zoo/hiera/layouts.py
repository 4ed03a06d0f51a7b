"""Key maps of Hiera."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...checkpoint.block import TIMM_BLOCK
from ...checkpoint.rules import KeyMap, Rule, Table, within
from ...checkpoint.transforms import TableFromMap
from ...position import LearnedPosition, TiledPosition

if TYPE_CHECKING:
    from .model import Hiera


def _positions(model: Hiera) -> Table:
    """Both tables of abswin are maps there, the one of all patches is as ours."""
    tiled = [part for part in model.modules() if isinstance(part, TiledPosition)]
    if not tiled:
        return (Rule("pos_embed", "stages.0.learned_position.table"),)
    whole = next(part for part in model.modules() if isinstance(part, LearnedPosition))
    return (
        Rule("pos_embed", "stages.0.learned_position.table", TableFromMap(whole.grid)),
        Rule("pos_embed_win", "stages.0.tiled_position.table", TableFromMap(tiled[0].grid)),
    )


def timm(model: Hiera) -> Table:
    """timm's Hiera, whose blocks are one list."""
    return (
        *_positions(model),
        Rule("patch_embed.proj.{p}", "embed.conv.{p}"),
        *within("blocks.{n}", "stages.{s}.transition", TIMM_BLOCK),
        *within("blocks.{n}", "stages.{s}.blocks.{b}", TIMM_BLOCK),
        Rule("head.norm.{p}", "pool.norm.{p}"),
        Rule("head.fc.{p}", "head.{p}"),
    )


_HF_BLOCK = (
    Rule("layernorm_before.{p}", "norm1.{p}"),
    Rule("layernorm_after.{p}", "norm2.{p}"),
    Rule("{p}", "{p}"),
)


def hf_named(name: str) -> Callable[[Hiera], Table]:
    """Hugging Face's HieraModel under a name, ``"hiera."`` in a HieraForImageClassification."""

    def table(model: Hiera) -> Table:
        return (
            Rule(f"{name}embeddings.position_embeddings", "stages.0.learned_position.table"),
            Rule(f"{name}embeddings.patch_embeddings.projection.{{p}}", "embed.conv.{p}"),
            *within(f"{name}encoder.stages.0.layers.{{b}}", "stages.0.blocks.{b}", _HF_BLOCK),
            *within(f"{name}encoder.stages.{{s}}.layers.0", "stages.{s}.transition", _HF_BLOCK),
            *within(f"{name}encoder.stages.{{s}}.layers.{{b+1}}", "stages.{s}.blocks.{b}", _HF_BLOCK),
            Rule(f"{name}pooler.layernorm.{{p}}", "pool.norm.{p}"),
            Rule("classifier.{p}", "head.{p}"),
        )

    return table


def hf(model: Hiera) -> Table:
    """Hugging Face's HieraForImageClassification; without classes its HieraModel."""
    return hf_named("hiera." if list(model.head.parameters()) else "")(model)


LAYOUTS: dict[str, KeyMap] = {"timm": timm, "hf": hf}
