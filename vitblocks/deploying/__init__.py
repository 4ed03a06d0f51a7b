"""Models handed to the runtime that is fastest: OpenVINO, ONNX Runtime, AOTInductor, ``torch.compile``."""

from . import onnxruntime, openvino
from .exporting import to_onnx, to_program
from .settings import Settings

__all__ = ["Settings", "onnxruntime", "openvino", "to_onnx", "to_program"]
