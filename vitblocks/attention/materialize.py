"""A tensor in memory, where a compiler would compute its entries anew at each use."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def materialized(x: Tensor) -> Tensor:
    """``x``; under ``torch.compile`` an operator that the compiler cannot look into, so that ``x`` is computed once.

    On a CPU a compiler fuses the lookup of a position bias into the softmax, entry by entry for every image: a compiled RegionViT-S took
    three times as long in bfloat16.
    """
    if torch.compiler.is_exporting() or not torch.compiler.is_compiling() or x.device.type != "cpu":
        return x
    return _copy(x)


@torch.library.custom_op("vitblocks::materialized", mutates_args=(), device_types="cpu")
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
