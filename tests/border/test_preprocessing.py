"""Images become what models were trained on: the same pixels as timm's and transformers' processors make of PIL images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vitblocks import LinearEmbed, Preprocessing, ViT, preprocess
from vitblocks.border.about import from_hf, from_timm

from . import cases as cases  # which lets timm and transformers import torchvision

SIZES = [(60, 80), (83, 51), (16, 16), (32, 32), (20, 100)]
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def images() -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in SIZES]


@pytest.mark.parametrize(
    ("size", "config"),
    [
        ((32, 32), {"crop_pct": 0.9, "interpolation": "bicubic"}),
        ((32, 32), {"crop_pct": 1.0, "interpolation": "bilinear"}),
        ((32, 48), {"crop_pct": 0.9, "interpolation": "bicubic"}),
        ((32, 48), {"crop_pct": 0.9, "crop_mode": "squash", "interpolation": "lanczos"}),
    ],
)
def test_as_timm(size: tuple[int, int], config: dict[str, Any]) -> None:
    data = pytest.importorskip("timm.data")
    theirs, ours = data.create_transform((3, *size), **config, **IMAGENET), from_timm({**config, **IMAGENET}, size)
    for image in images():
        torch.testing.assert_close(ours(image), theirs(image), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["ViT", "DeiT", "Levit", "ConvNext", "MobileViT", "Beit", "CLIP", "Siglip", "Bit"])
@pytest.mark.parametrize("side", [16, 400])
def test_as_transformers(name: str, side: int) -> None:
    """Its processors on PIL images; those on tensors round otherwise."""
    transformers = pytest.importorskip("transformers")
    processor = getattr(transformers, f"{name}ImageProcessorPil")()
    sizes = {"shortest_edge": side} if "shortest_edge" in processor.size else {"height": side, "width": side + 4}
    theirs = type(processor)(size=sizes, crop_size={"height": 14, "width": 14})
    ours = from_hf(json.loads(theirs.to_json_string()))
    for image in images()[:3]:
        torch.testing.assert_close(
            ours(image), theirs(image, return_tensors="pt")["pixel_values"][0], rtol=0, atol=1e-6
        )


def test_by_hand() -> None:
    image = Image.new("RGB", (4, 2), (255, 0, 51))
    plain = Preprocessing(size=(2, 2), resize=None, mean=(0.0, 0.5, 0.0), std=(1.0, 0.5, 0.1))
    torch.testing.assert_close(plain(image), torch.tensor([1.0, -1.0, 2.0])[:, None, None].expand(3, 2, 2))
    turned = Preprocessing(**{**plain.data(), "channels": "bgr", "mean": (0, 0, 0), "std": (1, 1, 1)})
    torch.testing.assert_close(turned(image)[:, 0, 0], torch.tensor([0.2, 0.0, 1.0]))
    assert plain([image, image]).shape == (2, 3, 2, 2)
    small = Preprocessing(size=(6, 6), resize=None, mean=(0, 0, 0), std=(1, 1, 1))(image)
    assert small[0].count_nonzero() == 8  # the rest is black
    assert small[0, 2:4, 1:5].min() == 1


def test_what_stands_for_an_image(tmp_path: Path) -> None:
    take = Preprocessing(size=(4, 4), resize=(4, 4))
    image = images()[0]
    array = np.asarray(image)
    for same in (array, torch.from_numpy(array.copy()), array[:, ::-1][:, ::-1]):
        assert torch.equal(take(same), take(image))
    assert torch.equal(take(array[..., 0]), take(image.getchannel(0)))
    path = tmp_path / "image.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    image.save(path, exif=exif)
    assert torch.equal(take(path), take(image.transpose(Image.Transpose.ROTATE_270)))
    for mode in ("L", "P", "RGBA", "CMYK"):
        assert take(image.convert(mode)).shape == (3, 4, 4)
    with pytest.raises(ValueError, match=r"image must be an array .* got \(60, 80, 3\) of float32"):
        take(array.astype(np.float32))
    with pytest.raises(TypeError, match="got int"):
        take(3)
    with pytest.raises(ValueError, match="at least one"):
        take([])
    with pytest.raises(FileNotFoundError):
        take(tmp_path / "none.png")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mean": (0.5,)}, "mean must be 3 finite numbers"),
        ({"std": (1.0, 0.0, 1.0)}, "std must not be 0"),
        ({"std": (1.0, float("nan"), 1.0)}, "std must be 3 finite"),
        ({"interpolation": "cubic"}, "interpolation must be one of nearest, bilinear"),
        ({"channels": "grey"}, "mean must be 1 finite"),
        ({"channels": "hsv"}, "channels must be"),
        ({"crop": True}, "crop must be"),
        ({"size": (0, 4)}, "size"),
        ({"resize": (4, -4)}, "resize"),
    ],
)
def test_what_cannot_be_done_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocessing(**wrong)


def test_a_model_says_what_it_wants(tmp_path: Path) -> None:
    model = ViT(image_size=(16, 24), patch_size=8, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
    assert preprocess(model) == Preprocessing((16, 24), (18, 27))
    grey = ViT(image_size=16, patch_size=8, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8, channels=1)
    assert preprocess(grey)(images()[0]).shape == (1, 16, 16)
    grey(preprocess(grey)(images()[:2]))
    linear = LinearEmbed(8, 8, channels=1)
    plain = ViT(image_size=16, patch_size=8, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8, embed=linear)
    assert preprocess(plain).channels == "grey"
    own = Preprocessing((16, 24), (16, 24), keep_ratio=False, mean=(0.5,) * 3, std=(0.5,) * 3)
    model.preprocessing = own.data()
    model.save_pretrained(tmp_path)
    assert preprocess(ViT.from_pretrained(tmp_path)) == own
    model.preprocessing = {"scale": 2}
    with pytest.raises(ValueError, match=r"model\.preprocessing must have keys of"):
        preprocess(model)
    many = ViT(image_size=16, patch_size=8, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8, channels=4)
    with pytest.raises(ValueError, match="4 channels"):
        preprocess(many)
