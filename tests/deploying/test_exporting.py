"""The exports by themselves: what they refuse, and what the older ONNX exporter does not know by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.tiny import TINY
from vitblocks import RMSNorm, deploy
from vitblocks.deploying import to_onnx, to_program
from vitblocks.deploying.exporting import SpelledOut

SIZE = 16
SAMPLE = torch.zeros(2, 3, SIZE, SIZE)


def model() -> nn.Module:
    torch.manual_seed(0)
    return TINY["ViT"].build().eval()


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"model": None}, TypeError, "model must be a module"),
        ({"model": torch.compile(nn.Conv2d(3, 4, 1))}, TypeError, "give the module that was compiled, model._orig_mod"),
        ({"model": nn.Conv2d(3, 4, 1)}, ValueError, "model must be in evaluation mode"),
        ({"sample": None}, TypeError, "sample must be a tensor of floats"),
        ({"sample": SAMPLE[0]}, ValueError, r"sample must be \(batch, C, H, W\)"),
        ({"sample": SAMPLE[:0]}, ValueError, r"sample must be \(batch, C, H, W\)"),
        ({"path": "{folder}/none/model.onnx"}, FileNotFoundError, "there is no folder"),
        ({"names": "logits"}, ValueError, "names must be those of the outputs"),
        ({"names": ()}, ValueError, "names must be those of the outputs"),
        ({"names": ("a", "a")}, ValueError, "names must be those of the outputs"),
        ({"names": ("image",)}, ValueError, "none 'image'"),
    ],
)
def test_arguments_are_looked_at(change: dict[str, Any], error: type[Exception], said: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {"model": model(), "sample": SAMPLE, "path": "{folder}/model.onnx", **change}
    with pytest.raises(error, match=said):
        to_onnx(**{**given, "path": given["path"].format(folder=tmp_path)})
    if {*change} <= {"model", "sample"}:
        with pytest.raises(error, match=said):
            to_program(given["model"], given["sample"])
    assert not [*tmp_path.iterdir()]


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = RMSNorm(SIZE)
        nn.init.uniform_(self.norm.weight)

    def forward(self, image: Tensor) -> Tensor:
        return F.rms_norm(self.norm(image), (SIZE, SIZE))


def test_rms_norm_in_onnx(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    normed, image = Normed().eval(), torch.randn(3, 3, SIZE, SIZE)
    to_onnx(normed, SAMPLE, tmp_path / "model.onnx")
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": image.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), normed(image), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("eps", [None, 0.5])
def test_rms_norm_spelled_out(dtype: torch.dtype, eps: float | None) -> None:
    x, weight = torch.randn(2, 3, 4, dtype=dtype) / 100, torch.rand(3, 4, dtype=dtype)
    for options in ({}, {"weight": weight}):
        with SpelledOut():
            found = F.rms_norm(x, (3, 4), eps=eps, **options)
        torch.testing.assert_close(found, F.rms_norm(x, (3, 4), eps=eps, **options))


def test_weights_beside_the_file_are_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the exporter does beyond 2 GB: a deployed model is saved as one file."""
    pytest.importorskip("onnxruntime")

    def in_two(model: nn.Module, sample: Tensor, path: Path, **options: Any) -> None:
        for file in (path, path.with_suffix(".data")):
            file.write_bytes(b"weights")

    monkeypatch.setattr("vitblocks.deploying.onnxruntime.to_onnx", in_two)
    with pytest.raises(ValueError, match="more weights than the 2 GB that one ONNX file holds"):
        deploy(model(), SAMPLE, "onnxruntime")
