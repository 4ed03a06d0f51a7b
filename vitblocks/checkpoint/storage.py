"""Our own weights in a safetensors file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file as write_file
from torch import Tensor, nn

from .. import __version__
from ..surgery import reapply, swaps_of
from ..surgery.record import Record
from .convert import _load
from .report import Report
from .rules import Pair, Pairing
from .transforms import Same


def save(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write the model's weights to ``path``, whole or not at all: what is there stays until the new file is complete.

    What :func:`~vitblocks.surgery.swap` changed in the model is written with them.

    Raises:
        FileNotFoundError: the folder of ``path`` does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot save to {path}: there is no folder {path.parent}")
    # Copies: safetensors refuses tensors that share their memory or are not contiguous, such as channels-last kernels.
    weights = {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in model.state_dict().items()
    }
    about = {"format": "pt", "vitblocks": __version__, "model": type(model).__name__}
    if swaps := swaps_of(model):
        about["swaps"] = json.dumps(swaps)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write_file(weights, partial, about)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load_file(model: nn.Module, path: str | os.PathLike[str], *, strict: bool = True, resize: bool = False) -> Report:
    """Put weights that :func:`save` wrote into a model. Other arguments: as :func:`~vitblocks.checkpoint.load`.

    A model whose layers were swapped before it was saved is given as it was built: the swaps are made again. One in which the same
    swaps were made already is left as it is. Only classes of vitblocks and torch.nn, and others that are imported already, are made.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no safetensors file, the swaps cannot be made again, or ``strict`` and it does not hold exactly this model's
            weights. The model is unchanged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there are no weights at {path}")
    try:
        weights, about = _read(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
    swaps: list[Record] = json.loads(about.get("swaps", "[]"))
    made = swaps_of(model)
    if made not in ([], swaps):
        raise ValueError(
            f"{path} holds a model in which {_layers(swaps)} were swapped, but in this {type(model).__name__} {_layers(made)} were; "
            "give one that is as it was built, or in which the same swaps were made in the same order"
        )
    reports = [] if made else reapply(model, swaps)
    try:
        pairing = Pairing(tuple(Pair((key,), (key,), Same()) for key in model.state_dict()))
        return _load(model, weights, pairing, f"{path}, {type(model).__name__}", strict, resize)
    except Exception:
        for report in reversed(reports):
            report.undo()
        raise


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, and what is written about them."""
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118


def _layers(swaps: list[Record]) -> str:
    """The layers of swaps, with the classes they became."""
    named = [f"{name} ({new['class'].rpartition('.')[2]})" for swap in swaps for name, new in swap["layers"].items()]
    return ", ".join(named) or "no layers"
