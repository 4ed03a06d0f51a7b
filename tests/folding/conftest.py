"""Folded models of many kinds are compiled in one process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def forgotten_graphs() -> Iterator[None]:
    """What was compiled before does not count towards how often the same code may be compiled again."""
    yield
    torch.compiler.reset()
