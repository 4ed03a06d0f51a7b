"""What somebody hung on a model, or put in for one of its modules, goes on doing what it does after folding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.folding.models import DIM, images, model_of
from vitblocks import (
    Block,
    GlobalAttention,
    LayerNorm,
    LinearEmbed,
    LocalWindowAttention,
    LogSpacedBias,
    MeanPool,
    Mlp,
    Model,
    QuickGELU,
    ReAttention,
    Rotary2d,
    Stage,
    fold,
)
from vitblocks.folding.report import relative_error
from vitblocks.grid import Grid


def attentive() -> nn.Module:
    """One block with most of what is folded; its names are those below."""
    attn = GlobalAttention(DIM, 2, rotary=Rotary2d(4), position_bias=LogSpacedBias(2, 6))
    return model_of(Block(DIM, attn, Mlp(DIM, 12, activation=QuickGELU), layer_scale=0.5))


def moved(x: Any) -> Any:
    if isinstance(x, tuple):
        return tuple(map(moved, x))
    return 1.25 * x + 0.1 if isinstance(x, Tensor) else x


def before(module: nn.Module, args: Any) -> Any:
    return moved(args)


def after(module: nn.Module, args: Any, output: Any) -> Any:
    return moved(output)


PLACES = [name for name, _ in attentive().named_modules() if name.startswith("stages.0.layers.0")]


@pytest.mark.parametrize("way", ["before", "after"])
@pytest.mark.parametrize("name", PLACES)
def test_a_hook_that_changes_values_changes_them_still(name: str, way: str) -> None:
    model = attentive()
    module = model.get_submodule(name)
    if way == "before":
        module.register_forward_pre_hook(before)
    else:
        module.register_forward_hook(after)
    with torch.no_grad():
        right = model(images())
        for sample, outputs in ((None, "all"), (images(), "all"), (images(), "logits")):
            folded = fold(model, sample, outputs=outputs).model
            assert relative_error(folded(images()), right) < 1e-9


def test_backward_hooks_are_called_still() -> None:
    model, seen = attentive().requires_grad_(False), set[str]()
    for name, module in model.named_modules():
        module.register_full_backward_hook(lambda *_, name=name: seen.add(name))
    counts = []
    for each in (model, fold(model, images(), outputs="logits").model):
        seen.clear()
        each(images().requires_grad_(True)).sum().backward()
        counts.append(len(seen))
    assert counts[0] == counts[1]


class Louder(nn.Dropout):
    """No dropout, though it is derived from one."""

    def forward(self, input: Tensor) -> Tensor:
        return input.square()


@pytest.mark.parametrize("make", [Louder, nn.Tanh])
@pytest.mark.parametrize("name", ["attn.dropout", "mlp.dropout1", "mlp.dropout2", "shortcut1.drop_path"])
def test_what_was_put_in_for_dropout_is_kept(make: Callable[[], nn.Module], name: str) -> None:
    model = attentive()
    parent, _, last = f"stages.0.layers.0.{name}".rpartition(".")
    setattr(model.get_submodule(parent), last, make().eval())
    with torch.no_grad():
        folded = fold(model, images(), outputs="logits").model
        assert relative_error(folded(images()), model(images())) < 1e-9


class Adds(nn.Module):
    """What an attention takes for rotary positions, and is none."""

    def forward(self, q: Tensor, k: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        return q + 1.0, k.square()


def test_rotary_parts_of_ones_own_may_do_more_than_turn() -> None:
    model = model_of(Block(DIM, GlobalAttention(DIM, 2, rotary=Adds()), Mlp(DIM)))
    folded, report = fold(model, images())
    assert "queries, keys and values by a product each" in report.counts
    with torch.no_grad():
        assert relative_error(folded(images()), model(images())) < 1e-9


class AsksForTheRate(nn.Module):
    """As attention of other packages does, for ``F.scaled_dot_product_attention``."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.25)

    def forward(self, image: Tensor) -> Tensor:
        return self.drop(image) * (1 - self.drop.p)


def test_the_rate_of_dropout_that_is_left_out_can_be_asked_for() -> None:
    model = AsksForTheRate().eval()
    folded, report = fold(model, images())
    assert report.counts == {"dropout left out": 1}
    assert torch.equal(folded(images()), model(images()))


def test_a_hook_between_a_convolution_and_its_norm() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity(), nn.BatchNorm2d(4), nn.ReLU()).double().eval()
    model[1].register_forward_hook(lambda _, __, output: output.square())
    folded, report = fold(model, images())
    assert not report.folds
    assert torch.equal(model(images()), folded(images()))


def test_everything_is_in_evaluation_and_needs_no_gradients() -> None:
    layers = [Block(DIM, LocalWindowAttention(DIM, 2, window=5, shift=shift), Mlp(DIM)) for shift in (0, 1)]
    stages = [Stage([*layers, Block(DIM, ReAttention(DIM, 2), Mlp(DIM))])]
    model = Model(LinearEmbed(4, DIM), stages, norm=LayerNorm(DIM), pool=MeanPool()).double()
    folded, report = fold(model, images())
    assert "windows in one order" in report.counts
    assert not [name for name, module in folded.named_modules() if module.training]
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert model.stages[0].layers.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_scripted_modules_are_left_as_they_are() -> None:
    inner = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).double().eval())
    for model in (inner, nn.Sequential(nn.Conv2d(3, 3, 1).double(), inner)):
        folded, report = fold(model, images())
        assert not report.folds
        assert torch.equal(model(images()), folded(images()))


class Says(nn.Module):
    def __init__(self, what: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.what = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), what

    def forward(self, image: Tensor) -> Tensor:
        return self.what(self.inner(image).mean(dim=(2, 3)))


@pytest.mark.parametrize(
    "what",
    [
        lambda x: x.argmax(dim=1),
        lambda x: x > 0,
        lambda x: x.to(torch.complex64),
        lambda x: x.masked_fill(torch.arange(4) > 1, float("-inf")),
        lambda x: x[:0],
    ],
)
def test_outputs_of_every_kind_have_a_drift(what: Callable[[Tensor], Tensor]) -> None:
    drift = fold(Says(what).eval(), images(dtype=torch.float32)).report.drift
    assert drift is not None
    assert drift < 1e-5


def test_what_has_no_numbers_has_no_drift() -> None:
    with torch.device("meta"):
        model, image = Says(lambda x: x).eval(), torch.empty(2, 3, 8, 8)
    report = fold(model, image).report
    assert report.counts == {"BatchNorm into the convolution before it": 1}
    assert report.drift is None


@pytest.mark.parametrize("without", [None, 3, [["positions"]], [3]])
def test_rules_that_are_none(without: Any) -> None:
    with pytest.raises(ValueError, match="without must be some of"):
        fold(nn.Identity(), without=without)
