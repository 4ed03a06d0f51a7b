"""Recorder, where the document this library started from looks for it; see :mod:`vitblocks.inspect.recorder`."""

from ..inspect.recorder import Recorder

__all__ = ["Recorder"]
