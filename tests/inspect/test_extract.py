"""extract: tokens by name, their grid, prefix and stride, and the heads that are built on them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitblocks import Block, CrossViT, GlobalAttention, Model, Stage, extract

from ..zoo.tiny import TINY
from .test_record import Failing, image, no_hooks


@pytest.mark.parametrize("name", [name for name in TINY if name != "CrossViT"])
def test_stages_of_every_model_are_its_own(name: str) -> None:
    """The same tokens, grids, maps and strides that the model itself gives of its stages, and its final tokens."""
    build, size = TINY[name]
    model, x = build().eval(), image(size)
    assert isinstance(model, Model)
    with extract(model, [Stage, "embed", "norm"]) as tokens:
        model(x)
    assert list(tokens) == ["embed", *(f"stages.{i}" for i in range(len(model.stages))), "norm"]
    for i, (y, grid) in enumerate(model.forward_stages(x)):
        record = tokens[f"stages.{i}"]
        torch.testing.assert_close(record.x, y)
        assert record.grid == grid
        assert record.stride == (model.strides[i] if len(grid) == 2 else None)
        torch.testing.assert_close(torch.cat([record.prefix, record.patches], dim=1), y)
    final, grid = model.encode(x)
    torch.testing.assert_close(tokens["norm"].x, final)
    assert tokens["norm"].grid == grid
    if len(grid) == 2:
        for record, feature in zip(list(tokens.values())[1:-1], model.feature_maps(x), strict=True):
            torch.testing.assert_close(record.map, feature.map)
    else:
        with pytest.raises(ValueError, match="tokens were dropped"):
            _ = tokens["norm"].map
    assert no_hooks(model)


def test_both_towers_are_told_apart() -> None:
    build, size = TINY["CrossViT"]
    model, x = build().eval(), image(size)
    assert isinstance(model, CrossViT)
    with extract(model, ["norms.*", "stages.0.towers.?", "embeds.*"]) as tokens:
        model(x)
    (small, small_grid), (large, large_grid) = model.encode(x)
    torch.testing.assert_close(tokens["norms.0"].x, small)
    torch.testing.assert_close(tokens["norms.1"].x, large)
    assert [tokens[f"norms.{i}"].grid for i in (0, 1)] == [small_grid, large_grid]
    assert [tokens[f"stages.0.towers.{i}"].map.shape for i in (0, 1)] == [(2, 8, 4, 4), (2, 16, 2, 2)]
    assert [tokens[f"stages.0.towers.{i}"].stride for i in (0, 1)] == [(4, 4), (8, 8)]
    assert tokens["embeds.1"].prefix.shape == (2, 0, 16)


def test_inner_tokens_have_the_grid_around_them() -> None:
    model, x = TINY["ViT"].build().eval(), image()
    inside = ["norm1", "attn", "mlp.fc1", "mlp"]
    with extract(model, [f"stages.0.layers.3.{name}" for name in inside] + ["stages.0.layers.0"]) as tokens:
        model(x)
    for record in tokens.values():
        assert record.grid == (4, 4)
        assert record.prefix.shape[1] == 1
    assert tokens["stages.0.layers.3.mlp.fc1"].map.shape == (2, 16, 4, 4)


def test_parts_of_the_tokens_have_no_grid() -> None:
    build, size = TINY["CaiT"]
    model = build().eval()
    with extract(model, ["stages.0.layers.5.norm2", "stages.0.layers.5.norm1"]) as tokens:
        model(image(size))
    part = tokens["stages.0.layers.5.norm2"]
    assert part.x.shape == (2, 1, 8)
    assert part.grid is None
    with pytest.raises(ValueError, match="part of the tokens"):
        _ = part.prefix
    assert tokens["stages.0.layers.5.norm1"].prefix.shape == (2, 1, 8)


def test_a_coarser_grid_inside_a_layer_is_not_taken_for_the_layers() -> None:
    build, size = TINY["TwinsPCPVT"]
    model = build().eval()
    with extract(model, "stages.0.layers.0.attn.norm") as tokens:
        model(image(size))
    assert tokens["stages.0.layers.0.attn.norm"].grid is None


def test_calls_of_parts_and_repeated_calls_are_numbered() -> None:
    build, size = TINY["RegionViT"]
    model = build().eval()
    with extract(model, "stages.1.layers.0.attn") as tokens:
        model.encode(image(size))
    assert list(tokens) == ["stages.1.layers.0.attn", "stages.1.layers.0.attn:1"]
    assert [record.grid for record in tokens.values()] == [(0, 0), (4, 4)]
    assert tokens["stages.1.layers.0.attn:1"].stride is None or tokens["stages.1.layers.0.attn:1"].stride == (8, 8)


def test_rectangles_and_sub_grids() -> None:
    build, _ = TINY["MobileViT"]
    model = build().eval()
    inner = "stages.2.layers.0.inner.layer.layers.0"
    with extract(model, ["stages.2", inner]) as tokens:
        model(torch.randn(2, 3, 32, 64))
    assert tokens["stages.2"].map.shape == (2, 8, 4, 8)
    assert tokens["stages.2"].stride == (8, 8)
    assert tokens[inner].map.shape == (2 * 4, 8, 2, 4)
    assert tokens[inner].stride is None


def test_modules_by_pattern_class_and_themselves() -> None:
    model = TINY["ViT"].build().eval()
    block = model.stages[0].layers[-1]
    for layers in ("stages.0.layers.4", block, [block], ["stages.0.layers.[4]"]):
        with extract(model, layers) as tokens:
            model(image())
        assert list(tokens) == ["stages.0.layers.4"]
    with extract(model, [Block, GlobalAttention]) as tokens:
        model(image())
    assert list(tokens) == [f"stages.0.layers.{i}{rest}" for i in (3, 4) for rest in (".attn", "")]


@pytest.mark.parametrize("layers", ["stages.1", nn.Conv3d, nn.Linear(2, 2), ["embed", "neck"], []])
def test_layers_that_are_not_there_are_refused(layers: Any) -> None:
    with pytest.raises(ValueError, match="layers must name"), extract(TINY["ViT"].build(), layers):
        pass


def test_what_is_not_tokens_is_refused() -> None:
    model = TINY["ViT"].build().eval()
    for name in ("head", "stages.0.layers.3.attn.attend"):
        with pytest.raises(ValueError, match="gave shape"), extract(model, name):
            model(image())
    assert no_hooks(model)


def test_modules_that_are_not_called_are_an_error() -> None:
    model = TINY["ViT"].build().eval()
    with pytest.raises(RuntimeError, match=r"\['norm'\]"), extract(model, ["embed", "norm"]):
        model.embed(image())
    assert no_hooks(model)


def test_an_exception_leaves_nothing() -> None:
    model = TINY["ViT"].build().eval()
    model.stages[0].layers[-1].mlp = Failing()
    with pytest.raises(KeyError), extract(model, "embed") as tokens:
        model(image())
    assert not tokens
    assert no_hooks(model)


def test_gradients_flow_unless_detached() -> None:
    model, x = TINY["ViT"].build().eval(), image().requires_grad_()
    with extract(model, "stages.0") as tokens:
        model(x)
    assert torch.autograd.grad(tokens["stages.0"].map.square().sum(), x)[0].abs().sum() > 0
    with extract(model, "stages.0", detach=True, device="meta") as tokens:
        assert model(x).requires_grad
    assert not tokens["stages.0"].x.requires_grad
    assert tokens["stages.0"].x.device.type == "meta"


def test_recomputed_and_compiled_models_give_the_same_tokens() -> None:
    model, x = TINY["ViT"].build().eval(), image()
    layers = [Block, "stages.0.layers.*.norm1"]
    with extract(model, layers) as expected:
        model(x)
    recomputing = copy.deepcopy(model).gradient_checkpointing()
    for other in (recomputing, torch.compile(copy.deepcopy(model), backend="aot_eager")):
        with extract(other, layers) as tokens:
            other(x).square().sum().backward()
        assert list(tokens) == list(expected)
        for name, record in tokens.items():
            torch.testing.assert_close(record.x, expected[name].x)
            assert record.grid == (4, 4)


class PyramidNetwork(nn.Module):
    """A small feature pyramid (arXiv:1612.03144): every map at one width, each with the coarser ones added."""

    def __init__(self, backbone: nn.Module, layers: list[str], dims: list[int], dim: int) -> None:
        super().__init__()
        self.backbone, self.layers = backbone, layers
        self.lateral = nn.ModuleList(nn.Conv2d(width, dim, 1) for width in dims)

    def forward(self, x: Tensor) -> dict[tuple[int, int], Tensor]:
        with extract(self.backbone, self.layers) as tokens:
            self.backbone(x)
        records = [tokens[name] for name in self.layers]
        maps = [conv(record.map) for conv, record in zip(self.lateral, records, strict=True)]
        for i in reversed(range(len(maps) - 1)):
            maps[i] = maps[i] + F.interpolate(maps[i + 1], size=maps[i].shape[2:])
        return {record.stride: level for record, level in zip(records, maps, strict=True) if record.stride is not None}


@pytest.mark.parametrize("name", ["CrossFormer", "Swin", "TwinsPCPVT", "TwinsSVT", "MobileViT", "RegionViT", "CvT"])
def test_a_pyramid_network_on_every_pyramid(name: str) -> None:
    """Maps as NCHW, finest first, each as much smaller than the image as its stride says; gradients reach the embedder."""
    build, size = TINY[name]
    backbone = build().eval()
    layers = [f"stages.{i}" for i in range(len(backbone.stages))]
    x = torch.randn(2, 3, size, 2 * size)
    dims = [feature.map.shape[1] for feature in backbone.feature_maps(x)]
    levels = PyramidNetwork(backbone, layers, dims, 6)(x)
    assert len(levels) == len(layers)
    for (down, right), level in levels.items():
        assert level.shape == (2, 6, size // down, 2 * size // right)
    sum(level.square().sum() for level in levels.values()).backward()
    assert all(p.grad is not None for p in backbone.embed.parameters())


@pytest.mark.parametrize("name", ["ViT", "DeepViT", "CaiT", "PiT", "LocalViT"])
def test_a_linear_segmentation_head(name: str) -> None:
    """A class for every pixel, from the patches of the last block, at the size of the image."""
    build, size = TINY[name]
    model, x = build().eval(), image(size)
    last = f"stages.{len(model.stages) - 1}"
    with extract(model, last) as tokens:
        model(x)
    record = tokens[last]
    scores = nn.Conv2d(record.x.shape[2], 7, 1)(record.map)
    assert record.stride is not None
    assert scores.shape[2:] == record.grid
    assert F.interpolate(scores, size=x.shape[2:], mode="bilinear").shape == (2, 7, size, size)
