"""Key maps of MAE around a Hiera."""

from __future__ import annotations

from typing import TYPE_CHECKING

from einops import rearrange

from ...checkpoint.rules import KeyMap, Rule, Table, within
from ...checkpoint.transforms import Functions, Tensors

if TYPE_CHECKING:
    from .objective import MaskUnitMAE

_BLOCK = (
    Rule("layernorm_before.{p}", "norm1.{p}"),
    Rule("layernorm_after.{p}", "norm2.{p}"),
    Rule("{p}", "{p}"),
)


def hf(model: MaskUnitMAE) -> Table:
    """Hugging Face's HieraForPreTraining, which predicts a unit's pixels one channel after the other, where ours are one pixel after it."""
    rows, columns = model.patch_size

    def ours(theirs: Tensors) -> Tensors:
        return tuple(rearrange(x, "(c p q) ... -> (p q c) ...", p=rows, q=columns) for x in theirs)

    def theirs(ours: Tensors) -> Tensors:
        return tuple(rearrange(x, "(p q c) ... -> (c p q) ...", p=rows, q=columns) for x in ours)

    return (
        Rule("hiera.embeddings.position_embeddings", "encoder.stages.0.learned_position.table"),
        Rule("hiera.embeddings.patch_embeddings.projection.{p}", "encoder.embed.conv.{p}"),
        *within("hiera.encoder.stages.0.layers.{b}", "encoder.stages.1.blocks.{b}", _BLOCK),
        *within("hiera.encoder.stages.{s-1}.layers.0", "encoder.stages.{s}.transition", _BLOCK),
        *within("hiera.encoder.stages.{s-1}.layers.{b+1}", "encoder.stages.{s}.blocks.{b}", _BLOCK),
        Rule("multiscale_fusion.multi_scale_fusion_heads.{i}.{p}", "fusion.{i}.{p}"),
        Rule("encoder_norm.{p}", "norm.{p}"),
        Rule("decoder.decoder_embeddings.{p}", "decoder_embed.{p}"),
        Rule("decoder.mask_token", "mask_token"),
        Rule("decoder.decoder_position_embeddings", "decoder.learned_position.table"),
        *within("decoder.decoder_block.layers.{b}", "decoder.blocks.{b}", _BLOCK),
        Rule("decoder.decoder_norm.{p}", "decoder_norm.{p}"),
        Rule("decoder.decoder_pred.{p}", "to_pixels.{p}", Functions(ours, theirs)),
    )


LAYOUTS: dict[str, KeyMap] = {"hf": hf}
