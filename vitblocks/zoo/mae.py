"""MAE (arXiv:2111.06377), where the document this library started from looks for it; see :mod:`vitblocks.objectives.mae`."""

from ..objectives.mae import MAE

__all__ = ["MAE"]
