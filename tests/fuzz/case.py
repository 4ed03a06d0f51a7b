"""A case is one call with one argument changed; running it gives a verdict."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor

VERDICTS = ("refused", "worked", "nonsense accepted", "not finite", "foreign", "memory", "hang", "crash")
"""What may become of a case; the first two are right, and ``memory`` is what PyTorch says of sizes that are too large for the machine."""

SECONDS = 20.0
"""A case that takes more time of the processor hangs. The longest takes a few seconds."""


@dataclass(frozen=True)
class Case:
    """One call.

    Attributes:
        what: the part and the argument, in words.
        change: what the argument was changed to, in words.
        nonsense: whether it must be refused; None where the value alone does not tell.
        run: makes the call, and returns what it gives.
    """

    what: str
    change: str
    nonsense: bool
    run: Callable[[], Any]


@dataclass(frozen=True)
class Verdict:
    """What became of a case; ``said`` is the error, with its type."""

    name: str
    said: str = ""


class Hang(BaseException):
    """A case took too long. No Exception, so that nothing catches it."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise :class:`Hang` after so many seconds of the processor."""

    def ring(_: int, __: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def judge(case: Case, seconds: float = SECONDS) -> Verdict:
    """Run a case."""
    try:
        with limited(seconds), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = case.run()
    except Hang:
        return Verdict("hang")
    except (ValueError, TypeError) as error:
        return Verdict("refused", _said(error))
    except MemoryError as error:
        return Verdict("memory", _said(error))
    except Exception as error:
        out_of_memory = isinstance(error, RuntimeError) and ("allocate" in str(error) or "overflow" in str(error))
        return Verdict("memory" if out_of_memory else "foreign", _said(error))
    if case.nonsense:
        return Verdict("nonsense accepted")
    return Verdict("worked" if finite(found) else "not finite")


def finite(found: Any) -> bool:
    """Whether every number of what was given is finite."""
    if isinstance(found, Tensor):
        return found.device.type == "meta" or bool(torch.isfinite(found).all())
    if isinstance(found, (list, tuple)):
        return all(map(finite, found))
    return True


def _said(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:160] if text else ''}"
