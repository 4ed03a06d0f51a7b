"""How much faster one way is than another on this machine, measured so that what else it does decides nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Thread

import torch

GAIN = 1.1
"""How much faster a way must be to be taken: noise must not decide, or runs would differ in their last digits."""

ROUNDS = 12

Work = Callable[[], object]


def gain(prepare: Callable[[], tuple[Work, Work]]) -> float:
    """How many times as long the second of two ways takes on one core; 0 where the first cannot be had.

    Counted is the time in which this thread had a core, not what others took between, and of several calls in turn the shortest. All
    happens in a thread of its own, where none of the caller's modes (counters, fake tensors, autocast, a default device) is on, and
    which alone computes on one core: several would wait for one another wherever the machine has other work.
    """
    found: list[float] = []

    def measure() -> None:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            ways = prepare()
            calls = [[_seconds(way) for way in ways] for _ in range(ROUNDS)]
        except (RuntimeError, NotImplementedError):  # a build may have an operator's name alone
            return
        finally:
            torch.set_num_threads(threads)
        first, second = (min(times) for times in zip(*calls, strict=True))
        found.append(second / max(first, 1e-9))

    probe = Thread(target=measure)
    probe.start()
    probe.join()
    return found[0] if found else 0.0


def _seconds(work: Work) -> float:
    start = time.thread_time()
    work()
    return time.thread_time() - start
