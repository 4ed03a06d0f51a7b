"""Queries, keys and values by a product each: exact for every kind of attention, and only what its Attend does not see is left out."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import nn

from vitblocks import (
    Attend,
    Block,
    ClassAttention,
    ClassBlock,
    ClassToken,
    CosineAttend,
    DecomposedBias,
    GlobalAttention,
    KernelAttend,
    LinearNorm,
    LocalWindowAttention,
    Mlp,
    ReAttention,
    ReducedAttention,
    RelativeBias,
    Rotary2d,
    TalkingHeadsAttention,
    fold,
    record_attention,
)
from vitblocks.attention import Attention
from vitblocks.norm import rms_norm

from .models import DIM, images, model_of
from .test_folding import difference

RULE = "queries, keys and values by a product each"


class Sharp(GlobalAttention):
    """One of one's own, which reads values twice and says nothing."""

    def forward(self, x: torch.Tensor, grid: tuple[int, ...]) -> torch.Tensor:
        q, k, v = self.split_qkv(x)
        return self.output(self.attend(q, k, v) - v.mean(dim=-2, keepdim=True).abs())


def folded_attention(attn: nn.Module, *before: nn.Module, kind: type = Block) -> tuple[nn.Module, nn.Module, int]:
    model = model_of(*before, kind(DIM, attn, Mlp(DIM)))
    folded, report = fold(model, images())
    assert difference(model, folded, images(batch=3)) < 1e-9
    (found,) = (module for module in folded.modules() if isinstance(module, Attention))
    return model, found, report.counts.get(RULE, 0)


def biased(attn: nn.Module) -> str:
    """The letters of the projections that have a bias."""
    return "".join(
        letter
        for letter in "qkv"
        for name, part in attn.named_modules()
        if name.split(".")[-1] == letter
        if getattr(part, "bias", None) is not None
    )


KINDS: dict[str, tuple[Callable[[], nn.Module], str, float | None]] = {
    "plain": (lambda: GlobalAttention(DIM, 2), "q", 1.0),
    "a norm's bias": (lambda: GlobalAttention(DIM, 2, qkv_bias=False), "q", 1.0),
    "wide values": (lambda: GlobalAttention(DIM, 2, head_dim=3, value_dim=5), "q", 1.0),
    "norm in it": (lambda: GlobalAttention(DIM, 2, qkv=LinearNorm(DIM, 3 * DIM), proj=LinearNorm(DIM, DIM)), "q", 1.0),
    "more after values": (lambda: GlobalAttention(DIM, 2, proj=nn.Sequential(nn.GELU(), nn.Linear(DIM, DIM))), "qv", 1.0),
    "rotary": (lambda: GlobalAttention(DIM, 2, rotary=Rotary2d(4)), "qk", 1.0),
    "bias of queries": (lambda: GlobalAttention(DIM, 2, position_bias=DecomposedBias(4, 5)), "qk", None),
    "normed": (lambda: GlobalAttention(DIM, 2, qk_norm=rms_norm()), "qk", None),
    "talking heads": (lambda: TalkingHeadsAttention(DIM, 2), "qv", 1.0),
    "re-attention": (lambda: ReAttention(DIM, 2), "qv", 1.0),
    "kernel": (lambda: GlobalAttention(DIM, 2, attend=KernelAttend(4)), "qkv", None),
    "cosine": (lambda: GlobalAttention(DIM, 2, attend=CosineAttend(2)), "qkv", None),
    "padded windows": (lambda: LocalWindowAttention(DIM, 2, window=2, shift=1, position_bias=RelativeBias(2, 2)), "q", 1.0),
    "seen padding": (lambda: LocalWindowAttention(DIM, 2, window=2, padding="attended"), "q", 1.0),
    "reduced": (lambda: ReducedAttention(DIM, 2, reduction=2), "q", 1.0),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_projections_are_taken_apart(name: str) -> None:
    build, biases, scale = KINDS[name]
    _, attn, count = folded_attention(build())
    assert count == 1
    assert biased(attn) == biases
    assert isinstance(attn, Attention)
    assert attn.attend.scale == scale


@pytest.mark.parametrize(
    ("attn", "kind"),
    [(ClassAttention(DIM, 2), ClassBlock), (LocalWindowAttention(DIM, 2, window=2), Block)],
    ids=["class attention", "windows"],
)
def test_prefix_tokens(attn: nn.Module, kind: type) -> None:
    assert folded_attention(attn, ClassToken(DIM, 2), kind=kind)[2] == 1


def test_what_does_not_say_it_is_left_alone() -> None:
    assert folded_attention(Sharp(DIM, 2))[2] == 0
    hooked = GlobalAttention(DIM, 2)
    hooked.qkv.register_forward_hook(lambda *_: None)
    assert folded_attention(hooked)[2] == 0
    attend = GlobalAttention(DIM, 2).attend
    model = model_of(*(Block(DIM, GlobalAttention(DIM, 2, attend=attend), Mlp(DIM)) for _ in range(2)))
    folded, report = fold(model, images())
    assert RULE not in report.counts
    assert difference(model, folded, images()) < 1e-9


def test_weights_are_recorded_as_they_were() -> None:
    model = model_of(Block(DIM, GlobalAttention(DIM, 2), Mlp(DIM)))
    folded, _ = fold(model, images())
    with record_attention(model) as before, record_attention(folded) as after:
        model(images())
        folded(images())
    assert torch.allclose(before.stacked(), after.stacked(), rtol=0, atol=1e-9)
    assert [record.name for record in before] == [record.name for record in after]
    with torch.no_grad():
        for other in (torch.compile(folded, backend="eager", fullgraph=True), deepcopy(folded)):
            assert difference(folded, other, images(batch=3)) < 1e-12


def test_attends_are_held_to_what_they_say() -> None:
    from vitblocks.testing import check_attend

    class Halved(Attend):
        softmaxed = averages = True

        def weights(self, q: torch.Tensor, k: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
            return self.logits(q, k, bias).softmax(dim=-1) / 2

    class Sigmoid(Attend):
        softmaxed = True

        def weights(self, q: torch.Tensor, k: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
            return self.logits(q, k, bias).sigmoid()

    with pytest.raises(AssertionError, match="weights of a query sum to 1"):
        check_attend(Halved, 2, 4)
    with pytest.raises(AssertionError, match="the same number on all logits"):
        check_attend(Sigmoid, 2, 4)
