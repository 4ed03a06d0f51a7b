"""Make a trained model faster for inference, with the same outputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .folding import fold
from .freezing import freeze, is_position
from .packed import why_not
from .packing import AttendShapes, Pack, Shape, attends, choose_attends, pack_products, sites
from .parts import child
from .report import FusionReport


class Fused(NamedTuple):
    """A model made for inference, and what was done to it."""

    model: nn.Module
    report: FusionReport


def fuse(model: nn.Module, sample: Tensor | None = None, *, pack: Pack = "measure", inplace: bool = False) -> Fused:
    """A copy of the model for inference that does less work for the same outputs: ``fused, report = fuse(model, images)``.

    Three steps, of which the last two need a sample:

    1. Folding, on any device and in any dtype: BatchNorm into the convolution, linear or mix of heads beside it; the scale and shift of
       LayerNorm and RMSNorm into the linears that alone read them; layer scale into projections; QuickGELU's factor, and the rescaling
       of DeepViT's blocks, into the weights around them; dropout and drop path left out. Outputs are the same up to rounding: in
       float64 within 1e-9.
    2. Freezing: position biases and position tables become the tensors that they give for the size of the sample. Another size then
       raises ValueError.
    3. Packing, for float32 and bfloat16 on a CPU: linears and convolutions, with the activation after them, by oneDNN on weights laid out
       for it, and softmax attention head by head with oneDNN's products, wherever that is measured to be faster on this machine for the
       shapes of the sample. Other batch sizes work, by the choice made for the sample's. Outputs are the same up to float32 rounding.
       It rests on operators of PyTorch that are private: where they are absent nothing is packed, and the report says so. What is packed
       runs outside of ``torch.compile`` and cannot be saved by ``torch.export``: for those ask for ``pack="never"``.

    The parts stay what they are, so that recording attention and extracting features work on a fused model; what a folded norm gives is
    not what it gave before. Parameters need no gradients any more, gradients of the inputs work. The state dict is not that of the
    original: save the original's, and fuse after loading. A part that is not known, that stands in several places or that carries hooks is
    left as it is.

    Args:
        model: any module; models of other packages profit where they are made of Sequentials of convolutions, linears and BatchNorms.
        sample: images as the model will see them, of the batch size, size, dtype and device that it is to be fast for; None for folding
            alone.
        pack: whether to measure each shape, to pack all linears and convolutions without measuring (``"always"``), or none (``"never"``).
        inplace: change the model itself rather than a copy. It must be in evaluation mode; a copy is put in it.

    Returns:
        The model and a :class:`~vitblocks.fusion.report.FusionReport`.

    Raises:
        TypeError: ``model`` is no module.
        ValueError: ``pack`` is none of the three; ``inplace`` on a model in training mode.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a module, got {type(model).__name__}")
    if pack not in ("measure", "always", "never"):
        raise ValueError(f'pack must be "measure", "always" or "never", got {pack!r}')
    if inplace and model.training:
        raise ValueError(
            "inplace=True needs a model in evaluation mode, this one is in training: call model.eval() first"
        )
    fused = (model if inplace else deepcopy(model)).eval().requires_grad_(False)
    before = None if sample is None else _outputs(fused, sample)
    report = FusionReport(fold(fused))
    if sample is not None and before is not None:
        _fit_to(fused, sample, pack, report)
        report.drift = _largest_change(before, _outputs(fused, sample))
    elif pack != "never":
        report.unpacked = "no sample was given"
    return Fused(fused, report)


def _fit_to(model: nn.Module, sample: Tensor, choice: Pack, report: FusionReport) -> None:
    """Freeze and pack for what the sample calls."""
    with _tracing(model) as trace:
        _outputs(model, sample)
    report.folds += freeze(model, trace.positions)
    report.unpacked = 'pack="never" was asked for' if choice == "never" else _unpackable(model)
    if report.unpacked is None:
        report.packings = pack_products(model, trace.inputs, choice)
        if choice == "measure":  # head by head is no gain for small windows, where it was not measured
            report.packings += choose_attends(model, trace.attends)


def _unpackable(model: nn.Module) -> str | None:
    """Why none of the model's products can be packed; None where they can."""
    first = next((p for p in model.parameters() if p.is_floating_point()), None)
    if first is None:
        return "the model has no parameters"
    return f"the model is on {first.device}, not on a CPU" if first.device.type != "cpu" else why_not(first.dtype)


@dataclass
class _Trace:
    """What products and position parts were called with."""

    inputs: dict[nn.Module, Shape] = field(default_factory=dict)
    attends: dict[nn.Module, AttendShapes] = field(default_factory=dict)
    positions: dict[nn.Module, list[tuple[Any, ...]]] = field(default_factory=dict)


@contextmanager
def _tracing(model: nn.Module) -> Iterator[_Trace]:
    trace = _Trace()

    def product(module: nn.Module, args: tuple[Any, ...], result: Any) -> None:
        # The largest call counts where there are several.
        if args[0].numel() >= prod(trace.inputs.get(module, (0,))):
            trace.inputs[module] = tuple(args[0].shape)

    def attend(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        shapes = tuple(tuple(x.shape) for x in (*args, *kwargs.values()) if x is not None)
        if prod(shapes[0]) >= prod(trace.attends.get(module, ((0,),))[0]):
            trace.attends[module] = shapes

    def position(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        trace.positions.setdefault(module, []).append((*args, *kwargs.values()))

    handles = [child(site.parent, site.name).register_forward_hook(product) for site in sites(model)]
    handles += [child(*place).register_forward_hook(attend, with_kwargs=True) for place in attends(model)]
    parts = {part for parent in model.modules() for name, part in parent.named_children() if is_position(parent, name)}
    handles += [part.register_forward_hook(position, with_kwargs=True) for part in parts]
    try:
        yield trace
    finally:
        for handle in handles:
            handle.remove()


def _outputs(model: nn.Module, sample: Tensor) -> Any:
    with torch.no_grad():
        return model(sample)


def _largest_change(before: Any, after: Any) -> float | None:
    """The largest difference over the largest magnitude; None where the outputs are no tensors."""
    if not isinstance(before, Tensor) or not isinstance(after, Tensor):
        return None
    scale = before.abs().amax().clamp(min=torch.finfo(before.dtype).tiny)
    return float((after - before).abs().amax() / scale)
