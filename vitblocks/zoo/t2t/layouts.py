"""Key maps of T2T-ViT."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ...attention import KernelAttend
from ...checkpoint.rules import KeyMap, Rule, Table, within
from ...checkpoint.transforms import Reorder
from .parts import TokenTransformer

if TYPE_CHECKING:
    from .model import T2TViT


TRANSFORMER = (
    Rule("attn.qkv.{p}", "qkv.{p}"),
    Rule("attn.proj.{p}", "proj.{p}"),
    Rule("{p}", "{p}"),
)


def performer(dim: int) -> tuple[Rule, ...]:
    """The authors' Token_performer with this ``token_dim``: keys come first, then queries, then values."""
    queries_first = Reorder([*range(dim, 2 * dim), *range(dim), *range(2 * dim, 3 * dim)])
    return (
        Rule("w", "attend.features"),
        Rule("kqv.{p}", "qkv.{p}", queries_first),
        Rule("mlp.0.{p}", "mlp.fc1.{p}"),
        Rule("mlp.2.{p}", "mlp.fc2.{p}"),
        Rule("{p}", "{p}"),
    )


def _token_layers(model: T2TViT) -> Iterator[Rule]:
    stages: Any = model.stages
    for s, stage in enumerate(stages[:-1]):
        (layer,) = stage.layers
        if not isinstance(layer, TokenTransformer):
            raise ValueError(f"stages.{s} must hold a TokenTransformer to have a layout, got {type(layer).__name__}")
        rules = performer(layer.proj.in_features) if isinstance(layer.attend, KernelAttend) else TRANSFORMER
        yield from within(f"tokens_to_token.attention{s + 1}", f"stages.{s}.blocks.0", rules)


def official(model: T2TViT) -> Table:
    """The authors' T2T_ViT. Its position table and random features are fixed parameters, ours buffers."""
    backbone = len(model.stages) - 1
    return (
        *_token_layers(model),
        Rule("tokens_to_token.project.{p}", f"stages.{backbone}.per_token.module.{{p}}"),
        Rule("cls_token", f"stages.{backbone}.class_token.token"),
        Rule("pos_embed", f"stages.{backbone}.sine_position1d.table"),
        Rule("blocks.{b}.{p}", f"stages.{backbone}.blocks.{{b}}.{{p}}"),
        Rule("norm.{p}", "norm.{p}"),
        Rule("head.{p}", "head.{p}"),
    )


LAYOUTS: dict[str, KeyMap] = {"official": official}
