"""DINO where the document's import looks for it: see :mod:`vitblocks.objectives.dino`."""

from ..objectives.dino import Dino

__all__ = ["Dino"]
