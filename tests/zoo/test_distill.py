"""Distilled models: two tokens, two heads, and the way back to the plain model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitblocks import (
    AveragedHeads,
    DistillableEfficientViT,
    DistillablePiT,
    DistillableT2TViT,
    DistillableViT,
    EfficientViT,
    Model,
    PiT,
    T2TViT,
    ViT,
)

from .common import check_gradients, check_logits, check_model

SIZES: dict[str, Any] = {"image_size": 32, "num_classes": 5, "dim": 16}
VIT = SIZES | {"patch_size": 8, "depth": 2, "heads": 2, "mlp_dim": 32}
T2T = SIZES | {"depth": 2, "heads": 2, "mlp_dim": 32, "token_dim": 8}
PIT = SIZES | {"patch_size": 8, "depth": (1, 1, 1), "heads": 2, "mlp_dim": 32}


def encoder() -> nn.Module:
    torch.manual_seed(1)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def efficient() -> dict[str, Any]:
    return SIZES | {"patch_size": 8, "transformer": encoder()}


STUDENTS: dict[str, tuple[type[Model], type[Any], Callable[[], dict[str, Any]]]] = {
    "ViT": (ViT, DistillableViT, lambda: dict(VIT)),
    "T2T-ViT": (T2TViT, DistillableT2TViT, lambda: dict(T2T)),
    "PiT": (PiT, DistillablePiT, lambda: dict(PIT)),
    "efficient ViT": (EfficientViT, DistillableEfficientViT, efficient),
}
every_student = pytest.mark.parametrize("kind", STUDENTS)


def student(kind: str) -> Any:
    _, distillable, options = STUDENTS[kind]
    return distillable(**options()).eval()


def images(*size: int) -> Tensor:
    return torch.randn(2, 3, *(size or (32, 32)))


@every_student
def test_does_what_every_model_does(kind: str) -> None:
    check_model(student(kind), images(), classes=5)


@every_student
def test_the_output_is_the_mean_of_both_heads_in_both_modes(kind: str) -> None:
    model, image = student(kind), images()
    for training in (False, True):
        model.train(training)
        class_logits, distillation_logits = model.head.each(model.forward_features(image))
        torch.testing.assert_close(model(image), (class_logits + distillation_logits) / 2)
        assert not torch.allclose(class_logits, distillation_logits)


@every_student
def test_each_head_reads_its_own_token(kind: str) -> None:
    model, image = student(kind), images()
    x, _ = model.encode(image)
    for row, logits in enumerate(model.head.each(model.forward_features(image))):
        torch.testing.assert_close(logits, model.head.heads[row](x[:, row]))


@every_student
@pytest.mark.parametrize("size", [(32, 32), (48, 40)])
def test_the_plain_model_is_the_student_without_its_second_token(kind: str, size: tuple[int, int]) -> None:
    """Against a plain model made afresh, into which the student's values are put row by row."""
    plain, _, options = STUDENTS[kind]
    model = student(kind)
    fresh = plain(**options()).eval()
    state = model.state_dict()
    for key, own in fresh.state_dict().items():
        value = state[key.replace("head.", "head.heads.0.")]
        own.copy_(value if value.shape == own.shape else torch.cat([value[:, :1], value[:, 2:]], dim=1))
    image = images(*size)
    torch.testing.assert_close(model.to_vit()(image), fresh(image))


@every_student
def test_the_plain_model_is_of_the_plain_class(kind: str) -> None:
    plain, _, options = STUDENTS[kind]
    model = student(kind).to_vit()
    assert type(model) is plain
    made = plain(**options())
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in made.state_dict().items()}
    assert repr(model) == repr(made)
    check_logits(model, images(), 5)
    check_gradients(model, images())


@every_student
def test_the_student_stays_as_it_was(kind: str) -> None:
    model, image = student(kind), images()
    before = model(image)
    with torch.no_grad():
        for parameter in model.to_vit().parameters():
            parameter.add_(1)
    torch.testing.assert_close(model(image), before, rtol=0, atol=0)


def test_the_plain_model_keeps_precision_mode_and_what_is_frozen() -> None:
    model = student("ViT").double().train()
    model.stages[0].layers[0].token.requires_grad_(False)
    plain = model.to_vit()
    assert plain.training
    assert all(parameter.dtype == torch.float64 for parameter in plain.parameters())
    assert [name for name, p in plain.named_parameters() if not p.requires_grad] == ["stages.0.layers.0.token"]


@every_student
def test_features_without_classes(kind: str) -> None:
    _, distillable, options = STUDENTS[kind]
    model = distillable(**options() | {"num_classes": 0}).eval()
    features = model.forward_features(images())
    width = 64 if kind == "PiT" else 16
    assert features.shape == (2, 2, width)
    assert isinstance(model.head, AveragedHeads)
    assert model(images()).shape == (2, width)
    assert model.to_vit()(images()).shape == (2, width)


@pytest.mark.parametrize("kind", ["ViT", "efficient ViT"])
def test_a_mean_has_no_token_for_each_head(kind: str) -> None:
    _, distillable, options = STUDENTS[kind]
    with pytest.raises(ValueError, match="pool must be 'cls'"):
        distillable(**options(), pool="mean")


def test_initial_weights() -> None:
    """Both tokens, all positions and both heads as the authors' code: a truncated normal of 0.02, biases zero."""
    model = DistillableViT(**VIT | {"dim": 256, "heads": 4, "num_classes": 100})
    parts = [model.stages[0].layers[0].token[:, i] for i in range(2)]
    parts += [model.stages[0].layers[1].table, *(head.weight for head in model.head.heads)]
    for part in parts:
        assert 0.8 * 0.02 < part.std() < 1.2 * 0.02
    assert not any(head.bias.any() for head in model.head.heads)


def test_patches_keep_their_sine_positions_beside_a_second_token() -> None:
    one, two = (model.stages[2].layers[2] for model in (T2TViT(**T2T), DistillableT2TViT(**T2T)))
    torch.testing.assert_close(one.table[:, 1:], two.table[:, 2:])
