"""Whatever is in a checkpoint or a file: it is loaded whole, or a ValueError or TypeError leaves the model as it was."""

from __future__ import annotations

from .mutations import checkpoints, files


def test_checkpoints_changed_at_random() -> None:
    found = checkpoints(100, seed=0)
    assert found.keys() == {"loaded", "ValueError", "TypeError"}, found


def test_files_changed_at_random() -> None:
    found = files(25, seed=0)
    assert found.keys() == {"loaded", "ValueError"}, found
