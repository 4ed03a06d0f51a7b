"""The pass over position biases: computed once, where a compiler would compute their entries anew at each use."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .extend import Extension, extend, retract, split
from .report import Report


def biases(model: nn.Module) -> Report:
    """Make each position bias of the model one operator to ``torch.compile`` on a CPU; in place.

    Seen through, its lookup is fused into the softmax, entry by entry for every image: a compiled RegionViT-S took three times as long in
    bfloat16. It is found by its name: a child that is called ``position_bias``, as in every attention of this package. Without a
    compiler, exported or on another device it is what it was.

    Args:
        model: any module.
    """
    report = Report("biases")
    for name, module in model.named_modules():
        if name.rpartition(".")[2] != "position_bias":
            continue
        first = next(module.parameters(), None)
        if OneOperator in split(type(module))[1]:
            report.left[name] = "has it already"
        elif first is not None and first.device.type != "cpu":
            report.left[name] = f"on {first.device.type}, where looking it up costs little"
        else:
            extend(module, OneOperator)
            report.add(name, "one operator to a compiler", partial(retract, module, OneOperator))
    if not report and not report.left:
        report.aside = "no module is called position_bias"
    return report


class OneOperator(Extension):
    """A module whose result is computed once and lies in memory."""

    prefix = "OneOperator"

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return materialized(super().forward(*args, **kwargs))


def materialized(x: Tensor) -> Tensor:
    """``x``; under ``torch.compile`` an operator that the compiler cannot look into, so that ``x`` is computed once."""
    if torch.compiler.is_exporting() or not torch.compiler.is_compiling() or x.device.type != "cpu":
        return x
    return _copy(x)


@torch.library.custom_op("vitblocks::fast_materialized", mutates_args=(), device_types="cpu")
def _copy(x: Tensor) -> Tensor:
    # An operator may not return what it was given.
    return x.clone(memory_format=torch.contiguous_format)


@_copy.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@_copy.register_vmap
def _(info: Any, in_dims: tuple[int | None, ...], x: Tensor) -> tuple[Tensor, int | None]:
    return _copy(x), in_dims[0]


_copy.register_autograd(lambda ctx, grad: grad)
