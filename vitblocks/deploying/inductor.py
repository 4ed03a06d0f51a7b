"""AOTInductor: ``model.pt2``, which holds a compiled library."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..fast.private import compile_package, load_package
from .exporting import quiet
from .program import program_of
from .settings import Settings

NAME = "aot_inductor"
PACKAGES: tuple[str, ...] = ()
QUANTIZERS: tuple[str, ...] = ("torchao",)
RUNS_FILES = True
DTYPES: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16)
FILES: tuple[str, ...] = ("model.pt2",)

OPTIONS = {"freezing": True}
"""Weights that are constants to the compiler are packed for oneDNN, whose products take half the time of MKL's on an AMD processor; int8
products are found with such alone."""


def write(model: nn.Module, sample: Tensor, folder: Path, settings: Settings) -> None:
    program = program_of(model, sample, settings)
    with quiet(), torch.no_grad():
        compile_package(program, folder / FILES[0], OPTIONS)


class Session:
    """The library, loaded into this process: ``image -> [tensor, ...]``."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.dtype = settings.dtype
        self.model = load_package(folder / FILES[0])

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> list[Tensor]:
        found = self.model(image.to(self.dtype))
        return [x.float() for x in ((found,) if isinstance(found, Tensor) else found)]
