"""Packages that come with an extra of this one."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

EXTRAS = {
    "openvino": "openvino",
    "onnxruntime": "onnx",
    "onnx": "onnx",
    "onnxscript": "onnx",
    "nncf": "int8",
    "torchao": "int8",
}
"""The extra that each package comes with."""


def missing(*packages: str) -> str | None:
    """What to install for these packages; None if all of them are there."""
    lacking = [package for package in packages if find_spec(package) is None]
    if not lacking:
        return None
    extras = ",".join(sorted({EXTRAS[package] for package in lacking}))
    return f"needs {' and '.join(lacking)}: pip install 'vitblocks[{extras}]'"


def needed(package: str, what: str) -> Any:
    """The package.

    Raises:
        ModuleNotFoundError: it is not installed; the message says which extra it comes with.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ModuleNotFoundError(
            f"{what} needs {package}: pip install 'vitblocks[{EXTRAS[package]}]'", name=package
        ) from error
