"""What a model is made of: shapes, parameters, multiply-adds and activations, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..grid import Size, one_line, to_pair
from ..model import Stage
from .frames import towers_of, uncompiled
from .table import aligned
from .twin import counting, meta_twin


@dataclass(frozen=True)
class LayerSummary:
    """One layer: its name, its class, the shape it gives, its parameters, multiply-adds and activations for one image."""

    name: str
    kind: str
    shape: tuple[int, ...]
    params: int
    macs: int
    activations: int


@dataclass(frozen=True)
class Summary:
    """A model for one image: totals, and the layers in the order they run.

    ``macs`` are the multiply-adds of matrix products and convolutions, attention included; norms, activations and softmax are not
    counted. ``activations`` are the elements that the layers listed give.
    """

    model: str
    image: tuple[int, ...]
    params: int
    macs: int
    activations: int
    layers: list[LayerSummary] = field(default_factory=list)

    def __repr__(self) -> str:
        return one_line(self)

    def __str__(self) -> str:
        head = ("layer", "kind", "shape", "parameters", "MACs", "activations")
        rows = [(r.name, r.kind, "x".join(map(str, r.shape)), *_figures(r)) for r in self.layers]
        total = ("total", self.model, "x".join(map(str, self.image)), *_figures(self))
        first, *layers, last = ("  ".join(cells) for cells in aligned([head, *rows, total], left=3))
        rule = "-" * len(first)
        return "\n".join(line.rstrip() for line in (first, rule, *layers, rule, last))


def summary(model: nn.Module, image_size: Size | None = None, *, channels: int | None = None) -> Summary:
    """Count a model for one image without computing anything: a copy runs on the meta device, the model itself is left alone.

    Args:
        model: a model whose forward takes an image ``(1, channels, height, width)``.
        image_size: an int or a (height, width); if None the size that the model was made for, 224 where it names none.
        channels: of the image; as its first convolution or embedder takes if None.

    Raises:
        ValueError: what the model raises for that size.
    """
    rows = list(_rows(model))
    shapes: dict[str, tuple[int, ...]] = {}
    twin = meta_twin(model)
    for name, _ in rows:
        twin.get_submodule(name).register_forward_hook(_keep_shape(shapes, name))
    image, counts = run_twin(twin, image_size, channels)
    layers = [_layer(name, module, shapes[name], counts[name]) for name, module in rows if name in shapes]
    return Summary(
        model=type(model).__name__,
        image=image,
        params=sum(p.numel() for p in model.parameters()),
        macs=counts[""],
        activations=sum(layer.activations for layer in layers),
        layers=layers,
    )


def macs(model: nn.Module, image_size: Size | None = None, *, channels: int | None = None) -> dict[str, int]:
    """The multiply-adds of every module by its name, of the whole model under ``""``, for one image, counted as :func:`summary` does.

    Arguments and errors: those of :func:`summary`. A module that is not called itself has 0, also where its parts are called.
    """
    return run_twin(meta_twin(model), image_size, channels)[1]


def run_twin(
    twin: nn.Module, image_size: Size | None = None, channels: int | None = None
) -> tuple[tuple[int, ...], dict[str, int]]:
    """Run a model's :func:`~vitblocks.inspect.twin.meta_twin`: the image's shape, and the multiply-adds as :func:`macs` gives them."""
    size = getattr(twin, "image_size", None) or 224 if image_size is None else image_size
    height, width = to_pair(size, "image_size")
    image = torch.empty(1, image_channels(twin) if channels is None else channels, height, width, device="meta")
    floating = (t.dtype for t in (*twin.parameters(), *twin.buffers()) if t.is_floating_point())
    image = image.to(next(floating, image.dtype))
    with torch.no_grad(), uncompiled(), counting(twin) as counts:
        twin(image)
    return tuple(image.shape[1:]), counts


def _rows(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules that are a row each: the children, those of containers in their place; modules without effect are left out."""
    for name, child in model.named_children():
        if isinstance(child, nn.Identity):
            continue
        if isinstance(child, (nn.ModuleList, Stage)) or towers_of(child):
            yield from ((f"{name}.{inner}", module) for inner, module in _rows(child))
        else:
            yield name, child


def _layer(name: str, module: nn.Module, shape: tuple[int, ...], macs: int) -> LayerSummary:
    activations = 1
    for side in shape:
        activations *= side
    params = sum(p.numel() for p in module.parameters())
    return LayerSummary(name, type(module).__name__, shape, params, macs, activations)


def _keep_shape(shapes: dict[str, tuple[int, ...]], name: str) -> Any:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        x = output[0] if isinstance(output, tuple) else output
        if isinstance(x, Tensor):
            shapes[name] = tuple(x.shape[1:])

    return hook


def image_channels(model: nn.Module) -> int:
    """Of the images that a model takes, as its embedder or its first convolution says; 3 where none does."""
    for module in model.modules():
        for attribute in ("channels", "in_channels"):
            if isinstance(count := getattr(module, attribute, None), int):
                return count
    return 3


def _figures(counts: LayerSummary | Summary) -> tuple[str, str, str]:
    return f"{counts.params:,}", f"{counts.macs:,}", f"{counts.activations:,}"
