"""FlexiViT: a ViT whose weights take patches of every size."""

from __future__ import annotations

import pytest
import torch
from einops import rearrange

from vitblocks import create_model
from vitblocks.checkpoint import export, load


@pytest.mark.parametrize("patch_size", [8, 24, (16, 20)])
def test_weights_take_patches_of_another_size(patch_size: int | tuple[int, int]) -> None:
    small = {"depth": 1, "dim": 16, "heads": 2, "mlp_dim": 16, "num_classes": 3}
    model = create_model("flexivit_small", **small)
    other = create_model("flexivit_small", patch_size=patch_size, **small)
    report = load(
        other, export(model, "timm"), layout="timm", adapt={"patch_size": "pseudo-inverse"}, resize=True, grid=(15, 15)
    )
    assert [line.partition(":")[0] for line in report.adapted] == ["embed.conv.weight"]
    assert other.eval()(torch.randn(1, 3, 240, 240)).shape == (1, 3)


def test_larger_patches_of_the_same_picture_give_the_same_tokens() -> None:
    small = {"depth": 1, "dim": 8, "heads": 2, "mlp_dim": 8, "num_classes": 0}
    model, other = (create_model("flexivit_small", patch_size=size, image_size=4 * size, **small) for size in (8, 16))
    load(other, export(model, "timm"), layout="timm", adapt={"patch_size": "pseudo-inverse"})
    patches = torch.randn(16, 3, 8, 8)
    larger = torch.nn.functional.interpolate(patches, size=(16, 16), mode="bicubic", antialias=True)
    pictures = (rearrange(each, "(h w) c y x -> 1 c (h y) (w x)", h=4) for each in (patches, larger))
    (one, _), (two, _) = (net.embed(picture) for net, picture in zip((model, other), pictures, strict=True))
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
