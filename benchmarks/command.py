"""What the command lines of the benchmarks share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch


def parser(name: str, description: str, quick: str) -> argparse.ArgumentParser:
    """Of ``python -m benchmarks.name``: where to write, whether it should be quick (what that means), and what to run on."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    made.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="folder for the results")
    made.add_argument("--quick", action="store_true", help=f"{quick}: to see that it works")
    made.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    made.add_argument("--device", default="cpu", help="where to run (default: cpu)")
    return made


def options_of(made: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, once PyTorch has as many threads as they say."""
    options = made.parse_args(arguments)
    require_threads(made, options.threads)
    torch.set_num_threads(options.threads)
    return options


def require_threads(made: argparse.ArgumentParser, threads: int) -> None:
    if threads < 1:
        made.error(f"--threads must be at least 1, got {threads}")


def ran_on(machine: Mapping[str, Any], device: str) -> str:
    """The machine in words."""
    return f"{machine['processor']}, {machine['threads']} thread(s), Python {machine['python']}, torch {machine['torch']}, on {device}"
