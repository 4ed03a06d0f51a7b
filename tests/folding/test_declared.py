"""What parts declare is read, held to what it may say, and found out where it is false."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from vitblocks import (
    Block,
    GlobalAttention,
    LayerNorm,
    Mlp,
    ReAttend,
    ReducedAttention,
    Shortcut,
    SoftmaxAttend,
    WindowAttention,
    Windows,
    fold,
)
from vitblocks.folding.declared import DECLARATIONS, behaves_as, declared
from vitblocks.grid import Grid
from vitblocks.testing import check_attend, check_layer
from vitblocks.zoo.cct import CompactBlock

from .models import DIM, images, model_of
from .test_folding import difference


class Own(nn.Module):
    """A block of one's own with its own names: layer scale, a linear layer, a convolution and its norm."""

    normed: ClassVar = {"before": "wide", "second": "mix"}
    shortcuts: ClassVar = {"sum": "narrow"}
    chained: ClassVar = {"mix": "centre"}

    def __init__(self) -> None:
        super().__init__()
        self.before = LayerNorm(DIM)
        self.wide = nn.Linear(DIM, 2 * DIM)
        self.narrow = nn.Linear(2 * DIM, DIM)
        self.sum = Shortcut(DIM, layer_scale=0.5)
        self.second = LayerNorm(DIM)
        self.mix = nn.Conv1d(DIM, DIM, 1)
        self.centre = nn.BatchNorm1d(DIM)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = self.sum(x, self.narrow(self.wide(self.before(x)).relu()))
        return x + self.centre(self.mix(self.second(x).mT)).mT


class Silent(Own):
    """The same, which says nothing."""

    normed = shortcuts = chained = None  # type: ignore[assignment]


def test_a_block_of_ones_own_that_declares_is_folded() -> None:
    model = model_of(Own())
    folded, report = fold(model)
    assert difference(model, folded, images()) < 1e-9
    assert report.counts == {
        "BatchNorm into the convolution before it": 1,
        "LayerNorm into the linear after it": 2,
        "layer scale into the projection": 1,
        "dropout left out": 1,
    }
    check_layer(Own, DIM)


def test_a_block_that_declares_nothing_is_left_alone() -> None:
    assert fold(model_of(Silent())).report.counts.keys() == {"dropout left out"}


def subclass(**members: Any) -> type[Block]:
    return type("Mine", (Block,), members)


def forward(self: Any, x: Tensor, grid: Grid) -> Tensor:
    return self.shortcut1(x, self.attn(self.norm1(x), grid) + self.norm1(x))


@pytest.mark.parametrize(
    "changed", [{"forward": forward}, {"helper": property(lambda self: 3)}, {"factor": 2.0}, {"__call__": forward}]
)
def test_a_declaration_does_not_pass_to_a_subclass_that_changes_something(changed: dict[str, Any]) -> None:
    block = subclass(**changed)(DIM, GlobalAttention(DIM, 2), Mlp(DIM))
    assert declared(block, "normed") is None
    model = model_of(block)
    assert difference(model, fold(model).model, images()) < 1e-9


@pytest.mark.parametrize(
    "same", [{}, {"__init__": Block.__init__}, {"extra_repr": lambda self: "mine"}, {"__doc__": "Mine."}]
)
def test_a_declaration_passes_to_a_subclass_that_only_constructs_itself_otherwise(same: dict[str, Any]) -> None:
    block = subclass(**same)(DIM, GlobalAttention(DIM, 2), Mlp(DIM))
    assert declared(block, "normed") == {"norm1": "attn", "norm2": "mlp"}
    assert behaves_as(block, Block)


def test_a_subclass_may_say_something_else() -> None:
    block = subclass(normed={"norm2": "mlp"})(DIM, GlobalAttention(DIM, 2), Mlp(DIM))
    assert declared(block, "normed") == {"norm2": "mlp"}
    assert declared(block, "shortcuts") == {"shortcut1": "attn", "shortcut2": "mlp"}


def test_a_forward_of_the_instance_takes_the_declaration_back() -> None:
    block = Block(DIM, GlobalAttention(DIM, 2), Mlp(DIM))
    block.forward = lambda x, grid: x  # type: ignore[method-assign]
    assert declared(block, "normed") is None


def test_a_mixin_before_the_class_takes_the_declaration_back() -> None:
    class Twice:
        def forward(self, x: Tensor, grid: Grid) -> Tensor:
            return 2 * super().forward(x, grid)

    mixed = type("Mixed", (Twice, Block), {})(DIM, GlobalAttention(DIM, 2), Mlp(DIM))
    assert declared(mixed, "shortcuts") is None


def test_what_depends_on_the_arguments_is_a_property() -> None:
    assert declared(ReducedAttention(DIM, 2, reduction=1), "reads") == ("q", "kv")
    assert declared(ReducedAttention(DIM, 2, reduction=2), "reads") is None


@pytest.mark.parametrize(
    ("members", "error", "message"),
    [
        (
            {"normed": {"norm3": "attn"}},
            ValueError,
            r"Mine.normed names 'norm3', which is none of its children \['norm1'",
        ),
        ({"normed": {"norm1": "attention"}}, ValueError, "'attention'"),
        ({"writes": "output"}, ValueError, "Mine.writes names 'output'"),
        ({"reads": ("norm1", "nothing")}, ValueError, "'nothing'"),
        ({"activated": ("mlp", "act", "mlp")}, ValueError, "'act'"),
        ({"scaled_by": "factor"}, ValueError, "'factor'"),
        ({"reads": "norm1"}, TypeError, "Mine.reads must be a tuple, got 'norm1'"),
        ({"normed": (("norm1", "attn"),)}, TypeError, "Mine.normed must be a dict"),
        ({"hides_keys": "attn"}, TypeError, "must be a bool"),
        ({"normed": {"norm1": "attn", "norm2": "attn"}}, ValueError, "must name each child once"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(members: dict[str, Any], error: type[Exception], message: str) -> None:
    block = subclass(**members)(DIM, GlobalAttention(DIM, 2), Mlp(DIM))
    model = model_of(block)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(error, match=message):
        fold(model, inplace=True)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    with pytest.raises(AssertionError, match=message):
        check_layer(block, DIM, dtypes=(torch.float64,))


class FalselyNormed(CompactBlock):
    normed: ClassVar = {"norm1": "attn", "norm2": "mlp"}  # the residual reads the second norm, too


class FalselySummed(Block):
    shortcuts: ClassVar = {"shortcut1": "mlp"}  # it is the attention's


class FalselyRead(Mlp):
    reads = ("fc1",)
    writes = "fc2"

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return super().forward(x, grid) + x


class FalselyChained(ReAttend):
    chained: ClassVar = {"mix": "norm"}

    def weights(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        mixed = self.mix(self.logits(q, k, bias).softmax(dim=-1))
        return mixed + self.norm(mixed)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FalselyNormed(DIM, GlobalAttention(DIM, 2), Mlp(DIM)),
        lambda: FalselySummed(DIM, GlobalAttention(DIM, 2), Mlp(DIM)),
        lambda: FalselyRead(DIM),
        lambda: GlobalAttention(DIM, 2, attend=FalselyChained(2)),
    ],
)
def test_check_layer_finds_false_declarations(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(AssertionError, match="what its parts declare holds"):
        check_layer(make(), DIM, dtypes=(torch.float64,), grids=((4, 6), (3, 3)))


class Leaky(SoftmaxAttend):
    """A tenth of every weight goes to all keys alike, hidden or not; it says that none does."""

    hides_keys = True

    def weights(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        return 0.9 * super().weights(q, k, bias) + 0.1 / k.shape[-2]

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        return self.weights(q, k, bias) @ v


def test_hidden_keys_are_checked_in_the_attend_and_in_padded_windows() -> None:
    with pytest.raises(AssertionError, match="a hidden key has no weight"):
        check_attend(lambda: Leaky(), 2, 4, leak=1.0)
    with pytest.raises(AssertionError, match="what its parts declare holds"):
        check_layer(WindowAttention(DIM, 2, windows=Windows(2), attend=Leaky()), DIM, dtypes=(torch.float64,))


class Mixing(Mlp):
    """It says that it treats every token alike."""

    per_token = True

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return super().forward(x, grid) - x.mean(dim=1, keepdim=True)


class Twice(Block):
    """It says that it is two residual branches, and is more."""

    normed = shortcuts = None  # type: ignore[assignment]
    residuals = (("norm1", "attn", "shortcut1"), ("norm2", "mlp", "shortcut2"))

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return 2 * super().forward(x, grid)


def test_what_the_last_block_is_read_by_is_checked() -> None:
    with pytest.raises(AssertionError, match="it is per_token"):
        check_layer(Mixing(DIM), DIM, dtypes=(torch.float64,))
    with pytest.raises(AssertionError, match="the branches of its residuals"):
        check_layer(Twice(DIM, GlobalAttention(DIM, 2), Mlp(DIM)), DIM, dtypes=(torch.float64,))


def test_every_declaration_in_the_package_is_documented() -> None:
    from vitblocks.folding import declared as module

    assert module.__doc__ is not None
    assert all(f"``{name}" in module.__doc__ for name in DECLARATIONS)
