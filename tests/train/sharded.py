"""Two processes with a sharded model (FSDP2 on gloo): its state is that of a whole one, and goes back in its place."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from vitblocks.train import Recipe
from vitblocks.train.average import Average
from vitblocks.train.fitting import optimizer_of
from vitblocks.train.state import put_state, state_of
from vitblocks.train.tasks import Setting, task_of

from .worker import images, model


def trained(shard: bool, steps: int, start: dict[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    """What training keeps after some steps."""
    recipe = Recipe(batch=8)
    task = task_of(recipe, model(recipe), Setting(preprocessing=None, steps_per_epoch=6))
    if shard:
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        net: Any = task.model
        for _, block in net.blocks():
            fully_shard(block, mesh=mesh)
        fully_shard(task.module, mesh=mesh)
    optimizer = optimizer_of(recipe, task)
    average = Average(task.model, 0.5)
    if start is not None:
        put_state(task, optimizer, average, start)
    whole = images()
    for step in range(steps):
        pixels = whole.images[8 * step : 8 * step + 8, None].float() / 255
        target = torch.nn.functional.one_hot(torch.tensor(whole.labels[8 * step : 8 * step + 8]), 3).float()
        task.module(pixels, target).backward()
        optimizer.step()
        optimizer.zero_grad()
        average.update(step)
    return state_of(task, optimizer, average)


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    whole, sharded = trained(False, 3), trained(True, 3)
    assert whole.keys() == sharded.keys()
    for name, value in whole.items():
        assert type(sharded[name]) is torch.Tensor, name
        assert torch.allclose(value, sharded[name], atol=1e-5), name
    again = trained(True, 0, sharded)
    for name, value in sharded.items():
        assert torch.equal(value, again[name]), name
    assert any(name.startswith("optimizer.") for name in sharded)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
