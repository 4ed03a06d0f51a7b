"""SimMIM's files of a Swin, as the authors' code names them: into the objective and out of it, and into a Swin alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from vitblocks import SimMIM, Swin
from vitblocks.checkpoint import export, load

from ..checkpoint.common import same


def swin(num_classes: int = 0) -> Swin:
    return Swin(
        image_size=32,
        patch_size=4,
        num_classes=num_classes,
        dim=8,
        depths=(2, 2),
        heads=(2, 2),
        window=4,
        padding="timm",
    )


def named_by_the_authors(key: str) -> str:
    """timm merges patches where a stage begins, the authors where the one before it ends."""
    found = re.fullmatch(r"layers\.(\d+)\.downsample\.(.+)", key)
    key = f"layers.{int(found[1]) - 1}.downsample.{found[2]}" if found else key
    return key.replace("head.fc.", "head.")


def index(window: int) -> Tensor:
    """The buffer of their WindowAttention, computed as they do."""
    places = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
    offsets = (places[:, :, None] - places[:, None, :]).permute(1, 2, 0) + window - 1
    return offsets[..., 0] * (2 * window - 1) + offsets[..., 1]


def file_of(task: SimMIM, net: Swin) -> dict[str, Any]:
    names = {f"encoder.{named_by_the_authors(key)}": value for key, value in export(net, "timm").items()}
    for s in range(2):
        for b in range(2):
            names[f"encoder.layers.{s}.blocks.{b}.attn.relative_position_index"] = index(4)
    names["encoder.layers.0.blocks.1.attn_mask"] = torch.zeros(4, 16, 16)
    decoder = rearrange(task.decoder.weight, "(rows columns c) dim -> (c rows columns) dim 1 1", rows=8, columns=8)
    bias = rearrange(task.decoder.bias, "(rows columns c) -> (c rows columns)", rows=8, columns=8)
    own = {"encoder.mask_token": task.mask_token, "decoder.0.weight": decoder, "decoder.0.bias": bias}
    model = {key: value.detach().clone() for key, value in (names | own).items()}
    return {"model": model, "optimizer": {"state": {}}, "epoch": 99}


@pytest.fixture(scope="module")
def made() -> tuple[SimMIM, Swin]:
    net = swin()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return SimMIM(net), net


def test_a_file_goes_in_and_out(made: tuple[SimMIM, Swin], tmp_path: Path) -> None:
    task, net = made
    torch.save(file_of(task, net), tmp_path / "simmim.pth")
    fresh = SimMIM(swin())
    load(fresh, tmp_path / "simmim.pth")
    assert same(fresh, task)
    written, wanted = export(fresh, "official"), file_of(task, net)["model"]
    assert written.keys() == wanted.keys() - {"encoder.layers.0.blocks.1.attn_mask"}
    assert all(torch.equal(value, wanted[key]) for key, value in written.items())


def test_the_decoder_is_theirs(made: tuple[SimMIM, Swin]) -> None:
    task, net = made
    images, mask = torch.rand(2, 3, 32, 32), torch.zeros(2, 2, 2, dtype=torch.bool)
    state = file_of(task, net)["model"]
    tokens, grid = net.eval().encode(images)
    z = rearrange(tokens, "b (h w) c -> b c h w", h=grid[0])
    theirs = F.pixel_shuffle(F.conv2d(z, state["decoder.0.weight"], state["decoder.0.bias"]), 8)
    torch.testing.assert_close(task.eval().predict(images, mask), theirs)


def test_a_swin_alone_takes_the_encoder(made: tuple[SimMIM, Swin]) -> None:
    task, net = made
    alone = swin(num_classes=5)
    report = load(alone, file_of(task, net), layout="official", strict=False)
    assert {key for entry in report.missing for key in entry.ours} == {"head.weight", "head.bias"}
    assert set(report.unexpected) == {"mask_token", "decoder.0.weight", "decoder.0.bias"}
    assert torch.equal(alone.norm.weight, net.norm.weight)


def test_the_authors_own_swin(made: tuple[SimMIM, Swin]) -> None:
    net = swin(num_classes=5)
    state = {named_by_the_authors(key): value for key, value in export(net, "timm").items()}
    state |= {f"layers.{s}.blocks.{b}.attn.relative_position_index": index(4) for s in range(2) for b in range(2)}
    fresh = swin(num_classes=5)
    load(fresh, {"model": state})
    assert same(fresh, net)
    written = export(fresh, "official")
    assert written.keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in written.items())
