"""One map for any kind of attention: a rollout where that can be had, else what the last attention reads."""

from __future__ import annotations

import torch

from vitblocks import Swin, ViT, attention_rollout
from vitblocks.inspect.overview import attention_overview

SIZES = {"image_size": 16, "patch_size": 4, "num_classes": 3, "dim": 16, "depth": 2, "heads": 2, "mlp_dim": 16}


def test_the_rollout_of_the_class_token() -> None:
    model, images = ViT(**SIZES), torch.rand(2, 3, 16, 16)
    model.train()
    found = attention_overview(model, images)
    assert torch.equal(found, attention_rollout(model.eval(), images).key_map(0)[:, 0])
    assert found.shape == (2, 4, 4)


def test_windows() -> None:
    model = Swin(num_classes=3, dim=8, depths=(1, 1), heads=(1, 2), window=2, patch_size=2)
    found = attention_overview(model, torch.rand(2, 3, 16, 16))
    assert found.shape == (2, 4, 4)
    assert torch.allclose(found.sum(dim=(1, 2)), torch.ones(2), atol=1e-5)
