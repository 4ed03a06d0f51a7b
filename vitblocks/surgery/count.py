"""What a model costs, and what its layers are called with, found without computing anything."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ..inspect.summary import run_twin
from ..inspect.twin import meta_twin
from .family import Call


@dataclass
class Count:
    """Multiply-adds for one image and the first calls of layers, by name; ``reason`` says why there are none."""

    macs: dict[str, int] | None = None
    calls: dict[str, Call] = field(default_factory=dict)
    reason: str = ""
    error: Exception | None = None


def count(model: nn.Module, names: Collection[str], sample: Tensor | None) -> Count:
    """Count a model, and follow the layers named, for an image like those of the sample, or of the size that the model was made for."""
    return count_twin(meta_twin(model), names, sample)


def count_twin(model: nn.Module, names: Collection[str], sample: Tensor | None) -> Count:
    """:func:`count` by a twin that was made already."""
    size = getattr(model, "image_size", None) if sample is None else (sample.shape[-2], sample.shape[-1])
    if size is None or (sample is not None and sample.dim() != 4):
        return Count(reason="no sample of images was given, and the model was made for no size")
    counted = Count()
    for name in names:
        model.get_submodule(name).register_forward_pre_hook(_note(name, counted.calls))
    try:
        counted.macs = run_twin(model, size, None if sample is None else sample.shape[1])[1]
    except Exception as error:
        # What depends on values, or an operator of another package, cannot run without any.
        counted.reason, counted.error = f"on the meta device the model raises {error!r}", error
    return counted


def _note(name: str, calls: dict[str, Call]) -> Any:
    """A hook that keeps what a layer is called with first, tensors as their shapes."""

    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        calls.setdefault(name, tuple(tuple(a.shape) if isinstance(a, Tensor) else a for a in args))

    return hook
