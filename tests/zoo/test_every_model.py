"""What every class of the zoo takes: other channels, features instead of logits, rectangles, half precision, drop path."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from vitblocks import DropPath, zoo
from vitblocks.registry import ZOO

from .tiny import TINY

ADAPTED = {"DistillableEfficientViT", "EfficientViT"}
"""Their blocks are not ours: drop path is the business of the transformer that is brought."""

DEEPER: dict[str, dict[str, Any]] = {"CrossViT": {"depth": 2}, "CvT": {"s3_depth": 2}}
"""Their rates rise from 0 at the first block, which is the only one of the tiny configuration (of a stage, for CvT)."""

CHANNELS = {"MobileViT": "image_channels"}
"""Where ``channels`` means something else in the document."""


def test_every_class_has_a_tiny_configuration() -> None:
    classes = {name for name in zoo.__all__ if isinstance(getattr(zoo, name), type)}
    wrappers = {name for name in classes if not issubclass(getattr(zoo, name), (zoo.CrossViT, zoo.ViT.__mro__[1]))}
    assert classes - wrappers - {"CompactTransformer"} == set(TINY)
    assert ZOO


@pytest.mark.parametrize("name", sorted(TINY))
def test_other_channels_and_features(name: str) -> None:
    build, size = TINY[name]
    model = build(**{CHANNELS.get(name, "channels"): 5, "num_classes": 0}).eval()
    image = torch.randn(2, 5, size, size)
    features = model(image)
    assert features.shape[0] == 2
    assert features.shape[-1] > 5
    assert not any(isinstance(module, nn.Linear) and module.out_features == 5 for module in model.modules())


@pytest.mark.parametrize("name", sorted(TINY))
def test_rectangles(name: str) -> None:
    build, size = TINY[name]
    model = build().eval()
    for shape in ((size, 2 * size), (2 * size, size)):
        assert model(torch.randn(1, 3, *shape)).isfinite().all()


ANY_SIZE = {
    "CCT",
    "CrossFormer",
    "CvT",
    "DistillablePiT",
    "DistillableT2TViT",
    "Hiera",
    "LeViT",
    "MaxViT",
    "MobileViT",
    "PiT",
    "RegionViT",
    "Swin",
    "SwinV2",
    "T2TViT",
    "TwinsPCPVT",
    "TwinsSVT",
    "XCiT",
}
"""Their patches overlap or are few pixels wide, and whatever does not fit is padded or left out as in the published code. The published
code of all others takes images that divide into patches alone."""


@pytest.mark.parametrize("name", sorted(TINY))
def test_sizes_of_detection(name: str) -> None:
    model = TINY[name].build().to("meta").eval()
    if name in ANY_SIZE:
        assert model(torch.empty(1, 3, 800, 1333, device="meta")).shape == (1, 5)
    else:
        with pytest.raises(ValueError, match=r"\(800, 1332\) or \(800, 1336\) would"):
            model(torch.empty(1, 3, 800, 1333, device="meta"))
        assert model(torch.empty(1, 3, 800, 1336, device="meta")).shape == (1, 5)


@pytest.mark.parametrize("name", sorted(TINY))
def test_float16_stays_close(name: str) -> None:
    """Epsilons must not vanish, and nothing may overflow: within a few thousandths of float32."""
    build, size = TINY[name]
    model, image = build().eval(), torch.randn(2, 3, size, size)
    with torch.no_grad():
        expected = model(image)
        actual = model.half()(image.half())
    assert actual.dtype == torch.float16
    assert (actual.float() - expected).abs().max() <= 0.05 * expected.abs().max()


@pytest.mark.parametrize("name", sorted(TINY.keys() - ADAPTED))
def test_drop_path_reaches_the_blocks(name: str) -> None:
    option = "layer_dropout" if name == "CaiT" else "drop_path"
    model = TINY[name].build(**{option: 0.25, **DEEPER.get(name, {})})
    rates = [module.rate for module in model.modules() if isinstance(module, DropPath)]
    assert max(rates) == pytest.approx(0.25)


@pytest.mark.parametrize("name", sorted(TINY))
def test_unknown_options_are_refused(name: str) -> None:
    options: dict[str, Any] = {"colour": "blue"}
    with pytest.raises(TypeError, match="colour"):
        TINY[name].build(**options)
