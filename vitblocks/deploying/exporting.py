"""A model as a program of tensors alone: PyTorch's own, and ONNX by either exporter, each for every batch size."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..extras import needed

INPUT, BATCH = "image", "batch"
"""The names of the input in an ONNX file and of its first axis."""
OPSET = 20


def to_program(model: nn.Module, sample: Tensor, *, sizes: bool = False) -> Any:
    """``torch.export.export`` of the model for every batch size: a :class:`torch.export.ExportedProgram`.

    Args:
        model: in evaluation mode.
        sample: images ``(B, C, H, W)``; of 2 or more, since a size of 1 would be kept for good.
        sizes: leave height and width open, too: then the program says itself which it takes. A model folded for one size has none.
    """
    dims: dict[int, Any] = {0: torch.export.Dim(BATCH, min=1)}
    if sizes:
        dims |= {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    with torch.no_grad(), plain_layers():
        return torch.export.export(model, (several(sample),), dynamic_shapes=(dims,))


def to_onnx(
    model: nn.Module,
    sample: Tensor,
    path: str | os.PathLike[str],
    *,
    names: Sequence[str] = ("output",),
    dynamo: bool = False,
) -> None:
    """An ONNX file of the model for every batch size, at the height and width of the sample.

    Args:
        model: in evaluation mode; its output is a tensor, or a tuple of them.
        sample: images ``(B, C, H, W)``.
        path: of the file. Weights beyond the 2 GB of a protocol buffer lie in a file beside it.
        names: of the outputs.
        dynamo: by ``torch.export`` and the extra ``onnx``. Without, by a trace: in a fraction of the time, and ONNX Runtime gains more
            from what it gives.

    Raises:
        ModuleNotFoundError: ``dynamo`` without the extra ``onnx``.
    """
    inputs, outputs = {INPUT: {0: BATCH}}, {name: {0: BATCH} for name in names}
    options: dict[str, Any] = {"input_names": [INPUT], "output_names": list(names), "opset_version": OPSET}
    if dynamo:
        needed("onnxscript", "the ONNX exporter of torch.export")
        source, options["external_data"] = to_program(model, sample), _large(model)
    else:
        source, options["dynamic_axes"] = model, {**inputs, **outputs}
    with torch.no_grad(), plain_layers(), quiet():
        torch.onnx.export(source, (several(sample),), str(Path(path)), dynamo=dynamo, **options)


def several(sample: Tensor) -> Tensor:
    """At least two images: exporters take a size of 1 for a constant."""
    return sample if sample.shape[0] > 1 else sample.repeat(2, 1, 1, 1)


def _large(model: nn.Module) -> bool:
    tensors = (*model.parameters(), *model.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) > 1 << 30


@contextmanager
def plain_layers() -> Iterator[None]:
    """PyTorch's own transformer layers without their fused operator, which no exporter knows."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def quiet() -> Iterator[None]:
    """Without what exporters print, and their warnings of sizes that a trace fixes, which is what is asked for."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
