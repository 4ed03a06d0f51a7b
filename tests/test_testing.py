"""The checks of the contract catch what they promise to: one broken layer for every rule."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitblocks.attention import Attend, KernelAttend, ReAttend, SoftmaxAttend
from vitblocks.embed import ConvDownsample
from vitblocks.feedforward import Mlp
from vitblocks.grid import Grid, num_prefix, split_prefix, to_map
from vitblocks.testing import check_attend, check_layer, check_transition, influence

DIM = 8


class Broken(nn.Module):
    """A good layer, whose faults are its subclasses'."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(DIM, DIM)

    def forward(self, x: Tensor, grid: Grid) -> Any:
        num_prefix(x, grid)
        return self.fc(x)


class Transposed(Broken):
    def forward(self, x: Tensor, grid: Grid) -> Any:
        return super().forward(x, grid).unflatten(1, (grid[0], -1))[:, :, : grid[0]].flatten(1, 2)


class FloatOnly(Broken):
    def forward(self, x: Tensor, grid: Grid) -> Any:
        return super().forward(x, grid).float()


class ReturnsPair(Broken):
    def forward(self, x: Tensor, grid: Grid) -> Any:
        return super().forward(x, grid), grid


class NotFinite(Broken):
    def forward(self, x: Tensor, grid: Grid) -> Any:
        return super().forward(x, grid).sub(10).log()


class InPlace(Broken):
    def forward(self, x: Tensor, grid: Grid) -> Any:
        with torch.no_grad():
            x.mul_(2)
        return super().forward(x, grid)


class Noisy(Broken):
    def forward(self, x: Tensor, grid: Grid) -> Any:
        return super().forward(x, grid) + torch.rand(())


class OverTheBatch(Broken):
    def forward(self, x: Tensor, grid: Grid) -> Any:
        return super().forward(x, grid) + x.mean(dim=0, keepdim=True)


class Imprecise(Broken):
    def forward(self, x: Tensor, grid: Grid) -> Any:
        return super().forward(x, grid) + (0.1 if x.dtype == torch.bfloat16 else 0.0)


class Unused(Broken):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))


class InfiniteGradient(Broken):
    def forward(self, x: Tensor, grid: Grid) -> Any:
        y = super().forward(x, grid)
        return y + (y - y).sqrt()


class OutsideTheState(Broken):
    """What the output depends on is not in the state_dict, and differs in every copy."""

    copies = 0.0

    def __deepcopy__(self, memo: dict[int, Any]) -> OutsideTheState:
        copy = type(self)().double().eval()
        copy.load_state_dict(self.state_dict())
        copy.copies = self.copies + 1
        return copy

    def forward(self, x: Tensor, grid: Grid) -> Any:
        return super().forward(x, grid) + self.copies


class Aliased(Broken):
    def __init__(self) -> None:
        super().__init__()
        self.again = self.fc


class Remembers(Broken):
    def __init__(self) -> None:
        super().__init__()
        self.grid: Grid | None = None

    def forward(self, x: Tensor, grid: Grid) -> Any:
        first, self.grid = self.grid in (None, grid), grid
        return super().forward(x, grid) * (1 if first else 2)


class TooFewUnnoticed(Broken):
    """Adds row numbers, made to fit whatever comes."""

    def forward(self, x: Tensor, grid: Grid) -> Any:
        rows = torch.arange(grid[0]).repeat_interleave(grid[1]) if len(grid) == 2 else torch.zeros(grid[0])
        rows = nn.functional.pad(rows, (max(x.shape[1] - len(rows), 0), 0))[-x.shape[1] :]
        return self.fc(x) + rows[:, None].to(x)


@pytest.mark.parametrize(
    ("layer", "rule"),
    [
        (Transposed, "shape is kept.*expected .* got"),
        (FloatOnly, "dtype is kept"),
        (ReturnsPair, "returns a tensor .*got tuple"),
        (NotFinite, "output is finite"),
        (InPlace, "input is left alone"),
        (Noisy, "eval mode is deterministic"),
        (OverTheBatch, "does not depend on the other images"),
        (Imprecise, "bfloat16 lies close to float64 .*norm of the difference is"),
        (Unused, "every parameter gets a gradient .*none for gain"),
        (InfiniteGradient, "gradients are finite .*fc.weight"),
        (OutsideTheState, "deepcopy gives the same output"),
        (Aliased, "no two keys .*fc.weight and again.weight"),
        (Remembers, "no grid is remembered"),
        (TooFewUnnoticed, "must raise ValueError for 23 tokens, too few"),
    ],
)
def test_a_broken_layer_is_caught(layer: type[Broken], rule: str) -> None:
    with pytest.raises(AssertionError, match=f"{layer.__name__}.*{rule}"):
        check_layer(layer, DIM)


def test_good_layers_pass_given_or_made() -> None:
    check_layer(Broken(), DIM)
    check_layer(Broken, DIM)


def test_what_is_given_stays_as_it_is() -> None:
    layer = Mlp(DIM).train()
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    random = torch.get_rng_state()
    check_layer(layer, DIM)
    assert layer.training
    assert layer.fc1.weight.dtype == torch.float32
    assert layer.fc1.weight.grad is None
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())


def test_refused_prefix_tokens_must_raise() -> None:
    with pytest.raises(AssertionError, match=r"must raise ValueError for 1 prefix token\(s\).*it raised nothing"):
        check_layer(Broken, DIM, refuses=[1])


def test_bad_arguments() -> None:
    with pytest.raises(TypeError, match="a function that makes one, got int"):
        check_layer(lambda: 3, DIM)  # type: ignore[return-value]
    with pytest.raises(ValueError, match="nothing to check"):
        check_layer(Broken, DIM, grids=[])


class StaleGrid(ConvDownsample):
    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        return super().forward(x, grid)[0], grid


class ListGrid(ConvDownsample):
    def forward(self, x: Tensor, grid: Grid) -> Any:
        y, coarse = super().forward(x, grid)
        return y, torch.Size(coarse)


def test_a_broken_transition_is_caught() -> None:
    check_transition(ConvDownsample(DIM, DIM), DIM, refuses=[1])
    with pytest.raises(AssertionError, match=r"tokens are the prefix and the grid.*new grid \(4, 6\)"):
        check_transition(StaleGrid(DIM, DIM), DIM)
    with pytest.raises(AssertionError, match="plain tuple of ints"):
        check_transition(ListGrid(DIM, DIM), DIM)
    with pytest.raises(AssertionError, match=r"returns \(x, grid\)"):
        check_transition(Broken(), DIM)


class Unscaled(SoftmaxAttend):
    def weights(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        return super().weights(q * 2, k, bias)


class Forgetful(SoftmaxAttend):
    """Leaves the bias out of both ways."""

    def weights(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        return super().weights(q, k)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        return self.weights(q, k) @ v


class GroupsMeet(Attend):
    def weights(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        return self.logits(q if q.dim() == 4 else q.flip(1), k, bias).softmax(dim=-1)


@pytest.mark.parametrize(
    ("attend", "rule"),
    [
        (Unscaled, r"attend\(q, k, v, bias\) is weights"),
        (Forgetful, "a hidden key has no weight"),
        (GroupsMeet, "each group is attended to by itself"),
    ],
)
def test_a_broken_attend_is_caught(attend: type[Attend], rule: str) -> None:
    with pytest.raises(AssertionError, match=rule):
        check_attend(attend, 2, 4)


def test_an_attend_must_take_or_refuse_a_bias_as_said() -> None:
    with pytest.raises(AssertionError, match="must raise ValueError for a bias it cannot take"):
        check_attend(ReAttend(2), 2, 4, takes_bias=False)
    with pytest.raises(ValueError, match="KernelAttend forms no logits"):
        check_attend(KernelAttend(4), 2, 4)


class SumOfMap(nn.Module):
    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return x + to_map(split_prefix(x, grid)[1], grid).sum(dim=(2, 3))[:, None]


def test_influence_is_exact_and_counts_nan() -> None:
    x = torch.randn(1, 5, DIM)
    right = torch.eye(5, dtype=torch.bool)
    right[:, 1:] = True
    assert torch.equal(influence(SumOfMap(), x, (2, 2)), right)
    assert not influence(Constant(), x, (2, 2)).any()
    assert influence(Root(), x, (2, 2)).all()


class Constant(nn.Module):
    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return torch.zeros_like(x)


class Root(nn.Module):
    """Its gradient at 0 is NaN: infinity times zero."""

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return (x * 0).sqrt()
