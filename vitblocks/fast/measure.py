"""How much faster one way is than another on this machine, measured so that what else it does decides nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Thread

GAIN = 1.1
"""How much faster a way must be to be taken: noise must not decide, or runs would differ in their last digits."""

ROUNDS = 12

Work = Callable[[], object]


def gain(prepare: Callable[[], tuple[Work, Work]]) -> float:
    """How many times as long the second of two ways takes; 0 where the first cannot be had.

    Both are called in turn, and the shortest call of each counts: what comes between makes calls longer, never shorter. All happens in
    a thread of its own, where none of the caller's modes (counters, fake tensors, autocast, a default device) is on.
    """
    found: list[float] = []

    def measure() -> None:
        try:
            ways = prepare()
            calls = [[_seconds(way) for way in ways] for _ in range(ROUNDS)]
        except (RuntimeError, NotImplementedError):  # a build may have an operator's name alone
            return
        first, second = (min(times) for times in zip(*calls, strict=True))
        found.append(second / first)

    probe = Thread(target=measure)
    probe.start()
    probe.join()
    return found[0] if found else 0.0


def _seconds(work: Work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
