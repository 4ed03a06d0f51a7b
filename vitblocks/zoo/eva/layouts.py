"""Key maps of EVA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from ...checkpoint.block import PACKED_GATE, QK_NORM
from ...checkpoint.rules import KeyMap, Rule, Table, within
from ...checkpoint.transforms import Concat
from ...feedforward import GatedMlp
from ..vit import layouts as vit

if TYPE_CHECKING:
    from ...model import Model

FUSED = (
    Rule("attn.qkv.weight", "attn.qkv.linear.weight"),
    Rule("attn.{p}", "attn.qkv.{p}"),
)
"""Queries, keys and values of one matrix."""

SEPARATE = (
    Rule(tuple(f"attn.{name}_proj.weight" for name in "qkv"), "attn.qkv.linear.weight", Concat(3)),
    Rule("attn.q_proj.bias", "attn.qkv.q_bias"),
    Rule("attn.v_proj.bias", "attn.qkv.v_bias"),
)
"""Queries, keys and values of a matrix each."""


def eva(model: Model, *, separate_qkv: bool, separate_gate: bool) -> Table:
    """timm's Eva, whose projections and gates are one matrix or several."""
    gate = (Rule("mlp.fc1_g.{p}", "mlp.gate.{p}"), Rule("mlp.fc1_x.{p}", "mlp.fc1.{p}"))
    gated = any(isinstance(part, GatedMlp) for part in model.modules())
    biased = any(key.endswith("qkv.linear.weight") for key in model.state_dict())
    block = (
        *QK_NORM,
        *((SEPARATE if separate_qkv else FUSED) if biased else ()),
        *((gate if separate_gate else PACKED_GATE) if gated else ()),
        Rule("attn.norm.{p}", "attn.proj.0.{p}"),
        Rule("attn.proj.{p}", "attn.proj.1.{p}"),
        Rule("gamma_1", "shortcut1.scale.weight"),
        Rule("gamma_2", "shortcut2.scale.weight"),
        Rule("{p}", "{p}"),
    )
    return (*within("blocks.{b}", "stages.0.blocks.{b}", block), *vit.timm(model))


def timm(model: Model) -> Table:
    """timm's Eva. Where the feed-forward has an inner norm (base and large of EVA-02), it has a matrix for each projection and the gate."""
    gates = [part for part in model.modules() if isinstance(part, GatedMlp)]
    separate = any(not isinstance(part.norm, nn.Identity) for part in gates)
    return eva(model, separate_qkv=separate, separate_gate=separate)


LAYOUTS: dict[str, KeyMap] = {"timm": timm}
