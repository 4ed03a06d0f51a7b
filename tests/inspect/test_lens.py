"""logit_lens, cka and token_norms: what they give on models where it is known."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitblocks import ViT
from vitblocks.inspect import cka, logit_lens, token_norms
from vitblocks.inspect.similarity import hsic

from ..zoo.tiny import TINY


def vit(seed: int = 0) -> ViT:
    torch.manual_seed(seed)
    return ViT(image_size=(8, 12), patch_size=4, num_classes=5, dim=8, depth=3, heads=2, mlp_dim=16).eval()


def test_the_lens_after_the_last_block_is_the_model() -> None:
    model, images = vit(), torch.rand(2, 3, 8, 12)
    logits = logit_lens(model, images)
    assert list(logits) == ["blocks.0", "blocks.1", "blocks.2"]
    torch.testing.assert_close(logits["blocks.2"], model(images))
    first = ViT(image_size=(8, 12), patch_size=4, num_classes=5, dim=8, depth=1, heads=2, mlp_dim=16).eval()
    first.load_state_dict({key: value for key, value in model.state_dict().items() if key in first.state_dict()})
    torch.testing.assert_close(logits["blocks.0"], first(images))
    each = logit_lens(model, images, blocks=-1, per_token=True)["blocks.2"]
    torch.testing.assert_close(each[:, 0], model(images))


def test_the_lens_names_the_block_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"what blocks\.0 gives"):
        logit_lens(TINY["Swin"].build(), torch.rand(1, 3, 32, 32))
    with pytest.raises(ValueError, match="blocks must be numbers"):
        logit_lens(vit(), torch.rand(1, 3, 8, 12), blocks=7)
    with pytest.raises(TypeError, match=r"vitblocks\.Model"):
        logit_lens(nn.Linear(2, 2), torch.rand(1, 2))


def test_alignment_of_a_model_with_itself_and_with_another() -> None:
    batches = [torch.rand(6, 3, 8, 12) for _ in range(2)]
    table = cka(vit(), vit(), batches)
    torch.testing.assert_close(table.values.diagonal(), torch.ones(3, dtype=torch.float64))
    other = cka(vit(), vit(1), batches, layers="blocks.*.attn.out", other_layers="blocks.0.residual").values
    assert other.shape == (3, 1)
    assert (other < 1).all()
    assert "blocks.2.residual" in str(table)
    with pytest.raises(ValueError, match="at least 4"):
        cka(vit(), vit(), torch.rand(3, 3, 8, 12))


def test_the_estimator_is_blind_to_rotation_and_has_no_bias() -> None:
    torch.manual_seed(0)
    x, turn = torch.randn(20, 6).double(), torch.linalg.qr(torch.randn(6, 6).double())[0]
    k, m = x @ x.T, 9 * (x @ turn) @ (x @ turn).T
    torch.testing.assert_close(hsic(k, m) / (hsic(k, k) * hsic(m, m)).sqrt(), torch.tensor(1.0).double())
    a, b = torch.randn(2000, 8, 4).double(), torch.randn(2000, 8, 4).double()
    independent = hsic(a @ a.mT, b @ b.mT)
    assert abs(independent.mean()) < 4 * independent.std() / 2000**0.5


def test_a_token_that_stands_out_is_found() -> None:
    model, images = vit(), torch.rand(2, 3, 8, 12)
    model.stages[0].layers[-1].register_forward_hook(
        lambda _, __, x: x.index_put((torch.tensor([1]), torch.tensor([1 + 4])), x[1, 5] * 50)
    )
    report = token_norms(model, images, factor=4)
    assert report.layers[-1].outliers == [(1, 1, 1)]  # the fifth patch of a grid of 2x3
    assert [row.outliers for row in report.layers[:-1]] == [[], []]
    assert report.layers[-1].share == pytest.approx(1 / 12)
    assert "blocks.2" in str(report)
    with pytest.raises(ValueError, match="above 1"):
        token_norms(model, images, factor=1)
