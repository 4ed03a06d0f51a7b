"""Several ways to do the same, timed in turn by the time that the process had a core."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

SAMPLE = 0.02
"""Seconds that calls are repeated for, so that the clock can tell them."""


def process_milliseconds(
    ways: Mapping[str, Callable[[], object]], *, seconds: float = 3.0, rounds: int = 5
) -> dict[str, float]:
    """The median of one call of each, in milliseconds of all threads together.

    The ways take turns, in one order and then in the other, for about ``seconds`` and for 5 rounds at least. What the machine does
    meanwhile is not counted, and what it changes in the processor's rate meets all alike.
    """
    calls = {}
    for name, way in ways.items():
        for _ in range(2):  # the first calls prepare much
            way()
        calls[name] = max(1, round(SAMPLE / max(seconds_of(way, 1), 1e-6)))
    times: dict[str, list[float]] = {name: [] for name in ways}
    end = time.perf_counter() + seconds
    names = list(ways)
    while len(times[names[0]]) < rounds or time.perf_counter() < end:
        names.reverse()
        for name in names:
            times[name].append(seconds_of(ways[name], calls[name]))
    return {name: statistics.median(found) * 1e3 for name, found in times.items()}


def seconds_of(way: Callable[[], object], calls: int, clock: Callable[[], float] = time.process_time) -> float:
    """The mean over so many calls, in seconds: by the clock that is given, else of all threads of this process together."""
    start = clock()
    for _ in range(calls):
        way()
    return (clock() - start) / calls
