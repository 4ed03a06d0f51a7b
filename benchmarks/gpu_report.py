"""What ``python -m benchmarks.gpu`` found, as JSON and as a page of markdown tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .gpu_measure import Setting
from .tables import markdown

Row = dict[str, Any]

NOTE = """Both sides have fresh weights as bfloat16 (cast, not autocast), and are timed in turn in one process; medians. A training step is
forward, cross entropy, backward and AdamW. "ours / timm" is of images a second, so above 1 ours is the faster one; in brackets the
quartiles of the pairs. "Of products" is the share of the rate of a plain bfloat16 product of square matrices, counting products and
convolutions. Peak memory is of each side alone: weights, optimizer and what the call takes. Attention: how many went through which
kernel; *math* is PyTorch's slow path, *plain* a softmax between products."""


@dataclass
class Results:
    """All that was found so far."""

    machine: dict[str, Any]
    tests: dict[str, Any] = field(default_factory=dict)
    agreement: list[Row] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    not_measured: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """``gpu.json`` and ``gpu.md``."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "gpu.json").write_text(json.dumps(asdict(self), indent=1))
        (folder / "gpu.md").write_text(page(self))


def page(results: Results) -> str:
    parts = [
        "# On a GPU",
        ", ".join(f"{key} {value}" for key, value in results.machine.items()),
        tests(results.tests),
        agreement(results.agreement),
        NOTE,
        *tables(results.rows),
        slow(results.rows),
        listed("Ours has no such model yet", results.missing),
        listed("Not measured, for want of time", results.not_measured),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def tests(found: Mapping[str, Any]) -> str:
    if not found:
        return ""
    return "\n".join([f"tests/test_cuda.py: {found['summary']}", *(f"- {line}" for line in found["failures"])])


def agreement(rows: list[Row]) -> str:
    """The largest error over the largest value."""
    heads = ["logits: largest error / largest value", "device / CPU, float32", "bfloat16 / float32"]
    lines = [
        [
            row["model"],
            *([f"{row['device_error']:.1e}", f"{row['half_error']:.1e}"] if "error" not in row else failed(row, 2)),
        ]
        for row in rows
    ]
    return markdown([heads, *lines]) if lines else ""


def failed(row: Row, columns: int) -> list[str]:
    """The error in the first column of so many."""
    return [row["error"].replace("|", "/"), *[""] * (columns - 1)]


def tables(rows: list[Row]) -> list[str]:
    """One for each setting, in the order in which they were measured."""
    of_setting: dict[str, list[Row]] = {}
    for row in rows:
        of_setting.setdefault(title(row), []).append(row)
    return [f"## {heading}\n\n{table(some)}" for heading, some in of_setting.items()]


def title(row: Row) -> str:
    return str(Setting(row["phase"], row["batch"], row["mode"]))


def table(rows: list[Row]) -> str:
    heads = ["model", "images/s ours", "timm", "ours / timm", "of products ours", "timm", "peak MiB ours", "timm"]
    heads += ["attention ours", "timm"]
    return markdown([heads, *([row["model"], *columns(row)] for row in rows)])


def columns(row: Row) -> list[str]:
    if "error" in row:
        return failed(row, 9)
    return [
        *(f"{row[f'images_{side}']:.0f}" for side in ("ours", "theirs")),
        f"{row['ratio']:.2f} ({row['low']:.2f}-{row['high']:.2f})",
        *(f"{row[f'share_{side}']:.0%}" for side in ("ours", "theirs")),
        *(mebibytes(row[f"peak_{side}"]) for side in ("ours", "theirs")),
        *(calls(row[f"attention_{side}"]) for side in ("ours", "theirs")),
    ]


def mebibytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 2**20:.0f}"


def calls(took: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in took.items()) or "none seen"


def slow(rows: list[Row]) -> str:
    """Every row in which attention of ours took no fused kernel, or none was seen, so that none does unsaid."""
    off = [row for row in rows if "error" not in row and (row["slow_ours"] or not row["attention_ours"])]
    lines = [f"{row['model']}, {title(row)}: {calls(row['attention_ours'])}" for row in off]
    return listed("Ours off the fused kernels", lines)


def listed(heading: str, lines: list[str]) -> str:
    return "\n".join([f"## {heading}\n", *(f"- {line}" for line in lines)]) if lines else ""
