"""Key maps of BEiT."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...checkpoint.address import addresses
from ...checkpoint.block import HF_BLOCK, QK_NORM
from ...checkpoint.rules import Computed, KeyMap, Rule, Table, within
from ...checkpoint.transforms import Concat, Functions, Tied
from ...position import ClassRelativeBias
from ...position.relative_bias import pad_prefix, pairwise
from ...prefix import MaskToken
from ..eva.layouts import FUSED
from ..vit import layouts as vit

if TYPE_CHECKING:
    from .model import BEiT

WITH_PAIRS = Functions(
    lambda theirs: (theirs[0][:-3], theirs[0][-3:]),
    lambda ours: (torch.cat([*ours]),),
)
"""Theirs is one table with the three rows of prefix tokens at the end."""


def own_bias(theirs: str, also: str = "") -> Rule:
    """The relative positions of a block."""
    return Rule(theirs, ("attn.position_bias.patches.table", "attn.position_bias.pairs"), WITH_PAIRS, also=also)


def shared_bias(theirs: str, places: list[str], also: str = "") -> tuple[Rule, ...]:
    """The one table of theirs that all blocks share; ours are those at ``places``, one weight or copies of it."""
    if not places:
        return ()
    each = Functions(
        lambda theirs: WITH_PAIRS.forward(theirs) * len(places),
        lambda ours: Tied(len(places)).forward(
            tuple(WITH_PAIRS.inverse(ours[i : i + 2])[0] for i in range(0, len(ours), 2))
        ),
    )
    return (
        Rule(theirs, tuple(f"{place}.{part}" for place in places for part in ("patches.table", "pairs")), each, also),
    )


def table_index(bias: ClassRelativeBias) -> Tensor:
    """Where in the whole table the bias of each pair of tokens stands, the class token first: ``(1 + H*W, 1 + H*W)``."""
    places, device = bias.patches.table.shape[0], bias.pairs.device
    table = torch.arange(places, device=device).view(1, -1, 2 * bias.patches.grid[1] - 1)
    index = pad_prefix(pairwise(table), 1)[0]
    index[0, :], index[:, 0], index[0, 0] = places, places + 1, places + 2
    return index


def _shared_places(model: BEiT) -> list[str]:
    """Where blocks have one bias, all of them or none; of a single block the model itself says whether it is shared."""
    biases = [getattr(getattr(block, "attn", None), "position_bias", None) for _, block in model.blocks()]
    shared = len(biases) > 1 or getattr(model, "shared_bias", False)
    if not shared or any(bias is None or bias is not biases[0] for bias in biases):
        return []
    return [place.removesuffix(".pairs") for place in addresses(model) if place.endswith(".attn.position_bias.pairs")]


def _mask(model: BEiT, theirs: str) -> Rule | Computed:
    """The mask token, which files of models that have none may carry."""
    masked = any(isinstance(part, MaskToken) for part in model.modules())
    return Rule(theirs, "stages.0.mask_token.token") if masked else Computed(theirs)


def timm(model: BEiT) -> Table:
    """timm's Beit; the authors' code of BEiT and BEiT v2 has the same names."""
    block = (
        *QK_NORM,
        *FUSED,
        own_bias("attn.relative_position_bias_table"),
        Rule("gamma_1", "shortcut1.scale.weight"),
        Rule("gamma_2", "shortcut2.scale.weight"),
        Rule("{p}", "{p}"),
    )
    return (
        *shared_bias("rel_pos_bias.relative_position_bias_table", _shared_places(model)),
        _mask(model, "mask_token"),
        Computed("rel_pos_bias.relative_position_index"),
        Computed("blocks.{b}.attn.relative_position_index"),
        *within("blocks.{b}", "stages.0.blocks.{b}", block),
        *vit.timm(model),
    )


_THEIRS = "attention.attention"

_HF_BLOCK = (
    Rule(
        tuple(f"{_THEIRS}.{name}.weight" for name in ("query", "key", "value")),
        "attn.qkv.linear.weight",
        Concat(3),
        also=tuple(f"attention.{name}_proj.weight" for name in "qkv"),
    ),
    Rule(f"{_THEIRS}.query.bias", "attn.qkv.q_bias", also="attention.q_proj.bias"),
    Rule(f"{_THEIRS}.value.bias", "attn.qkv.v_bias", also="attention.v_proj.bias"),
    own_bias(
        f"{_THEIRS}.relative_position_bias.relative_position_bias_table",
        also="relative_position_bias.relative_position_bias_table",
    ),
    Rule("lambda_1", "shortcut1.scale.weight"),
    Rule("lambda_2", "shortcut2.scale.weight"),
    *HF_BLOCK,
)


def hf_beit(model: BEiT, prefix: str) -> Table:
    """Hugging Face's BeitForImageClassification with the prefix ``beit.``, its BeitModel with none."""
    table = "relative_position_bias_table"
    index = "relative_position_bias.relative_position_index"
    return (
        *shared_bias(
            f"{prefix}encoder.relative_position_bias.{table}",
            _shared_places(model),
            also=f"{prefix}shared_position_bias.{table}",
        ),
        Computed(f"{prefix}encoder.{index}"),
        Computed(f"{prefix}encoder.layer.{{b}}.attention.attention.{index}"),
        _mask(model, f"{prefix}embeddings.mask_token"),
        Rule(f"{prefix}embeddings.cls_token", "stages.0.class_token.token"),
        Rule(f"{prefix}embeddings.position_embeddings", "stages.0.learned_position.table"),
        Rule(f"{prefix}embeddings.patch_embeddings.projection.{{p}}", "embed.conv.{p}"),
        *within(f"{prefix}encoder.layer.{{b}}", "stages.0.blocks.{b}", _HF_BLOCK, also=f"{prefix}layers.{{b}}"),
        Rule(f"{prefix}layernorm.{{p}}", "norm.{p}"),
        Rule(f"{prefix}pooler.layernorm.{{p}}", "pool.norm.{p}"),
        Rule("classifier.{p}", "head.{p}"),
    )


def hf(model: BEiT) -> Table:
    """Hugging Face's BeitForImageClassification, or of a model without classes its BeitModel.

    Their norms have an epsilon of 1e-12: build the model with ``norm=layer_norm(1e-12)``.
    """
    return hf_beit(model, "beit." if any(True for _ in model.head.parameters()) else "")


LAYOUTS: dict[str, KeyMap] = {"timm": timm, "hf": hf}
