"""Speed as a pass: what knows a machine, for any ``nn.Module``, asked for by name.

``fast.linears(model)`` and its like change a model in place and say what they changed: ``print(report)``, ``report.undo()``. Results are
the same but for rounding, ``state_dict`` and everything else that one does with a model stays as it is, and what is exported is plain.
Each stands aside, and says why, where this machine gains nothing or where this torch lacks a private name that it needs; no other
part of the package uses such names. :func:`optimize` is all passes that help here.
"""

from .attention import attends
from .bias import biases
from .convolution import FastDepthwiseConv2d, convolutions
from .extend import plain_type, undo
from .graphs import graphs
from .linear import FastLinear, linears
from .optimizing import optimize
from .private import PRIVATE
from .recomputing import recompute
from .report import Report

__all__ = [
    "PRIVATE",
    "FastDepthwiseConv2d",
    "FastLinear",
    "Report",
    "attends",
    "biases",
    "convolutions",
    "graphs",
    "linears",
    "optimize",
    "plain_type",
    "recompute",
    "undo",
]
