"""Key maps of PiT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...checkpoint.rules import KeyMap, Rule, Table
from ...checkpoint.transforms import TableFromMap
from ...position import LearnedPosition

if TYPE_CHECKING:
    from .model import PiT


def _shared(model: PiT) -> Table:
    position = next(part for part in model.modules() if isinstance(part, LearnedPosition))
    return (
        Rule("cls_token", "stages.0.class_token.token"),
        Rule("pos_embed", "stages.0.learned_position.table", TableFromMap(position.grid)),
        Rule("patch_embed.{p}", "embed.{p}"),
        Rule("transformers.{s}.blocks.{b}.{p}", "stages.{s}.blocks.{b}.{p}"),
        Rule("norm.{p}", "norm.{p}"),
        Rule("head.{p}", "head.{p}"),
    )


def timm(model: PiT) -> Table:
    """timm's PoolingVisionTransformer, where a stage begins with its pooling."""
    return (
        Rule("transformers.{s}.pool.conv.{p}", "stages.{s}.transition.conv.{p}"),
        Rule("transformers.{s}.pool.fc.{p}", "stages.{s}.transition.prefix.{p}"),
        *_shared(model),
    )


def official(model: PiT) -> Table:
    """The authors' PoolingTransformer, where the poolings are a list of their own."""
    return (
        Rule("pools.{s-1}.conv.{p}", "stages.{s}.transition.conv.{p}"),
        Rule("pools.{s-1}.fc.{p}", "stages.{s}.transition.prefix.{p}"),
        *_shared(model),
    )


LAYOUTS: dict[str, KeyMap] = {"timm": timm, "official": official}
