"""A run of its own process: ``python -m tests.train.worker FOLDER '{"recipe": {...}}'``, for tests that kill it or start several."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vitblocks import DistillableViT, ViT
from vitblocks.train import NotFinite, Recipe, Stopped, fit
from vitblocks.train.data import Labelled

SIZES = {
    "image_size": 8,
    "patch_size": 4,
    "num_classes": 3,
    "dim": 16,
    "depth": 2,
    "heads": 2,
    "mlp_dim": 16,
    "channels": 1,
}


def images(count: int = 48) -> Labelled:
    """Noise around a pattern for each of three classes."""
    draw = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % 3
    patterns = torch.rand(3, 8, 8, generator=draw)
    pixels = 0.6 * patterns[labels] + 0.4 * torch.rand(count, 8, 8, generator=draw)
    return Labelled((pixels * 255).to(torch.uint8), labels)


def model(recipe: Recipe, **changes: Any) -> ViT:
    torch.manual_seed(recipe.seed)
    kind = DistillableViT if recipe.objective == "distillation" else ViT
    return kind(**{**SIZES, **changes})


class KillAt:
    """Ends the process as ``kill -9`` does, after a step; or asks it to stop."""

    def __init__(self, step: int, how: int) -> None:
        self.at, self.how = step, how

    def start(self, steps: int, steps_per_epoch: int, done: int) -> None: ...

    def stop(self) -> None: ...

    def step(self, record: Mapping[str, Any]) -> None:
        if record["step"] == self.at:
            os.kill(os.getpid(), self.how)


def shard() -> None:
    """Have accelerate shard the model (FSDP2): it does so by itself where processes have GPUs, of processes on a CPU it makes copies."""
    from accelerate import Accelerator, DistributedType, FullyShardedDataParallelPlugin, PartialState

    state = Accelerator(cpu=True).state
    PartialState().distributed_type = state.distributed_type = DistributedType.FSDP
    state.fsdp_plugin = FullyShardedDataParallelPlugin(fsdp_version=2, auto_wrap_policy="transformer_based_wrap")


def main(folder: str, text: str) -> int:
    asked = json.loads(text)
    torch.set_num_threads(1)
    recipe = Recipe.of(asked["recipe"])
    if asked.get("shard"):
        shard()
    watchers = [KillAt(asked["kill"], getattr(signal, asked.get("how", "SIGKILL")))] if "kill" in asked else []
    try:
        fit(
            model(recipe),
            (images(), images(12)),
            recipe,
            folder=Path(folder),
            teacher=model(Recipe(seed=9)) if recipe.objective == "distillation" else None,
            resume=asked.get("resume", False),
            save_every=asked.get("save_every"),
            workers=asked.get("workers", 0),
            watchers=watchers,
        )
    except Stopped as stopped:
        print(stopped)
        return 128 + stopped.signal
    except (NotFinite, OSError, ValueError) as error:
        print(error)
        return 2
    return 0


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    raise SystemExit(code)
