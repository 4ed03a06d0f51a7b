"""Training: a recipe as plain data, and what does it on one process or many."""

from .data import Images, Labelled, load_data
from .evaluating import Evaluation, evaluate
from .fitting import fit
from .groups import parameter_groups
from .presets import PRESETS, Preset, preset
from .recipe import Recipe
from .result import Result
from .stopping import NotFinite, Stopped
from .watching import Bar, TensorBoard, Watcher

__all__ = [
    "PRESETS",
    "Bar",
    "Evaluation",
    "Images",
    "Labelled",
    "NotFinite",
    "Preset",
    "Recipe",
    "Result",
    "Stopped",
    "TensorBoard",
    "Watcher",
    "evaluate",
    "fit",
    "load_data",
    "parameter_groups",
    "preset",
]
