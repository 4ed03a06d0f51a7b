"""ONNX Runtime on the CPU: ``model.onnx``."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..extras import needed
from .calibrating import quantized
from .exporting import BATCH, INPUT, require_one_file, to_onnx
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
    require_one_file(path)
    if settings.calibration is not None:
        onnx = needed("onnx", "int8 in onnxruntime")
        onnx.save(quantized(onnx.load(path), settings.calibration, INPUT, NAME), path)


class Session:
    """Sessions of one file: ``image -> [tensor, ...]``.

    Batches as large as the sample's have a session of their own, in which every size is known, so that the arithmetic of sizes is done
    once. Each is made when it is first needed.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.runtime = needed("onnxruntime", "the runtime onnxruntime")
        self.path, self.size, self.threads = folder / FILES[0], settings.size[0], settings.threads
        self.sessions: dict[bool, Any] = {}
        self.lock = threading.Lock()

    def __call__(self, image: Tensor) -> list[Tensor]:
        session = self._session(len(image) == self.size)
        return [torch.from_numpy(found) for found in session.run(None, {INPUT: image.numpy()})]

    def _session(self, own: bool) -> Any:
        """The session of the sample's batch, or that of every other."""
        with self.lock:
            if own not in self.sessions:
                options = self.runtime.SessionOptions()
                options.intra_op_num_threads = self.threads
                options.log_severity_level = 3
                if own:
                    options.add_free_dimension_override_by_name(BATCH, self.size)
                try:
                    made = self.runtime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
                except Exception as error:  # of the runtime's own kinds
                    raise ValueError(f"{NAME} cannot open {self.path}: {error}") from error
                self.sessions[own] = made
            return self.sessions[own]
