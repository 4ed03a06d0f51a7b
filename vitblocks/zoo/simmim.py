"""SimMIM (arXiv:2111.09886), where the document this library started from looks for it; see :mod:`vitblocks.objectives.simmim`."""

from ..objectives.simmim import SimMIM

__all__ = ["SimMIM"]
