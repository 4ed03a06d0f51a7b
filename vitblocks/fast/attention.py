"""The pass over attention on a CPU: plain products where PyTorch's fused function is the slower way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, partial
from inspect import unwrap
from types import CodeType, FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..checks import tracing
from .extend import Extension, extend, retract, split
from .measure import GAIN, Work, gain
from .report import Report

SHORT = 1024
"""Keys up to which the whole attention matrix is no burden to memory."""


def attends(model: nn.Module, *, dtype: torch.dtype | None = None) -> Report:
    """Compute the model's attention on a CPU by plain products, in two cases in which they are the faster way; in place.

    In bfloat16 PyTorch's fused function is slow, above all backward: plain products took an eighth of its time in windows of 49 tokens, a
    fifth for 197 tokens, with the gradients, and half of it in inference. They are taken for up to 1,024 keys. And values wider than
    queries (LeViT) leave the fused kernel anyway, in any dtype. (``python -m benchmarks.kernels`` measures it, and so does this pass,
    once a process.)

    Every module whose own ``forward`` calls ``scaled_dot_product_attention``, itself or in a function that it calls by name, is such a
    place, ours as well as timm's; one that leaves the call to a method is not seen, nor is the width of its values, unless the module or
    the one that holds it has them as ``head_dim`` and ``value_dim``. What is exported or traced by ``torch.jit`` is the fused function.

    Args:
        model: any module.
        dtype: what attention is computed in: ``torch.bfloat16`` for a model that is called under autocast. Of each place's parameters,
            or else of the model's, if None.
    """
    report = Report("attends")
    wide = wide_places(model)
    first = next(model.parameters(), None)
    for name, module in model.named_modules():
        if not calls_fused_attention(type(module)):
            continue
        own = next(module.parameters(), first)
        computed = dtype if dtype is not None or own is None else own.dtype
        if PlainProducts in split(type(module))[1]:
            report.left[name] = "has it already"
        elif own is not None and own.device.type != "cpu":
            report.left[name] = f"on {own.device.type}, where the fused function is the one"
        elif computed is not torch.bfloat16 and module not in wide:
            report.left[name] = f"the fused function is the one in {str(computed).removeprefix('torch.')}"
        elif not any(faster(wide=computed is not torch.bfloat16, training=training) for training in (False, True)):
            report.left[name] = f"plain products are not faster here: {_measured(computed)}"
        else:
            extend(module, PlainProducts)
            report.add(name, f"plain products, {_measured(computed)}", partial(retract, module, PlainProducts))
    return report


def calls_fused_attention(kind: type[nn.Module]) -> bool:
    """Whether the class's own ``forward``, or a function of its module that it calls, has a call of ``scaled_dot_product_attention``."""
    forward = unwrap(split(kind)[0].forward)
    code = getattr(forward, "__code__", None)
    if not isinstance(code, CodeType):
        return False
    called = [getattr(forward, "__globals__", {}).get(name) for name in code.co_names]
    codes = [code, *(function.__code__ for function in called if isinstance(function, FunctionType))]
    return any("scaled_dot_product_attention" in code.co_names for code in codes)


def wide_places(model: nn.Module) -> set[nn.Module]:
    """The modules of which is known that their values are of another width than their queries, and what they hold."""
    return {
        place
        for module in model.modules()
        if None is not getattr(module, "value_dim", None) != getattr(module, "head_dim", None)
        for place in (module, *module.children())
    }


class PlainProducts(Extension):
    """A module in whose calls ``scaled_dot_product_attention`` is :func:`attention`."""

    prefix = "PlainProducts"

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_exporting() or tracing():
            return super().forward(*args, **kwargs)
        with _Instead():
            return super().forward(*args, **kwargs)


class _Instead(TorchFunctionMode):
    """Where it is on, :func:`attention` is called instead of the fused function."""

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        called = attention if func is F.scaled_dot_product_attention else func
        return called(*args, **(kwargs or {}))


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``F.scaled_dot_product_attention`` by the faster way: ``(..., n, d)``, ``(..., m, d)``, ``(..., m, e) -> (..., n, e)``."""
    if is_causal or enable_gqa or not _suit(query, key, value, attn_mask):
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    # Keys cut out of a projection would be copied transposed, entry by entry: 1.35 times as long in all (benchmarks/kernels.py).
    logits = (query * scale) @ key.contiguous().transpose(-1, -2)
    if attn_mask is None:
        return _dropped(logits.softmax(dim=-1), dropout_p) @ value
    # A query without any key gets zeros of the fused function, and NaN of a softmax.
    alone = (attn_mask == float("-inf")).all(dim=-1, keepdim=True)
    weights = (logits + attn_mask.masked_fill(alone, 0.0)).softmax(dim=-1)
    return (_dropped(weights, dropout_p) @ value).masked_fill(alone, 0.0)


def _dropped(weights: Tensor, rate: float) -> Tensor:
    return F.dropout(weights, rate) if rate else weights


def _suit(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> bool:
    """Whether plain products give the same, and are the faster way."""
    if q.device.type != "cpu" or not q.dtype is k.dtype is v.dtype or (bias is not None and bias.dtype is not q.dtype):
        return False
    wide = v.shape[-1] != q.shape[-1]
    if k.shape[-2] > SHORT or not (wide or q.dtype is torch.bfloat16):
        return False
    training = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)
    return faster(wide=wide and q.dtype is not torch.bfloat16, training=training)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def faster(*, wide: bool, training: bool) -> bool:
    """Whether plain products are the faster way on this CPU: measured at the first call, the same ever after."""
    return attention_gain(wide, training) > GAIN


@cache
def attention_gain(wide: bool, training: bool) -> float:
    """How many times as long the fused function takes: of wide values in float32, or else in bfloat16."""
    return gain(partial(_ways, wide, training))


def _measured(dtype: torch.dtype | None) -> str:
    wide = dtype is not torch.bfloat16
    return f"{attention_gain(wide, False):.1f} times as fast here in inference, {attention_gain(wide, True):.1f} in training"


def _ways(wide: bool, training: bool) -> tuple[Work, Work]:
    """Of the size of a small ViT's or LeViT's attention for one image."""
    dtype, width = (torch.float32, 32) if wide else (torch.bfloat16, 64)
    q, k = torch.ones(2, 1, 6, 197, 16 if wide else width, dtype=dtype, requires_grad=training)
    v = torch.ones(1, 6, 197, width, dtype=dtype, requires_grad=training)

    def plain() -> Tensor:
        return ((q * 0.2) @ k.contiguous().transpose(-1, -2)).softmax(dim=-1) @ v

    def fused() -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, scale=0.2)

    if not training:
        return plain, fused
    return lambda: torch.autograd.grad(plain().sum(), (q, k, v)), lambda: torch.autograd.grad(fused().sum(), (q, k, v))
