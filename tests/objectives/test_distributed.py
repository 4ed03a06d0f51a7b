"""Every objective in two processes: the gradients of one process on the joined batch, whole, accumulated, and sharded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map

from tests.zoo.tiny import TINY
from vitblocks import MAE, MPP, Dino, DistillWrapper, SimMIM

PROCESSES = 2
BATCH = 8

Arguments = dict[str, Any]


class Case(NamedTuple):
    """An objective, what it is called with (tensors of ``BATCH`` rows), and the error allowed, of a tensor's largest value."""

    build: Callable[[], Any]
    arguments: Callable[[Any], Arguments]
    tolerance: float = 1e-9


def images(size: int = 16) -> Tensor:
    return torch.rand(BATCH, 3, size, size, dtype=torch.float64)


def dino() -> Dino:
    return Dino(
        TINY["ViT"].build(),
        image_size=16,
        projection_hidden_size=16,
        projection_bottleneck_size=8,
        num_classes_K=12,
        moving_average_decay=0.5,
        freeze_epochs=0,
    )


def distiller() -> DistillWrapper:
    return DistillWrapper(TINY["DistillableViT"].build(), TINY["ViT"].build())


def noise(places: int) -> Tensor:
    return torch.rand(BATCH, places, dtype=torch.float64)


# What is random is drawn for the joined batch, and given.
CASES: dict[str, Case] = {
    "dino": Case(dino, lambda objective: {"images": [images(), images(), images(8), images(8)]}),
    "distillation": Case(distiller, lambda objective: {"images": images(), "labels": torch.randint(5, (BATCH,))}),
    "mae": Case(
        lambda: MAE(TINY["ViT"].build(), decoder_dim=8, decoder_depth=1, decoder_heads=2),
        lambda objective: {"images": images(), "noise": noise(16)},
    ),
    "simmim": Case(
        lambda: SimMIM(TINY["ViT"].build(), mask_patch_size=8),
        lambda objective: {"images": images(), "mask": noise(4).argsort(dim=1) < 2},
        tolerance=1e-7,  # it adds 1e-5 to the number of masked pixels, of half as many images in each process
    ),
    "mpp": Case(
        lambda: MPP(TINY["ViT"].build(), output_channel_bits=1),
        lambda objective: {"images": (x := images()), "corruption": objective.corruption(x)},
    ),
}
WAYS = ("whole", "accumulated", "sharded")


def prepare(case: Case) -> tuple[Any, Arguments]:
    """The same weights and batch in every process."""
    torch.manual_seed(1)
    objective = case.build().double().train()
    return objective, case.arguments(objective)


def rows(arguments: Arguments, part: int, parts: int) -> Arguments:
    """One of so many equal parts of every tensor."""
    return tree_map(lambda x: x.chunk(parts)[part], arguments)


def full(x: Tensor) -> Tensor:
    return (x.full_tensor() if isinstance(x, DTensor) else x).detach().clone()


def gradients(objective: nn.Module) -> dict[str, Tensor]:
    return {name: full(p.grad) for name, p in objective.named_parameters() if p.grad is not None}


def finish(objective: nn.Module) -> dict[str, dict[str, Tensor]]:
    """The gradients, and the state after a step by them."""
    found = gradients(objective)
    torch.optim.SGD((p for p in objective.parameters() if p.requires_grad), lr=0.1).step()
    if isinstance(objective, Dino):
        objective.update_moving_average()
    return {"gradients": found, "state": {name: full(x) for name, x in objective.state_dict().items()}}


def run(way: str, case: Case, rank: int) -> dict[str, dict[str, Tensor]]:
    objective, arguments = prepare(case)
    own = rows(arguments, rank, PROCESSES)
    if way == "sharded":
        fully_shard(objective, mesh=init_device_mesh("cpu", (PROCESSES,)))
        objective(**own).backward()
        return finish(objective)
    parallel = DistributedDataParallel(objective)
    if way == "accumulated":
        with parallel.no_sync():
            (parallel(**rows(own, 0, 2)) / 2).backward()
        (parallel(**rows(own, 1, 2)) / 2).backward()
    else:
        parallel(**own).backward()
    return finish(objective)


def work(rank: int, folder: str) -> None:
    """What each process does: every case in every way, the results in a file of its own."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=PROCESSES)
    found = {(way, name): run(way, case, rank) for name, case in CASES.items() for way in WAYS}
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def assert_close(actual: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        atol = tolerance * value.abs().max().item() + 1e-15
        assert (actual[name] - value).abs().max() <= atol, name


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[tuple[str, str], dict[str, dict[str, Tensor]]]]:
    """The results of each process."""
    folder: Path = tmp_path_factory.mktemp("processes")
    spawn(work, (str(folder),), nprocs=PROCESSES)
    return [torch.load(folder / f"{rank}.pt") for rank in range(PROCESSES)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES)
def test_two_processes_are_one(found: list[dict[Any, Any]], name: str, way: str) -> None:
    objective, arguments = prepare(CASES[name])
    before = {key: x.clone() for key, x in objective.state_dict().items()}
    objective(**arguments).backward()
    expected = finish(objective)
    assert all(p.grad is not None for p in objective.parameters() if p.requires_grad)
    assert any(not torch.equal(x, before[key]) for key, x in expected["state"].items())
    for process in found:
        for kind in ("gradients", "state"):
            assert_close(process[way, name][kind], expected[kind], CASES[name].tolerance)


@pytest.mark.parametrize("name", CASES)
def test_accelerate(name: str) -> None:
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    objective, arguments = prepare(CASES[name])
    optimizer = torch.optim.SGD((p for p in objective.parameters() if p.requires_grad), lr=0.1)
    wrapped, optimizer = accelerator.prepare(objective, optimizer)
    expected, _ = prepare(CASES[name])
    expected(**arguments).backward()
    for part in range(2):
        with accelerator.accumulate(wrapped):
            accelerator.backward(wrapped(**rows(arguments, part, 2)))
            if part:
                assert_close(gradients(objective), gradients(expected), CASES[name].tolerance)
            optimizer.step()
            optimizer.zero_grad()
    if isinstance(objective, Dino):
        accelerator.unwrap_model(wrapped).update_moving_average()
    assert any(
        not torch.equal(p, q)
        for p, q in zip(objective.parameters(), expected.parameters(), strict=True)
        if p.requires_grad
    )


@pytest.mark.parametrize("name", CASES)
def test_autocast(name: str) -> None:
    objective, arguments = prepare(CASES[name])
    objective.float()
    arguments = tree_map(lambda x: x.float() if x.is_floating_point() else x, arguments)
    exact = objective(**arguments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective(**arguments)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact, rtol=0.05, atol=0.05)
    loss.backward()
    for key, p in objective.named_parameters():
        assert not p.requires_grad or (p.grad is not None and p.grad.isfinite().all()), key
