"""``python -m benchmarks.gpu --minutes 8``: on a GPU, whether ours is right, and its speed and memory beside timm's.

Needs torch, einops, opt_einsum, safetensors and timm, and downloads nothing. The most telling rows come first and each is written when
it is there, so whenever the time is up there is a result, and it says what is missing. ``--device cpu --minutes 1`` shows that it works.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata, util
from pathlib import Path
from typing import Any

import torch

from .gpu_measure import COMPILED, EAGER, HALF, INFERENCE, PASSES, TRAINING, Pair, Setting, agreement, measured
from .gpu_models import Subject, choose
from .gpu_report import Results, columns, tests
from .pairing import matmul_rate

ROOT = Path(__file__).parents[1]
MANY = 64
FIRST_GUESS = {EAGER: 5.0, PASSES: 5.0, COMPILED: 60.0}
"""Seconds that a row is taken to need until one of its setting is measured."""


class TimeUp(BaseException):
    """Raised by the alarm. Not an Exception, which a compiler would turn into one of its own."""


class Clock:
    """The time that is left, and how long a row of each setting took at the most."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.longest: dict[Setting, float] = {}

    @property
    def left(self) -> float:
        return self.end - time.monotonic()

    def allows(self, setting: Setting) -> bool:
        return self.left > self.longest.get(setting, FIRST_GUESS[setting.mode])

    @contextmanager
    def of(self, setting: Setting) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.longest[setting] = max(self.longest.get(setting, 0.0), time.monotonic() - start)

    @contextmanager
    def alarm(self) -> Iterator[None]:
        """Raise :class:`TimeUp` inside once no time is left, where the system can; a compilation has no other end."""
        if not hasattr(signal, "setitimer"):
            yield
            return

        def ring(*_: Any) -> None:
            raise TimeUp

        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, max(self.left, 0.1))
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def driver() -> str:
    if not shutil.which("nvidia-smi"):
        return "unknown"
    ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(ask, capture_output=True, text=True).stdout.strip().split("\n")[0] or "unknown"


def machine(device: torch.device) -> dict[str, Any]:
    """The card, what drives it, and the rate of its bfloat16 products."""
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    versions |= {"timm": metadata.version("timm") if util.find_spec("timm") else "missing"}
    if device.type != "cuda":
        card: dict[str, Any] = {"card": device.type}
    else:
        properties = torch.cuda.get_device_properties(device)
        card = {"card": properties.name, "memory_GiB": round(properties.total_memory / 2**30), "driver": driver()}
        card |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    side = 8192 if device.type == "cuda" else 512
    rate = matmul_rate(HALF, device, side)
    return {**card, **versions, "product_side": side, "product_TFLOPS": round(rate / 1e12, 3)}


def run_tests(seconds: float) -> dict[str, Any]:
    """``tests/test_cuda.py`` in a process of its own: pytest's last line, and what failed."""
    if not util.find_spec("pytest"):
        return {"summary": "not run, pytest is missing", "failures": []}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "tests/test_cuda.py",
        "-rfE",
        "--tb=short",
        "-p",
        "no:cacheprovider",
    ]
    try:
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        return {"summary": f"stopped after {seconds:.0f} s", "failures": [], "output": output[-10_000:]}
    lines = (ran.stdout + ran.stderr).strip().split("\n")
    failures = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    summary = next((line for line in reversed(lines) if " in " in line), lines[-1])
    return {"summary": summary.strip("= "), "failures": failures, "output": "\n".join(lines)[-10_000:]}


def in_short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().split(chr(10))[0][:160]}"


class Run:
    """Goes through the work in the order of what it tells, and writes after every row."""

    def __init__(self, options: argparse.Namespace, subjects: Sequence[Subject], missing: Sequence[str]) -> None:
        self.device = torch.device(options.device)
        self.clock = Clock(options.minutes * 60)
        self.output: Path = options.output
        self.subjects = list(subjects)
        self.pairs: dict[str, Pair] = {}
        self.results = Results(machine(self.device), missing=list(missing))
        self.many = MANY if self.device.type == "cuda" else 2
        self.seconds = 0.8 if self.device.type == "cuda" else 0.0
        print(", ".join(f"{key} {value}" for key, value in self.results.machine.items()), flush=True)
        for name in missing:
            print(f"{name}: skipped, ours has no such model yet")

    @property
    def settings(self) -> list[Setting]:
        works = [(INFERENCE, self.many), (INFERENCE, 1), (TRAINING, self.many)]
        eager, compiled = ([Setting(phase, batch, mode) for phase, batch in works] for mode in (EAGER, COMPILED))
        return [*eager, *(Setting(phase, batch, PASSES) for phase, batch in works if phase == INFERENCE), *compiled]

    def all(self) -> None:
        todo = [(setting, subject) for setting in self.settings for subject in self.subjects]
        done = 0
        try:
            with self.clock.alarm():
                self.check()
                for setting, subject in todo:
                    self.row(setting, subject)
                    done += 1
        except TimeUp:
            self.results.not_measured += [f"{subject.name}: {setting}" for setting, subject in todo[done:]]
        self.results.write(self.output)

    def check(self) -> None:
        """Tests, then every model's logits."""
        if self.device.type == "cuda":
            self.results.tests = run_tests(min(150.0, self.clock.left / 3))
            print(tests(self.results.tests), flush=True)
        for subject in self.subjects:
            found: dict[str, Any] = {"model": subject.name}
            try:
                pair = self.pairs[subject.name] = Pair(subject)
                found |= agreement(pair.models["ours"], subject.image_size, self.device)
            except Exception as error:
                found["error"] = in_short(error)
            self.results.agreement.append(found)
            self.results.write(self.output)
            print(found, flush=True)

    def row(self, setting: Setting, subject: Subject) -> None:
        """Measure it if there is time. A failure is a row, too."""
        if subject.name not in self.pairs:
            return
        if not self.clock.allows(setting):
            self.results.not_measured.append(f"{subject.name}: {setting}")
            return
        row: dict[str, Any] = {
            "model": subject.name,
            "phase": setting.phase,
            "batch": setting.batch,
            "mode": setting.mode,
        }
        rate = self.results.machine["product_TFLOPS"] * 1e12
        try:
            with self.clock.of(setting):
                row |= measured(self.pairs[subject.name], setting, self.device, rate=rate, seconds=self.seconds)
        except Exception as error:
            row["error"] = in_short(error)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.results.rows.append(row)
        self.results.write(self.output)
        print(" | ".join([str(setting), subject.name, *columns(row)]), flush=True)


def asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--minutes", type=float, default=8.0, help="how long at the most (default: 8)")
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results"), help="folder for gpu.json and gpu.md"
    )
    parser.add_argument("--only", nargs="*", default=[], help="how names of models begin (default: all)")
    parser.add_argument("--device", default="cuda", help="cpu to see that it works (default: cuda)")
    options = parser.parse_args(arguments)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("PyTorch sees no GPU; --device cpu shows that the script works")
    if not options.minutes > 0:
        parser.error(f"--minutes must be positive, got {options.minutes}")
    try:
        options.subjects, options.missing = choose(options.only)
    except ValueError as error:
        parser.error(str(error))
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = asked(arguments)
    run = Run(options, options.subjects, options.missing)
    run.all()
    print((options.output / "gpu.md").read_text())


if __name__ == "__main__":
    main()
