"""``python -m benchmarks.gpu`` on a CPU: what it counts, the order of its work, and what it writes; no timing is asserted."""

from __future__ import annotations

import json
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks import gpu, gpu_models, peers
from benchmarks.attention_kernels import attention_kernels, taken
from benchmarks.gpu_measure import EAGER, INFERENCE, Setting
from benchmarks.gpu_models import Subject
from benchmarks.gpu_report import Results, page

from .zoo.tiny import TINY


def subject(name: str, theirs: Any = None) -> Subject:
    build, size = TINY[name]
    return Subject(name, build, theirs or build, size)


def run(output: Path, *subjects: Subject, minutes: float = 5.0) -> dict[str, Any]:
    options = gpu.asked(["--device", "cpu", "--minutes", str(minutes), "--output", str(output)])
    gpu.Run(options, subjects, ["no such model"]).all()
    found: dict[str, Any] = json.loads((output / "gpu.json").read_text())
    return found


def eager_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling takes a minute and passes measure the machine, so no time is left for them."""
    for mode in ("passes", "compiled"):
        monkeypatch.setitem(gpu.FIRST_GUESS, mode, 1e9)


@pytest.mark.slow
def test_rows_come_in_the_order_of_what_they_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eager_alone(monkeypatch)
    found = run(tmp_path, subject("ViT"), subject("LeViT"))
    assert [(row["model"], row["phase"], row["batch"]) for row in found["rows"]] == [
        (name, phase, batch)
        for phase, batch in (("inference", 2), ("inference", 1), ("training", 2))
        for name in ("ViT", "LeViT")
    ]
    assert all(row["images_ours"] > 0 and row["share_ours"] > 0 and row["pairs"] >= 5 for row in found["rows"])
    assert [row["device_error"] for row in found["agreement"]] == [0.0, 0.0]
    assert all(0 < row["half_error"] < 0.1 for row in found["agreement"])
    assert found["not_measured"][0] == "ViT: inference, 2 images, passes"
    assert found["not_measured"][-1] == "LeViT: training, 2 images, compiled"
    assert len(found["not_measured"]) == 10
    text = (tmp_path / "gpu.md").read_text()
    assert "- no such model" in text
    assert "## training, 2 images, eager" in text


@pytest.mark.slow
def test_compiled_rows(tmp_path: Path) -> None:
    found = run(tmp_path, subject("ViT"))
    assert [row["mode"] for row in found["rows"]] == ["eager"] * 3 + ["passes"] * 2 + ["compiled"] * 3
    assert not any("error" in row for row in found["rows"])


@pytest.mark.slow
def test_a_failure_is_a_row_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eager_alone(monkeypatch)

    class Broken(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            raise ValueError("no|good")

    found = run(tmp_path, subject("ViT", lambda: Broken(1, 1)), subject("CaiT"))
    assert {row["model"]: "error" in row for row in found["rows"]} == {"ViT": True, "CaiT": False}
    assert "RuntimeError: theirs: no/good" in (tmp_path / "gpu.md").read_text()


def test_time_that_is_up_ends_the_work_and_writes(tmp_path: Path) -> None:
    found = run(tmp_path, subject("ViT"), minutes=1e-6)
    assert found["rows"] == []
    assert len(found["not_measured"]) == 8


def test_a_row_is_taken_to_need_what_the_longest_did() -> None:
    clock, setting = gpu.Clock(100.0), Setting(INFERENCE, 1, EAGER)
    assert clock.allows(setting)
    with clock.of(setting):
        pass
    assert clock.longest[setting] < 50
    clock.longest[setting] = 200.0
    assert not clock.allows(setting)


def test_attention_kernels_are_told_apart() -> None:
    q = torch.randn(1, 2, 8, 8)

    def slow() -> None:
        with sdpa_kernel(SDPBackend.MATH):
            F.scaled_dot_product_attention(q, q, q)

    assert attention_kernels(lambda: F.scaled_dot_product_attention(q, q, q)).calls == {"flash": 1}
    assert attention_kernels(slow).calls == {"math": 1}
    assert attention_kernels(lambda: (q @ q.mT).softmax(-1) @ q).calls == {"plain": 1}
    assert str(attention_kernels(lambda: q @ q)) == "none seen"


def test_a_compiled_softmax_is_plain_attention() -> None:
    kernels = Counter(
        {"triton_per_fused__softmax_add_3": 12, "triton_per_fused__softmax_backward_data_4": 12, "gemm": 9}
    )
    found = taken(Counter(), kernels)
    assert found.calls == {"plain": 12}
    assert found.slow == 12
    assert "gemm" not in found.kernels


def test_replayed_calls_are_told_by_their_kernels() -> None:
    kernels = Counter(
        {"cudnn_generated_fort_native_sdpa_sm90_flash_fprop": 2, "softmax_warp_forward<bfloat16>": 24, "gemm": 9}
    )
    found = taken(Counter({"cudaGraphLaunch": 1}), kernels)
    assert found.calls == {"cudnn": 2, "plain": 24}
    assert found.slow == 24


def test_what_leaves_the_fused_kernels_is_said() -> None:
    row: dict[str, Any] = {"phase": "inference", "batch": 1, "mode": "eager"}
    sides = {f"{key}_{side}": 1 for key in ("images", "share", "peak") for side in ("ours", "theirs")}
    rest = {**row, **sides, "ratio": 1.0, "low": 1.0, "high": 1.0, "attention_theirs": {"math": 2}, "slow_theirs": 2}
    rows = [
        {"model": "A", **row, "error": "x"},
        {"model": "B", **rest, "attention_ours": {"math": 2}, "slow_ours": 2},
        {"model": "C", **rest, "attention_ours": {"flash": 2}, "slow_ours": 0},
        {"model": "D", **rest, "attention_ours": {}, "slow_ours": 0},
    ]
    _, said = page(Results({}, rows=rows)).split("## Ours off the fused kernels")
    assert said.strip().split("\n") == [
        "- B, inference, 1 image, eager: math 2",
        "- D, inference, 1 image, eager: none seen",
    ]


def test_models_are_chosen_by_how_their_names_begin() -> None:
    subjects, missing = gpu_models.choose(["levit", "vit-"])
    assert [chosen.name for chosen in subjects] == ["ViT-S", "ViT-B", "LeViT-256"]
    assert missing == []
    with pytest.raises(SystemExit):
        gpu.asked(["--device", "cpu", "--only", "no such"])


def test_a_model_that_ours_lacks_is_missing() -> None:
    assert gpu_models.Wanted("X", "x", ["no_such_variant*"]).subject() is None


@pytest.mark.skipif(not find_spec("timm"), reason="needs timm")
def test_torchvision_imports() -> None:
    peers.allow_torchvision()
    peers.allow_torchvision()
    assert len(peers._LIBRARIES) <= 1


def test_a_torchvision_that_imports_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_LIBRARIES", [])
    monkeypatch.setattr(peers, "import_module", lambda name: None)
    peers.allow_torchvision()
    assert peers._LIBRARIES == []
