"""Our own weights in a safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import __version__
from ..grid import Size
from ..position.resize import Resize
from ..recipe import build, describe
from ..recipe.comparing import differences
from ..surgery import reapply, swaps_of
from ..surgery.record import Record, check_records, layers_of
from .convert import put_all
from .report import Report
from .resizing import Resizing, grids_of, way
from .rules import Pair, Pairing
from .tensor_file import read_about, read_tensors, write_tensors
from .transforms import Same
from .translate import translate
from .wrapping import plain_name, plain_names, unwrapped


def save(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write the model's weights to ``path``, whole or not at all: what is there stays until the new file is complete.

    What the model is composed of is written with them where it can be described, the grids of its position tables, and what
    :func:`~vitblocks.surgery.swap` changed in it.
    A compiled or parallel model is written as the model inside it. The same model gives the same bytes. Of threads and processes that
    save to one path, the last one that is done wins; what killed ones left beside it is removed.

    Raises:
        FileNotFoundError: the folder of ``path`` does not exist.
        OSError: it cannot be written, such as on a full disk.
        ValueError: a weight is no plain tensor: sparse, quantized, sharded or on the meta device.
    """
    model = unwrapped(model)
    names = plain_names(model)
    weights = {names[key]: value for key, value in model.state_dict().items()}
    about = {"format": "pt", "vitblocks": __version__, "model": type(model).__name__}
    with suppress(ValueError):  # of a model of parts that are not registered the weights are all there is to write
        about["recipe"] = json.dumps(describe(model))
    if grids := grids_of(model):
        about["grids"] = json.dumps(grids)
    if swaps := _swaps(model):
        about["swaps"] = json.dumps(swaps)
    write_tensors(path, weights, about)


def load_file(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    strict: bool = True,
    resize: bool | Resize = False,
    grid: Size | Mapping[str, Size] | None = None,
    check_values: bool = True,
) -> Report:
    """Put weights that :func:`save` wrote into a model. Other arguments: as :func:`~vitblocks.checkpoint.load`.

    The file says which grids its position tables are for; ``grid`` is for files that do not. A model whose layers were swapped before it
    was saved is given as it was built: the swaps are made again. One in which the same swaps were made already is left as it is. A file
    makes registered parts and the listed classes of torch.nn, and runs no other code.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no safetensors file, what is written about the weights is malformed, the swaps cannot be made again, or
            ``strict`` and it does not hold exactly this model's weights, or those of a model that is composed otherwise; or as of
            :func:`~vitblocks.checkpoint.load`. The model is unchanged.
    """
    path, model = Path(path), unwrapped(model)
    weights, about = read_tensors(path)
    swaps = _parsed(path, "swaps", about.get("swaps", "[]"))
    made = _swaps(model)
    if made not in ([], swaps):
        raise ValueError(
            f"{path} holds a model in which {_named(swaps)} were swapped, but in this {type(model).__name__} {_named(made)} were; "
            "give one that is as it was built, or in which the same swaps were made in the same order"
        )
    try:
        reports = [] if made else reapply(model, swaps)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path}: {error}") from error
    try:
        other, composition = _composition(model, path, about, strict, bool(resize))
        resizing = Resizing(bool(resize), way(resize), grid, _grids(path, about, other))
        pairing = Pairing(tuple(Pair((plain,), (key,), Same()) for key, plain in plain_names(model).items()))
        what = f"{path}, {type(model).__name__}"
        return put_all(model, *translate(model, weights, pairing, what, resizing, check_values, composition), strict)
    except BaseException:
        for report in reversed(reports):
            report.undo()
        raise


def _swaps(model: nn.Module) -> list[Record]:
    """The swaps that were made in a model, layers named without wrappers."""
    return [
        record | {"layers": {plain_name(model, layer): swap for layer, swap in record["layers"].items()}}
        for record in swaps_of(model)
    ]


def swaps_in(path: Path) -> list[Record]:
    """The swaps that were made in the model of a file. Errors: see :func:`load_file`."""
    found: list[Record] = _parsed(path, "swaps", read_about(path).get("swaps", "[]"))
    return found


def _composition(
    model: nn.Module, path: Path, about: Mapping[str, str], strict: bool, resize: bool
) -> tuple[nn.Module | None, tuple[str, ...]]:
    """The model of a file, without weights, and how it is composed otherwise than this one; None if the file does not tell."""
    if "recipe" not in about:
        return None, ()
    try:
        with torch.device("meta"):
            other = build(_parsed(path, "recipe", about["recipe"]))
    except ValueError as error:
        if strict:
            raise ValueError(f"{path}, recipe: {error}") from error
        return None, (f"what it is composed of is not known here: {error}",)
    return other, tuple(differences(model, other, resize=resize))


def _grids(path: Path, about: Mapping[str, str], other: nn.Module | None) -> dict[str, tuple[int, int]]:
    """The grids of a file's position tables: as written, or those of the model that it describes.

    Raises:
        ValueError: what is written are none.
    """
    if "grids" not in about:
        return {} if other is None else grids_of(other)
    found = _parsed(path, "grids", about["grids"])
    if not isinstance(found, dict):
        raise ValueError(f"{path}, grids: must be a dictionary, got {found!r:.80}")
    for key, grid in found.items():
        if not (isinstance(grid, list) and len(grid) == 2 and all(type(side) is int and side > 0 for side in grid)):
            raise ValueError(f"{path}, grids: {key!r:.80} must be a height and a width, got {grid!r:.80}")
    return {key: (height, width) for key, (height, width) in found.items()}


def _parsed(path: Path, what: str, text: str) -> Any:
    """Plain data from a file's metadata.

    Raises:
        ValueError: it is none, or the swaps are none.
    """
    try:
        found = json.loads(text)
        return check_records(found) if what == "swaps" else found
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}, {what}: {error}") from error


def _named(swaps: Any) -> str:
    return ", ".join(layers_of(swaps)) or "no layers"
