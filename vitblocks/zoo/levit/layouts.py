"""Key maps of LeViT."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.func import functional_call

from ...attention import Attention
from ...block import Block
from ...checkpoint.rules import Computed, KeyMap, Rule, Table
from ...checkpoint.transforms import OnGrid, Same, Tensors, Transform, heads_from_interleaved
from ...position import DistanceBias
from ...position.resize import grids_of_places

if TYPE_CHECKING:
    from .model import LeViT, LeViTStage


@dataclass(frozen=True)
class Names:
    """What a layout calls a Linear before its BatchNorm, and the parts that are such a pair."""

    linear: str
    q: str
    proj: str
    fc1: str
    fc2: str
    norm: str = "bn"
    qkv: str = "qkv"
    kv: str = "kv"


_TIMM = Names("linear", "q.ln", "proj.ln", "ln1", "ln2")
_OFFICIAL = Names("c", "q.1", "proj.1", "0", "2")
_HF = Names(
    "linear", "queries", "projection", "linear_up", "linear_down", "batch_norm", "queries_keys_values", "keys_values"
)


@dataclass(frozen=True)
class FlatTable(OnGrid):
    """Theirs is ``(heads, H*W)``, row-major by distance: what the authors' order of first appearance comes to."""

    grid: tuple[int, int]

    def forward(self, theirs: Tensors) -> Tensors:
        return tuple(rearrange(x, "heads (h w) -> heads h w", h=self.grid[0], w=self.grid[1]) for x in theirs)

    def inverse(self, ours: Tensors) -> Tensors:
        return tuple(rearrange(x, "heads h w -> heads (h w)") for x in ours)

    def grids_of(self, table: Tensor) -> list[tuple[int, int]]:
        return grids_of_places(table.shape[1]) if table.dim() == 2 else []

    def on(self, grid: tuple[int, int]) -> FlatTable:
        return FlatTable(grid)


def distance_index(bias: DistanceBias) -> Tensor:
    """Where in the flat table the bias of each query and key lies, ``(queries, keys)``: the bias that a table of places gives."""
    places = torch.arange(prod(bias.grid), device=bias.table.device).reshape(1, *bias.grid)
    return functional_call(bias, {"table": places}, (bias.grid,))[0]


def linear_norm(names: Names, theirs: str, ours: str, order: Transform | None = None) -> Table:
    """A Linear and its BatchNorm, their channels out in another order."""
    order = Same() if order is None else order
    return (
        Rule(f"{theirs}.{names.norm}.num_batches_tracked", f"{ours}.norm.bn.num_batches_tracked"),
        Rule(f"{theirs}.{names.norm}.{{p}}", f"{ours}.norm.bn.{{p}}", order),
        Rule(f"{theirs}.{names.linear}.weight", f"{ours}.linear.weight", order),
    )


def mlp_rules(names: Names, theirs: str, ours: str) -> Table:
    fc1 = linear_norm(names, f"{theirs}.{names.fc1}", f"{ours}.fc1")
    return (*fc1, *linear_norm(names, f"{theirs}.{names.fc2}", f"{ours}.fc2"))


def attention_rules(names: Names, attn: Attention, theirs: str, ours: str) -> Table:
    """Theirs has the queries, keys and values of one head after the other, ours those of all heads."""
    bias = cast(DistanceBias, attn.position_bias)
    qkv = heads_from_interleaved(attn.heads, (attn.head_dim, attn.head_dim, attn.value_dim))
    kv = heads_from_interleaved(attn.heads, (attn.head_dim, attn.value_dim))
    return (
        Rule(f"{theirs}.attention_biases", f"{ours}.position_bias.table", FlatTable(bias.grid)),
        *linear_norm(names, f"{theirs}.{names.qkv}", f"{ours}.qkv", qkv),
        *linear_norm(names, f"{theirs}.{names.q}", f"{ours}.q"),
        *linear_norm(names, f"{theirs}.{names.kv}", f"{ours}.kv", kv),
        *linear_norm(names, f"{theirs}.{names.proj}", f"{ours}.proj.1"),
    )


def stage_rules(names: Names, stage: LeViTStage, ours: str, block: tuple[str, str], shrink: tuple[str, str]) -> Table:
    """A stage under our prefix; ``block`` and ``shrink`` are templates of their attention and their feed-forward."""
    blocks = [layer for layer in stage.layers if isinstance(layer, Block)]
    rules: list[Rule | Computed] = []
    if blocks:
        attn = cast(Attention, blocks[0].attn)
        rules += attention_rules(names, attn, block[0], f"{ours}blocks.{{b}}.attn")
        rules += mlp_rules(names, block[1], f"{ours}blocks.{{b}}.mlp")
    if stage.transition is not None:
        rules += attention_rules(names, cast(Attention, stage.transition), shrink[0], f"{ours}transition")
        rules += mlp_rules(names, shrink[1], f"{ours}residual.layer")
    return rules


def head_rules(linear: str, norm: str = "bn", names: tuple[str, str] = ("head", "head_dist")) -> Table:
    """BatchNorm and Linear, of one head or of two."""
    heads = {"head": names[0], "head.heads.0": names[0], "head.heads.1": names[1]}
    return tuple(
        rule
        for ours, theirs in heads.items()
        for rule in (
            Rule(f"{theirs}.{norm}.{{p}}", f"{ours}.norm.bn.{{p}}"),
            Rule(f"{theirs}.{linear}.{{p}}", f"{ours}.linear.{{p}}"),
        )
    )


def timm(model: LeViT) -> Table:
    """timm's Levit and LevitDistilled with Linears, which are those it has weights for."""
    stages = [
        rule
        for s, stage in enumerate(model.stages)
        for rule in stage_rules(
            _TIMM,
            cast("LeViTStage", stage),
            f"stages.{s}.",
            block=(f"stages.{s}.blocks.{{b}}.attn", f"stages.{s}.blocks.{{b}}.mlp"),
            shrink=(f"stages.{s}.downsample.attn_downsample", f"stages.{s}.downsample.mlp"),
        )
    ]
    return (
        Rule("stem.conv{i+1}.linear.{p}", "embed.conv.{i}.conv.{p}"),
        Rule("stem.conv{i+1}.bn.{p}", "embed.conv.{i}.norm.{p}"),
        *stages,
        *head_rules("linear"),
    )


def official(model: LeViT) -> Table:
    """The authors' code, which counts every residual branch and every shrinking attention in one list: two a block."""
    attn, mlp = "blocks.{2*n}.m", "blocks.{2*n+1}.m"
    shrink, after = "blocks.{2*n}", "blocks.{2*n-1}.m"  # what comes after has the shrinking attention before it
    stages: list[Rule | Computed] = []
    for s, stage in enumerate(model.stages):
        stages += stage_rules(
            _OFFICIAL, cast("LeViTStage", stage), f"stages.{s}.", block=(attn, mlp), shrink=(shrink, after)
        )
        stages += [
            Computed(
                f"{theirs}.attention_bias_idxs", at=f"stages.{s}.{ours}.position_bias.table", function=distance_index
            )
            for theirs, ours in ((attn, "blocks.{b}.attn"), (shrink, "transition"))
        ]
    return (
        Rule("patch_embed.{2*i}.c.{p}", "embed.conv.{i}.conv.{p}"),
        Rule("patch_embed.{2*i}.bn.{p}", "embed.conv.{i}.norm.{p}"),
        *stages,
        *head_rules("l"),
    )


def hf_levit(model: LeViT, prefix: str) -> Table:
    """Hugging Face's models with heads with the prefix ``levit.``, its LevitModel with none. Theirs shrink at the end of a stage."""
    stages: list[Rule | Computed] = []
    shrink = 0  # after the attentions and feed-forwards of the stage before
    for s, stage in enumerate(model.stages):
        here, before = f"{prefix}encoder.stages.{s}.layers", f"{prefix}encoder.stages.{s - 1}.layers"
        stages += stage_rules(
            _HF,
            cast("LeViTStage", stage),
            f"stages.{s}.",
            block=(f"{here}.{{2*b}}.module", f"{here}.{{2*b+1}}.module"),
            shrink=(f"{before}.{shrink}", f"{before}.{shrink + 1}.module"),
        )
        shrink = 2 * sum(isinstance(layer, Block) for layer in cast("LeViTStage", stage).layers)
    stem = f"{prefix}patch_embeddings.embedding_layer_{{i+1}}"
    return (
        Rule(f"{stem}.convolution.{{p}}", "embed.conv.{i}.conv.{p}"),
        Rule(f"{stem}.batch_norm.{{p}}", "embed.conv.{i}.norm.{p}"),
        *stages,
        *head_rules("linear", "batch_norm", ("classifier", "classifier_distill")),
    )


def hf(model: LeViT) -> Table:
    """Hugging Face's LevitForImageClassification, its WithTeacher, or of a model without classes its LevitModel."""
    return hf_levit(model, "" if isinstance(model.head, nn.Identity) else "levit.")


def timm_stage(stage: LeViTStage) -> Table:
    """timm's LevitStage; where it is a single block, its LevitBlock, and where it has no block, its LevitDownsample."""
    single, empty = len(stage.layers) == 1 and stage.transition is None, len(stage.layers) == 1
    return stage_rules(
        _TIMM,
        stage,
        "",
        block=("attn", "mlp") if single else ("blocks.{b}.attn", "blocks.{b}.mlp"),
        shrink=("attn_downsample", "mlp") if empty else ("downsample.attn_downsample", "downsample.mlp"),
    )


LAYOUTS: dict[str, KeyMap] = {"timm": timm, "official": official, "hf": hf}
STAGE_LAYOUTS: dict[str, KeyMap] = {"timm": timm_stage}
