"""OpenVINO: a graph of its own, in ``model.xml`` and ``model.bin``."""

from __future__ import annotations

import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from ..extras import needed
from .calibrating import quantized
from .exporting import to_onnx
from .settings import Settings

NAME = "openvino"
PACKAGES: tuple[str, ...] = ("openvino",)
QUANTIZERS: tuple[str, ...] = ("nncf",)
RUNS_FILES = False
DTYPES: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16)
FILES: tuple[str, ...] = ("model.xml", "model.bin")


def write(model: nn.Module, sample: Tensor, folder: Path, settings: Settings) -> None:
    """Through ONNX, which needs no package besides: a trace by OpenVINO itself runs as fast, and takes several times as long to make."""
    openvino = needed("openvino", "the runtime openvino")
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        to_onnx(model, sample, path, names=settings.names)
        graph = openvino.Core().read_model(path)
        if settings.calibration is not None:
            graph = quantized(graph, settings.calibration, None, NAME)
        openvino.save_model(graph, folder / FILES[0], compress_to_fp16=False)


class Session:
    """A compiled model: ``image -> [tensor, ...]``, from several threads, too.

    Batches as large as the sample's have a graph of their own, in which every size is known: up to a tenth less time than in the one for
    all others. Each is compiled when it is first needed.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        openvino = needed("openvino", "the runtime openvino")
        self.core, self.path, self.size = openvino.Core(), folder / FILES[0], list(settings.size)
        self.count = len(settings.names)
        # A processor that knows bfloat16 would be given it unasked.
        precision = {torch.float32: "f32", torch.bfloat16: "bf16"}[settings.dtype]
        self.options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": settings.threads,
        }
        self.models: dict[bool, Any] = {}
        self.lock, self.local = threading.Lock(), threading.local()

    def __call__(self, image: Tensor) -> list[Tensor]:
        found = self._request(len(image) == self.size[0]).infer([image.numpy()], share_inputs=True)
        return [torch.from_numpy(found[i]) for i in range(self.count)]

    def _request(self, own: bool) -> Any:
        """This thread's request to the graph of the sample's batch, or to that of every other."""
        requests: dict[bool, Any] = self.local.__dict__.setdefault("requests", {})
        if own not in requests:
            with self.lock:
                if own not in self.models:
                    self.models[own] = self._compiled(own)
            requests[own] = self.models[own].create_infer_request()
        return requests[own]

    def _compiled(self, own: bool) -> Any:
        try:
            graph = self.core.read_model(self.path)
            if own:
                graph.reshape(self.size)
            return self.core.compile_model(graph, "CPU", self.options)
        except RuntimeError as error:
            raise ValueError(f"{NAME} cannot open {self.path}: {error}") from error
