"""The pass that keeps no output of norms and activations for the backward pass, but computes it again."""

from __future__ import annotations

import threading
import weakref
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from .conditions import NEEDED, forward_mode, untransformed
from .extend import Extension, extend, retract, split
from .private import find, missing
from .report import Report

NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm)
ACTIVATIONS = (nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.ELU, nn.Softplus)
"""Modules that give the same for the same input, at the cost of reading it, and keep it for their own gradient (ReLU keeps its result)."""

_ENABLED = "torch._C._autograd._saved_tensors_hooks_is_enabled"
_TOP = "torch._C._autograd._top_saved_tensors_default_hooks"
NAMES = (_ENABLED, _TOP, "torch.Tensor._version", *NEEDED)

_THERE = missing(*NAMES) is None
_hooks_enabled: Any = find(_ENABLED)
_top_hooks: Any = find(_TOP)


def recompute(model: nn.Module) -> Report:
    """Keep no output of the model's norms and activations for the backward pass, but compute it again; in place.

    What a LayerNorm or an elementwise activation gives is kept by the layer that reads it, although it costs little more than reading
    the input, which the norm keeps anyway. A training step of a ViT-S takes two thirds of the memory for about 1% more time
    (``python -m benchmarks.kernels`` measures both). Gradients are the same numbers.

    It holds for calls of ``model`` itself: pass what you call, an objective rather than the encoder inside of it. Nothing is done
    without gradients, under ``torch.compile`` (which decides this itself), under ``torch.jit``, ``torch.func`` and forward-mode
    gradients, and inside of saved-tensor hooks of somebody else (activation checkpointing, offloading). Norms under autocast are
    kept: a product keeps a copy in half precision there, and not what the norm gave.

    Args:
        model: any module. Norms and activations are the modules of :data:`NORMS` and :data:`ACTIVATIONS` and of their subclasses,
            which must give the same for the same input.
    """
    if (reason := missing(*NAMES)) is not None:
        return Report("recompute", aside=reason)
    report = Report("recompute")
    for name, module in model.named_modules():
        if not isinstance(module, (*NORMS, *ACTIVATIONS)):
            continue
        if Noted in split(type(module))[1]:
            report.left[name] = "has it already"
        elif getattr(module, "inplace", False):
            report.left[name] = "works in place: its input is gone"
        else:
            extend(module, Noted)
            report.add(name, "computed again", partial(retract, module, Noted))
    there = Recomputing in split(type(model))[1]
    if (report or any(reason == "has it already" for reason in report.left.values())) and not there:
        extend(model, Recomputing)
        report.add("", "looks after what is kept during a call", partial(retract, model, Recomputing))
    return report


class Noted(Extension):
    """A norm or an activation whose output is noted, if a call of the model is under way in this thread."""

    prefix = "Noted"

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        value = super().forward(*args, **kwargs)
        if torch.compiler.is_compiling() or _THREAD.call is None or kwargs or len(args) != 1:
            return value
        _THREAD.call.note(self, args[0], value)  # type: ignore[arg-type]
        return value


class Recomputing(Extension):
    """A model during whose calls noted outputs are not kept."""

    prefix = "Recomputing"

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling() or not _alone():
            return super().forward(*args, **kwargs)
        with _Call():
            return super().forward(*args, **kwargs)


def _alone() -> bool:
    """Whether there will be gradients, by ``backward`` alone, and no saved-tensor hooks of others, nor of a call around this one."""
    return (
        _THERE
        and torch.is_grad_enabled()
        and not forward_mode()
        and untransformed()
        and _hooks_enabled()
        and _top_hooks(False) is None
    )


class _Thread(threading.local):
    call: _Call | None = None


_THREAD = _Thread()


class _Again(NamedTuple):
    """How to compute an output again.

    Attributes:
        source: the input, or how to compute that again.
        version: of the input, if that is kept.
        shape, stride: in which the output is asked for.
    """

    module: nn.Module
    source: Tensor | _Again
    version: int
    shape: torch.Size
    stride: tuple[int, ...]

    def compute(self) -> Tensor:
        if isinstance(self.source, Tensor):
            _require_unchanged(self.source, self.version)
            x = self.source
        else:
            x = self.source.compute()
        return self.module.forward(x).as_strided(self.shape, self.stride)


class _Output(NamedTuple):
    """An output that was noted. It is not held: what has its address once it is gone is another tensor."""

    value: weakref.ref[Tensor]
    version: int
    again: _Again


class _Call:
    """One call of a model in one thread: saved-tensor hooks that keep every tensor as it is but noted outputs, of which nothing is kept."""

    def __init__(self) -> None:
        self.outputs: dict[int, _Output] = {}
        self.hooks = saved_tensors_hooks(self.pack, _unpack)

    def __enter__(self) -> None:
        self.hooks.__enter__()
        self.around, _THREAD.call = _THREAD.call, self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _THREAD.call = self.around
        self.hooks.__exit__(kind, error, trace)
        self.outputs.clear()

    def note(self, module: nn.Module, x: Any, value: Any) -> None:
        if not (type(value) is Tensor and type(x) in _PLAIN and value.requires_grad and untransformed()):
            return
        device = value.device.type
        if device == "meta" or not torch.amp.is_autocast_available(device) or value.data_ptr() == x.data_ptr():
            return
        if torch.is_autocast_enabled(device) and (isinstance(module, NORMS) or value.dtype is not x.dtype):
            return
        # Detached: the graph must not hold on to itself.
        source = self.find(x) or x.detach()
        again = _Again(module, source, x._version, value.shape, value.stride())
        self.outputs[value.data_ptr()] = _Output(weakref.ref(value), value._version, again)

    def find(self, tensor: Tensor) -> _Again | None:
        """How to compute this tensor again, if it is a noted output, in whatever shape."""
        if type(tensor) not in _PLAIN or tensor.layout is not torch.strided:
            return None
        output = self.outputs.get(tensor.data_ptr())
        if output is None:
            return None
        value = output.value()
        if value is None or value._version != output.version or not _same_memory(tensor, value):
            return None
        return output.again._replace(shape=tensor.shape, stride=tensor.stride())

    def pack(self, saved: Tensor) -> _Again | tuple[Tensor, int]:
        # Detached, as an operation may save its own result, which knows the operation.
        return self.find(saved) or (saved.detach(), saved._version)


_PLAIN = (Tensor, nn.Parameter)


@torch.no_grad()
def _unpack(packed: _Again | tuple[Tensor, int]) -> Tensor:
    if not isinstance(packed, _Again):
        _require_unchanged(*packed)
        return packed[0]
    source: Tensor | _Again = packed
    while isinstance(source, _Again):
        source = source.source
    with torch.autocast(source.device.type, enabled=False):
        return packed.compute()


def _require_unchanged(tensor: Tensor, version: int) -> None:
    """What autograd itself checks of the tensors that it keeps without hooks."""
    if tensor._version != version:
        raise RuntimeError(
            f"a tensor of shape {tuple(tensor.shape)} that is needed for gradients was changed by an operation in place: "
            f"it is at version {tensor._version}, expected {version}"
        )


def _same_memory(a: Tensor, b: Tensor) -> bool:
    """Whether both are the same numbers in the same places, in whatever shape."""
    return (
        a.data_ptr() == b.data_ptr()
        and a.dtype is b.dtype
        and a.numel() == b.numel()
        and (a.stride() == b.stride() or (a.is_contiguous() and b.is_contiguous()))
    )
