"""Why training ends before its end, and how it is asked to."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Stopped(Exception):
    """Training was asked to stop by a signal; a checkpoint was written.

    Attributes:
        signal: its number.
    """

    def __init__(self, number: int, words: str) -> None:
        super().__init__(words)
        self.signal = number


class NotFinite(Exception):
    """A loss or a gradient is NaN or infinite. The weights are those before that step, and no checkpoint has any."""


class Asked:
    """Whether a signal asked to stop, and which; 0 for none."""

    def __init__(self) -> None:
        self.signal = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            raise KeyboardInterrupt  # asked twice: at once
        self.signal = number


@contextmanager
def listening() -> Iterator[Asked]:
    """Note SIGTERM and Ctrl-C rather than end at once; a second one ends at once. In another thread than the first it hears nothing."""
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before: dict[int, Any] = {number: signal.signal(number, asked) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
