"""Models composed at random, with layers swapped since, are built again from their descriptions."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from torch import nn

from vitblocks import (
    PEG,
    AttentionPool,
    Block,
    Chain,
    ClassPool,
    ClassToken,
    ConvEmbed,
    ConvFeedForward,
    DilatedWindowAttention,
    DynamicBias,
    GatedMlp,
    GlobalAttention,
    KernelAttend,
    LayerNorm,
    LearnedPosition,
    LinearEmbed,
    LocalWindowAttention,
    MeanPool,
    Mlp,
    Model,
    ParallelBlock,
    PatchMerging,
    PerToken,
    PostNormBlock,
    ReAttend,
    ReAttention,
    ReducedAttention,
    RelativeBias,
    Residual,
    RMSNorm,
    SequencePool,
    ShiftedWindows,
    Stage,
    TalkingHeadsAttention,
    WindowAttention,
    build,
    describe,
    layer_norm,
    swap,
    swap_attention,
)
from vitblocks.surgery import swaps_of

Make = Callable[[int], nn.Module]

ATTENTIONS: dict[str, Make] = {
    "global": lambda dim: GlobalAttention(dim, 2, qkv_bias=False),
    "global, relative bias": lambda dim: GlobalAttention(dim, 2, position_bias=RelativeBias(2, 3)),
    "global, kernel": lambda dim: GlobalAttention(dim, 2, attend=KernelAttend(dim // 2, features=4)),
    "windows": lambda dim: LocalWindowAttention(dim, 2, window=(2, 3), position_bias=DynamicBias(2, 4)),
    "shifted windows": lambda dim: WindowAttention(dim, 2, windows=ShiftedWindows(2, 1), attend=ReAttend(2)),
    "dilated windows": lambda dim: DilatedWindowAttention(dim, 2, window=2, dilation=2),
    "talking heads": lambda dim: TalkingHeadsAttention(dim, 2),
    "reduced": lambda dim: ReducedAttention(dim, 2, reduction=2),
}
FEEDFORWARDS: dict[str, Make] = {
    "mlp": lambda dim: Mlp(dim, 12, activation=nn.SiLU),
    "gated": GatedMlp,
    "convolution": lambda dim: ConvFeedForward(dim, 12),
}
NORMS: dict[str, Any] = {"layer": LayerNorm, "rms": RMSNorm, "torch": nn.LayerNorm, "partial": layer_norm(1e-3)}
BLOCKS: dict[str, Any] = {
    "pre-norm": partial(Block, layer_scale=0.1),
    "post-norm": PostNormBlock,
    "dropped": partial(Block, drop_path=0.2),
    "parallel": lambda dim, attn, mlp, norm: ParallelBlock(dim, attn, mlp, norm=norm),
}
PLAIN: dict[str, Make] = {
    "peg": PEG,
    "per token": lambda dim: PerToken(nn.Linear(dim, dim)),
    "residual": lambda dim: Residual(dim, Mlp(dim), norm=RMSNorm),
    "chain": lambda dim: Chain(one=LearnedPosition(dim, 4), two=PEG(dim, 5)),
}
SWAPS: dict[str, Callable[[Any], object]] = {
    "windows": lambda model: swap_attention(model, LocalWindowAttention, where=0, window=2),
    "re-attention": lambda model: swap_attention(model, ReAttention),
    "norms": lambda model: swap(model, "norm", nn.RMSNorm),
    "feed-forwards": lambda model: swap(model, "feedforward", GatedMlp, activation=nn.ReLU),
    "pool": lambda model: swap(model, "pool", SequencePool),
    "by hand": lambda model: setattr(
        model, "head", nn.Sequential(nn.Dropout(0.1), nn.Linear(model.norm.weight.numel(), 5))
    ),
    "shared": lambda model: setattr(model.stages[0], "again", model.stages[0].layers[0]),
    "frozen": lambda model: model.stages.requires_grad_(False),
}


def one_of(table: dict[str, Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from(sorted(table)).map(table.__getitem__)


@st.composite
def models(draw: st.DrawFn) -> Model:
    """A model of one or two stages, each of up to three layers."""
    dim, stages = 8, []
    for level in range(draw(st.integers(1, 2))):
        layers: list[nn.Module] = []
        transition = PatchMerging(dim, 2 * dim) if level else None
        dim *= 2 if level else 1
        for _ in range(draw(st.integers(1, 3))):
            if draw(st.booleans()):
                attn, mlp = draw(one_of(ATTENTIONS))(dim), draw(one_of(FEEDFORWARDS))(dim)
                layers.append(draw(one_of(BLOCKS))(dim, attn, mlp, norm=draw(one_of(NORMS))))
            else:
                layers.append(draw(one_of(PLAIN))(dim))
        stages.append(Stage(layers, transition=transition))
    pools: list[Callable[[], nn.Module]] = [MeanPool, partial(AttentionPool, dim, 2), partial(SequencePool, dim)]
    if draw(st.booleans()):
        stages[-1].layers.append(ClassToken(dim))
        pools.append(ClassPool)
    embed = draw(st.sampled_from([ConvEmbed, LinearEmbed]))(4, 8)
    return Model(embed, stages, norm=LayerNorm(dim), pool=draw(st.sampled_from(pools))(), head=nn.Linear(dim, 3))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(model=models(), swapped=st.lists(st.sampled_from(sorted(SWAPS)), max_size=3, unique=True))
def test_hybrids(model: Model, swapped: list[str]) -> None:
    for name in swapped:
        try:
            SWAPS[name](model)
        except ValueError:  # it has no such layers, or none that can be swapped for it
            continue
    found = json.loads(json.dumps(describe(model), allow_nan=False))
    again = build(found)
    ours, theirs = model.state_dict(), again.state_dict()
    assert list(ours) == list(theirs)
    assert [v.shape for v in ours.values()] == [v.shape for v in theirs.values()]
    again.load_state_dict(ours)
    images = torch.randn(2, 3, 24, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model.eval()(images), again.eval()(images))
    assert describe(again) == found
    assert repr(again) == repr(model)
    for record in json.loads(json.dumps(swaps_of(model))):
        for layer in record["layers"].values():
            assert describe(build(layer["new"])) == layer["new"]
