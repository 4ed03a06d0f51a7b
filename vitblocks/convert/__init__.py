"""Convert the attention of a trained model into other kinds, with proof: sensitivity, plan, refit, align, distil, report."""

from ..attention import NoMixing
from .align import align
from .distil import distil
from .drift import Drift, answers, drift
from .images import load_images
from .kinds import (
    KEPT,
    Kind,
    convolutional,
    dilated,
    global_layers,
    heads,
    kernel,
    left_out,
    reduced,
    standard_kinds,
    talking_heads,
    windows,
)
from .loop import Outcome, Training
from .planning import Plan, checked, converted, pareto, plan
from .procedure import Settings, convert
from .refit import Refit, refit
from .report import Conversion, Stage
from .sensitivity import Entry, Sensitivity, sensitivity

__all__ = [
    "KEPT",
    "Conversion",
    "Drift",
    "Entry",
    "Kind",
    "NoMixing",
    "Outcome",
    "Plan",
    "Refit",
    "Sensitivity",
    "Settings",
    "Stage",
    "Training",
    "align",
    "answers",
    "checked",
    "convert",
    "converted",
    "convolutional",
    "dilated",
    "distil",
    "drift",
    "global_layers",
    "heads",
    "kernel",
    "left_out",
    "load_images",
    "pareto",
    "plan",
    "reduced",
    "refit",
    "sensitivity",
    "standard_kinds",
    "talking_heads",
    "windows",
]
