"""Distillation: the loss, the teacher, and every model of the zoo."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.tiny import TINY
from vitblocks import AveragedHeads, DistillWrapper, Model, ViT
from vitblocks.objectives.distillation import soft_distillation
from vitblocks.zoo.distill import DistillWrapper as ByTheDocumentsName

STUDENTS: dict[str, Callable[[], Any]] = {
    **{name: TINY[name].build for name in TINY if name.startswith("Distillable")},
    "LeViT": partial(TINY["LeViT"].build, distilled=True),
}
REMEDY = {
    "ViT": "vitblocks.DistillableViT",
    "T2TViT": "vitblocks.DistillableT2TViT",
    "EfficientViT": "vitblocks.DistillableEfficientViT",
    "PiT": "vitblocks.DistillablePiT",
    "LeViT": "distilled=True",
}


def teacher() -> nn.Module:
    """A convolutional network with everything that tells training from evaluation."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.BatchNorm2d(8),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


def student(**options: Any) -> Any:
    return TINY["DistillableViT"].build(**options)


def batch(size: int = 16) -> tuple[Tensor, Tensor]:
    return torch.rand(4, 3, size, size), torch.randint(5, (4,))


def step(wrapper: DistillWrapper) -> float:
    loss = wrapper(*batch())
    loss.backward()
    torch.optim.SGD(wrapper.student.parameters(), lr=0.1).step()
    wrapper.zero_grad()
    return loss.item()


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("name", sorted(STUDENTS))
def test_trains_every_student(name: str, hard: bool) -> None:
    wrapper = DistillWrapper(STUDENTS[name](), teacher(), hard=hard)
    frozen = {key: x.clone() for key, x in wrapper.teacher.state_dict().items()}
    loss = wrapper(*batch(TINY[name].image_size))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in wrapper.student.parameters())
    assert all(torch.equal(x, frozen[key]) for key, x in wrapper.teacher.state_dict().items())


@pytest.mark.parametrize("name", sorted(TINY.keys() - STUDENTS.keys() | {"LeViT"}))
def test_a_student_without_a_second_head_is_told_what_to_take(name: str) -> None:
    with pytest.raises(ValueError, match=f"has not: .*{REMEDY.get(name, 'Dino')}"):
        DistillWrapper(TINY[name].build(), teacher())


def test_a_student_needs_just_two_heads() -> None:
    model = student()
    model.head = AveragedHeads([*model.head.heads, nn.Linear(8, 5)])
    with pytest.raises(ValueError, match="second head"):
        DistillWrapper(model, teacher())
    with pytest.raises(ValueError, match="Sequential has not"):
        DistillWrapper(nn.Sequential(), teacher())


@pytest.mark.parametrize("name", sorted(TINY))
def test_every_model_can_teach(name: str) -> None:
    size = TINY[name].image_size
    pupil = student(image_size=size)
    assert DistillWrapper(pupil, TINY[name].build())(*batch(size)).isfinite()


def test_the_call_of_the_document() -> None:
    assert ByTheDocumentsName is DistillWrapper
    model = student()
    distiller = DistillWrapper(student=model, teacher=teacher(), temperature=3, alpha=0.5, hard=False)
    distiller(*batch()).backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model(batch()[0]).shape == (4, 5)
    assert type(model.to_vit()) is ViT


def test_inference_averages_both_heads() -> None:
    wrapper = DistillWrapper(student(), teacher()).eval()
    images, labels = batch()
    first, second = wrapper.student.head.each(wrapper.student.forward_features(images))
    assert not torch.allclose(first, second)
    torch.testing.assert_close(wrapper(images), (first + second) / 2)
    assert wrapper(images, labels).dim() == 0
    with pytest.raises(ValueError, match="labels must be given in training"):
        wrapper.train()(images)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_each_head_learns_from_its_own(alpha: float, temperature: float, hard: bool) -> None:
    wrapper = DistillWrapper(student(), teacher(), temperature, alpha, hard)
    images, labels = batch()
    logits, distilled = wrapper.student.head.each(wrapper.student.forward_features(images))
    taught = wrapper.teacher(images)
    if hard:
        other = F.nll_loss(distilled.log_softmax(dim=1), taught.argmax(dim=1))
    else:
        p, q = (taught / temperature).softmax(dim=1), (distilled / temperature).softmax(dim=1)
        other = (p * (p / q).log()).sum() * temperature**2 / (4 * 5)
    expected = (1 - alpha) * F.nll_loss(logits.log_softmax(dim=1), labels) + alpha * other
    torch.testing.assert_close(wrapper(images, labels), expected)


def test_a_pupil_that_agrees_has_nothing_to_learn() -> None:
    logits = torch.randn(4, 5)
    assert soft_distillation(logits, logits + 1, 3.0).abs() < 1e-6
    assert soft_distillation(logits, -logits, 3.0) > 1e-3


def test_labels_may_be_probabilities() -> None:
    wrapper = DistillWrapper(student(), teacher())
    images, labels = batch()
    torch.testing.assert_close(wrapper(images, F.one_hot(labels, 5).float()), wrapper(images, labels))


def test_teacher_stays_as_it_is() -> None:
    model = teacher().train()
    wrapper = DistillWrapper(student(), model).train()
    assert wrapper.teacher is model
    assert wrapper.student.training
    assert not any(module.training for module in model.modules())
    assert not any(p.requires_grad for p in model.parameters())
    before = copy.deepcopy(model.state_dict())
    step(wrapper)
    assert all(torch.equal(x, before[key]) for key, x in model.state_dict().items())


def test_goes_on_from_what_was_saved() -> None:
    first, second = (DistillWrapper(student(), teacher()) for _ in range(2))
    step(first)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    losses = []
    for wrapper in (first, second):
        torch.manual_seed(1)
        losses.append([step(wrapper) for _ in range(2)])
    assert losses[0] == losses[1]
    student().load_state_dict(second.student.state_dict())


class Pair(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, images


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature must be positive, got 0"),
        ({"alpha": 1.5}, r"alpha must lie in \[0, 1\], got 1.5"),
    ],
)
def test_bad_arguments(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DistillWrapper(student(), teacher(), **options)


class WithLogits(nn.Module):
    """A teacher as transformers' models are."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = teacher()

    def forward(self, images: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.inner(images), hidden_states=None)


def test_a_teacher_may_give_an_output_with_logits() -> None:
    model, gives = student(), WithLogits()
    images, labels = torch.rand(4, 3, 16, 16), torch.arange(4)
    expected = DistillWrapper(model, gives.inner)(images, labels)
    assert torch.equal(DistillWrapper(model, gives)(images, labels), expected)


def test_bad_teachers() -> None:
    model = student()
    with pytest.raises(ValueError, match="share no parameters"):
        DistillWrapper(model, nn.Sequential(model))
    assert all(p.requires_grad for p in model.parameters())
    for bad, found in ((nn.Sequential(teacher(), nn.Linear(5, 7)), r"\(4, 7\)"), (Pair(), "tuple")):
        with pytest.raises(ValueError, match=rf"teacher must give logits \(4, 5\).*got {found}"):
            DistillWrapper(model, bad)(*batch())


def test_two_heads_on_any_model() -> None:
    """A Model becomes a student by a second head alone, where both read the same features."""
    model = TINY["Swin"].build()
    assert isinstance(model, Model)
    model.head = AveragedHeads([model.head, nn.Linear(16, 5)])
    DistillWrapper(model, teacher())(*batch(32)).backward()
    assert all(p.grad is not None for p in model.parameters())
