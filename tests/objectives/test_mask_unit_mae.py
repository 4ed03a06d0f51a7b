"""MAE of models with mask units."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.zoo.tiny import TINY, VIT
from vitblocks import MAE, Hiera, ViT
from vitblocks.objectives import MaskUnitMAE, PairError
from vitblocks.recipe import build, describe

DECODER: dict[str, Any] = {"decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2}


def tiny(**options: Any) -> Hiera:
    model: Hiera = TINY["Hiera"].build(**options)
    return model


def task(**options: Any) -> MaskUnitMAE:
    torch.manual_seed(0)
    return MaskUnitMAE(tiny(), **DECODER | options)


def test_kept_units_are_as_they_were() -> None:
    """With attention in units throughout, each unit's token is what it is among all of them; its order does not matter."""
    model = tiny(in_units=(True, True, True)).eval()
    objective = MaskUnitMAE(model, masking_ratio=0.5, **DECODER).eval()
    images = torch.rand(2, 3, 32, 48)
    places = objective.shuffle(images, noise=torch.rand(2, 6))
    x, grid = model.embed(images)
    x = objective.encoder.stages[0](x, grid)[0]
    kept, strip = objective.side_by_side(x, grid, places)
    assert strip == (4, 3 * 4)
    whole = x
    for stage in objective.encoder.stages[1:]:
        whole, grid = stage(whole, grid)
        kept, strip = stage(kept, strip)
    assert grid == (2, 3)
    assert strip == (1, 3)
    torch.testing.assert_close(kept, whole.gather(1, places.kept[:, :, None].expand_as(kept)))


def test_hidden_pixels_do_not_show() -> None:
    objective, images = task(norm_pix_loss=False).eval(), torch.rand(2, 3, 32, 48)
    mask = torch.zeros(2, 2, 3, dtype=torch.bool)
    mask[:, 0], mask[:, 1, 0] = True, True
    pixels = mask.repeat_interleave(16, dim=1).repeat_interleave(16, dim=2)[:, None]
    found = objective.reconstruct(images, mask=mask)
    torch.testing.assert_close(objective.reconstruct(torch.where(pixels, 1 - images, images), mask=mask), found)
    assert not torch.allclose(objective.reconstruct(torch.where(pixels, images, 1 - images), mask=mask), found)


def test_a_training_step_reaches_every_parameter() -> None:
    objective = task(norm_pix_loss=False)
    loss = objective(torch.rand(4, 3, 32, 64))
    loss.backward()
    assert loss.isfinite()
    idle = [key for key, p in objective.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle
    assert [*build(describe(objective)).state_dict()] == [*objective.state_dict()]


def test_attention_runs_on_kept_tokens_alone() -> None:
    objective = task(masking_ratio=0.75)
    seen: list[int] = []

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].shape[1])

    for stage in objective.encoder.stages[1:]:
        stage.register_forward_pre_hook(note)
    objective(torch.rand(1, 3, 32, 32))
    assert seen == [16, 16, 4]


def test_what_has_no_units_is_refused() -> None:
    with pytest.raises(PairError, match="ViT has no mask units: MAE, SimMIM or MPP hide patches and would work"):
        MaskUnitMAE(ViT(**VIT))
    with pytest.raises(PairError, match="MaskUnitMAE drops whole mask units, SimMIM and MPP keep them and would work"):
        MAE(tiny())
    with pytest.raises(
        PairError, match=r"must be one token in the end, a unit has \(32, 32\) pixels and a token \(16, 16\)"
    ):
        MaskUnitMAE(tiny(window=8))
    with pytest.raises(ValueError, match="does not divide into patches"):
        task()(torch.rand(1, 3, 32, 40))
