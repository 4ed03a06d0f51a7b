"""Extractor, where the document this library started from looks for it; see :mod:`vitblocks.inspect.extractor`."""

from ..inspect.extractor import Extractor

__all__ = ["Extractor"]
