"""Key maps of a ViT's block, which those of several models hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from .rules import Rule, within
from .transforms import Concat, Inverted

if TYPE_CHECKING:
    from ..model import Model

QK_NORM: tuple[Rule, ...] = (
    Rule("attn.q_norm.{p}", "attn.qk_norm.q.{p}"),
    Rule("attn.k_norm.{p}", "attn.qk_norm.k.{p}"),
)
"""Norms of queries and keys, as timm has them."""

TIMM_BLOCK: tuple[Rule, ...] = (
    *QK_NORM,
    Rule("ls1.gamma", "shortcut1.scale.weight"),
    Rule("ls2.gamma", "shortcut2.scale.weight"),
    Rule("{p}", "{p}"),
)
"""A block of timm's VisionTransformer."""


def hf_block(attention: str = "attention.attention") -> tuple[Rule, ...]:
    """A block of Hugging Face's as their files have it, with ``attention`` around queries, keys and values.

    The other names are those of their modules since transformers 5.
    """
    return (
        Rule(
            tuple(f"{attention}.{part}.{{p}}" for part in ("query", "key", "value")),
            "attn.qkv.{p}",
            Concat(3),
            also=tuple(f"attention.{part}_proj.{{p}}" for part in "qkv"),
        ),
        Rule("attention.output.dense.{p}", "attn.proj.{p}", also="attention.o_proj.{p}"),
        Rule("layernorm_before.{p}", "norm1.{p}"),
        Rule("layernorm_after.{p}", "norm2.{p}"),
        Rule("intermediate.dense.{p}", "mlp.fc1.{p}", also="mlp.fc1.{p}"),
        Rule("output.dense.{p}", "mlp.fc2.{p}", also="mlp.fc2.{p}"),
    )


HF_BLOCK = hf_block()
"""A block of Hugging Face's ViT, DeiT and ViTMAE."""

PACKED_GATE: tuple[Rule, ...] = (Rule("mlp.fc1.{p}", ("mlp.gate.{p}", "mlp.fc1.{p}"), Inverted(Concat(2))),)
"""A gated feed-forward whose gate and values are one Linear, the gate first; before the other rules of a block."""

HF_SELF_ATTENTION_BLOCK: tuple[Rule, ...] = (
    Rule(tuple(f"self_attn.{part}_proj.{{p}}" for part in "qkv"), "attn.qkv.{p}", Concat(3)),
    Rule("self_attn.out_proj.{p}", "attn.proj.{p}"),
    Rule("layer_norm1.{p}", "norm1.{p}"),
    Rule("layer_norm2.{p}", "norm2.{p}"),
    Rule("{p}", "{p}"),
)
"""A block of Hugging Face's CLIP and SigLIP."""


def counted_by_kind(
    model: Model, last: type[nn.Module], patches: tuple[str, tuple[Rule, ...]], classes: tuple[str, tuple[Rule, ...]]
) -> tuple[Rule, ...]:
    """The blocks of a model's one stage, where theirs lie in two lists and the second, of blocks of the class ``last``, counts from 0.

    Of each list its name there, and the rules for one of its blocks.
    """
    kinds = [isinstance(block, last) for _, block in model.blocks()]
    rules: list[Rule] = []
    for b, is_last in enumerate(kinds):
        (name, table), number = (classes, b - kinds.index(True)) if is_last else (patches, b)
        rules += within(f"{name}.{number}", f"stages.0.blocks.{b}", table)
    return tuple(rules)
