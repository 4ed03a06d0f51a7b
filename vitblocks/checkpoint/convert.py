"""Load, convert and export weights under another library's keys."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..grid import Size
from ..position.resize import Resize
from .adapting import Adapt, adapted, check_adapt
from .finding import find_layout
from .reading import read_checkpoint
from .report import Report
from .resizing import Resizing, way
from .rules import KeyMap, Pairing, Table, pair_keys
from .translate import translate
from .values import put
from .wrapping import unwrapped


def layouts(model: nn.Module) -> Mapping[str, KeyMap]:
    """The key maps of a model's class by layout: its attribute ``layouts``, its own or that of the nearest parent that has one.

    Raises:
        ValueError: the class has no key maps.
    """
    model = unwrapped(model)
    maps = getattr(type(model), "layouts", None)
    if isinstance(maps, Mapping) and maps:
        return maps
    raise ValueError(
        f"model must be of a class that has key maps, got {type(model).__name__}; or give the key map itself as layout"
    )


def load(
    model: nn.Module,
    state_dict: Mapping[str, Any] | str | os.PathLike[str],
    *,
    layout: str | KeyMap | None = None,
    strict: bool = True,
    resize: bool | Resize = False,
    grid: Size | Mapping[str, Size] | None = None,
    check_values: bool = True,
    adapt: Adapt | None = None,
) -> Report:
    """Put a checkpoint's weights into a model, whose dtype and device stay as they are: all that fit, or where one fails none.

    A checkpoint may be what training code wrote: names under which the weights lie beside optimizers (``model``, ``state_dict``,
    ``model_ema``, ...) and prefixes of names (``module.``, ``_orig_mod.``, ``backbone.``, ...) are taken away, and the report says so.
    Tables that a formula gives, such as sines, are computed for the model's grid.

    Args:
        model: of a class with key maps; a compiled or parallel one stands for the model inside.
        state_dict: their keys and tensors, or the path of a file, of the index of several, or of a folder (see
            :func:`~vitblocks.checkpoint.read_checkpoint`).
        layout: whose keys they are (see :func:`layouts`), or a key map; found by trying those that the class knows if None.
        strict: raise unless model and checkpoint hold exactly the same; otherwise load what fits.
        resize: resize position tables that were made for another grid, in two dimensions. True does it as the code does that the layout is
            named after: learned positions antialiased for ``timm``, plainly for ``hf``, otherwise in the way of the part. A function, such
            as :func:`~vitblocks.position.resize_table`, resizes learned positions in its own way.
        grid: the (height, width) that they were made for: one of all, or of each by its key of ours, such as ``grids_of(model)`` of a
            model of that size. Without it a table of a square number of places is taken for square if the model's grid is square, with a
            warning; every other has to be told.
        check_values: refuse NaN and infinity, integers and bools for weights, and numbers out of the range of the model's dtype.
            Complex, sparse and quantized tensors are refused in any case.
        adapt: what of weights for other classes, channels or patches is fitted, and how: see :class:`~vitblocks.checkpoint.Adapt`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the layout is unknown, not found, or one of several; nothing fits; a value is refused; a table may be for several
            grids; ``strict`` and something is missing, unexpected or of another shape: the message is the report. The model is unchanged.
        TypeError: ``state_dict`` holds something that is no tensor.
    """
    model = unwrapped(model)
    wanted: Adapt = {} if adapt is None else adapt
    check_adapt(wanted)
    state = read_checkpoint(state_dict) if isinstance(state_dict, (str, os.PathLike)) else state_dict

    def by(layout: str | KeyMap) -> tuple[dict[str, Tensor], Report]:
        resizing, pairing = Resizing(bool(resize), way(resize, layout), grid), pairing_of(model, layout)
        values, report = translate(model, state, pairing, _describe(model, layout), resizing, check_values)
        return adapted(model, values, report, pairing, state, wanted, check_values) if wanted else (values, report)

    found = find_layout(layouts(model), by, strict) if layout is None else by(layout)
    return put_all(model, *found, strict)


def compare(model: nn.Module, state_dict: Mapping[str, Any], *, layout: str | KeyMap | None = None) -> Report:
    """What :func:`load` would find; the model is only read, and may be on the meta device. Tables of another grid are called misshaped.

    With ``layout=None`` it is the report by the layout by which most fits. Errors: as of :func:`load`, but for what the report says.
    """
    model = unwrapped(model)
    names = [layout] if layout is not None else list(layouts(model))
    reports: list[Report] = []
    errors: list[Exception] = []
    for name in names:
        try:
            reports.append(translate(model, state_dict, pairing_of(model, name), _describe(model, name), Resizing())[1])
        except (ValueError, TypeError) as error:
            errors.append(error)
    if not reports:
        raise errors[0]
    return max(reports, key=lambda report: (report.ok, len(report.loaded)))


def convert(
    model: nn.Module,
    state_dict: Mapping[str, Any],
    layout: str | KeyMap,
    *,
    resize: bool | Resize = False,
    grid: Size | Mapping[str, Size] | None = None,
    check_values: bool = True,
) -> dict[str, Tensor]:
    """The checkpoint as a state_dict of this model, in its dtypes and on its devices. Arguments and errors: as strict :func:`load`."""
    model = unwrapped(model)
    resizing = Resizing(bool(resize), way(resize, layout), grid)
    converted, report = translate(
        model, state_dict, pairing_of(model, layout), _describe(model, layout), resizing, check_values
    )
    if not report.ok:
        raise ValueError(str(report))
    _warn_of_guesses(report, stacklevel=3)
    return converted


def put_all(model: nn.Module, converted: Mapping[str, Tensor], report: Report, strict: bool) -> Report:
    """Put what was converted into a model, if it is as it has to be. Errors: see :func:`load`."""
    if strict and not report.ok:
        raise ValueError(str(report))
    if not converted and model.state_dict():
        raise ValueError(f"nothing in the checkpoint fits: {report}")
    _warn_of_guesses(report, stacklevel=4)
    put(model, converted)
    return report


def _warn_of_guesses(report: Report, stacklevel: int) -> None:
    """Say aloud, where the user called, which grid was taken for square."""
    if guessed := [entry for entry in report.resized if entry.guessed]:
        grids = dict.fromkeys(entry.found for entry in guessed)
        warnings.warn(
            f"{report.what}: position tables are taken for square ({guessed[0].ours} for {guessed[0].found}); "
            f"say grid={next(iter(grids))} if they are, and their own (height, width) if not",
            stacklevel=stacklevel,
        )


@torch.no_grad()
def export(model: nn.Module, layout: str | KeyMap) -> dict[str, Tensor]:
    """The model's weights under another library's keys, as copies.

    Raises:
        ValueError: the layout is unknown, or has no key for some of the model's weights.
    """
    model = unwrapped(model)
    pairing = pairing_of(model, layout)
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


def pairing_of(model: nn.Module, layout: str | KeyMap) -> Pairing:
    """Which keys of a layout, by its name or itself, are which of a model.

    Raises:
        ValueError: the model's class has no layout of this name.
    """
    if isinstance(layout, str):
        known = layouts(model)
        if layout not in known:
            raise ValueError(
                f"layout must be one of {', '.join(map(repr, sorted(known)))} for {type(model).__name__}, got {layout!r}"
            )
        layout = known[layout]
    table: Table = layout(model) if callable(layout) else layout
    return pair_keys(model, table)
