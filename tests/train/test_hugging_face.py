"""Data sets of Hugging Face: folders, splits, broken rows, streams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from vitblocks import Preprocessing
from vitblocks.train import Recipe, fit, load_data
from vitblocks.train.data import hugging_face
from vitblocks.train.data.reading import Order
from vitblocks.train.data.streams import Stream, Streaming

from .test_fit import Interrupt, losses
from .worker import images, model

datasets = pytest.importorskip("datasets")
Image = pytest.importorskip("PIL.Image")
pytest.importorskip("accelerate")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """24 images in a split to train on, 6 in another, on disk."""

    def part(count: int) -> Any:
        whole = images(count)
        rows = {
            "picture": [Image.fromarray(image.numpy()) for image in whole.images],
            "label": list(whole.labels),
        }
        features = {"picture": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])}
        return datasets.Dataset.from_dict(rows, features=datasets.Features(features))

    datasets.DatasetDict({"train": part(24), "test": part(6)}).save_to_disk(tmp_path / "set")
    return tmp_path / "set"


def test_a_saved_data_set(saved: Path, tmp_path: Path) -> None:
    data = load_data(f"hf:{saved}", splits=("train", "test"))
    assert data.held_out is not None
    assert (len(data.train), len(data.held_out)) == (24, 6)
    assert list(data.train.classes) == ["a", "b", "c"]
    assert list(data.train.labels)[:4] == [0, 1, 2, 0]
    assert data.train.image(0).size == (8, 8)
    recipe = Recipe(epochs=1, batch=8, warmup_epochs=0)
    assert fit(model(recipe), data, recipe, folder=tmp_path / "run").accuracy is not None


def test_what_is_not_there_is_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no split 'valid', only train, test"):
        hugging_face(str(saved), "valid")
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / "texts")
    with pytest.raises(ValueError, match="a column of images, it has text"):
        hugging_face(str(tmp_path / "texts"))
    with pytest.raises(ValueError, match="nowhere"):
        hugging_face(str(tmp_path / "nowhere"))


def test_broken_rows_are_named(tmp_path: Path) -> None:
    rows = {"image": [{"bytes": b"none", "path": "x.png"}] * 2, "label": [0, 1]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    found = datasets.Dataset.from_dict(rows, features=features)
    found.save_to_disk(tmp_path / "set")
    broken = hugging_face(str(tmp_path / "set"))
    assert "row 1 (x.png)" in broken.name(1)
    with pytest.raises(OSError, match="no image"):
        broken.image(1)


def shards(root: Path) -> str:
    """24 images in two of WebDataset's shards; one image is none."""
    import io
    import tarfile

    whole = images(24)
    for k in range(2):
        with tarfile.open(root / f"part-{k}.tar", "w") as tar:
            for i in range(12 * k, 12 * k + 12):
                picture = io.BytesIO()
                Image.fromarray(whole.images[i].numpy()).save(picture, format="png")
                held = b"none" if i == 7 else picture.getvalue()
                for suffix, data in (("png", held), ("cls", str(whole.labels[i]).encode())):
                    about = tarfile.TarInfo(f"{i:03d}.{suffix}")
                    about.size = len(data)
                    tar.addfile(about, io.BytesIO(data))
    return f"stream:{root}/part-*.tar"


def test_streams_go_on_exactly(tmp_path: Path) -> None:
    data = load_data(shards(tmp_path), count=24, classes=3)
    recipe = Recipe(epochs=3, batch=8, micro_batch=4, warmup_epochs=1, crop=0.5)
    whole = fit(model(recipe), data, recipe, folder=tmp_path / "whole")
    assert whole.steps == 9
    assert len(whole.broken) == 1
    assert "007" in whole.broken[0]
    with pytest.raises(ZeroDivisionError):
        fit(model(recipe), data, recipe, folder=tmp_path / "off", save_every=2, watchers=[Interrupt(5)])
    fit(model(recipe), data, recipe, folder=tmp_path / "off", save_every=2, resume=True)
    assert losses(tmp_path / "off") == losses(tmp_path / "whole")


def test_streams_say_what_they_lack(tmp_path: Path) -> None:
    source = shards(tmp_path)
    with pytest.raises(ValueError, match="how many images"):
        load_data(source, classes=3)
    with pytest.raises(ValueError, match="how many classes"):
        load_data(source, count=24)
    with pytest.raises(ValueError, match="no such files"):
        load_data("stream:nowhere/*.tar")
    recipe = Recipe(epochs=1, batch=8, warmup_epochs=0)
    with pytest.raises(ValueError, match="fewer than the 99"):
        fit(model(recipe), load_data(source, count=99, classes=3), recipe, folder=tmp_path / "run")


def test_processes_share_a_stream(tmp_path: Path) -> None:
    data = load_data(shards(tmp_path), count=24, classes=3).train
    assert isinstance(data, Stream)
    way = Preprocessing((8, 8), (8, 8), mean=(0,), std=(1,), channels="grey")

    def batches(process: int, processes: int) -> list[Any]:
        return list(Streaming(data, Order(24, 8, 4, 0, 1, 6, process, processes), way, 1.0))

    one, first, second = batches(0, 1), batches(0, 2), batches(1, 2)
    shared = [batch for pair in zip(first, second, strict=True) for batch in pair]
    assert len(one) == len(shared) == 10
    for ours, theirs in zip(one, shared, strict=True):
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.labels, theirs.labels)
