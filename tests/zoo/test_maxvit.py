"""MaxViT."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from tests.border import cases  # which lets timm import torchvision
from vitblocks import GridWindows, LayerNorm, LogSpacedBias, MaxViT
from vitblocks.attention import Windows
from vitblocks.checkpoint import export, load
from vitblocks.embed.same import SameAvgPool2d, SameConv2d
from vitblocks.norm import map_layer_norm
from vitblocks.zoo.maxvit import ConvNeXtBlock, MBConv

from .common import check_eager


def tiny(**options: Any) -> MaxViT:
    sizes = {"num_classes": 5, "dims": (8, 16), "depths": (1, 2), "stem_dims": (4, 8), "head_dim": 4, "window": 2}
    return MaxViT(**{**sizes, **options})


def test_does_what_every_model_does() -> None:
    """Compiled and exported it is by tests/transforms."""
    check_eager(tiny(dropout=0.1, head_hidden_dim=12, depths=(1, 1)), torch.randn(2, 3, 16, 24), classes=5)


def test_weights_of_stages_of_many_blocks_go_out_and_come_in() -> None:
    model, other = tiny(depths=(1, 4)), tiny(depths=(1, 4))
    theirs = export(model, "timm")
    assert {f"stages.1.blocks.{i}.conv.conv1_1x1.weight" for i in range(4)} <= theirs.keys()
    load(other, theirs, layout="timm")
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("partitions", [(Windows, GridWindows), (GridWindows,)], ids=["", "v2"])
def test_of_convnext_blocks_it_is_timms_maxxvit(partitions: Any) -> None:
    pytest.importorskip("timm")
    from timm.models.maxxvit import MaxxVit, MaxxVitCfg, _next_cfg

    options = _next_cfg(no_block_attn=len(partitions) == 1, rel_pos_type="bias")
    for part in ("transformer_cfg", "conv_cfg"):
        options[part] = replace(options[part], init_values=0.5)
    options["transformer_cfg"] = replace(options["transformer_cfg"], dim_head=4)
    sizes = {"embed_dim": (8, 16), "depths": (1, 2), "block_type": ("M", "M"), "stem_width": (4, 8)}
    theirs = cases.randomised(MaxxVit(MaxxVitCfg(**sizes, **options), img_size=64, num_classes=5).double())
    ours = tiny(
        stem_bias=False,
        padding="symmetric",
        conv_norm=map_layer_norm,
        conv_activation=nn.GELU,
        conv_block=partial(ConvNeXtBlock, layer_scale=0.5),
        activation=nn.GELU,
        norm=LayerNorm,
        layer_scale=0.5,
        partitions=partitions,
    ).double()
    load(ours, theirs.state_dict(), layout="timm")
    assert export(ours, "timm").keys() == theirs.state_dict().keys()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(ours.eval()(images), theirs(images), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_every_size_works(padding: Any) -> None:
    model = tiny(padding=padding, bias_factory=partial(LogSpacedBias, mlp_dim=8, span=None, limit=None)).eval()
    assert [grid for _, grid in model.forward_stages(torch.randn(1, 3, 33, 50))] == [(9, 13), (5, 7)]


def test_a_window_of_a_grid_holds_tokens_of_all_parts_of_the_map() -> None:
    places = torch.arange(24).reshape(1, 24, 1)
    windows = GridWindows((2, 3))
    assert windows.split(places, (4, 6))[0, :, :, 0].tolist()[0] == [0, 2, 4, 12, 14, 16]
    assert torch.equal(windows.join(windows.split(places, (4, 6)), (4, 6)), places)


@pytest.mark.parametrize(("side", "before"), [(6, 0), (7, 1)])
def test_same_padding_puts_the_odd_pixel_last(side: int, before: int) -> None:
    conv = SameConv2d(1, 1, 3, stride=2, bias=False)
    nn.init.constant_(conv.weight, 1.0)
    image = torch.zeros(1, 1, side, side)
    image[..., 2 - before, 2 - before] = 1.0
    given = conv(image)[0, 0]
    assert given.shape == (-(-side // 2),) * 2
    assert given[0, 0] == 1.0
    assert given.sum() == 4.0  # the third of the padded rows lies in two kernels


def test_same_pooling_averages_zeros_in() -> None:
    assert SameAvgPool2d(2)(torch.ones(1, 1, 3, 3))[0, 0].tolist() == [[1.0, 0.5], [0.5, 0.25]]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="stride"):
        MBConv(4, 4, 8, 2, stride=3)
    with pytest.raises(ValueError, match="keeps the channels"):
        MBConv(4, 8, 8, 2)
    with pytest.raises(ValueError, match="keeps the channels"):
        ConvNeXtBlock(4, 8)
    with pytest.raises(ValueError, match="multiple of in_channels=4, got 6"):
        ConvNeXtBlock(4, 6, stride=2)
    with pytest.raises(ValueError, match="heads of 4"):
        tiny(dims=(8, 18))
    with pytest.raises(ValueError, match="must have a block"):
        tiny(depths=(0, 1))
