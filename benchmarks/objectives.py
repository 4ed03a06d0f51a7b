"""``python -m benchmarks.objectives``: whether the objectives learn, on scanned digits, each against its baseline.

- Features: a tiny ViT is trained by MAE, SimMIM, masked patch prediction (MPP) and DINO, without labels. A linear probe and nearest
  neighbours then tell digits by its features, the normed means of its patches after each block, against the same encoder untrained
  and against raw pixels. On the scans as they are, and with each moved once at random. Neighbours are found by whitened features, and
  by pixels as they are, which is the better for each.
- Fine-tuning: the encoder after MAE against the same from scratch, on 100 and on 300 labelled images, equal steps and settings. Again on
  the scans as they are and on the moved ones, and so below.
- Distillation: a student on 300 labelled images by labels alone and by a convolutional teacher besides, equal steps. The teacher has
  seen the labels of all training images.

Everything is repeated for several seeds (of the split, the weights and the training). A table is printed, and written to the folder
of ``--output`` as ``objectives.md``, with ``objectives.json``, ``mae.png`` and ``simmim.png``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from .experiments import QUICK, RUNS, Job, Score, Settings, steps_of
from .swap import machine, shown
from .tables import markdown

_ticks: Any = None
"""A worker's way to say that a step is done."""


def in_worker(name: str, seed: int, settings: Settings, folder: Path) -> list[Score]:
    return RUNS[name](Job(seed, settings, folder, lambda: _ticks.put(name)))


def start_worker(ticks: Any) -> None:
    """Small models gain little from a second thread; two of them side by side gain a whole one."""
    global _ticks
    _ticks = ticks
    torch.set_num_threads(1)
    threadpool_limits(1)  # scikit-learn's


def run_all(names: Sequence[str], settings: Settings, folder: Path, workers: int, console: Console) -> list[Score]:
    """Every experiment for every seed in processes of one thread each, with a progress bar for each experiment."""
    context = torch.multiprocessing.get_context("spawn")
    ticks = context.Queue()
    columns = (TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        Progress(*columns, console=console) as progress,
        ProcessPoolExecutor(workers, context, initializer=start_worker, initargs=(ticks,)) as pool,
    ):
        bars = {name: progress.add_task(name, total=settings.seeds * (steps_of(name, settings) + 1)) for name in names}
        # Seed by seed, the longest first, so that no worker is left with one of those at the end.
        order = sorted(names, key=lambda name: steps_of(name, settings), reverse=True)
        futures: dict[Future[list[Score]], str] = {
            pool.submit(in_worker, name, seed, settings, folder): name
            for seed in range(settings.seeds)
            for name in order
        }
        left = set(futures)
        while left:
            done, left = wait(left, timeout=0.2, return_when="FIRST_COMPLETED")
            for _ in range(ticks.qsize()):
                progress.advance(bars[ticks.get()])
            for future in done:
                future.result()  # raises what the worker raised
                progress.advance(bars[futures[future]])
    in_order = sorted(futures, key=lambda future: list(RUNS).index(futures[future]))
    return [score for future in in_order for score in future.result()]


def table(scores: Sequence[Score]) -> str:
    """A markdown table for each experiment: a row for each method, held-out accuracies in percent."""
    return "\n\n".join(
        part([score for score in scores if score.experiment == name])
        for name in dict.fromkeys(score.experiment for score in scores)
    )


def part(scores: Sequence[Score]) -> str:
    measures = list(dict.fromkeys(score.measure for score in scores))
    lines = [(scores[0].experiment, *measures)]
    for method in dict.fromkeys(score.method for score in scores):
        cells = [shown([score.accuracy for score in of(scores, method, measure)]) for measure in measures]
        lines.append((method, *cells))
    return markdown(lines)


def of(scores: Sequence[Score], method: str, measure: str) -> list[Score]:
    """Those of one cell of the table, seed by seed."""
    return sorted((s for s in scores if (s.method, s.measure) == (method, measure)), key=lambda score: score.seed)


def compared(scores: Sequence[Score]) -> list[str]:
    """For each method and each of its baselines that were run: on how many measures it is better, in the mean and in every seed."""
    lines = []
    for method, baselines in {score.method: score.baselines for score in scores}.items():
        for baseline in baselines:
            gains = []
            for measure in dict.fromkeys(score.measure for score in scores if score.method == method):
                pairs = zip(of(scores, method, measure), of(scores, baseline, measure), strict=False)
                gains += [g] if (g := [own.accuracy - other.accuracy for own, other in pairs]) else []
            if gains:
                better, always = sum(statistics.fmean(g) > 0 for g in gains), sum(min(g) > 0 for g in gains)
                words = f"{better} of {len(gains)} measures in the mean, {always} in every seed"
                lines.append(f"{method} is better than {baseline} on {words}")
    return lines


def asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.objectives", description="Whether the objectives learn, each against its baseline."
    )
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="folder for what is written")
    parser.add_argument("--quick", action="store_true", help="a few steps of 1 seed: to see that it works")
    parser.add_argument("--seeds", type=int, help=f"how often all is repeated (default: {Settings.seeds})")
    parser.add_argument("--only", nargs="+", choices=list(RUNS), default=list(RUNS), help="experiments (default: all)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one for each core)"
    )
    options = parser.parse_args(arguments)
    for name in ("seeds", "workers"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1, got {value}")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = asked(arguments)
    settings = QUICK if options.quick else Settings()
    settings = settings if options.seeds is None else replace(settings, seeds=options.seeds)
    options.output.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    scores = run_all(options.only, settings, options.output, options.workers, Console(stderr=True))
    where: dict[str, str | int] = {**machine(), "threads": 1, "workers": options.workers}
    where |= {name: version(name) for name in ("accelerate", "scikit-learn")}
    seconds = round(time.perf_counter() - began)
    about = {"machine": where, "settings": asdict(settings), "seconds": seconds}
    words = (
        f"Held-out accuracy in percent, {settings.seeds} seed(s), mean (least to most). {seconds} s on {where['processor']}, "
        f"{options.workers} processes of 1 thread, Python {where['python']}, torch {where['torch']}, "
        f"accelerate {where['accelerate']}, scikit-learn {where['scikit-learn']}."
    )
    written = {**about, "scores": [asdict(score) for score in scores]}
    (options.output / "objectives.json").write_text(json.dumps(written, indent=2) + "\n")
    report = "\n\n".join([table(scores), words, "\n".join(f"- {line}" for line in compared(scores))])
    (options.output / "objectives.md").write_text(report + "\n")
    print(f"{report}\n\nwritten to {options.output}: objectives.md, objectives.json")


if __name__ == "__main__":
    main()
