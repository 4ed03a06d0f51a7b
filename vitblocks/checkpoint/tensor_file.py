"""Tensors in a safetensors file: the same bytes for the same tensors, and memory for one of them at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .files import write_whole


def write_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Write tensors, and what is to be said about them, to ``path``. Errors: see :func:`~vitblocks.checkpoint.files.write_whole`.

    Raises:
        ValueError: one of them is not dense, is on the meta device, or of a class that does more than hold numbers.
    """
    for key, tensor in tensors.items():
        if why := not_plain(tensor):
            raise ValueError(f"cannot save {key}: it is {why}")
    write_whole(path, _pieces(tensors, about))


def not_plain(tensor: Tensor) -> str | None:
    """What keeps a tensor from being read as plain numbers in memory, None if nothing does."""
    if tensor.is_nested:
        return "nested"
    if tensor.layout != torch.strided:
        return f"sparse ({tensor.layout})"
    if tensor.is_quantized:
        return f"quantized ({tensor.dtype})"
    if tensor.is_meta:
        return "on the meta device, without numbers"
    if hasattr(tensor, "full_tensor"):
        return "sharded: take full_tensor() of it"
    return None


def _pieces(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    """The file's header and each tensor's numbers. The library writes the same, but its metadata in another order each time."""
    # The widest numbers first, as the library has it: so every tensor lies at a multiple of its width.
    order = sorted(tensors, key=lambda key: (-tensors[key].element_size(), key))
    header: dict[str, object] = {"__metadata__": dict(sorted(about.items()))} if about else {}
    end = 0
    for key in order:
        tensor = tensors[key]
        start, end = end, end + tensor.nbytes
        header[key] = {"dtype": _name_of(tensor.dtype), "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for key in order:
        yield _split(_dense(tensors[key]))[1]


def _dense(tensor: Tensor) -> Tensor:
    """In memory of its own, in order: the library refuses views, such as channels-last kernels."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _split(tensor: Tensor) -> tuple[dict[str, dict[str, str]], memoryview]:
    """What the library writes for one tensor: the header, and the numbers."""
    whole = memoryview(save({"": tensor}))
    start = 8 + int.from_bytes(whole[:8], "little")
    return json.loads(bytes(whole[8:start])), whole[start:]


def _name_of(dtype: torch.dtype) -> str:
    return _split(torch.empty(0, dtype=dtype))[0][""]["dtype"]


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, and what is written about them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no safetensors file.
    """
    with _opened(path) as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118


def read_about(path: Path) -> dict[str, str]:
    """What is written about the tensors of a safetensors file. Errors: as :func:`read_tensors`."""
    with _opened(path) as file:
        return file.metadata() or {}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise FileNotFoundError(f"there are no weights at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
