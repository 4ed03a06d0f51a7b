"""What a runtime is: a module of this package that writes a model's files, and a session that runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn

from . import compiled, inductor, onnxruntime, openvino
from .settings import Settings

Session: TypeAlias = Callable[[Tensor], list[Tensor]]
"""``image (B, C, H, W)`` in float32 to the outputs in float32, in the order of :attr:`Settings.names`."""


class Runtime(Protocol):
    """A module such as :mod:`vitblocks.deploying.openvino`.

    ``PACKAGES`` are what it needs, ``QUANTIZERS`` what int8 needs besides, ``RUNS_FILES`` says whether opening its files runs what is
    in them, and ``DTYPES`` what it computes in.
    """

    @property
    def NAME(self) -> str: ...
    @property
    def PACKAGES(self) -> tuple[str, ...]: ...
    @property
    def QUANTIZERS(self) -> tuple[str, ...]: ...
    @property
    def RUNS_FILES(self) -> bool: ...
    @property
    def DTYPES(self) -> tuple[torch.dtype, ...]: ...
    @property
    def FILES(self) -> tuple[str, ...]: ...

    def write(self, model: nn.Module, sample: Tensor, folder: Path, settings: Settings) -> None: ...

    def Session(self, folder: Path, settings: Settings) -> Session: ...


RUNTIMES: Mapping[str, Runtime] = {module.NAME: module for module in (openvino, onnxruntime, inductor, compiled)}
"""All of them, by the names that ``deploy`` takes."""
