"""Key maps of Swin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor, nn

from ...checkpoint.block import hf_block
from ...checkpoint.rules import Computed, KeyMap, Rule, Table, within
from ...position.relative_bias import RelativeBias, pairwise

if TYPE_CHECKING:
    from .model import Swin

_BLOCK = (
    Rule("attn.relative_position_bias_table", "attn.position_bias.table"),
    Rule("{p}", "{p}"),
)

TIMM = (
    Rule("patch_embed.proj.{p}", "embed.conv.{p}"),
    Rule("patch_embed.norm.{p}", "embed.norm.{p}"),
    Rule("layers.{s}.downsample.reduction.{p}", "stages.{s}.transition.proj.{p}"),
    Rule("layers.{s}.downsample.norm.{p}", "stages.{s}.transition.norm.{p}"),
    *within("layers.{s}.blocks.{b}", "stages.{s}.blocks.{b}", _BLOCK),
    Rule("norm.{p}", "norm.{p}"),
    Rule("head.fc.{p}", "head.{p}"),
)


def table_index(bias: RelativeBias) -> Tensor:
    """Where in the table the bias of each pair of places stands: ``(H*W, H*W)``."""
    rows, columns = (2 * side - 1 for side in bias.grid)
    table = rearrange(torch.arange(rows * columns, device=bias.table.device), "(h w) -> 1 h w", h=rows)
    return pairwise(table)[0]


OFFICIAL: Table = (
    Rule("patch_embed.proj.{p}", "embed.conv.{p}"),
    Rule("patch_embed.norm.{p}", "embed.norm.{p}"),
    Rule("layers.{s-1}.downsample.reduction.{p}", "stages.{s}.transition.proj.{p}"),
    Rule("layers.{s-1}.downsample.norm.{p}", "stages.{s}.transition.norm.{p}"),
    *within("layers.{s}.blocks.{b}", "stages.{s}.blocks.{b}", _BLOCK),
    Computed(
        "layers.{s}.blocks.{b}.attn.relative_position_index",
        at="stages.{s}.blocks.{b}.attn.position_bias.table",
        function=table_index,
    ),
    Computed("layers.{s}.blocks.{b}.attn_mask"),
    Rule("norm.{p}", "norm.{p}"),
    Rule("head.{p}", "head.{p}"),
)
"""The authors' SwinTransformer, which merges patches at the end of a stage. Its masks of shifted windows are in no export."""

_HF_BLOCK = (
    Rule(
        "attention.self.relative_position_bias_table",
        "attn.position_bias.table",
        also="attention.relative_position_bias.relative_position_bias_table",
    ),
    *hf_block("attention.self"),
)


def hf_swin(prefix: str) -> Table:
    """Hugging Face's SwinForImageClassification with the prefix ``swin.``, its SwinModel with none."""
    return (
        Rule(f"{prefix}embeddings.patch_embeddings.projection.{{p}}", "embed.conv.{p}"),
        Rule(f"{prefix}embeddings.norm.{{p}}", "embed.norm.{p}"),
        Rule(f"{prefix}encoder.layers.{{s-1}}.downsample.reduction.{{p}}", "stages.{s}.transition.proj.{p}"),
        Rule(f"{prefix}encoder.layers.{{s-1}}.downsample.norm.{{p}}", "stages.{s}.transition.norm.{p}"),
        *within(f"{prefix}encoder.layers.{{s}}.blocks.{{b}}", "stages.{s}.blocks.{b}", _HF_BLOCK),
        Computed(
            f"{prefix}encoder.layers.{{s}}.blocks.{{b}}.attention.self.relative_position_index"
        ),  # of transformers 4
        Rule(f"{prefix}layernorm.{{p}}", "norm.{p}"),
        Rule("classifier.{p}", "head.{p}"),
    )


def hf(model: Swin) -> Table:
    """Hugging Face's SwinForImageClassification, or of a model without classes its SwinModel: build the model with ``padding="hf"``."""
    return hf_swin("swin." if isinstance(model.head, nn.Linear) else "")


LAYOUTS: dict[str, KeyMap] = {"timm": TIMM, "official": OFFICIAL, "hf": hf}
