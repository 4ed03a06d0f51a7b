"""A checkpoint as entries of a model, and the report of what fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .entries import entries_of
from .report import Misshaped, Missing, Report, Resized, section
from .resizing import Fitted, Given, Placed, Resizing, fit, given
from .rules import Pair, Pairing
from .transforms import Tensors
from .values import cast, refused
from .wrapping import plain_names


@torch.no_grad()
def translate(
    model: nn.Module,
    state_dict: Mapping[str, Any],
    pairing: Pairing,
    what: str,
    resizing: Resizing,
    check_values: bool = True,
    composition: tuple[str, ...] = (),
) -> tuple[dict[str, Tensor], Report]:
    """What of the checkpoint fits, as entries of the model, and the report on ``what``. The model is only read.

    Raises:
        TypeError, ValueError: see :func:`~vitblocks.checkpoint.load`.
    """
    names = {key for pair in pairing.pairs for key in (*pair.theirs, *pair.also)}
    entries = entries_of(state_dict, names | pairing.computed.keys())
    pairs = [pair.under(entries.tensors) for pair in pairing.pairs]
    known = {key for pair in pairs for key in pair.theirs}
    found = _Translation(model, entries.tensors, resizing, check_values)
    resizing.check(found.names.values())
    for pair in pairs:
        found.take(pair)
    found.require_all_taken(what)
    rest = [key for key in entries.tensors if key not in known]
    ignored = [key for key in rest if key in pairing.computed or any(p.fullmatch(key) for p in pairing.ignored)]
    report = Report(
        what=what,
        loaded=tuple(found.values),
        missing=(*(Missing((key,), ()) for key in pairing.unmatched), *found.missing),
        unexpected=tuple(sorted({*entries.beside, *rest} - set(ignored))),
        misshaped=tuple(found.misshaped),
        resized=tuple(found.resized),
        ignored=tuple(ignored),
        composition=composition,
        recomputed=tuple(found.recomputed),
        unwrapped=entries.unwrapped,
    )
    return found.values, report


class _Translation:
    """What was found so far, pair by pair."""

    def __init__(self, model: nn.Module, tensors: Mapping[str, Tensor], resizing: Resizing, check_values: bool) -> None:
        self.model, self.tensors, self.resizing, self.check_values = model, tensors, resizing, check_values
        self.targets: dict[str, Tensor] = model.state_dict()
        self.names = plain_names(model)
        self.values: dict[str, Tensor] = {}
        self.missing: list[Missing] = []
        self.misshaped: list[Misshaped] = []
        self.resized: list[Resized] = []
        self.recomputed: list[str] = []
        self.refused: list[str] = []
        self.grids: set[tuple[int, int]] = set()

    def take(self, pair: Pair) -> None:
        """Find what a pair says."""
        if absent := tuple(key for key in pair.theirs if key not in self.tensors):
            self.missing.append(Missing(pair.ours, absent))
            return
        theirs = tuple(self.tensors[key].detach() for key in pair.theirs)
        target = self.targets[pair.ours[0]]
        wrong = {key: refused(self.tensors[key], target, check=self.check_values) for key in pair.theirs}
        if any(wrong.values()):
            self.refused += [f"{key}: {why}" for key, why in wrong.items() if why]
            return
        try:
            values = self._fitting(pair, theirs)
            if values is not None:
                for key, value in zip(pair.ours, values, strict=True):
                    self.values[key] = cast(value, self.targets[key], check=self.check_values)
        except (ValueError, RuntimeError) as error:
            self.refused.append(f"{', '.join(pair.theirs)}: {error}")

    def require_all_taken(self, what: str) -> None:
        """Raise ValueError if something could not be taken, or a grid was told that no table has."""
        if self.refused:
            raise ValueError("\n".join([f"{what}: entries that cannot be taken", *section("refused", self.refused)]))
        if unused := self.resizing.told() - self.grids:
            raise ValueError(f"grid must be that of a table in the checkpoint, got {unused}: there are {self.grids}")

    def _fitting(self, pair: Pair, theirs: Tensors) -> Tensors | None:
        """Theirs as ours, or None if their shapes are others."""
        expected = _expected_shapes(pair, self.targets)
        found = tuple(tuple(value.shape) for value in theirs)
        tables = self._tables(pair, theirs, found == expected)
        if tables is None:
            if found == expected:
                return pair.transform.forward(theirs)
            self.misshaped.append(Misshaped(pair.ours, pair.theirs, expected, found))
            return None
        values: list[Tensor] = []
        for i, key in enumerate(pair.ours):
            if i not in tables:
                values.append(pair.transform.forward(theirs)[i])
                continue
            part, table = tables[i]
            fitted = fit(part, self.names[key], table, self.resizing)
            if not isinstance(fitted, Fitted):
                self.misshaped.append(Misshaped(pair.ours, pair.theirs, expected, found, fitted))
                return None
            self._note(key, part, fitted)
            values.append(fitted.value)
        return tuple(values)

    def _note(self, key: str, part: Placed, fitted: Fitted) -> None:
        self.grids.add(fitted.grid)
        if fitted.how == "recomputed":
            self.recomputed.append(key)
        elif fitted.how:
            self.resized.append(Resized(key, fitted.grid, part.grid, fitted.how == "guessed"))

    def _tables(self, pair: Pair, theirs: Tensors, same: bool) -> dict[int, tuple[Placed, Given]] | None:
        """The tables of positions among ours that one of theirs is, with their parts; None if it is none."""
        tables: dict[int, tuple[Placed, Given]] = {}
        for i, key in enumerate(pair.ours if len(pair.theirs) == 1 else ()):
            owner, _, name = key.rpartition(".")
            part = self.model.get_submodule(owner)
            if name != "table" or not isinstance(part, Placed):
                continue
            table = given(part, pair.transform, theirs[0], same, i)
            if table is None:
                return None
            tables[i] = (part, table)
        return tables or None


def _expected_shapes(pair: Pair, targets: Mapping[str, Tensor]) -> tuple[tuple[int, ...], ...]:
    """The shapes that theirs must have: those that our shapes have as theirs."""
    zeros = tuple(torch.zeros(targets[key].shape) for key in pair.ours)
    return tuple(tuple(value.shape) for value in pair.transform.inverse(zeros))
