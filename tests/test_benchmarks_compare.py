"""What ``python -m benchmarks.compare`` counts, asks for and writes; no timing is asserted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("rich")
pytest.importorskip("matplotlib")

from benchmarks import compare, folding, measure
from benchmarks.compare_report import best_peers, picture, report
from benchmarks.pairing import compare as compare_ways, matmul_rate, operations, training_step
from benchmarks.peers import PEERS, Peer, require_same

CPU = torch.device("cpu")


def row(peer: str, ratio: float, **others: Any) -> dict[str, Any]:
    task = measure.Task(peer, "inference", 8, "float32", "eager")
    found = {"ours": 0.01, "theirs": 0.01 * ratio, "ratio": ratio, "low": ratio, "high": ratio, "pairs": 5}
    return {**vars(task), "threads": 2, **found, "share_ours": 0.5, "share_theirs": 0.4, **others}


def test_pairs_are_counted_and_ordered() -> None:
    calls: list[str] = []
    found = compare_ways(lambda: calls.append("a"), lambda: calls.append("b"), CPU, seconds=0.0, sample=1e-5)
    assert found.pairs == 5
    assert found.low <= found.ratio <= found.high
    assert {"a", "b"} == set(calls)


def test_operations_of_attention_are_counted() -> None:
    q = torch.randn(1, 2, 6, 4)
    assert operations(lambda: nn.functional.scaled_dot_product_attention(q, q, q)) == 2 * 2 * (2 * 6 * 6 * 4)
    assert matmul_rate(torch.float32, CPU, side=64) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_training_step_leaves_no_gradients(dtype: torch.dtype) -> None:
    class TwoHeads(nn.Linear):
        def forward(self, input: torch.Tensor) -> Any:
            return super().forward(input), super().forward(input)

    model = TwoHeads(4, 3)
    training_step(model, torch.randn(5, 4), torch.randint(3, (5,)), dtype)()
    assert model.weight.grad is None


def test_the_best_peer_counts() -> None:
    found = best_peers([("ViT-S/timm", 1.0), ("ViT-S/vit-pytorch", 4.0), ("CCT-14/7x2/vit-pytorch", 0.25)])
    assert found == {"ViT-S": (1.0, "ViT-S/timm"), "CCT-14/7x2": (0.25, "CCT-14/7x2/vit-pytorch")}


def test_report_and_picture(tmp_path: Path) -> None:
    peaks = [row("A/timm", 1, side=side, bytes=size) for side, size in (("ours", 3 << 20), ("theirs", 2 << 20))]
    text = report(
        [row("A/timm", 1.5), row("B/timm", 0.5), row("C/timm", 1, error="no such thing"), *peaks], {"torch": "x"}
    )
    assert "| inference, 8 images, float32, eager | 2 | 0.87 | B/timm 0.50 |" in text
    assert "| inference, 8 images, float32, eager | 1 | 1.50 | A/timm 1.50 |" in text
    assert "no such thing" in text
    assert "| A/timm | 3 | 2 | 1.50 |" in text
    text = report([row("A/timm", 1.5, mode="fast.optimize on theirs")], {"torch": "x"})
    assert "| model / peer | with, ms | without, ms | without / with |" in text
    picture([row("A/timm", 1.5)], tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 0


def test_tasks_are_those_asked_for() -> None:
    options = compare.asked(["--only", "cait-xxs24/timm", "--modes", "eager", "folded", "--dtypes", "float32"])
    tasks = list(compare.tasks(options))
    assert {task.peer for task in tasks} == {"CaiT-XXS24/timm"}
    assert not [task for task in tasks if task.phase == measure.TRAINING and task.mode == "folded"]
    assert {task.side for task in tasks} == {"", "ours", "theirs"}
    assert {task.batch for task in tasks if task.phase == measure.TRAINING} == {8}


def test_passes_are_modes_of_their_own() -> None:
    """Plain without being asked; with a pass both sides, and each against itself."""
    assert compare.asked([]).modes == ["eager", "folded"]
    options = compare.asked(["--fast", "recompute", "--modes", "eager"])
    assert options.modes == ["eager", "fast.recompute", "fast.recompute on ours", "fast.recompute on theirs"]
    assert compare.asked(["--fast"]).modes[2:] == measure.modes_of("optimize")
    assert {name for pass_ in measure.PASSES for name in measure.modes_of(pass_)} <= measure.MODES.keys()


def test_a_pass_is_made_on_the_side_that_the_mode_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def made() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.LayerNorm(48), nn.Linear(48, 1000))

    peer = Peer("x", "y", made, made, 4)
    monkeypatch.setattr(measure, "PEERS", [peer])
    for mode, changed in (("eager", [0, 0]), ("fast.recompute", [1, 1]), ("fast.recompute on theirs", [1, 0])):
        task = measure.Task("x/y", measure.TRAINING, 2, "float32", mode, seconds=0.0)
        ways = [measure.MODES[mode].ours, measure.MODES[mode].theirs]
        models, images = measure.ready(task, measure.sides(task), ways)
        assert [int(type(model[1]) is not nn.LayerNorm) for model in models] == changed
        assert images.shape == (2, 3, 4, 4)
    assert measure.timed(task)["pairs"] == 5


@pytest.mark.slow
def test_a_failure_is_a_row() -> None:
    found = compare.run(measure.Task("no such peer", "inference", 1, "float32", "eager"), threads=1)
    assert "StopIteration" in found["error"]


def test_rows_of_another_machine_are_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "compare.json"
    assert compare.kept(path, {}) == []
    path.write_text(
        json.dumps({"machine": {"processor": "a", "threads": 2, "vitblocks": "1"}, "rows": [{"peer": "x"}]})
    )
    assert compare.kept(path, {"processor": "a", "threads": 1, "vitblocks": "2"}) == [{"peer": "x"}]
    assert compare.kept(path, {"processor": "b", "threads": 2, "vitblocks": "1"}) == []


def test_every_peer_has_a_name_of_its_own() -> None:
    assert len({peer.name for peer in PEERS}) == len(PEERS)


def test_other_logits_are_refused() -> None:
    peer = Peer("x", "y", nn.Module, nn.Module, 4)
    ours, theirs = (nn.Sequential(nn.Flatten(), nn.Linear(48, 2)) for _ in range(2))
    with pytest.raises(RuntimeError, match="x/y: the logits differ"):
        require_same(ours, theirs, peer)
    require_same(ours, ours, peer)


def test_the_report_goes_after_the_mark(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{compare.MARK}\nold\n")
    compare.put_into(page, "new")
    assert page.read_text() == f"# Title\n\n{compare.MARK}\n\nnew\n"
    page.write_text("# Title\n")
    with pytest.raises(ValueError, match="page must hold"):
        compare.put_into(page, "new")


def test_folding_prints_a_row_for_each_model(capsys: pytest.CaptureFixture[str]) -> None:
    folding.main(["--variants", "cct_2_3x2_32", "--batches", "1", "--seconds", "0"])
    assert "| `cct_2_3x2_32` | " in capsys.readouterr().out
