"""The exported program that PyTorch's own two runtimes compile, and its int8 form."""

from __future__ import annotations

from copy import deepcopy
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from ..extras import needed
from .exporting import quiet, to_program
from .settings import Settings


def program_of(model: nn.Module, sample: Tensor, settings: Settings) -> Any:
    """The model in the dtype asked for, exported for every batch size."""
    model, sample = deepcopy(model).to(settings.dtype), sample.to(settings.dtype)
    program = to_program(model, sample)
    if settings.calibration is None:
        return program
    return to_program(_quantized(program, settings.calibration.to(settings.dtype)), sample)


def _quantized(program: Any, images: Tensor) -> nn.Module:
    """Static int8 of linears and convolutions by torchao, as PyTorch's compiler for x86 knows it."""
    needed("torchao", "int8 in PyTorch")
    with quiet(), torch.no_grad():
        pt2e = import_module("torchao.quantization.pt2e.quantize_pt2e")
        x86 = import_module("torchao.quantization.pt2e.quantizer.x86_inductor_quantizer")
        quantizer = x86.X86InductorQuantizer()
        quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
        prepared = pt2e.prepare_pt2e(program.module(), quantizer)
        for batch in images.split(8):
            prepared(batch)
        converted: nn.Module = pt2e.convert_pt2e(prepared)
    # Weights that are mere attributes would not be constants to the compiler.
    for name, value in [(n, v) for n, v in vars(converted).items() if isinstance(v, Tensor)]:
        delattr(converted, name)
        converted.register_buffer(name, value)
    return converted
