"""The table and the picture of ``python -m benchmarks.compare``."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

Row = dict[str, Any]
LIBRARIES = ("timm", "transformers", "vit-pytorch")
SLOWER, LARGER = 0.97, 1.03
"""What is noise and what is not."""


def report(rows: Sequence[Row], here: dict[str, Any]) -> str:
    """Markdown: a line for each setting, then a section for each with all its peers; then what failed."""
    timed = [row for row in rows if not row["side"] and "error" not in row]
    failed = [row for row in rows if "error" in row]
    settings = list(dict.fromkeys(map(setting_of, timed)))
    peaks = memory_pairs(rows)
    parts = [", ".join(f"{name} {value}" for name, value in here.items()), overview(settings, timed, peaks)]
    for setting in settings:
        parts.append(times(setting, [row for row in timed if setting_of(row) == setting]))
    for setting in dict.fromkeys(setting for setting, *_ in peaks):
        parts.append(memory(setting, [pair[1:] for pair in peaks if pair[0] == setting]))
    if failed:
        lines = [f"- {row['peer']}, {setting_of(row)}: {row['error']}" for row in failed]
        parts.append("\n".join(["### Not measured", "", *lines]))
    return "\n\n".join(parts)


def overview(settings: Sequence[str], timed: Sequence[Row], peaks: Sequence[tuple[str, str, int, int]]) -> str:
    """A line for each setting: the geometric mean of its ratios, and who is behind. A pass on one side is with it against without."""
    lines = []
    for setting in settings:
        best = best_peers([(row["peer"], row["ratio"]) for row in timed if setting_of(row) == setting])
        mean = statistics.geometric_mean(ratio for ratio, _ in best.values())
        behind = [f"{peer} {ratio:.2f}" for ratio, peer in best.values() if ratio < SLOWER]
        lines.append((setting, str(len(best)), f"{mean:.2f}", ", ".join(behind) or "none"))
    found = table(("time: theirs / ours", "architectures", "geometric mean", f"below {SLOWER}"), lines)
    held = []
    for setting in dict.fromkeys(setting for setting, *_ in peaks):
        ratios = {peer: ours / theirs for name, peer, ours, theirs in peaks if name == setting}
        above = [f"{peer} {ratio:.2f}" for peer, ratio in ratios.items() if ratio > LARGER]
        mean = statistics.geometric_mean(ratios.values())
        held.append((setting, str(len(ratios)), f"{mean:.2f}", ", ".join(above) or "none"))
    if not held:
        return found
    return found + "\n\n" + table(("peak memory: ours / theirs", "peers", "geometric mean", f"above {LARGER}"), held)


def setting_of(row: Row) -> str:
    images = "1 image" if row["batch"] == 1 else f"{row['batch']} images"
    return f"{row['phase']}, {images}, {row['dtype']}, {row['mode']}"


def times(setting: str, rows: Sequence[Row]) -> str:
    lines = [
        (
            row["peer"],
            f"{row['ours'] * 1e3:.1f}",
            f"{row['theirs'] * 1e3:.1f}",
            f"{row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})",
            f"{row['share_ours']:.0%}",
            f"{row['share_theirs']:.0%}",
        )
        for row in rows
    ]
    heads = ("model / peer", "ours, ms", "theirs, ms", "theirs / ours", "ours, of products", "theirs, of products")
    if " on " in setting:  # one model on both sides
        heads = (
            "model / peer",
            "with, ms",
            "without, ms",
            "without / with",
            "with, of products",
            "without, of products",
        )
    return f"### {setting.capitalize()}\n\n{table(heads, lines)}"


def best_peers(ratios: Sequence[tuple[str, float]]) -> dict[str, tuple[float, str]]:
    """For each architecture the ratio to the peer that does best against ours, and that peer."""
    best: dict[str, tuple[float, str]] = {}
    for peer, ratio in ratios:
        architecture = next(peer.partition(f"/{library}")[0] for library in LIBRARIES if f"/{library}" in peer)
        best[architecture] = min(best.get(architecture, (ratio, peer)), (ratio, peer))
    return best


def memory_pairs(rows: Iterable[Row]) -> list[tuple[str, str, int, int]]:
    """``(setting, peer, bytes of ours, bytes of theirs)`` where both were measured."""
    sides: dict[tuple[str, str], dict[str, int]] = {}
    for row in rows:
        if row["side"] and "bytes" in row:
            sides.setdefault((setting_of(row), row["peer"]), {})[row["side"]] = row["bytes"]
    return [(*key, found["ours"], found["theirs"]) for key, found in sides.items() if len(found) == 2]


def memory(setting: str, pairs: Sequence[tuple[str, int, int]]) -> str:
    lines = [(peer, f"{a / 2**20:.0f}", f"{b / 2**20:.0f}", f"{a / b:.2f}") for peer, a, b in pairs]
    heads = ("model / peer", "ours, MiB", "theirs, MiB", "ours / theirs")
    if " on " in setting:
        heads = ("model / peer", "with, MiB", "without, MiB", "with / without")
    return f"### Peak memory: {setting}\n\n{table(heads, lines)}"


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, rule, *lines])


def picture(rows: Sequence[Row], path: Path) -> None:
    """A panel for each mode: a row for each peer, a mark for each setting, to the right of 1 where ours is the faster one."""
    timed = [row for row in rows if not row["side"] and "error" not in row]
    modes = list(dict.fromkeys(row["mode"] for row in timed))
    if not modes:
        return
    peers = list(dict.fromkeys(row["peer"] for row in timed))[::-1]
    settings = list(dict.fromkeys((row["phase"], row["batch"], row["dtype"]) for row in timed))
    figure, axes = plt.subplots(
        1, len(modes), sharey=True, squeeze=False, figsize=(3 + 3.2 * len(modes), 1.5 + 0.27 * len(peers))
    )
    marks = dict(zip(settings, "osD^vP*X<>", strict=False))
    for axis, mode in zip(axes[0], modes, strict=True):
        axis.axvline(1, color="black", linewidth=0.8)
        for (phase, batch, dtype), mark in marks.items():
            found = [r for r in timed if (r["phase"], r["batch"], r["dtype"], r["mode"]) == (phase, batch, dtype, mode)]
            axis.scatter(
                [row["ratio"] for row in found],
                [peers.index(row["peer"]) for row in found],
                marker=mark,
                s=22,
                alpha=0.8,
                label=f"{phase}, {batch}, {dtype}",
            )
        axis.set_xscale("log")
        ticks = [0.7, 1, 1.5, 2, 3, 5]
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.25)
        axis.set_title(mode)
        axis.set_xlabel("theirs / ours, time")
    axes[0][0].set_yticks(range(len(peers)), peers)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.02 + 0.03 * -(-len(labels) // 3), 1, 1))
    figure.savefig(path, dpi=96)
    plt.close(figure)
