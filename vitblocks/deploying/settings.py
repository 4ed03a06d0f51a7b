"""How a model is deployed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Settings:
    """What a runtime is told.

    Attributes:
        size: of the sample, ``(B, C, H, W)``. Other batches are taken, too.
        names: of the outputs.
        dtype: what it computes in; images and outputs are float32.
        threads: of the CPU.
        int8: whether products are of whole numbers.
        calibration: images whose activations say the scales of int8; None where a model is opened.
    """

    size: tuple[int, int, int, int]
    names: tuple[str, ...]
    dtype: torch.dtype = torch.float32
    threads: int = 1
    int8: bool = False
    calibration: Tensor | None = None


def check_threads(threads: object) -> None:
    """Raise ValueError unless ``threads`` is a number above 0, or None for as many as PyTorch has."""
    if threads is not None and (type(threads) is not int or threads < 1):
        raise ValueError(f"threads must be a number above 0, got {threads!r}")
