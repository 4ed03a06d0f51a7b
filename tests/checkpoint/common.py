"""Models for tests of checkpoints, and what is asked of their states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vitblocks import TwinsSVT, ViT


def vit(**options: Any) -> ViT:
    sizes = {"image_size": 8, "patch_size": 4, "num_classes": 3, "dim": 8, "depth": 2, "heads": 2, "mlp_dim": 16}
    return ViT(**{**sizes, **options})


def twins() -> TwinsSVT:
    sizes: dict[str, int] = {}
    for s, reduction in enumerate((4, 2, 1, 1), start=1):
        sizes |= {f"s{s}_emb_dim": 8, f"s{s}_depth": 1, f"s{s}_global_k": reduction, f"s{s}_local_patch_size": 2}
    return TwinsSVT(num_classes=3, heads=(2, 2, 2, 2), mlp_ratios=(1, 1, 1, 1), **sizes)


def bits(model: nn.Module) -> dict[str, bytes]:
    """Every number of a model, bit by bit."""
    return {key: value.numpy().tobytes() for key, value in model.state_dict().items()}


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def assert_same_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    now = model.state_dict()
    assert now.keys() == state.keys()
    assert all(torch.equal(now[key], value) for key, value in state.items())


def same(a: nn.Module, b: nn.Module) -> bool:
    """Whether two models of the same entries have the same numbers in all of them."""
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
