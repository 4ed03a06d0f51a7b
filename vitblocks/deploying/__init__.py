"""Models handed to the runtime that is fastest: OpenVINO, ONNX Runtime, AOTInductor, ``torch.compile``."""

from .deploy import deploy
from .deployed import Deployed, load
from .exporting import to_onnx, to_program
from .measuring import process_milliseconds
from .outputs import Outputs
from .report import DeployReport
from .runtime import RUNTIMES
from .settings import Settings

__all__ = [
    "RUNTIMES",
    "DeployReport",
    "Deployed",
    "Outputs",
    "Settings",
    "deploy",
    "load",
    "process_milliseconds",
    "to_onnx",
    "to_program",
]
