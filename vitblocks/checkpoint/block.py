"""Key maps of a ViT's block, which those of several models hold."""

from __future__ import annotations

from .rules import Rule
from .transforms import Concat, Inverted

TIMM_BLOCK: tuple[Rule, ...] = (
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
