"""``torch.compile``: ``model.pt2`` holds an exported program, which is compiled where it is opened."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from ..fast.private import constant_weights
from ..fast.product import exchange_products
from .exporting import quiet
from .program import program_of
from .settings import Settings

NAME = "compile"
PACKAGES: tuple[str, ...] = ()
QUANTIZERS: tuple[str, ...] = ("torchao",)
RUNS_FILES = True
DTYPES: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16)
FILES: tuple[str, ...] = ("model.pt2",)


def write(model: nn.Module, sample: Tensor, folder: Path, settings: Settings) -> None:
    program = program_of(model, sample, settings)
    with quiet():
        torch.export.save(program, folder / FILES[0])


class Session:
    """The program, compiled at the first call: ``image -> [tensor, ...]``."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.dtype, self.int8 = settings.dtype, settings.int8
        model = torch.export.load(folder / FILES[0]).module()
        if not self.int8:  # the compiler finds whole numbers' products by the plain ones
            exchange_products(model)
        self.model = torch.compile(model)

    @torch.no_grad()
    def __call__(self, image: Tensor) -> list[Tensor]:
        # It finds int8 products where their weights are constants, whenever it compiles: for another batch it may do so again.
        with constant_weights() if self.int8 else nullcontext():
            found = self.model(image.to(self.dtype))
        return [x.float() for x in ((found,) if isinstance(found, Tensor) else found)]
