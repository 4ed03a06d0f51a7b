"""Key maps of MAE around a ViT."""

from __future__ import annotations

import torch

from ...checkpoint.block import HF_BLOCK, TIMM_BLOCK
from ...checkpoint.rules import KeyMap, Rule, within
from ...checkpoint.transforms import Functions

# Theirs has a row of zeros for the class token, ours no row.
_WITHOUT_CLASS = Functions(
    lambda theirs: tuple(table[:, 1:] for table in theirs),
    lambda ours: tuple(torch.cat([torch.zeros_like(table[:, :1]), table], dim=1) for table in ours),
)

OFFICIAL = (
    Rule("cls_token", "encoder.stages.0.class_token.token"),
    Rule("pos_embed", "encoder.stages.0.learned_position.table"),
    Rule("pos_embed", "encoder.stages.0.sine_position2d.table"),
    Rule("patch_embed.proj.{p}", "encoder.embed.conv.{p}"),
    *within("blocks.{b}", "encoder.stages.1.blocks.{b}", TIMM_BLOCK),
    Rule("norm.{p}", "encoder.norm.{p}"),
    Rule("mask_token", "mask_token"),
    Rule("decoder_embed.{p}", "decoder_embed.{p}"),
    Rule("decoder_pos_embed", "decoder.sine_position2d.table", _WITHOUT_CLASS),
    *within("decoder_blocks.{b}", "decoder.blocks.{b}", TIMM_BLOCK),
    Rule("decoder_norm.{p}", "decoder_norm.{p}"),
    Rule("decoder_pred.{p}", "to_pixels.{p}"),
)
"""The authors' MaskedAutoencoderViT."""

HF = (
    Rule("vit.embeddings.cls_token", "encoder.stages.0.class_token.token"),
    Rule("vit.embeddings.position_embeddings", "encoder.stages.0.learned_position.table"),
    Rule("vit.embeddings.position_embeddings", "encoder.stages.0.sine_position2d.table"),
    Rule("vit.embeddings.patch_embeddings.projection.{p}", "encoder.embed.conv.{p}"),
    *within("vit.encoder.layer.{b}", "encoder.stages.1.blocks.{b}", HF_BLOCK, also="vit.layers.{b}"),
    Rule("vit.layernorm.{p}", "encoder.norm.{p}"),
    Rule("decoder.mask_token", "mask_token"),
    Rule("decoder.decoder_embed.{p}", "decoder_embed.{p}"),
    Rule("decoder.decoder_pos_embed", "decoder.sine_position2d.table", _WITHOUT_CLASS),
    Rule("decoder.decoder_pos_embed", "decoder.learned_position.table"),
    *within("decoder.decoder_encoder.layer.{b}", "decoder.blocks.{b}", HF_BLOCK, also="decoder.decoder_layers.{b}"),
    Rule("decoder.decoder_norm.{p}", "decoder_norm.{p}"),
    Rule("decoder.decoder_pred.{p}", "to_pixels.{p}"),
)
"""Hugging Face's ViTMAEForPreTraining."""

LAYOUTS: dict[str, KeyMap] = {"official": OFFICIAL, "hf": HF}
