"""A model with its weights from a name, a folder, a repository or a file: built as its config says, or as its weights do."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from ..checkpoint import Adapt, compare, from_pretrained, load, read_checkpoint
from ..checkpoint.hub import read_json
from ..checkpoint.pretrained import CONFIG
from ..checkpoint.report import Report
from ..checkpoint.resizing import grids_of
from ..registry import create_model, variants
from .about import OtherPreprocessing, from_hf, from_timm
from .configs import labels_of, reader_of
from .hub import Download, folder_of, repository
from .published import Published, published, weights_of
from .timm_configs import build_as_timm, check_pool, options_of

PREPROCESSOR = "preprocessor_config.json"
CANDIDATES = 12
"""How many variants of about as many parameters are compared with a file that comes without a config."""


def load_model(
    source: str | os.PathLike[str],
    *,
    num_classes: int | None = None,
    adapt: Adapt | None = None,
    **download: Unpack[Download],
) -> nn.Module:
    """A model of ours, built and loaded, in evaluation mode, with its preprocessing and labels where they are known.

    Args:
        source: one of

            - the name of published weights, ``"vit_base_patch16_224.augreg_in21k"`` or a variant (see ``list_models(pretrained=True)``);
            - a repository of the Hub, ``"org/name"`` or ``"hf-hub:org/name"``, or a folder with the same files: ours, timm's or
              transformers', which ``config.json`` tells;
            - a file of weights. Which variant they are is found by their names and shapes.
        num_classes: for a fresh head; that of the weights if None.
        adapt: see :class:`~vitblocks.checkpoint.Adapt`.
        revision, token, cache_dir, local_files_only, force_download: see :func:`~vitblocks.border.folder_of`.

    Raises:
        FileNotFoundError: there is nothing of this name.
        ImportError: it has to be downloaded, and huggingface_hub is not installed.
        ValueError: the config is of no model that is known here, the weights are not those of its model, or those of several variants;
            the message says where.
    """
    name = str(source)
    path = Path(source)
    model: Any
    if path.is_file():
        model = _from_file(path, adapt)
    elif path.is_dir() or repository(name) is not None:
        model = _from_folder(folder_of(source, **download), adapt)
    elif not path.suffix or name.partition(".")[0] in variants() or name in published():
        model = _from_table(weights_of(name), adapt, **download)
    else:
        raise FileNotFoundError(f"there is no file {source}")
    if num_classes is not None:
        model.reset_head(num_classes)
    loaded: nn.Module = model.eval()
    return loaded


def load_published(row: Published, model: Any, *, adapt: Adapt | None = None, **download: Unpack[Download]) -> Report:
    """Put published weights into a model that was built as their variant, perhaps for other classes, and let it know of preprocessing."""
    folder = folder_of(row.hub, **download)
    grids = grids_of(_on_meta(row.variant, num_classes=row.num_classes))
    grid = None if grids == grids_of(model) else grids
    report = load(model, folder, resize=True, grid=grid, adapt={"classes": "fresh", **(adapt or {})})
    size = getattr(model, "image_size", None) or row.preprocessing.size
    model.preprocessing = row.preprocessing.of_size(size).data()
    return report


def _from_table(row: Published, adapt: Adapt | None, **download: Unpack[Download]) -> Any:
    model: Any = create_model(row.variant, num_classes=row.num_classes)
    load_published(row, model, adapt=adapt, **download)
    return model


def _from_folder(folder: Path, adapt: Adapt | None) -> Any:
    """Raises ValueError for a config.json of none of the three libraries."""
    path = folder / CONFIG
    config = _json(path)
    if isinstance(config.get("model"), dict) and "vitblocks" in config:
        return from_pretrained(folder)
    if isinstance(config.get("architecture"), str):
        return _from_timm(folder, config, adapt)
    if "architectures" in config:
        return _from_hf(folder, config, adapt)
    raise ValueError(
        f"{path} must be of vitblocks, timm or transformers, it has {', '.join(map(repr, sorted(config)))[:200]}"
    )


def _from_timm(folder: Path, config: Mapping[str, Any], adapt: Adapt | None) -> Any:
    """timm's config: an architecture, classes, and ``pretrained_cfg``."""
    path = folder / CONFIG
    about = config.get("pretrained_cfg") or {}
    classes = config.get("num_classes", about.get("num_classes", 1000))
    architecture = config["architecture"]
    state = read_checkpoint(folder)
    names = [name for name in (architecture, f"{architecture}_distilled") if name in variants()]
    if not names:
        raise ValueError(f"{path}: no variant is called {architecture!r}; see vitblocks.list_models()")
    try:
        model, report = _best({name: {"num_classes": classes, **options_of(name, config)} for name in names}, state)
        check_pool(model, config)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
    if not report.ok and not adapt:
        raise ValueError(f"{folder}: {report}")
    load(model, state, resize=True, adapt=adapt)
    if about.get("mean"):
        model.preprocessing = from_timm(about, model.image_size or tuple(about["input_size"][1:])).data()
    labels = about.get("label_names")
    if isinstance(labels, list) and len(labels) == classes:
        model.labels = list(map(str, labels))
    return model


def _from_hf(folder: Path, config: Mapping[str, Any], adapt: Adapt | None) -> Any:
    """transformers' config and weights, and its preprocessing where that lies beside them."""
    try:
        model: Any = reader_of(config)(config)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{folder / CONFIG}: {error}") from error
    report = load(model, read_checkpoint(folder), layout="hf", strict=False, adapt=adapt)
    if report.missing or report.misshaped:
        raise ValueError(f"{folder}: {report}")
    if report.unexpected:  # such as a pooler beside a classifier that does not use it
        warnings.warn(f"{folder}: the model has no place for {', '.join(report.unexpected[:10])}", stacklevel=4)
    model.labels = labels_of(config)
    path = folder / PREPROCESSOR
    if path.is_file():
        try:
            model.preprocessing = from_hf(_json(path)).data()
        except OtherPreprocessing as error:
            warnings.warn(f"{path}: {error}, so that the model is told of no preprocessing", stacklevel=4)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise ValueError(f"{path}: {error}") from error
    return model


def _best(names: Mapping[str, Mapping[str, Any]], state: Mapping[str, Any]) -> tuple[Any, Report]:
    """The variant of several, each with its options, by which most of the weights fit."""
    found = []
    for name, options in names.items():
        with torch.device("meta"):
            found.append((compare(build_as_timm(name, **options), state), name))
    report, name = max(found, key=lambda one: (one[0].ok, len(one[0].loaded)))
    return build_as_timm(name, **names[name]), report


def _from_file(path: Path, adapt: Adapt | None) -> Any:
    """The variant whose names and shapes the weights have.

    Raises:
        ValueError: no variant has them, or several do, as those that differ in heads alone.
    """
    state = read_checkpoint(path)
    count = sum(tensor.numel() for tensor in _tensors(state))
    close = sorted(_sizes(), key=lambda name: abs(_sizes()[name] - count))[:CANDIDATES]
    found = {name: classes for name in close if (classes := _classes_if_whole(name, state)) is not None}
    if not found:
        raise ValueError(
            f"{path} has the weights of no published variant, of those with about {count:,} numbers: {', '.join(close[:4])}, ...; "
            "build the model, and use vitblocks.checkpoint.load"
        )
    if len(found) > 1:
        raise ValueError(
            f"{path} may be of the variants {', '.join(found)}, which have the same weights: build one with vitblocks.create_model, "
            "and use vitblocks.checkpoint.load"
        )
    (name, classes), *_ = found.items()
    model: Any = create_model(name, num_classes=classes)
    load(model, state, adapt=adapt)
    return model


def _classes_if_whole(name: str, state: Mapping[str, Any]) -> int | None:
    """How many classes a variant has to have for the weights to be its own; None where they are not."""
    try:
        report = compare(model := _on_meta(name), state)
        if report.ok:
            return _classes(model)
        heads = [entry for entry in report.misshaped if entry.ours[0].startswith("head")]
        if heads and len(heads) == len(report.misshaped) and not report.missing:
            classes = heads[0].found[0][0]
        elif report.missing and all(key.startswith("head") for entry in report.missing for key in entry.ours):
            classes = 0
        else:
            return None
        return classes if compare(_on_meta(name, num_classes=classes), state).ok else None
    except (ValueError, TypeError):
        return None


def _on_meta(name: str, **options: Any) -> Any:
    with torch.device("meta"):
        return create_model(name, **options)


def _classes(model: nn.Module) -> int:
    linears = [module for name, module in model.named_modules() if "head" in name and isinstance(module, nn.Linear)]
    return linears[-1].out_features if linears else 0


@cache
def _sizes() -> dict[str, int]:
    """The parameters of every variant."""
    return {name: sum(p.numel() for p in _on_meta(name).parameters()) for name in variants()}


def _tensors(state: Any) -> Iterator[Tensor]:
    """All tensors of a checkpoint, under whatever names."""
    for value in state.values():
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, Mapping):
            yield from _tensors(value)


def _json(path: Path) -> dict[str, Any]:
    """A small file of JSON that holds a dictionary. Errors: see :func:`~vitblocks.checkpoint.hub.read_json`, and ValueError for others."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError(f"{path} must be a dictionary, got {type(found).__name__}")
    return found
