"""``python -m benchmarks.compare``: the speed and memory of the zoo beside timm, transformers and vit-pytorch on the same sizes.

For every peer (``benchmarks/peers.py``), phase (inference at two batch sizes, a training step), precision and mode, ours and theirs are
timed in turn in one process (A B, B A, ...), and the median of their ratios is given with its quartiles: above 1 ours is the faster one.
Beside it stands the share of the machine's own rate in a plain matrix product, measured in the same process. Where a key map
exists both have the same weights, and their logits are compared before anything is timed. Peak memory is of a fresh process a side.

Modes: ``eager``, ``compiled`` and ``frozen`` (compiled with weights as constants, as by ``TORCHINDUCTOR_FREEZING=1``) treat both sides
alike; ``openvino`` and ``onnxruntime`` are ours as ``vitblocks.deploy`` folds it against theirs, both in that runtime; ``folded`` is
``vitblocks.fold`` on our side and theirs eager, ``folded against compiled`` the same with theirs compiled, ``folded and compiled`` with
both compiled. ``--fast`` adds the passes of ``vitblocks.fast``: both sides with the pass, ours with it against ours without, and theirs
with it against theirs without. Nothing else has them: ``eager`` is plain parts.

Everything goes to the folder of ``--output``: ``compare.json`` (rows of earlier runs are kept, those measured again are replaced),
``compare.md`` and ``compare.png``. What fails on one side is a row with its error, not a gap.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .command import require_threads
from .compare_report import picture, report
from .measure import IN_RUNTIMES, MODES, PASSES, TRAINING, Task, modes_of
from .memory import ALLOCATOR
from .peers import PEERS
from .swap import machine

Row = dict[str, Any]
DTYPES = ("float32", "bfloat16")
INFERENCE = "inference"
MARK = "<!-- from python -m benchmarks.compare -->"
QUICK = ("CaiT-XXS24/timm", "CrossFormer-S/vit-pytorch")
FAILED = 1800
"""Seconds after which a job is given up."""

# Memory that is freed stays with the process, or page faults are most of what convolutional models are timed for.
TIMING = {**ALLOCATOR, "MALLOC_TOP_PAD_": str(1 << 26)}
# Memory that is freed leaves the process, so that the peak is what was in use at once.
PEAK = {"MALLOC_MMAP_THRESHOLD_": str(1 << 16), "MALLOC_TRIM_THRESHOLD_": str(1 << 16)}


def tasks(options: argparse.Namespace) -> Iterator[Task]:
    """Everything that was asked for: times first, then memory, a task for each side."""
    batches = options.batches or ([1, 8] if options.device == "cpu" else [1, 64])
    phases = [(INFERENCE, batch) for batch in batches] + [(TRAINING, batches[-1])]
    for peer in selected(options.only):
        for phase, batch in phases:
            for dtype in options.dtypes:
                for mode in options.modes:
                    if phase not in options.phases or not measurable(phase, dtype, mode):
                        continue
                    task = Task(peer, phase, batch, dtype, mode, options.device, options.seconds)
                    if "time" in options.measures:
                        yield task
                    if "memory" in options.measures and batch == batches[-1]:
                        yield from (replace(task, side=side) for side in ("ours", "theirs"))


def measurable(phase: str, dtype: str, mode: str) -> bool:
    """Whether there is such a thing: what is made for inference trains nothing, and runtimes are given float32."""
    if phase == TRAINING and (mode in ("frozen", *IN_RUNTIMES) or mode.startswith("folded")):
        return False
    return mode not in IN_RUNTIMES or dtype == "float32"


def selected(only: Sequence[str] | None) -> list[str]:
    """The peers whose names have one of these parts; a whole name takes that peer alone. All if None."""
    names = [peer.name for peer in PEERS]
    if not only:
        return names
    return [
        name
        for name in names
        if any(name == part or (part not in names and part.lower() in name.lower()) for part in only)
    ]


def run(task: Task, threads: int) -> Row:
    """One task in a process of its own: what it measured, or its error."""
    environment = {**os.environ, **(PEAK if task.side else TIMING), "OMP_NUM_THREADS": str(threads)}
    if task.mode == "frozen":
        environment["TORCHINDUCTOR_FREEZING"] = "1"
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.measure", json.dumps(asdict(task))]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=FAILED)
    except subprocess.TimeoutExpired:
        return {**asdict(task), "threads": threads, "error": f"no result after {FAILED} seconds"}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        said = next((line for line in reversed(lines) if "Error: " in line), lines[-1])
        return {**asdict(task), "threads": threads, "error": said[:300]}
    return {**asdict(task), "threads": threads, **json.loads(done.stdout.strip().splitlines()[-1])}


def identity(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("peer", "phase", "batch", "dtype", "mode", "device", "side", "threads"))


def versions() -> dict[str, str]:
    """Of the libraries that are compared; one that is absent is left out."""
    found = {}
    for name in ("timm", "transformers", "vit-pytorch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def where(device: str) -> dict[str, Any]:
    name = {"device": torch.cuda.get_device_name(device)} if device.startswith("cuda") else {}
    return {**machine(), **versions(), **name}


def kept(path: Path, here: dict[str, Any]) -> list[Row]:
    """The rows of an earlier run on this machine with these versions; none otherwise."""
    if not path.exists():
        return []
    found = json.loads(path.read_text())
    same = {**found["machine"], "threads": 0, "vitblocks": ""} == {**here, "threads": 0, "vitblocks": ""}
    return found["rows"] if same else []


def write(folder: Path, here: dict[str, Any], rows: Sequence[Row]) -> None:
    text = json.dumps({"machine": here, "rows": list(rows)}, indent=1) + "\n"
    temporary = folder / "compare.json.part"
    temporary.write_text(text)
    temporary.replace(folder / "compare.json")


def asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description="The zoo beside timm, transformers and vit-pytorch."
    )
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="folder for what is written")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads (default: the cores)")
    parser.add_argument("--only", nargs="+", help="names, or parts such as CaiT or timm (default: all peers)")
    parser.add_argument("--batches", nargs="+", type=int, help="default: 1 8; on a GPU 1 64. Training takes the last")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=["eager", "folded"])
    parser.add_argument(
        "--fast",
        nargs="*",
        choices=PASSES,
        metavar="PASS",
        help=f"with a pass, too: {', '.join(PASSES)} (default: the first)",
    )
    parser.add_argument("--phases", nargs="+", choices=[INFERENCE, TRAINING], default=[INFERENCE, TRAINING])
    parser.add_argument("--measures", nargs="+", choices=["time", "memory"], default=["time", "memory"])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each timing (default: 5), in 5 pairs at least")
    parser.add_argument(
        "--quick", action="store_true", help="two peers, one image, float32, eager: to see that it works"
    )
    parser.add_argument("--page", type=Path, help=f"a page to put the report into, after its line {MARK!r}")
    parser.add_argument("--with", dest="others", nargs="+", type=Path, default=[], help="further compare.json to add")
    parser.add_argument("--report", action="store_true", help="measure nothing, write the report of what is there")
    options = parser.parse_args(arguments)
    require_threads(parser, options.threads)
    passes = [] if options.fast is None else options.fast or PASSES[:1]
    if options.quick:
        options.only = options.only or QUICK
        options.batches = options.batches or [1]
        options.dtypes, options.modes, options.seconds = ["float32"], ["eager"], 1.0
    options.modes = list(dict.fromkeys([*options.modes, *(mode for name in passes for mode in modes_of(name))]))
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = asked(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    here = {**where(options.device), "threads": options.threads}
    earlier = [*options.others, options.output / "compare.json"]
    rows = {identity(row): row for path in earlier for row in kept(path, here)}
    wanted = [] if options.report else list(tasks(options))
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=len(wanted))
        for task in wanted:
            progress.update(
                bar, description=f"{task.peer}, {task.phase} {task.batch}, {task.dtype}, {task.mode} {task.side}"
            )
            row = run(task, options.threads)
            rows[identity(row)] = row
            write(options.output, here, list(rows.values()))
            progress.advance(bar)
    write(options.output, here, list(rows.values()))
    text = report(list(rows.values()), here)
    (options.output / "compare.md").write_text(text + "\n")
    picture(list(rows.values()), options.output / "compare.png")
    if options.page is not None:
        put_into(options.page, text)
    print(f"{text}\n\nwritten to {options.output}: compare.json, compare.md, compare.png")


def put_into(page: Path, text: str) -> None:
    """The report in place of what follows the mark on a page of the documentation."""
    before, mark, _ = page.read_text().partition(MARK)
    if not mark:
        raise ValueError(f"page must hold the line {MARK!r}, after which the report is put; {page} does not")
    page.write_text(f"{before}{mark}\n\n{text}\n")


if __name__ == "__main__":
    main()
