"""A row of the matrix: a model of another library, and how that library saves it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from vitblocks.border import adopt, origin_of, release

from ..cases import randomised
from .fresh import Fresh

Pair: TypeAlias = tuple[int, int]
Source: TypeAlias = Mapping[str, Any]
BOUND = 1e-5
CELLS: tuple[tuple[int, int], ...] = ((1000, 3), (7, 1))
"""(classes, channels) that every row is tried with."""


@dataclass(frozen=True)
class Row:
    """A model of another library, as it is published or tiny.

    Args:
        make: ``(classes, channels, size) -> module`` for images of ``size``.
        save: ``(module, model of ours, empty folder) -> sources``: writes the module as its library does, and gives for each way to load it
            the keywords of ``load_model``, or ``{"recipe": path, "weights": path}`` where nothing in the files tells the architecture.
        native: the size that it is made for.
        sizes: of images that one module takes beside its own.
        made_for: other sizes that it is made for anew, where one module takes but one size.
        noise: by how much its weights differ from what it starts with.
        classes: whether it has any.
        idle: what the names of weights start with that nothing reads there, which therefore are none of ours.
    """

    make: Callable[[int, int, Pair], nn.Module]
    save: Callable[[nn.Module, nn.Module, Path], Iterable[Source]]
    native: Pair
    sizes: tuple[Pair, ...] = ()
    made_for: tuple[Pair, ...] = ()
    noise: float = 0.1
    classes: bool = True
    idle: str | None = None


class Measured(NamedTuple):
    """The largest errors of a row, of the largest output, in float32."""

    adopted: float
    loaded: float
    sizes: tuple[str, ...]
    origin: str
    model: str


def measure(row: Row, fresh: Fresh) -> Measured:
    """All that is asked of a row, in every cell.

    Raises:
        AssertionError, ValueError, RuntimeError: something is not as it has to be.
    """
    cells = [(classes if row.classes else 0, channels, row.native) for classes, channels in CELLS]
    found = [_measure(row, fresh, *cell) for cell in cells]
    found += [_measure(row, fresh, 7 if row.classes else 0, 3, size) for size in row.made_for]
    return Measured(
        adopted=max(one.adopted for one in found),
        loaded=max(one.loaded for one in found),
        sizes=tuple(dict.fromkeys(size for one in found for size in one.sizes)),
        origin=found[0].origin,
        model=found[0].model,
    )


@torch.no_grad()
def _measure(row: Row, fresh: Fresh, classes: int, channels: int, size: Pair) -> Measured:
    torch.manual_seed(0)
    theirs = randomised(row.make(classes, channels, size), noise=row.noise)
    state = deepcopy(theirs.state_dict())
    model, report = adopt(theirs, sizes=[size, *row.sizes])

    like = randomised(row.make(classes, channels, size), seed=2, noise=row.noise)
    own = deepcopy(like.state_dict())
    release(model, like=like)
    given = like.state_dict()
    assert given.keys() == state.keys()
    kept = {key for key in state if row.idle is not None and key.startswith(row.idle)}
    assert (row.idle is None) == (not kept)
    assert all(torch.equal((own if key in kept else state)[key], value) for key, value in given.items())

    asked = [_images(1, channels, pair) for pair in report.errors]
    call = origin_of(theirs)[1].call
    outputs = [call(theirs, image) for image in asked]
    errors = []
    with tempfile.TemporaryDirectory() as folder:
        for source in row.save(theirs, model, Path(folder)):
            errors += fresh.errors(source, asked, outputs)
    assert errors
    assert max(errors) <= BOUND, errors
    origin = f"{type(theirs).__module__}.{type(theirs).__qualname__}"
    sizes = tuple(f"{height}x{width}" for height, width in report.errors)
    return Measured(max(report.errors.values()), max(errors), sizes, origin, type(model).__name__)


def _images(count: int, channels: int, size: Pair) -> Tensor:
    return torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(3))
