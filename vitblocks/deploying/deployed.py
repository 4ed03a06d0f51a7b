"""A model in a runtime: called like the model, saved to a folder, and loaded without what it was made of."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import torch
from torch import Tensor

from ..checkpoint.hub import read_json
from .outputs import OUTPUT, Outputs, by_kind
from .report import DeployReport
from .runtime import RUNTIMES
from .settings import Settings, check_threads

FORMAT = "vitblocks deployed model"
VERSION = 1
METADATA = "deployed.json"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Deployed:
    """A model in a runtime: ``image (B, C, H, W) -> output``, tensors on the CPU, for every batch size.

    Attributes:
        report: a :class:`DeployReport`.
        settings: the :class:`Settings` that it runs with.
    """

    def __init__(
        self, folder: Path, settings: Settings, report: DeployReport, keep: TemporaryDirectory[str] | None = None
    ) -> None:
        self.folder, self.settings, self.report = folder, settings, report
        self._keep = keep
        self._session = RUNTIMES[report.runtime].Session(folder, settings)

    def __call__(self, image: Tensor) -> Tensor:
        """The model's output, in float32.

        Raises:
            TypeError: ``image`` is no tensor of floats.
            ValueError: it has another size than the sample, or lies on another device.
        """
        return self._run(image)[0]

    def outputs(self, image: Tensor) -> Outputs:
        """The output, and the attention and feature maps that were asked for when the model was deployed."""
        return by_kind(self.settings.names, self._run(image))

    def _run(self, image: Tensor) -> list[Tensor]:
        if not isinstance(image, Tensor) or not image.is_floating_point():
            raise TypeError(f"image must be a tensor of floats, got {getattr(image, 'dtype', type(image).__name__)}")
        if image.device.type != "cpu":
            raise ValueError(f"image must lie on the CPU, where this model runs, got one on {image.device}")
        size = self.settings.size[1:]
        if image.dim() != 4 or tuple(image.shape[1:]) != size or not len(image):
            raise ValueError(f"image must be (batch, {', '.join(map(str, size))}), got {tuple(image.shape)}")
        return self._session(image.detach().float().contiguous())

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the runtime's files and ``deployed.json`` to a new or empty folder, whole or not at all.

        Raises:
            FileExistsError: there is something already.
        """
        target = Path(folder).absolute()
        empty = target.is_dir() and not any(target.iterdir())
        if target.exists() and not empty:
            raise FileExistsError(f"cannot save to {target}: there is something already")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            for name in RUNTIMES[self.report.runtime].FILES:
                shutil.copyfile(self.folder / name, partial / name)
            (partial / METADATA).write_text(json.dumps(self._metadata(), indent=2) + "\n", encoding="utf-8")
            partial.chmod(0o755)
            if empty:
                self._fill(target, partial)
            else:
                partial.rename(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def _fill(self, target: Path, partial: Path) -> None:
        """Move the files into a folder that is there, which may be the one that somebody stands in, the metadata last."""
        names = [*RUNTIMES[self.report.runtime].FILES, METADATA]
        try:
            for name in names:
                (partial / name).rename(target / name)
            partial.rmdir()
        except BaseException:
            for name in names:
                (target / name).unlink(missing_ok=True)
            raise

    def _metadata(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "format": FORMAT,
            "version": VERSION,
            "size": list(settings.size),
            "names": list(settings.names),
            "report": asdict(self.report),
        }

    def __repr__(self) -> str:
        return f"Deployed({self.report.runtime!r}, size={self.settings.size})"


def load(folder: str | os.PathLike[str], *, threads: int | None = None, run_code: bool = False) -> Deployed:
    """A deployed model from the folder that :meth:`Deployed.save` wrote. Nothing of the original model is needed.

    Args:
        folder: of the files.
        threads: of the CPU; as many as PyTorch has if None.
        run_code: open files of ``aot_inductor`` and ``compile``, too. The first is a compiled library, the second a program that PyTorch
            reads by means that run code: only for files from somebody you trust. OpenVINO's and ONNX Runtime's are data.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: what is there is no deployed model, or a runtime's whose files are code and ``run_code`` is not given.
        ModuleNotFoundError: the runtime is not installed; the message says which extra it comes with.
    """
    check_threads(threads)
    path = Path(folder)
    settings, report = _read(read_json(path / METADATA), path / METADATA)
    runtime = RUNTIMES[report.runtime]
    for name in runtime.FILES:
        if not (path / name).is_file():
            raise FileNotFoundError(f"there is no {path / name}")
    if runtime.RUNS_FILES and not run_code:
        raise ValueError(
            f"{path} is a model for {report.runtime}, whose files are code: load(folder, run_code=True) if you trust whoever made it"
        )
    return Deployed(path, replace(settings, threads=threads or torch.get_num_threads()), report)


def _read(data: Any, path: Path) -> tuple[Settings, DeployReport]:
    """What the metadata say, each value looked at.

    Raises:
        ValueError: they are no such metadata.
    """
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f"{path} is not the metadata of a {FORMAT}")
    if data.get("version") != VERSION:
        raise ValueError(f"{path} is of version {data.get('version')!r}, this code reads {VERSION}")
    size, names, said = data.get("size"), data.get("names"), data.get("report")
    if not isinstance(size, list) or len(size) != 4 or not all(type(n) is int and n > 0 for n in size):
        raise ValueError(f"{path}: size must be 4 numbers above 0, got {size!r}")
    if not isinstance(names, list) or not names or names[0] != OUTPUT or not all(isinstance(n, str) for n in names):
        raise ValueError(f"{path}: names must be those of outputs, {OUTPUT!r} first, got {names!r}")
    if not isinstance(said, dict) or said.get("runtime") not in RUNTIMES or said.get("dtype") not in DTYPES:
        raise ValueError(f"{path}: report must name a runtime of {list(RUNTIMES)} and a dtype of {list(DTYPES)}")
    report = _report(said, path)
    return Settings((size[0], size[1], size[2], size[3]), tuple(names), DTYPES[report.dtype], int8=report.int8), report


def _report(said: dict[str, Any], path: Path) -> DeployReport:
    wanted = {"int8": bool, "error": float, "bound": float}
    inner = {"folds": int, "milliseconds": float, "passed_over": str}
    for name in (*wanted, *inner):
        value, kind = said.get(name), wanted.get(name, dict)
        if type(value) is not kind or (name in inner and _other(value, inner[name])):
            raise ValueError(f"{path}: {name} of the report must be {kind.__name__}, got {value!r}")
    return DeployReport(said["runtime"], said["dtype"], *(said[name] for name in (*wanted, *inner)))


def _other(values: Any, kind: type) -> bool:
    """Whether a value of the dictionary is not of this kind."""
    return any(type(value) is not kind for value in values.values())
