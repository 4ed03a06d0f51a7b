"""Key maps of a ViT's block, which those of several models hold."""

from __future__ import annotations

from .rules import Rule
from .transforms import Concat

TIMM_BLOCK: tuple[Rule, ...] = (
    Rule("ls1.gamma", "shortcut1.scale.weight"),
    Rule("ls2.gamma", "shortcut2.scale.weight"),
    Rule("{p}", "{p}"),
)
"""A block of timm's VisionTransformer."""

HF_BLOCK: tuple[Rule, ...] = (
    Rule(tuple(f"attention.{part}_proj.{{p}}" for part in "qkv"), "attn.qkv.{p}", Concat(3)),
    Rule("attention.o_proj.{p}", "attn.proj.{p}"),
    Rule("layernorm_before.{p}", "norm1.{p}"),
    Rule("layernorm_after.{p}", "norm2.{p}"),
    Rule("{p}", "{p}"),
)
"""A block of Hugging Face's ViT and ViTMAE."""
