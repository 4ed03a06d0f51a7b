"""Load, convert and export weights under another library's keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..position.resize import Resize, resize_table
from .report import Misshaped, Missing, Report
from .resizing import published_by, resize_to
from .rules import KeyMap, Pair, Pairing, Table, pair_keys


def layouts(model: nn.Module) -> Mapping[str, KeyMap]:
    """The key maps of a model's class by layout: its attribute ``layouts``, its own or that of the nearest parent that has one.

    Raises:
        ValueError: the class has no key maps.
    """
    maps = getattr(type(model), "layouts", None)
    if isinstance(maps, Mapping) and maps:
        return maps
    raise ValueError(
        f"model must be of a class that has key maps (unwrap a compiled or parallel one), got {type(model).__name__}; "
        "or give the key map itself as layout"
    )


def load(
    model: nn.Module,
    state_dict: Mapping[str, Tensor],
    *,
    layout: str | KeyMap,
    strict: bool = True,
    resize: bool | Resize = False,
) -> Report:
    """Put a checkpoint's weights into a model, whose dtype and device stay as they are.

    Args:
        model: of a class with key maps.
        state_dict: their keys and tensors.
        layout: whose keys they are (see :func:`layouts`), or a key map.
        strict: raise unless model and checkpoint hold exactly the same; otherwise load what fits.
        resize: resize position tables that were made for another grid, in two dimensions. Their grid must have been square. True does it
            as the code does that the layout is named after: antialiased for ``timm``, plainly otherwise. A function, such as
            :func:`~vitblocks.position.resize_table`, resizes learned positions in its own way.

    Raises:
        ValueError: the layout is unknown, or ``strict`` and something is missing, unexpected or of another shape: the message is the
            report, and the model is unchanged.
        TypeError: ``state_dict`` holds something that is no tensor.
    """
    how = published_by(layout) if resize is True else resize
    return _load(model, state_dict, _pairing(model, layout), _describe(model, layout), strict, how)


def convert(
    model: nn.Module, state_dict: Mapping[str, Tensor], layout: str | KeyMap, *, resize: bool | Resize = False
) -> dict[str, Tensor]:
    """The checkpoint as a state_dict of this model, in its dtypes and on its devices. Arguments and errors: as strict :func:`load`."""
    how = published_by(layout) if resize is True else resize
    converted, report = _translate(model, state_dict, _pairing(model, layout), _describe(model, layout), how)
    if not report.ok:
        raise ValueError(str(report))
    return converted


@torch.no_grad()
def export(model: nn.Module, layout: str | KeyMap) -> dict[str, Tensor]:
    """The model's weights under another library's keys, as copies.

    Raises:
        ValueError: the layout is unknown, or has no key for some of the model's weights.
    """
    pairing = _pairing(model, layout)
    if pairing.unmatched:
        raise ValueError(f"{_describe(model, layout)}: no key for {', '.join(pairing.unmatched)}")
    ours = model.state_dict()
    theirs: dict[str, Tensor] = {}
    for pair in pairing.pairs:
        values = pair.transform.inverse(tuple(ours[key].detach() for key in pair.ours))
        theirs.update(zip(pair.theirs, values, strict=True))
    theirs.update({key: function() for key, function in pairing.computed.items() if function is not None})
    return {key: value.clone(memory_format=torch.contiguous_format) for key, value in theirs.items()}


def _describe(model: nn.Module, layout: str | KeyMap) -> str:
    return f"{layout if isinstance(layout, str) else 'given'} layout, {type(model).__name__}"


def _pairing(model: nn.Module, layout: str | KeyMap) -> Pairing:
    if isinstance(layout, str):
        known = layouts(model)
        if layout not in known:
            raise ValueError(
                f"layout must be one of {', '.join(map(repr, sorted(known)))} for {type(model).__name__}, got {layout!r}"
            )
        layout = known[layout]
    table: Table = layout(model) if callable(layout) else layout
    return pair_keys(model, table)


def _load(
    model: nn.Module,
    state_dict: Mapping[str, Tensor],
    pairing: Pairing,
    what: str,
    strict: bool,
    resize: bool | Resize,
    *,
    composition: tuple[str, ...] = (),
) -> Report:
    converted, report = _translate(model, state_dict, pairing, what, resize)
    report = replace(report, composition=composition)
    if strict and not report.ok:
        raise ValueError(str(report))
    model.load_state_dict(converted, strict=False)
    return report


@torch.no_grad()
def _translate(
    model: nn.Module, state_dict: Mapping[str, Tensor], pairing: Pairing, what: str, resize: bool | Resize
) -> tuple[dict[str, Tensor], Report]:
    """What of the checkpoint fits, as ours, and the report. The model is only read."""
    for key, value in state_dict.items():
        if not isinstance(value, Tensor):
            raise TypeError(
                f"state_dict must map names to tensors, got {type(value).__name__} under {key!r}: pass the weights alone"
            )
    targets = model.state_dict()
    converted: dict[str, Tensor] = {}
    missing = [Missing((key,), ()) for key in pairing.unmatched]
    misshaped: list[Misshaped] = []
    resized: list[str] = []
    for pair in pairing.pairs:
        if absent := tuple(key for key in pair.theirs if key not in state_dict):
            missing.append(Missing(pair.ours, absent))
            continue
        theirs = tuple(state_dict[key].detach() for key in pair.theirs)
        expected = _expected_shapes(pair, targets)
        found = tuple(tuple(value.shape) for value in theirs)
        if found == expected:
            values = _forward(pair, theirs)
        else:
            fitted = _resized(model, pair, theirs, resize_table if resize is True else resize) if resize else None
            if fitted is None:
                misshaped.append(Misshaped(pair.ours, pair.theirs, expected, found))
                continue
            values = (fitted,)
            resized += pair.ours
        converted.update({key: value.to(targets[key]) for key, value in zip(pair.ours, values, strict=True)})
    used = {key for pair in pairing.pairs for key in pair.theirs}
    rest = [key for key in state_dict if key not in used]
    ignored = [key for key in rest if key in pairing.computed or any(p.fullmatch(key) for p in pairing.ignored)]
    report = Report(
        what=what,
        loaded=tuple(converted),
        missing=tuple(missing),
        unexpected=tuple(sorted(set(rest) - set(ignored))),
        misshaped=tuple(misshaped),
        resized=tuple(resized),
        ignored=tuple(ignored),
    )
    return converted, report


def _expected_shapes(pair: Pair, targets: Mapping[str, Tensor]) -> tuple[tuple[int, ...], ...]:
    """The shapes that theirs must have: those that our shapes have as theirs."""
    zeros = tuple(torch.zeros(targets[key].shape) for key in pair.ours)
    return tuple(tuple(value.shape) for value in pair.transform.inverse(zeros))


def _forward(pair: Pair, theirs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    try:
        return pair.transform.forward(theirs)
    except ValueError as error:
        raise ValueError(f"{', '.join(pair.theirs)}: {error}") from error


def _resized(model: nn.Module, pair: Pair, theirs: tuple[Tensor, ...], how: Resize) -> Tensor | None:
    """The value resized for the module that owns our key, or None where that is not what differs."""
    if len(pair.ours) != 1 or len(theirs) != 1:
        return None
    owner, _, name = pair.ours[0].rpartition(".")
    try:
        (value,) = pair.transform.forward(theirs)
    except (ValueError, RuntimeError, IndexError):
        return None  # a transform made for our sizes: nothing to resize
    return resize_to(model.get_submodule(owner), name, value, how)
