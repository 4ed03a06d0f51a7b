"""Key maps of SimMIM around a ViT or a Swin."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ...attention import WindowAttention
from ...checkpoint.address import addresses
from ...checkpoint.block import HF_BLOCK
from ...checkpoint.rules import Computed, KeyMap, Rule, Table, within
from ...checkpoint.transforms import Compose, Functions, Reorder
from ...zoo.beit.layouts import own_bias, shared_bias, table_index
from ...zoo.swin import layouts as swin

if TYPE_CHECKING:
    from .objective import SimMIM


# Theirs has no bias for the keys. Where ours got one it can go: it adds the same to all logits of a query.
_WITHOUT_KEY_BIAS = Functions(
    lambda theirs: (torch.cat([theirs[0], torch.zeros_like(theirs[0]), theirs[1]]),),
    lambda ours: (ours[0].chunk(3)[0], ours[0].chunk(3)[2]),
)


def _decoder(model: SimMIM) -> tuple[Rule, ...]:
    """Theirs is a convolution of 1x1 and a pixel shuffle, whose channel is the slowest; ours is a Linear with the channel fastest."""
    (rows, columns), channels = model.stride, model.encoder.channels
    pixels = Reorder([channel * rows * columns + i for i in range(rows * columns) for channel in range(channels)])
    as_matrix = Functions(lambda x: tuple(t.flatten(1) for t in x), lambda x: tuple(t[:, :, None, None] for t in x))
    return (
        Rule("decoder.0.weight", "decoder.weight", Compose(as_matrix, pixels)),
        Rule("decoder.0.bias", "decoder.bias", pixels),
    )


_BLOCK = (
    Rule("gamma_1", "shortcut1.scale.weight"),
    Rule("gamma_2", "shortcut2.scale.weight"),
    Rule(("attn.q_bias", "attn.v_bias"), "attn.qkv.bias", _WITHOUT_KEY_BIAS),
    own_bias("attn.relative_position_bias_table"),
    Rule("{p}", "{p}"),
)


def _shared_bias(model: SimMIM) -> Table:
    """The table that theirs shares between the blocks; every block of ours has a copy."""
    copies = [
        place.removesuffix(".pairs") for place in addresses(model) if place.endswith(".attn.position_bias.bias.pairs")
    ]
    rules = shared_bias("encoder.rel_pos_bias.relative_position_bias_table", copies)
    index = "encoder.rel_pos_bias.relative_position_index"
    return (*rules, *(Computed(index, at=f"{copy}.pairs", function=table_index) for copy in copies[:1]))


def _swin(model: SimMIM) -> Table:
    """The authors' SimMIM of a SwinTransformerForSimMIM, whose backbone has the names of their Swin."""
    rules = [rule for rule in swin.OFFICIAL if isinstance(rule, Rule)]
    computed = [
        replace(entry, theirs=f"encoder.{entry.theirs}", at=entry.at and f"encoder.{entry.at}")
        for entry in swin.OFFICIAL
        if isinstance(entry, Computed)
    ]
    mask = Rule("encoder.mask_token", "mask_token")
    return (mask, *within("encoder", "encoder", rules), *computed, *_decoder(model))


def official(model: SimMIM) -> Table:
    """The authors' SimMIM of a VisionTransformerForSimMIM: relative biases in every block, or shared by all; or of their Swin."""
    if any(isinstance(part, WindowAttention) for part in model.modules()):
        return _swin(model)
    return (
        Rule("encoder.cls_token", "encoder.stages.0.class_token.token"),
        Rule("encoder.pos_embed", "encoder.stages.0.learned_position.table"),
        Rule("encoder.mask_token", "mask_token"),
        Rule("encoder.patch_embed.proj.{p}", "encoder.embed.conv.{p}"),
        *_shared_bias(model),
        *within("encoder.blocks.{b}", "encoder.stages.0.blocks.{b}", _BLOCK),
        Computed(
            "encoder.blocks.{b}.attn.relative_position_index",
            at="encoder.stages.0.blocks.{b}.attn.position_bias.pairs",
            function=table_index,
        ),
        Rule("encoder.norm.{p}", "encoder.norm.{p}"),
        *_decoder(model),
    )


def hf(model: SimMIM) -> Table:
    """Hugging Face's ViTForMaskedImageModeling."""
    return (
        Rule("vit.embeddings.cls_token", "encoder.stages.0.class_token.token"),
        Rule("vit.embeddings.mask_token", "mask_token"),
        Rule("vit.embeddings.position_embeddings", "encoder.stages.0.learned_position.table"),
        Rule("vit.embeddings.patch_embeddings.projection.{p}", "encoder.embed.conv.{p}"),
        *within("vit.encoder.layer.{b}", "encoder.stages.0.blocks.{b}", HF_BLOCK, also="vit.layers.{b}"),
        Rule("vit.layernorm.{p}", "encoder.norm.{p}"),
        *_decoder(model),
    )


LAYOUTS: dict[str, KeyMap] = {"official": official, "hf": hf}
