"""Linears and convolutions whose weights lie as oneDNN reads them, with their activation in the same pass.

PyTorch's own operators take a weight in rows and, for float32 linears, MKL. The operators behind ``torch.compile``'s CPU code take a weight
that oneDNN has laid out once. They are private: :func:`why_not` says whether this PyTorch has them, and nothing else here is called where
it has not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..embed.adaptors import PatchConv2d, SlidingConv2d, check_patches, sliding_grid


@cache
def _linear() -> Callable[..., Tensor]:
    operator: Callable[..., Tensor] = torch.ops.mkldnn._linear_pointwise.default
    return operator


@cache
def _convolution() -> Callable[..., Tensor]:
    operator: Callable[..., Tensor] = torch.ops.mkldnn._convolution_pointwise.default
    return operator


class Activation(NamedTuple):
    """An activation as oneDNN names it."""

    name: str
    scalars: list[float]
    algorithm: str


NONE = Activation("none", [], "")

_SIMPLE: dict[type[nn.Module], Activation] = {
    nn.ReLU: Activation("relu", [], ""),
    nn.ReLU6: Activation("hardtanh", [0.0, 6.0], ""),
    nn.SiLU: Activation("swish", [], ""),
    nn.Hardswish: Activation("hardswish", [], ""),
    nn.Sigmoid: Activation("sigmoid", [], ""),
    nn.Tanh: Activation("tanh", [], ""),
}


def activation_of(module: nn.Module) -> Activation | None:
    """What oneDNN calls an activation; None where it has none that is the same."""
    if type(module) is nn.GELU:
        return Activation("gelu", [], module.approximate)
    return _SIMPLE.get(type(module))


def why_not(dtype: torch.dtype) -> str | None:
    """Why products of this dtype cannot be packed on this machine; None where they can."""
    if dtype not in (torch.float32, torch.bfloat16):
        return f"oneDNN packs float32 and bfloat16, the model is {dtype}"
    return _why_not(dtype)


@cache
def _why_not(dtype: torch.dtype) -> str | None:
    if not torch.backends.mkldnn.is_available():
        return "this PyTorch was built without oneDNN"
    try:
        # A private operator may be absent, or take other arguments, in another version.
        linear, conv = nn.Linear(16, 16).to(dtype), nn.Conv2d(16, 16, 3).to(dtype)
        with torch.no_grad():
            PackedLinear(linear, 16, nn.GELU())(torch.zeros(2, 8, 16, dtype=dtype))
            PackedConv2d(conv, (1, 16, 8, 8), nn.ReLU())(torch.zeros(1, 16, 8, 8, dtype=dtype))
    except (AttributeError, RuntimeError, TypeError) as error:
        return f"this PyTorch's oneDNN operators do not do it: {str(error).splitlines()[0]}"
    return None


class Packed(nn.Module):
    """What packed layers share: the weight, which can be read, copied and saved as it was before it was packed.

    Inputs that a gradient is asked of, or of another dtype, go through PyTorch's own operators.

    Raises:
        ValueError: it is brought to a device or dtype that oneDNN does not pack.
    """

    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, act: nn.Module | None) -> None:
        super().__init__()
        self.register_buffer("bias", None if bias is None else bias.detach().clone())
        self.act = nn.Identity() if act is None else act
        activation = NONE if act is None else activation_of(act)
        if activation is None:
            raise ValueError(f"act must be an activation that oneDNN has, got {act}")
        self.activation = activation
        self.set_weight(weight.detach())

    def pack(self, weight: Tensor) -> Tensor:
        """The weight as oneDNN reads it."""
        raise NotImplementedError(f"{type(self).__name__} must define pack(weight)")

    def set_weight(self, weight: Tensor) -> None:
        if weight.device.type != "cpu" or (reason := _cannot(weight.dtype)):
            reason = f"its device is {weight.device}" if weight.device.type != "cpu" else reason
            raise ValueError(f'a packed layer stays on the CPU: {reason}; fuse with pack="never" to move the model')
        self.dtype = weight.dtype
        self.packed = self.pack(weight.contiguous())

    @property
    def weight(self) -> Tensor:
        """The weight as it was before it was packed, made anew."""
        return self.packed.to_dense()

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != self.dtype or (x.requires_grad and torch.is_grad_enabled()):
            return self.by_torch(x)
        return self.outside_of_compiled(x) if torch.compiler.is_compiling() else self.by_onednn(x)

    def by_torch(self, x: Tensor) -> Tensor:
        """By PyTorch's own operators, which have gradients."""
        raise NotImplementedError(f"{type(self).__name__} must define by_torch(x)")

    def by_onednn(self, x: Tensor) -> Tensor:
        """By oneDNN, on the packed weight."""
        raise NotImplementedError(f"{type(self).__name__} must define by_onednn(x)")

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def outside_of_compiled(self, x: Tensor) -> Tensor:
        """As by oneDNN, where torch.compile leaves its own code for it: a packed weight is opaque to it."""
        return self.by_onednn(x)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Packed:
        weight = fn(self.weight)
        super()._apply(fn, recurse)
        self.set_weight(weight)
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}weight"] = self.weight
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        state = dict(state_dict)
        weight = state.pop(f"{prefix}weight", None)
        super()._load_from_state_dict(state, prefix, *rest)
        if weight is None:
            rest[2].append(f"{prefix}weight")
        else:
            self.set_weight(weight)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "packed": self.weight}

    def __setstate__(self, state: dict[str, Any]) -> None:
        weight = state.pop("packed")
        super().__setstate__(state)
        self.set_weight(weight)


def _cannot(dtype: torch.dtype) -> str | None:
    return None if dtype in (torch.float32, torch.bfloat16) else f"oneDNN packs float32 and bfloat16, not {dtype}"


class PackedLinear(Packed):
    """A Linear, and the activation after it: ``(..., in_features) -> (..., out_features)``.

    Args:
        linear: whose weights are taken.
        rows: how many rows an input has, for which the layout is chosen; others work.
        act: an activation that :func:`activation_of` knows, or None.
    """

    def __init__(self, linear: nn.Linear, rows: int, act: nn.Module | None = None) -> None:
        self.rows = rows
        self.in_features, self.out_features = linear.in_features, linear.out_features
        super().__init__(linear.weight, linear.bias, act)

    def pack(self, weight: Tensor) -> Tensor:
        packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, self.rows)
        return packed

    def by_torch(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(F.linear(x, self.weight, self.bias))
        return y

    def by_onednn(self, x: Tensor) -> Tensor:
        y: Tensor = _linear()(x, self.packed, self.bias, *self.activation)
        return y

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, activation={self.activation.name}"


class PackedConv2d(Packed):
    """A Conv2d, and the activation after it: ``(B, C, H, W) -> (B, out_channels, H', W')``, channels-last.

    Args:
        conv: whose weights and sizes are taken, and what it refuses.
        shape: of an input, for which the layout is chosen; others work.
        act: an activation that :func:`activation_of` knows, or None.
    """

    def __init__(self, conv: nn.Conv2d, shape: tuple[int, ...], act: nn.Module | None = None) -> None:
        self.shape = shape
        self.kernel_size, self.in_channels, self.out_channels = conv.kernel_size, conv.in_channels, conv.out_channels
        self.stride, self.dilation, self.groups = conv.stride, conv.dilation, conv.groups
        assert not isinstance(conv.padding, str)
        self.padding: tuple[int, ...] = conv.padding
        self.kind = type(conv)
        super().__init__(conv.weight, conv.bias, act)

    def pack(self, weight: Tensor) -> Tensor:
        sizes = (self.padding, self.stride, self.dilation, self.groups, self.shape)
        packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(weight, *sizes)
        return packed

    def check(self, size: tuple[int, int]) -> None:
        """Raise ValueError for a map that the convolution refused before it was packed."""
        if self.kind is PatchConv2d:
            check_patches(size, (self.kernel_size[0], self.kernel_size[1]))
        elif self.kind is SlidingConv2d:
            sliding_grid(size, self.kernel_size, self.stride, self.padding)

    def forward(self, image: Tensor) -> Tensor:
        self.check((image.shape[2], image.shape[3]))
        return super().forward(image)

    def by_torch(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups))
        return y

    def by_onednn(self, x: Tensor) -> Tensor:
        sizes = (self.padding, self.stride, self.dilation, self.groups)
        y: Tensor = _convolution()(x, self.packed, self.bias, *sizes, *self.activation)
        return y

    def extra_repr(self) -> str:
        sizes = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        return f"{sizes}, activation={self.activation.name}"
