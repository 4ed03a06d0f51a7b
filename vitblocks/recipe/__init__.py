"""A model is its recipe: described as plain data, built from it, and written as code."""

from .building import build
from .describing import Description, describe
from .expressing import expression
from .limits import Limits
from .part import list_parts, noted_as, part
from .pretrained import Pretrained
from .writing import to_source

__all__ = [
    "Description",
    "Limits",
    "Pretrained",
    "build",
    "describe",
    "expression",
    "list_parts",
    "noted_as",
    "part",
    "to_source",
]
