"""Checkpoints of other libraries from disk: one file or several, safetensors or PyTorch's, and nothing in them runs code."""

from __future__ import annotations

import argparse
import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import torch

from .tensor_file import read_tensors

NAMES = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""What the Hub's repositories call their weights, in the order in which they are looked for."""
INDEX = ".index.json"


def read_checkpoint(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """What a file holds, on the CPU: tensors by name, perhaps among what else training code saved.

    Args:
        path: a ``.safetensors`` file, the ``.index.json`` of several, a file of ``torch.save``, or a folder that holds one of these under
            the Hub's names. PyTorch's files are read with ``weights_only=True``: plain data, tensors and an ``argparse.Namespace``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none of these, or holds what would have to run code to be read; the message names the path.
    """
    path = Path(path)
    if path.is_dir():
        path = _in_folder(path)
    if not path.is_file():
        raise FileNotFoundError(f"there are no weights at {path}")
    if path.name.endswith(INDEX):
        return _shards(path)
    if path.suffix == ".safetensors":
        return read_tensors(path)[0]
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, AttributeError, KeyError, IndexError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{path} is no checkpoint that can be read without running code from it: {first}") from error
    if not isinstance(found, Mapping):
        raise ValueError(f"{path} must hold tensors by name, it holds a {type(found).__name__}")
    return found


def _in_folder(folder: Path) -> Path:
    """The weights in a folder.

    Raises:
        FileNotFoundError: there are none under a usual name, and no single safetensors file.
    """
    for name in NAMES:
        for path in (folder / name, folder / f"{name}{INDEX}"):
            if path.is_file():
                return path
    files = sorted(folder.glob("*.safetensors"))
    if len(files) == 1:
        return files[0]
    raise FileNotFoundError(f"there are no weights in {folder}: none of {', '.join(NAMES)}, nor their {INDEX}")


def _shards(path: Path) -> dict[str, Any]:
    """The tensors of all files that an index names, which must lie beside it.

    Raises:
        ValueError: it is no index, or does not say what the files hold.
    """
    try:
        names = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        files = sorted({*names.values()})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is no index of weights: {error!r}") from error
    tensors: dict[str, Any] = {}
    for name in files:
        if not isinstance(name, str) or PurePath(name).name != name or name.endswith(INDEX):
            raise ValueError(f"{path} must name files beside it, got {name!r}")
        held = read_checkpoint(path.parent / name)
        if wrong := [key for key in held if names.get(key) != name]:
            raise ValueError(f"{path} does not say that {name} holds {wrong[0]!r}")
        tensors.update(held)
    if missing := names.keys() - tensors.keys():
        raise ValueError(f"{path} names {sorted(missing)[0]!r}, which is in none of its files")
    return tensors
