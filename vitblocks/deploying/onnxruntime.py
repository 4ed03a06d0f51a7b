"""ONNX Runtime on the CPU: ``model.onnx``."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..extras import needed
from .calibrating import quantized
from .exporting import INPUT, to_onnx
from .settings import Settings

NAME = "onnxruntime"
PACKAGES: tuple[str, ...] = ("onnxruntime",)
QUANTIZERS: tuple[str, ...] = ("nncf", "onnx")
RUNS_FILES = False
DTYPES: tuple[torch.dtype, ...] = (torch.float32,)
FILES: tuple[str, ...] = ("model.onnx",)


def write(model: nn.Module, sample: Tensor, folder: Path, settings: Settings) -> None:
    path = folder / FILES[0]
    to_onnx(model, sample, path, names=settings.names)
    if settings.calibration is not None:
        onnx = needed("onnx", "int8 in onnxruntime")
        onnx.save(quantized(onnx.load(path), settings.calibration, INPUT, NAME), path)


class Session:
    """A session: ``image -> [tensor, ...]``."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        runtime = needed("onnxruntime", "the runtime onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = settings.threads
        options.log_severity_level = 3
        self.session = runtime.InferenceSession(str(folder / FILES[0]), options, providers=["CPUExecutionProvider"])

    def __call__(self, image: Tensor) -> list[Tensor]:
        return [torch.from_numpy(found) for found in self.session.run(None, {INPUT: image.numpy()})]
