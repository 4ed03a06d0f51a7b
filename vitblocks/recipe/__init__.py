"""A model is its recipe: described as plain data, built from it, and written as code."""

from .building import build
from .describing import Description, describe
from .limits import Limits
from .part import list_parts, noted_as, part

__all__ = ["Description", "Limits", "build", "describe", "list_parts", "noted_as", "part"]
