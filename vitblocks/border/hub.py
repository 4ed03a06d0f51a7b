"""Folders of models: local ones, and repositories of the Hugging Face Hub, which are downloaded once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypedDict

from typing_extensions import Unpack

from ..checkpoint.hub import is_repository, snapshot
from ..checkpoint.pretrained import CONFIG

PREFIX = "hf-hub:"
SAFE = (CONFIG, "preprocessor_config.json", "model*.safetensors", "model.safetensors.index.json")
PICKLED = ("pytorch_model*.bin", "pytorch_model.bin.index.json")


def repository(source: str) -> str | None:
    """The id of the repository that a source names, ``org/name`` with or without ``hf-hub:``; None if it cannot be one."""
    name = source.removeprefix(PREFIX)
    return name if is_repository(name) else None


class Download(TypedDict, total=False):
    """Arguments of ``huggingface_hub.snapshot_download``."""

    revision: str
    token: str | bool
    cache_dir: str | Path
    local_files_only: bool
    force_download: bool


def folder_of(source: str | os.PathLike[str], **download: Unpack[Download]) -> Path:
    """A local folder with a model's files, downloaded where the source is no folder.

    Weights are taken as safetensors, and in PyTorch's own form where there are no others.

    Args:
        source: a folder, ``org/name`` or ``hf-hub:org/name``.
        revision, token, cache_dir, local_files_only, force_download: of ``huggingface_hub.snapshot_download``.

    Raises:
        FileNotFoundError: it is neither a folder nor the name of a repository.
        ImportError: huggingface_hub is not installed.
        OSError: what huggingface_hub raises where it cannot be had.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    name = repository(str(source))
    if name is None:
        raise FileNotFoundError(f"there is no folder {source}, and it is no name of a repository (org/name)")
    what = f"to have {name} from the Hub"
    folder = snapshot(name, SAFE, what, **download)
    if not any(folder.glob("*.safetensors")):
        folder = snapshot(name, (*SAFE, *PICKLED), what, **download)
    return folder
