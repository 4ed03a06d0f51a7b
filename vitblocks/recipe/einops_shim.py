"""``rearrange``, ``reduce`` and ``repeat`` of einops in plain PyTorch, for files that need torch alone.

Patterns as in einops: named axes, ``(groups)``, ``1``, ``...``, and numbers for axes to repeat. The steps are those that einops takes
(reshape, reduce, permute, expand, reshape), so that results are the same to the bit.
"""

from __future__ import annotations

import math
import re

from torch import Tensor


def _groups(side: str, rest: int) -> list[list[str]]:
    """The axes of each dimension on one side of a pattern; ``...`` is ``rest`` axes, and ``1`` an axis without a name."""
    found: list[list[str]] = []
    for group, axis in re.findall(r"\(([^)]*)\)|(\.\.\.|\w+)", side):
        if axis == "...":
            found += [[f"...{i}"] for i in range(rest)]
            continue
        names = [*group.split()] if not axis else [axis]
        spread = [[f"...{i}" for i in range(rest)] if name == "..." else [name] for name in names]
        found.append([name for part in spread for name in part if name != "1"])
    return found


def _sizes(shape: tuple[int, ...], left: list[list[str]], pattern: str, known: dict[str, int]) -> dict[str, int]:
    """The size of every axis on the left."""
    if len(left) != len(shape):
        raise ValueError(f"{pattern!r} is for {len(left)} dimensions, got shape {tuple(shape)}")
    sizes = dict(known)
    for names, size in zip(left, shape, strict=True):
        unknown = [name for name in names if name not in sizes]
        product = math.prod(sizes[name] for name in names if name in sizes) or 1
        if len(unknown) > 1 or size % product or (not unknown and product != size):
            raise ValueError(f"{pattern!r} does not fit shape {tuple(shape)} with {known}")
        sizes.update(dict.fromkeys(unknown, size // product))
    return sizes


def _apply(x: Tensor, pattern: str, how: str, known: dict[str, int]) -> Tensor:
    before, after = pattern.split("->")
    rest = x.dim() - len(_groups(before.replace("...", ""), 0))
    left, right = _groups(before, rest), _groups(after, rest)
    sizes = _sizes(tuple(x.shape), left, pattern, known)
    ours, theirs = [name for names in left for name in names], [name for names in right for name in names]
    x = x.reshape([sizes[name] for name in ours])
    if gone := [i for i, name in enumerate(ours) if name not in theirs]:
        x = x.mean(dim=gone) if how == "mean" else x.sum(dim=gone) if how == "sum" else getattr(x, f"a{how}")(dim=gone)
        ours = [name for name in ours if name in theirs]
    x = x.permute([ours.index(name) for name in theirs if name in ours])
    sizes.update({name: int(name) for name in theirs if name.isdecimal()})
    for i, name in enumerate(theirs):
        x = x if name in ours else x.unsqueeze(i)
    if len(theirs) > len(ours):
        x = x.expand([sizes[name] for name in theirs])
    return x.reshape([math.prod(sizes[name] for name in names) for names in right])


def rearrange(x: Tensor, pattern: str, **sizes: int) -> Tensor:
    """Move, split and merge axes."""
    return _apply(x, pattern, "", sizes)


def reduce(x: Tensor, pattern: str, reduction: str, **sizes: int) -> Tensor:
    """The same, with the axes that are only on the left reduced: mean, sum, max or min."""
    return _apply(x, pattern, reduction, sizes)


def repeat(x: Tensor, pattern: str, **sizes: int) -> Tensor:
    """The same, with new axes on the right along which all is repeated."""
    return _apply(x, pattern, "", sizes)
