"""Processes that are killed, run out of disk, or share a batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from vitblocks import load_model
from vitblocks.checkpoint.tensor_file import read_tensors

from .test_fit import OPTIONS, losses

pytest.importorskip("accelerate")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of Unix")]

RECIPE = {
    "epochs": 4,
    "batch": 8,
    "micro_batch": 4,
    "warmup_epochs": 1,
    "turn": 10.0,
    "mixup": 0.2,
    "drop_path": 0.2,
    "ema": 0.9,
}


def run(folder: Path, processes: int = 1, limit: int | None = None, **asked: Any) -> subprocess.CompletedProcess[str]:
    """The worker, in so many processes, writing files of at most ``limit`` bytes."""

    def small_files() -> None:
        import resource

        assert limit is not None
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m"]
    if processes > 1:
        command += ["torch.distributed.run", "--nproc-per-node", str(processes), "--standalone", "-m"]
    command += ["tests.train.worker", str(folder), json.dumps({"recipe": RECIPE, **asked})]
    first = None if limit is None else small_files
    return subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=first)


@pytest.mark.parametrize("objective", ["supervised", "mae", "simmim", "mpp", "dino", "distillation"])
def test_two_processes_are_as_one(objective: str, tmp_path: Path) -> None:
    """24 steps of a batch, shared by two processes: the losses are those of one process to 1e-5."""
    recipe = {**RECIPE, "objective": objective, "objective_options": OPTIONS[objective]}
    for processes in (1, 2):
        found = run(tmp_path / str(processes), processes, recipe=recipe)
        assert found.returncode == 0, found.stderr
    one, two = losses(tmp_path / "1"), losses(tmp_path / "2")
    assert len(one) == len(two) == 24
    assert [record["loss"] for record in two] == pytest.approx([record["loss"] for record in one], abs=1e-5)


@pytest.mark.parametrize("objective", ["supervised", "mae", "dino"])
def test_two_processes_with_a_shard_each_are_as_one(objective: str, tmp_path: Path) -> None:
    """FSDP2 by accelerate, block by block: the losses are those of one process to 1e-5, and what is kept is whole."""
    recipe = {**RECIPE, "objective": objective, "objective_options": OPTIONS[objective]}
    assert run(tmp_path / "one", recipe=recipe, save_every=4).returncode == 0
    killed = run(tmp_path / "two", 2, recipe=recipe, save_every=4, shard=True, kill=10)
    assert killed.returncode != 0
    assert len(losses(tmp_path / "two")) < 24
    again = run(tmp_path / "two", 2, recipe=recipe, save_every=4, shard=True, resume=True)
    assert again.returncode == 0, again.stderr
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == len(two) == 24
    for key in ("loss", "norm"):
        assert [record[key] for record in two] == pytest.approx([record[key] for record in one], abs=1e-4, rel=1e-5)
    assert [record["loss"] for record in two] == pytest.approx([record["loss"] for record in one], abs=1e-5)
    wholes = [
        read_tensors(tmp_path / name / "checkpoints" / "step-000000024.safetensors")[0] for name in ("one", "two")
    ]
    assert {name: value.shape for name, value in wholes[0].items()} == {name: v.shape for name, v in wholes[1].items()}
    models = [load_model(tmp_path / name / "model").state_dict() for name in ("one", "two")]
    assert models[0].keys() == models[1].keys()
    assert all(torch.allclose(value, models[1][name], atol=1e-4) for name, value in models[0].items())


def test_half_the_batch_each_is_as_the_whole_at_once(tmp_path: Path) -> None:
    """Where nothing is drawn for a micro-batch, one process need not go through it in halves."""
    recipe = {"epochs": 4, "batch": 8, "warmup_epochs": 1}
    for processes in (1, 2):
        assert run(tmp_path / str(processes), processes, recipe=recipe).returncode == 0
    one, two = ([record["loss"] for record in losses(tmp_path / name)] for name in "12")
    assert two == pytest.approx(one, abs=1e-5)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_killed_in_an_epoch_it_goes_on_exactly(how: str, processes: int, tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", processes, save_every=4)
    assert whole.returncode == 0, whole.stderr
    killed = run(tmp_path / "killed", processes, save_every=4, kill=10, how=how)
    assert killed.returncode != 0
    if how == "SIGTERM" and processes == 1:
        assert killed.returncode == 143
    assert len(losses(tmp_path / "killed")) < 24
    again = run(tmp_path / "killed", processes, save_every=4, resume=True, workers=1)
    assert again.returncode == 0, again.stderr
    assert losses(tmp_path / "whole") == losses(tmp_path / "killed")
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_full_disk_is_one_line(processes: int, tmp_path: Path) -> None:
    found = run(tmp_path, processes, limit=4096)  # to the writer a disk that takes no more looks the same
    assert found.returncode != 0
    assert "cannot save" in found.stdout
    assert "Traceback" not in found.stdout
    if processes == 1:
        assert found.stdout.count("\n") == 1
        assert found.returncode == 2
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_sharded_model_has_the_state_of_a_whole_one() -> None:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--standalone",
        "-m",
        "tests.train.sharded",
    ]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
