"""A model as a program of tensors alone: PyTorch's own, and ONNX by either exporter, each for every batch size."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..checkpoint.wrapping import COMPILED
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

    Raises:
        TypeError: ``model`` is no module, or ``sample`` no tensor of floats.
        ValueError: ``model`` is in training mode, or ``sample`` is not as said above.
    """
    check_exported(model, sample)
    check_evaluation(model)
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
        TypeError: ``model`` is no module, or ``sample`` no tensor of floats.
        ValueError: ``model`` is in training mode, ``sample`` is not as said above, or ``names`` are no names, or twice the same.
        FileNotFoundError: there is no folder for the file.
        ModuleNotFoundError: ``dynamo`` without the extra ``onnx``.
    """
    check_exported(model, sample)
    check_evaluation(model)
    named = not isinstance(names, str) and all(isinstance(name, str) and name for name in names)
    if not named or not 0 < len(names) == len({*names} - {INPUT}):
        raise ValueError(f"names must be those of the outputs, each another and none {INPUT!r}, got {names!r}")
    if not Path(path).resolve().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {Path(path).resolve().parent}")
    inputs, outputs = {INPUT: {0: BATCH}}, {name: {0: BATCH} for name in names}
    options: dict[str, Any] = {"input_names": [INPUT], "output_names": list(names), "opset_version": OPSET}
    if dynamo:
        needed("onnxscript", "the ONNX exporter of torch.export")
        source, options["external_data"] = to_program(model, sample), _large(model)
    else:
        source, options["dynamic_axes"] = model, {**inputs, **outputs}
    with torch.no_grad(), plain_layers(), quiet(), nullcontext() if dynamo else SpelledOut():
        torch.onnx.export(source, (several(sample),), str(Path(path)), dynamo=dynamo, **options)


def check_exported(model: object, sample: object) -> None:
    """Raise TypeError or ValueError unless these are a module, and images that it may be called with."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a module, got {type(model).__name__}")
    compiled = [name for name, _ in model.named_modules() if name.rpartition(".")[2] == COMPILED]
    if compiled:
        raise TypeError(
            f"model must not be compiled by torch.compile: give the module that was compiled, model.{compiled[0]}"
        )
    check_images("sample", sample)


def check_images(name: str, images: object) -> None:
    """Raise TypeError or ValueError unless ``images`` is a tensor of floats ``(B, C, H, W)`` with something in it."""
    if not isinstance(images, Tensor) or not images.is_floating_point():
        raise TypeError(f"{name} must be a tensor of floats, got {getattr(images, 'dtype', type(images).__name__)}")
    if images.dim() != 4 or not images.numel():
        raise ValueError(f"{name} must be (batch, C, H, W), got {tuple(images.shape)}")


def check_evaluation(model: nn.Module) -> None:
    """Raise ValueError for a model in training mode; what ``torch.export`` made has none."""
    if model.training and not isinstance(model, torch.fx.GraphModule):
        raise ValueError("model must be in evaluation mode: call model.eval() first")


def require_one_file(path: Path) -> None:
    """Raise ValueError where an ONNX file, alone in its folder until now, has weights in files beside it: those beyond 2 GB."""
    if any(other != path for other in path.parent.iterdir()):
        raise ValueError(
            "model has more weights than the 2 GB that one ONNX file holds: deploy it in another runtime, or write its files by "
            "vitblocks.deploying.to_onnx"
        )


def several(sample: Tensor) -> Tensor:
    """At least two images: exporters take a size of 1 for a constant."""
    return sample if sample.shape[0] > 1 else sample.repeat(2, 1, 1, 1)


def _large(model: nn.Module) -> bool:
    tensors = (*model.parameters(), *model.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) > 1 << 30


class SpelledOut(TorchFunctionMode):
    """Within it functions that the older ONNX exporter does not know are what they are made of: RMSNorm (arXiv:1910.07467, eq. 4)."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return (_rms_norm if func in (F.rms_norm, torch.rms_norm) else func)(*args, **(kwargs or {}))


def _rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    axes = tuple(range(-len(normalized_shape), 0))
    least = torch.finfo(input.dtype).eps if eps is None else eps
    normed = input * (input.square().mean(dim=axes, keepdim=True) + least).rsqrt()
    return normed if weight is None else normed * weight


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
