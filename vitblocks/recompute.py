"""Intermediate results that are cheap to compute: computed again for the backward pass instead of kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.module import _has_any_global_hook

from .faster import untraced

T = TypeVar("T")

_NORMS = (nn.LayerNorm, nn.RMSNorm)
_ACTIVATIONS = (nn.GELU, nn.SiLU, nn.Hardswish, nn.ReLU6)
"""Modules that give the same for the same input, at the cost of reading it, and keep it for their own gradient (ReLU keeps its result)."""


def through(first: nn.Module, x: Tensor, then: Callable[..., T], *rest: Any) -> T:
    """``then(first(x), *rest)`` with the same gradients, in less memory.

    What ``first`` gives is not kept for the backward pass where ``then`` alone needs it, but computed again from ``x``, which ``first``
    keeps anyway: a LayerNorm or an elementwise activation costs little more than reading its input (``python -m benchmarks.kernels``
    measures both for a ViT-S).

    Another kind of ``first``, one with hooks, compiled or exported code (compilers decide this themselves), ``torch.func``, and code inside
    of saved-tensor hooks of somebody else (activation checkpointing, offloading) are left alone.
    """
    value = first(x)
    if not _repeatable(first, value):
        return then(value, *rest)
    kept = _Unkept(first, x, value)
    try:
        with saved_tensors_hooks(kept.pack, kept.unpack):
            return then(value, *rest)
    finally:
        kept.value = None


class _Unkept:
    """Hooks that keep every tensor as it is but ``value``, for which they keep nothing."""

    def __init__(self, first: nn.Module, x: Tensor, value: Tensor) -> None:
        self.first, self.x, self.version = first, x, x._version
        # Held until nothing more is saved: meanwhile no other tensor can have its address.
        self.value: Tensor | None = value
        self.made = value._version

    def pack(self, saved: Tensor) -> tuple[Tensor, int] | tuple[torch.Size, tuple[int, ...]]:
        value = self.value
        if value is not None and value._version == self.made and _same_memory(saved, value):
            return saved.shape, saved.stride()
        return saved, saved._version

    def unpack(self, packed: tuple[Any, Any]) -> Tensor:
        saved, version = packed
        if isinstance(saved, Tensor):
            _require_unchanged(saved, version)
            return saved
        _require_unchanged(self.x, self.version)
        with torch.autocast(self.x.device.type, enabled=False):
            return self.first.forward(self.x).as_strided(saved, version)


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
        type(a) in (Tensor, nn.Parameter)
        and a.data_ptr() == b.data_ptr()
        and a.dtype is b.dtype
        and a.numel() == b.numel()
        and (a.stride() == b.stride() or (a.is_contiguous() and b.is_contiguous()))
    )


def _repeatable(first: nn.Module, value: Tensor) -> bool:
    """Whether ``value`` comes from a module that can be called again, and somebody would keep it."""
    if not (torch.is_grad_enabled() and type(value) is Tensor and value.requires_grad) or torch.compiler.is_compiling():
        return False
    kind, device = type(first), value.device.type
    if not torch.amp.is_autocast_available(device):
        return False
    # Under autocast a product keeps a copy in half precision of what a norm gives, and not that itself.
    cheap = kind in _ACTIVATIONS or (kind in _NORMS and not torch.is_autocast_enabled(device))
    hooks = torch._C._autograd
    return (
        cheap
        and not getattr(first, "inplace", False)
        and not _hooked(first)
        and untraced(value)
        and hooks._saved_tensors_hooks_is_enabled()  # type: ignore[attr-defined]
        and _ours(hooks._top_saved_tensors_default_hooks(False))
    )


def _hooked(module: nn.Module) -> bool:
    """Whether a call is more than ``forward``: a hook may change what comes out, or count the calls."""
    own = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return any(own) or _has_any_global_hook()


def _ours(hooks: tuple[Any, Any] | None) -> bool:
    """Whether the saved-tensor hooks around this are none, or of a :func:`through` around this one."""
    return hooks is None or isinstance(getattr(hooks[0], "__self__", None), _Unkept)
