"""A model as a folder, or as a repository of the Hugging Face Hub: its weights, and what it is composed of.

``config.json`` holds the description of the model, preprocessing and labels; ``model.safetensors`` the weights.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from .. import __version__
from ..recipe import Limits, build, describe
from .files import write_whole
from .hub import hub, is_repository, read_json, snapshot
from .storage import load_file, save, swaps_in
from .wrapping import unwrapped

CONFIG: str = "config.json"
WEIGHTS: str = "model.safetensors"


def save_pretrained(
    model: nn.Module,
    folder: str | os.PathLike[str],
    *,
    preprocessing: Mapping[str, Any] | None = None,
    labels: Sequence[str] | None = None,
) -> None:
    """Write a model that can be described to a folder, which is made if there is none.

    Args:
        preprocessing: what is done to images before they come in, as plain JSON data; that of the model (``model.preprocessing``) if None.
        labels: the names of the classes; those of the model (``model.labels``) if None.

    Raises:
        ValueError: the model cannot be described (see :func:`vitblocks.describe`), or the other two are no plain data.
        OSError: a file cannot be written; the message names it. One that was there before is whole.
    """
    model = unwrapped(model)
    about = {
        "preprocessing": getattr(model, "preprocessing", None) if preprocessing is None else dict(preprocessing),
        "labels": getattr(model, "labels", None) if labels is None else list(labels),
    }
    _check_about(about, "the model")
    text = json.dumps({"vitblocks": __version__, "model": describe(model), **about}, indent=2, allow_nan=False)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save(model, folder / WEIGHTS)
    write_whole(folder / CONFIG, [text.encode() + b"\n"])


def from_pretrained(source: str | os.PathLike[str], *, limits: Limits | None = None, **download: Any) -> nn.Module:
    """The model of a folder that :func:`save_pretrained` wrote, or of a repository of the Hub with the same files, in evaluation mode.

    It may be anybody's: a description makes registered parts and runs no other code. Parts of one's own must be registered, that is
    imported, before.

    Args:
        source: a folder, or the id of a repository (``"name/model"``).
        limits: how much the description may ask for.
        download: arguments of ``huggingface_hub.snapshot_download`` (``revision``, ``token``, ``cache_dir``, ``local_files_only``).

    Raises:
        FileNotFoundError: there is no such folder, or a file is missing in it.
        ImportError: it is no folder, and huggingface_hub is not installed.
        ValueError: the files are none that were written by this, or weights and description do not belong together; the message names
            the file and the place.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = _downloaded(source, download)
    path = folder / CONFIG
    config = _read(path)
    try:
        model = build(config["model"], limits=limits)
    except ValueError as error:
        raise ValueError(f"{path}, model: {error}") from error
    # It is built as it was saved, swaps and all: they are made already.
    if swaps := swaps_in(folder / WEIGHTS):
        vars(model)["swaps"] = swaps
    load_file(model, folder / WEIGHTS)
    for name in ("preprocessing", "labels"):
        if config.get(name) is not None:
            setattr(model, name, config[name])
    return model.eval()


def push_to_hub(
    model: nn.Module, repo_id: str, *, private: bool | None = None, token: str | None = None, **about: Any
) -> str:
    """Write a model to a repository of the Hub, which is made if there is none. Returns the address of the commit.

    ``about`` are the other arguments of :func:`save_pretrained`.

    Raises:
        ImportError: huggingface_hub is not installed.
    """
    api = hub(f"to push to {repo_id}").HfApi(token=token)
    with TemporaryDirectory() as folder:
        save_pretrained(model, folder, **about)
        api.create_repo(repo_id, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=f"{type(model).__name__}"))


def _downloaded(source: str | os.PathLike[str], download: Mapping[str, Any]) -> Path:
    if not is_repository(str(source)):
        raise FileNotFoundError(f"there is no folder {source}")
    what = f"there is no folder {source}; to take it for a repository of the Hub"
    return snapshot(str(source), [CONFIG, WEIGHTS], what, **download)


def _read(path: Path) -> dict[str, Any]:
    """A config.json, checked."""
    config = read_json(path)
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise ValueError(f"{path} must be a dictionary with a description under 'model'")
    _check_about(config, str(path))
    return config


def _check_about(about: Mapping[str, Any], where: str) -> None:
    labels, preprocessing = about.get("labels"), about.get("preprocessing")
    if labels is not None and not (isinstance(labels, list) and all(isinstance(label, str) for label in labels)):
        raise ValueError(f"{where}: labels must be a list of names, got {labels!r:.80}")
    if preprocessing is not None and not isinstance(preprocessing, dict):
        raise ValueError(f"{where}: preprocessing must be a dictionary, got {preprocessing!r:.80}")
    try:
        json.dumps(preprocessing, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: preprocessing is no plain data: {error}") from error
