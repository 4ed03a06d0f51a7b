"""``F.linear`` by oneDNN on a CPU: in float32 where that is faster, in bfloat16 with the bias in the product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils.flop_counter import flop_registry, register_flop_formula

from .conditions import NEEDED, forward_mode, product_dtype, untransformed
from .measure import GAIN, Work, gain
from .private import find, missing

NAMES = ("torch.ops.mkldnn._linear_pointwise", *NEEDED)
"""The private names without which there is nothing here but ``F.linear``."""

ASKED_FOR_BFLOAT16 = "torch.ops.mkldnn._is_mkldnn_bf16_supported"

_OPERATOR: Any = find(NAMES[0])
_THERE = missing(*NAMES) is None
_PLAIN = (Tensor, nn.Parameter)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``F.linear`` by the faster product: ``(..., in) -> (..., out)`` with ``weight (out, in)``."""
    if torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return _traced(x, weight, bias)
    if bias is None and x.dtype is torch.bfloat16 and _in_order(x, weight) and not torch.is_grad_enabled():
        # PyTorch calls oneDNN for these as well as we do, without our checks: 1.6 percent of a LeViT-256's time for one image.
        return F.linear(x, weight)
    # oneDNN's operators are unknown to autocast, so what it would cast is cast here.
    dtype = product_dtype(x, weight)
    if dtype is None or not (x.is_cpu and suits_onednn(dtype) and _plain(x, weight)):
        return F.linear(x, weight, bias)
    if torch.is_autocast_enabled("cpu"):
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    return onednn_product(x, weight, bias)


def onednn_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The product by oneDNN, faster or not, of dense CPU tensors of one dtype that it knows; with gradients, where any are followed."""
    return _Product.apply(x, weight, bias) if _followed(x, weight, bias) else _product(x, weight, bias)


def _traced(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The same for what traces: a compiler gets the product as one operator, an exporter PyTorch's own."""
    suits = x.device.type == "cpu" and x.dtype is weight.dtype is torch.float32 and x.dim() > 1
    suits = suits and not torch.compiler.is_exporting() and not torch.is_autocast_enabled("cpu")
    return (_compiled_product if suits and prefers_onednn() else F.linear)(x, weight, bias)


def suits_onednn(dtype: torch.dtype) -> bool:
    """Whether oneDNN is the faster way to a product of this dtype, and allowed."""
    if not _THERE or not torch.backends.mkldnn.enabled:
        return False
    return prefers_onednn() if dtype is torch.float32 else dtype is torch.bfloat16 and has_bfloat16()


def _plain(x: Tensor, weight: Tensor) -> bool:
    """Whether these are tensors that an operator without any rules may get (no transform of ``torch.func`` holds them), and that fit."""
    return (
        untransformed()
        and type(x) in _PLAIN
        and type(weight) in _PLAIN
        and x.dim() > 1
        and x.shape[-1] == weight.shape[1]
        and x.numel() > 0
        and x.layout is weight.layout is torch.strided
    )


def _in_order(x: Tensor, weight: Tensor) -> bool:
    """Whether both are dense without gaps; of others PyTorch's product in bfloat16 took up to 400 times as long."""
    return x.layout is weight.layout is torch.strided and x.is_contiguous() and weight.is_contiguous()


def _followed(*tensors: Tensor | None) -> bool:
    """Whether the result must know its gradient, backward or (inside of a dual level) forward."""
    if forward_mode():
        return True
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if not (weight.is_contiguous() or weight.t().is_contiguous()):
        # oneDNN has no fast product for a slice of a wider matrix: it took a thousand times as long.
        weight = weight.contiguous()
    return _OPERATOR.default(x, weight, bias, "none", [], "")


def _gradients(ctx: Any, grad: Tensor, product: Callable[..., Tensor]) -> tuple[Tensor | None, ...]:
    """The gradients that are asked for, of the input, the weight and the bias, by one way to multiply."""
    x, weight = ctx.saved_tensors
    rows, grads = x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1])
    of_x = product(grads, weight.t(), None).view(x.shape) if ctx.needs_input_grad[0] else None
    of_weight = product(grads.t(), rows.t(), None) if ctx.needs_input_grad[1] else None
    return of_x, of_weight, grads.sum(dim=0) if ctx.needs_input_grad[2] else None


class _Product(torch.autograd.Function):
    """The same with its gradients, which are products as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.save_for_forward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # Gradients of gradients are left to operators that have them; in bfloat16 PyTorch's own are as fast.
        plain = torch.is_grad_enabled() or grad.dtype is not torch.float32
        return _gradients(ctx, grad.contiguous(), F.linear if plain else _product)

    @staticmethod
    def jvp(ctx: Any, x_tangent: Tensor | None, weight_tangent: Tensor | None, bias_tangent: Tensor | None) -> Tensor:
        x, weight = ctx.saved_tensors
        tangent = x.new_zeros((*x.shape[:-1], weight.shape[0]))
        if x_tangent is not None:
            tangent = tangent + F.linear(x_tangent, weight)
        if weight_tangent is not None:
            tangent = tangent + F.linear(x, weight_tangent)
        return tangent if bias_tangent is None else tangent + bias_tangent


def _operations(x: Sequence[int], weight: Sequence[int], *_: Any, **__: Any) -> int:
    """For torch's FlopCounterMode, which does not know the operator: a multiply-add is two."""
    return 2 * prod(x) * weight[0]


if _OPERATOR is not None and _OPERATOR not in flop_registry:
    register_flop_formula(_OPERATOR)(_operations)


@torch.library.custom_op("vitblocks::fast_linear", mutates_args=(), device_types="cpu")
def _compiled_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The product as an operator, which a compiler takes as it is; left alone, it calls MKL. (Called eagerly, it costs more.)"""
    onednn = _THERE and bool(torch.backends.mkldnn.enabled) and x.numel() > 0
    return _product(x, weight, bias) if onednn else F.linear(x, weight, bias)


@_compiled_product.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


@_compiled_product.register_vmap
def _(info: Any, in_dims: tuple[int | None, ...], x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, int]:
    x, weight, *biases = (
        tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip((x, weight, bias), in_dims, strict=True)
        if tensor is not None
    )
    mixed = (x.flatten(1, -2) @ weight.transpose(1, 2)).view(*x.shape[:-1], weight.shape[1])
    return (mixed + biases[0].view(-1, *[1] * (x.dim() - 2), weight.shape[1]) if biases else mixed), 0


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])


_compiled_product.register_autograd(lambda ctx, grad: _gradients(ctx, grad, _compiled_product), setup_context=_keep)


def exchange_products(program: fx.GraphModule) -> int:
    """Let what compiles an exported program call the faster product where it computes float32 on a CPU; in place. How many there were."""
    nodes = [
        node
        for node in program.graph.find_nodes(op="call_function", target=torch.ops.aten.linear.default)
        if _suits(node)
    ]
    if not _THERE or not nodes or not prefers_onednn():
        return 0
    for node in nodes:
        node.target = torch.ops.vitblocks.fast_linear.default
        node.args = (*node.args, None)[:3]  # an export leaves out a bias that there is not
    program.recompile()
    return len(nodes)


def _suits(node: fx.Node) -> bool:
    given = node.meta.get("val")
    return isinstance(given, Tensor) and given.device.type == "cpu" and given.dtype is torch.float32 and given.dim() > 1


@cache
def has_bfloat16() -> bool:
    """Whether this CPU and this build multiply in bfloat16 by oneDNN."""
    supported = find(ASKED_FOR_BFLOAT16)
    return _THERE and supported is not None and bool(supported())


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def prefers_onednn() -> bool:
    """Whether float32 products on this CPU are faster with oneDNN: measured at the first call, the same ever after."""
    return onednn_gain() > GAIN


@cache
def onednn_gain() -> float:
    """How many times as long PyTorch's own product takes in float32; 0 where there is no other."""
    return gain(_ways) if _THERE and torch.backends.mkldnn.is_available() else 0.0


def _ways() -> tuple[Work, Work]:
    x, weight = torch.ones(512, 256), torch.ones(512, 256)
    return lambda: _product(x, weight), lambda: F.linear(x, weight)
