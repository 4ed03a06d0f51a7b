"""Masked patch prediction, where the document this library started from looks for it; see :mod:`vitblocks.objectives.mpp`."""

from ..objectives.mpp import MPP

__all__ = ["MPP"]
