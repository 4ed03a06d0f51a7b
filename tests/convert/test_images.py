"""load_images: a folder of images without labels is enough."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vitblocks import preprocess
from vitblocks.convert import load_images

from .test_refit import vit


def test_a_folder_without_labels(tmp_path: Path) -> None:
    pil = pytest.importorskip("PIL.Image")
    for i in range(3):
        pil.new("RGB", (20, 24), (10 * i, 50, 90)).save(tmp_path / f"{i}.png")
    model = vit()
    images = load_images(model, str(tmp_path), 2)
    assert images.shape == (2, 3, 16, 16)
    every = load_images(model, str(tmp_path))
    want = torch.stack([preprocess(model)(pil.open(tmp_path / f"{i}.png")) for i in range(3)])
    torch.testing.assert_close(every.sort(dim=0).values, want.sort(dim=0).values)
    with pytest.raises(ValueError, match="count must lie"):
        load_images(model, str(tmp_path), 9)
