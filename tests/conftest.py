"""Tests run on one thread, which is fastest for the tiny sizes here, and each from the same random state."""

from __future__ import annotations

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
