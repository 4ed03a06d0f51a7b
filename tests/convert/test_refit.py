"""refit: the closed form finds what is there to be found, on the student's own stream."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from vitblocks import CaiT, ViT
from vitblocks.convert import Kind, answers, converted, drift, global_layers, kernel, reduced, refit, windows
from vitblocks.convert.refit import Sums, projected
from vitblocks.convert.watching import token_weights

from ..zoo.tiny import TINY


def vit(**options: Any) -> ViT:
    torch.manual_seed(0)
    model: ViT = TINY["ViT"].build(**options).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.3)
    return model


IMAGES = torch.rand(24, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("scale", [None, 0.5])
def test_a_projection_that_was_lost_is_found_again(scale: float | None) -> None:
    teacher = vit(layer_scale=scale)
    student = deepcopy(teacher)
    layers = global_layers(teacher)
    for name in layers:
        proj: Any = student.get_submodule(f"{name}.proj")
        nn.init.normal_(proj.weight)
        nn.init.normal_(proj.bias)
    done = refit(student, teacher, IMAGES[:16], IMAGES[16:], layers)
    assert all(one.after < 1e-3 < one.before for one in done)
    torch.testing.assert_close(student(IMAGES), teacher(IMAGES), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [windows(2), reduced(2), kernel()], ids=lambda kind: kind.name)
def test_it_brings_a_converted_model_closer(kind: Kind) -> None:
    teacher = vit()
    layers = global_layers(teacher)
    student = converted(teacher, dict.fromkeys(layers, kind.name), [kind])
    before = drift(answers(teacher, IMAGES[16:]), answers(student, IMAGES[16:]))
    done = refit(student, teacher, IMAGES[:16], IMAGES[16:], layers)
    after = drift(answers(teacher, IMAGES[16:]), answers(student, IMAGES[16:]))
    assert after.tokens < before.tokens
    assert all(one.after <= one.before for one in done)


def test_what_cannot_be_refitted_is_passed_over() -> None:
    teacher = TINY["CaiT"].build().eval()
    assert isinstance(teacher, CaiT)
    names = [name for name, module in teacher.named_modules() if name.endswith("attn")]
    done = refit(deepcopy(teacher), teacher, IMAGES[:8], IMAGES[8:12], names)
    assert len(done) == 2  # of the class attention the patches get nothing, whatever the projection


def test_projected_gives_tokens_in_their_order() -> None:
    teacher = vit()
    name = global_layers(teacher)[0]
    windows(3).put(teacher, name)
    layer: Any = teacher.get_submodule(name)
    x = torch.randn(2, 17, 8)
    torch.testing.assert_close(layer.proj(projected(layer, x, (4, 4))), layer(x, (4, 4)))


@pytest.mark.parametrize("biased", [True, False])
def test_the_sums_are_least_squares(biased: bool) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(50, 3).double(), torch.randn(50, 2).double()
    sums = Sums(3, 2, x.device)
    weights = torch.rand(50).double()
    sums.add(x[:20], y[:20], weights[:20])
    sums.add(x[20:], y[20:], weights[20:])
    found = sums.solve(torch.zeros(4, 2).double(), 0.0, biased=biased)
    design = torch.cat([x, torch.ones(50, 1).double()], dim=1)
    root = weights.sqrt()[:, None]
    want = torch.linalg.lstsq(root * (design if biased else x), root * y).solution
    torch.testing.assert_close(found[: len(want)], want)
    spread = (root * (y - (root**2 * y).sum(dim=0) / weights.sum())).square().sum()
    left = (root * (y - design @ found)).square().sum() / spread
    assert sums.unexplained(found) == pytest.approx(float(left))


def test_prefix_tokens_count_as_much_as_patches() -> None:
    weights = token_weights(torch.zeros(1, 2 + 6, 4), (2, 3))
    assert weights.tolist() == [3.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert token_weights(torch.zeros(1, 6, 4), (2, 3)).tolist() == [1.0] * 6
