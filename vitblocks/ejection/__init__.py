"""Write a composed model out as one flat file."""

from .run import eject

__all__ = ["eject"]
