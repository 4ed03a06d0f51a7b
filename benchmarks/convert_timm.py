"""``python -m benchmarks.convert_timm``: a model of timm's, trained by timm's code, adopted, converted, saved, released and run.

timm's VisionTransformer learns MNIST-5k with timm's optimizer, schedule and loss: with 49 tokens first, then with 196
(``set_input_size``). It comes in by ``adopt``, which proves it equal; a plan for part of its multiply-adds is made and checked without a
label; ``convert`` does it; the mixed model is saved, read again and run. The original goes out by ``release`` as it came. Needs timm and
mlxtend.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import vitblocks
from vitblocks import convert as conversion
from vitblocks.convert.drift import batches

from .convert_setting import KINDS, PATCH, Data, enlarged, mnist, moved, told
from .peers import allow_torchvision


def made() -> Any:
    """timm's ViT for 28 x 28 pixels."""
    if find_spec("torchvision"):
        allow_torchvision()
    return import_module("timm.models.vision_transformer").VisionTransformer(
        img_size=28, patch_size=PATCH, in_chans=1, num_classes=10, embed_dim=64, depth=4, num_heads=4, mlp_ratio=2.0
    )


def learn(model: nn.Module, data: tuple[Tensor, Tensor], side: int, steps: int, lr: float, seed: int) -> None:
    """Train with timm's optimizer, schedule, clipping and loss."""
    timm: Any = {name: import_module(f"timm.{name}") for name in ("loss", "optim", "scheduler", "utils")}
    optimizer = timm["optim"].create_optimizer_v2(model, opt="adamw", lr=lr, weight_decay=0.05)
    schedule = timm["scheduler"].CosineLRScheduler(
        optimizer, steps, lr_min=lr / 100, warmup_t=steps // 20, warmup_lr_init=lr / 20, t_in_epochs=False
    )
    criterion = timm["loss"].LabelSmoothingCrossEntropy(0.05)
    images, labels = data
    model.train()
    for step, places in batches(images, 32, seed):
        if step == steps:
            break
        schedule.step_update(step)
        torch.manual_seed(seed * 1_000_003 + step)
        loss = criterion(model(moved(enlarged(images[places], side))), labels[places])
        optimizer.zero_grad()
        loss.backward()
        timm["utils"].dispatch_clip_grad(model.parameters(), 3.0)
        optimizer.step()
    model.eval()


def original(data: Data, steps: Sequence[int], seed: int, path: Path) -> Any:
    """Their model, trained, or as it was kept."""
    torch.manual_seed(seed)
    theirs = made()
    for module in theirs.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
    if not path.exists():
        learn(theirs, data.train, 28, steps[0], 1.5e-3, seed)
    theirs.set_input_size(img_size=56)
    if path.exists():
        theirs.load_state_dict(torch.load(path, weights_only=True))
    else:
        learn(theirs, data.train, 56, steps[1], 1e-3, seed + 1)
        torch.save(theirs.state_dict(), path)
    return theirs.eval()


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.convert_timm", description=__doc__)
    parser.add_argument("--steps", nargs=2, type=int, default=[1300, 300], help="with 49 tokens, with 196")
    parser.add_argument("--budget", type=float, default=0.67, help="of the multiply-adds of attention")
    parser.add_argument("--share", type=float, default=0.03, help="steps of the conversion, of those of the training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("convert_timm"))
    options = parser.parse_args(given)
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    data, start = mnist(options.seed, "cpu"), time.perf_counter()
    theirs = original(data, options.steps, options.seed, options.output / f"timm{options.seed}.pt")
    print(f"timm's own: {told(theirs, data.test, 56)[0]:.1f}%, {time.perf_counter() - start:.0f} s")
    ours, report = vitblocks.adopt(theirs)
    print(report)

    images, held_out = enlarged(data.train[0][:2048], 56), enlarged(data.validation[0], 56)
    found = conversion.sensitivity(ours, images[:192], KINDS)
    plans = [one for one in conversion.pareto(found, cost="macs") if one.cost <= options.budget * whole(found)]
    best = conversion.checked(ours, plans[-3:], KINDS, images[:256])[0]
    print(found, best, sep="\n")
    steps = round(options.share * sum(options.steps))
    settings = conversion.Settings(distil=steps, check_every=steps // 3, seed=options.seed)
    torch.manual_seed(options.seed)
    done = conversion.convert(ours, best, images, kinds=KINDS, held_out=held_out, settings=settings)
    print(done)

    done.save_pretrained(options.output / "mixed")
    mixed = vitblocks.load_model(options.output / "mixed").eval()
    before = {key: value.clone() for key, value in theirs.state_dict().items()}
    vitblocks.release(ours, like=theirs)
    same = all(torch.equal(value, before[key]) for key, value in theirs.state_dict().items())
    result = {
        "timm": told(theirs, data.test, 56)[0],
        "adopted": told(ours, data.test, 56)[0],
        "mixed, read again": told(mixed, data.test, 56)[0],
        "MACs": vitblocks.summary(ours).macs,
        "MACs, mixed": vitblocks.summary(mixed).macs,
        "steps": steps,
        "released as it came": same,
    }
    print(json.dumps(result, indent=1))
    return 0


def whole(report: conversion.Sensitivity) -> int:
    """The multiply-adds of all attentions as they are."""
    return sum(entry.macs for entry in report.entries if entry.kind == conversion.KEPT)


if __name__ == "__main__":
    raise SystemExit(main())
