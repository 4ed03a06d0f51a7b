"""Our own weights in a safetensors file."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file as read_file
from safetensors.torch import save_file as write_file
from torch import nn

from .. import __version__
from .convert import _load
from .report import Report
from .rules import Pair, Pairing
from .transforms import Same


def save(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write the model's weights to ``path``, whole or not at all: what is there stays until the new file is complete.

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
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write_file(weights, partial, {"format": "pt", "vitblocks": __version__, "model": type(model).__name__})
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load_file(model: nn.Module, path: str | os.PathLike[str], *, strict: bool = True, resize: bool = False) -> Report:
    """Put weights that :func:`save` wrote into a model. Arguments: as :func:`~vitblocks.checkpoint.load`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no safetensors file, or ``strict`` and it does not hold exactly this model's weights. The model is unchanged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there are no weights at {path}")
    try:
        weights = read_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
    pairing = Pairing(tuple(Pair((key,), (key,), Same()) for key in model.state_dict()))
    return _load(model, weights, pairing, f"{path}, {type(model).__name__}", strict, resize)
