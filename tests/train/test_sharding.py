"""What cannot be sharded is refused, and where nothing is sharded a run says so. What is sharded is in test_processes.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vitblocks.train import Recipe
from vitblocks.train.sharding import is_sharded

accelerate = pytest.importorskip("accelerate")


def state(kind: str = "FSDP", version: int = 2) -> Any:
    """What is looked at of an Accelerator of two processes."""
    plugin = SimpleNamespace(fsdp_plugin=SimpleNamespace(fsdp_version=version))
    distributed = accelerate.DistributedType[kind]
    return SimpleNamespace(distributed_type=distributed, num_processes=2, is_main_process=True, state=plugin)


def test_what_cannot_be_sharded_is_refused() -> None:
    assert is_sharded(state(), Recipe())
    for refused, version, words in (
        (Recipe(), 1, "--fsdp_version 2"),
        (Recipe(lora=2), 2, "lora"),
        (Recipe(objective="distillation"), 2, "distillation"),
    ):
        with pytest.raises(ValueError, match=words):
            is_sharded(state(version=version), refused)


def test_copies_where_shards_were_asked_for_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_sharded(state("MULTI_CPU"), Recipe())
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.warns(UserWarning, match="whole model"):
        assert not is_sharded(state("MULTI_CPU"), Recipe())
