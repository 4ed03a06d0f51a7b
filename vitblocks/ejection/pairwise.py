"""The contraction of three tensors without a planner of another package: what a written out file has for ``vitblocks.contract``."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor


def contract(equation: str, *operands: Tensor) -> Tensor:
    """The sum of products of three tensors, pair by pair in the cheapest order; the first index is the batch."""
    inputs, output = equation.replace(" ", "").split("->")
    terms = inputs.split(",")
    pairs = zip("".join(terms), (size for tensor in operands for size in tensor.shape), strict=True)
    sizes = dict(pairs)
    sizes[output[0]] = 1  # every step carries the batch, so it changes no order

    def joined(first: str, second: str, rest: str) -> str:
        """The indices of a pair's product that are still needed, as a matrix product leaves them: those of both come first."""
        needed = [index for index in dict.fromkeys(first + second) if index in rest]
        return "".join(sorted(needed, key=lambda index: not (index in first and index in second)))

    def cost(first: str, second: str, rest: str) -> int:
        """Products, and as many sums where the pair is summed over an index."""
        summed = any(index in second and index not in rest for index in first)
        return prod(sizes[index] for index in {*first, *second}) * (1 + summed)

    def total(i: int, j: int, k: int) -> int:
        between = joined(terms[i], terms[j], terms[k] + output)
        return cost(terms[i], terms[j], terms[k] + output) + cost(between, terms[k], output)

    i, j, k = min(((0, 1, 2), (0, 2, 1), (1, 2, 0)), key=lambda order: total(*order))
    between = joined(terms[i], terms[j], terms[k] + output)
    pair = torch.einsum(f"{terms[i]},{terms[j]}->{between}", operands[i], operands[j])
    if k < i:
        return torch.einsum(f"{terms[k]},{between}->{output}", operands[k], pair)
    return torch.einsum(f"{between},{terms[k]}->{output}", pair, operands[k])
