"""Images are found, read whatever their mode, and come in an order that the seed alone decides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from vitblocks import Preprocessing
from vitblocks.train import load_data
from vitblocks.train.data import image_folder, split
from vitblocks.train.data.images import few
from vitblocks.train.data.reading import Order, Reading, loader, random_crop

from .worker import images

Image = pytest.importorskip("PIL.Image")
WHOLE = Preprocessing(size=(8, 8), resize=(8, 8))


def folder_of(root: Path, names: tuple[str, ...] = ("cat", "dog"), count: int = 3) -> Path:
    for k, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (10, 12), (60 * k, 20 * i, 0)).save(root / name / f"{i}.png")
    return root


def test_folder(tmp_path: Path) -> None:
    found = image_folder(folder_of(tmp_path))
    assert found.classes == ["cat", "dog"]
    assert list(found.labels) == [0, 0, 0, 1, 1, 1]
    assert found.name(3).endswith("dog/0.png")
    data = load_data(str(tmp_path), held_out=0.34)
    assert (len(data.train), len(data.held_out or ())) == (4, 2)


def test_folder_with_parts(tmp_path: Path) -> None:
    folder_of(tmp_path / "train")
    folder_of(tmp_path / "val", ("dog",))
    data = load_data(str(tmp_path))
    assert data.held_out is not None
    assert set(data.held_out.labels) == {1}  # as in training
    folder_of(tmp_path / "val" / "more", ("fox",))
    with pytest.raises(ValueError, match="more"):
        load_data(str(tmp_path))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: None, "no images"),
        (lambda root: folder_of(root, ("cat",)), "one class only"),
        (lambda root: Image.new("L", (8, 8)).save(root / "loose.png"), "a folder for each class"),
    ],
)
def test_folders_with_nothing_to_tell_apart(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    make(tmp_path)
    with pytest.raises(ValueError, match=words):
        load_data(str(tmp_path))


def test_no_folder() -> None:
    with pytest.raises(ValueError, match="digits"):
        load_data("nowhere")


def test_modes_and_sizes(tmp_path: Path) -> None:
    """The same picture in every mode that Pillow writes is the same to a model, within a step of 255."""
    ramp = np.linspace(0, 255, 64).reshape(8, 8).astype("uint8")
    grey = Image.fromarray(ramp)
    ways = {
        "grey.png": grey,
        "rgb.png": grey.convert("RGB"),
        "rgba.png": grey.convert("RGBA"),
        "la.png": grey.convert("LA"),
        "palette.png": grey.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE),
        "cmyk.tiff": grey.convert("RGB").convert("CMYK"),
        "sixteen.png": Image.fromarray(ramp.astype("uint16") * 257),
    }
    expected = torch.from_numpy(ramp).int()
    for name, image in ways.items():
        image.save(tmp_path / name)
        pixels = WHOLE.pixels(tmp_path / name)
        assert pixels.shape == (3, 8, 8), name
        assert (pixels.int() - expected).abs().max() <= 1, name


def test_exif_turns(tmp_path: Path) -> None:
    picture = Image.fromarray(np.arange(64, dtype="uint8").reshape(8, 8) * 3)
    about = Image.Exif()
    about[0x0112] = 6  # a quarter turn clockwise puts it upright
    picture.save(tmp_path / "turned.png", exif=about)
    assert torch.equal(WHOLE.pixels(tmp_path / "turned.png"), WHOLE.pixels(picture.rotate(-90)))


def test_broken_images_are_named_and_replaced(tmp_path: Path) -> None:
    folder_of(tmp_path)
    (tmp_path / "cat" / "1.png").write_bytes(b"no picture")
    whole = (tmp_path / "dog" / "2.png").read_bytes()
    (tmp_path / "dog" / "2.png").write_bytes(whole[:50])
    reading = Reading(image_folder(tmp_path), WHOLE)
    first, last = reading[1, 0], reading[5, 0]
    assert (first.place, last.place) == (2, 0)
    assert "cat/1.png" in first.broken[0]
    assert "dog/2.png" in last.broken[0]
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"no image can be read, the first is .*cat/0\.png"):
        reading[0, 0]


def keys(start: int, stop: int, process: int = 0, processes: int = 1, seed: int = 3) -> list[list[tuple[int, int]]]:
    return list(Order(10, 4, 2, seed, start, stop, process, processes))


def test_order() -> None:
    whole = keys(0, 6)
    assert len(whole) == len(Order(10, 4, 2, 3, 0, 6, 0, 1)) == 12
    assert whole[6:] == keys(3, 6)  # from the middle of an epoch it is the same
    shared = [keys(0, 6, process, 2) for process in (0, 1)]
    assert [batch for pair in zip(*shared, strict=True) for batch in pair] == whole
    epochs = [[place for batch in whole[4 * e : 4 * e + 4] for place, _ in batch] for e in range(3)]
    assert all(len({*epoch}) == 8 for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert whole != keys(0, 6, seed=4)


def test_crops_follow_the_seed_alone() -> None:
    boxes = [random_crop((40, 30), 0.1, seed) for seed in range(50)]
    assert boxes == [random_crop((40, 30), 0.1, seed) for seed in range(50)]
    areas = [(right - left) * (bottom - top) / 1200 for left, top, right, bottom in boxes]
    assert 0.05 < min(areas) < 0.3
    assert 0.7 < max(areas) <= 1.0
    assert all(0 <= left < right <= 40 and 0 <= top < bottom <= 30 for left, top, right, bottom in boxes)


def test_loader_reads_in_order() -> None:
    found = list(
        loader(Reading(images(), Preprocessing((8, 8), None, mean=(0,), std=(1,), channels="grey")), keys(0, 2), 0)
    )
    assert [batch.places for batch in found] == [[place for place, _ in batch] for batch in keys(0, 2)]
    assert torch.equal(found[0].images[0, 0], images().images[found[0].places[0]])


def test_split_and_few() -> None:
    whole = images(30)
    rest, held = split(whole, 0.2, seed=0)
    assert [list(held.labels).count(k) for k in range(3)] == [2, 2, 2]
    assert {rest.name(i) for i in range(len(rest))} | {held.name(i) for i in range(len(held))} == {
        whole.name(i) for i in range(30)
    }
    assert [list(few(whole, 7, seed=0).labels).count(k) for k in range(3)] == [3, 2, 2]
    with pytest.raises(ValueError, match="held_out"):
        split(whole, 1.0, seed=0)
