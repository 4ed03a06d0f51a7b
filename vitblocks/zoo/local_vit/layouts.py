"""Key maps of LocalViT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from ...checkpoint.rules import KeyMap, Rule, Table, within

if TYPE_CHECKING:
    from .model import LocalViT


def official(model: LocalViT) -> Table:
    """The authors' code. The convolutions are numbered there, and a channel attention moves the last of them on by one."""
    feed_forward = model.get_submodule(f"{next(model.blocks())[0]}.conv.layer")
    last = 6 if isinstance(feed_forward.channel_attention, nn.Identity) else 7
    block = (
        Rule("norm1.{p}", "attn.norm.{p}"),
        Rule("attn.{p}", "attn.layer.{p}"),
        Rule("conv.conv.0.{p}", "conv.layer.conv1.{p}"),
        Rule("conv.conv.1.{p}", "conv.layer.norm1.{p}"),
        Rule("conv.conv.3.{p}", "conv.layer.conv.{p}"),
        Rule("conv.conv.4.{p}", "conv.layer.norm.{p}"),
        Rule("conv.conv.6.fc.0.{p}", "conv.layer.channel_attention.fc1.{p}"),
        Rule("conv.conv.6.fc.2.{p}", "conv.layer.channel_attention.fc2.{p}"),
        Rule("conv.conv.6.conv.{p}", "conv.layer.channel_attention.conv.{p}"),
        Rule(f"conv.conv.{last}.{{p}}", "conv.layer.conv2.{p}"),
        Rule(f"conv.conv.{last + 1}.{{p}}", "conv.layer.norm2.{p}"),
    )
    return (
        Rule("cls_token", "stages.0.class_token.token"),
        Rule("pos_embed", "stages.0.learned_position.table"),
        Rule("patch_embed.proj.{p}", "embed.conv.{p}"),
        *within("blocks.{b}", "stages.0.blocks.{b}", block),
        Rule("norm.{p}", "norm.{p}"),
        Rule("head.{p}", "head.{p}"),
    )


LAYOUTS: dict[str, KeyMap] = {"official": official}
