"""Position schemes: layers that add to the tokens, biases of the logits, and rotations of queries and keys."""

from .decomposed_bias import DecomposedBias
from .dynamic_bias import DynamicBias
from .fourier import FourierPosition
from .learned import LearnedPosition
from .log_spaced_bias import LogSpacedBias
from .peg import PEG
from .relative_bias import ClassRelativeBias, DistanceBias, RelativeBias
from .resize import (
    resize_offsets_as_beit,
    resize_offsets_as_transformers,
    resize_table,
    resize_table_as_dino,
    resize_table_as_timm,
    resize_table_as_vit_pytorch,
)
from .rotary import Rotary2d
from .sine import SinePosition1d, SinePosition2d
from .tiled import TiledPosition

__all__ = [
    "PEG",
    "ClassRelativeBias",
    "DecomposedBias",
    "DistanceBias",
    "DynamicBias",
    "FourierPosition",
    "LearnedPosition",
    "LogSpacedBias",
    "RelativeBias",
    "Rotary2d",
    "SinePosition1d",
    "SinePosition2d",
    "TiledPosition",
    "resize_offsets_as_beit",
    "resize_offsets_as_transformers",
    "resize_table",
    "resize_table_as_dino",
    "resize_table_as_timm",
    "resize_table_as_vit_pytorch",
]
