"""The transformations: each is a check that raises unless the model that is transformed gives what it gives by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from tests.zoo.tiny import Tiny
from vitblocks import fold
from vitblocks.deploying import to_onnx, to_program
from vitblocks.deploying.exporting import INPUT, quiet
from vitblocks.deploying.inductor import OPTIONS
from vitblocks.fast.private import compile_package, load_package

BATCH, OTHERS = 2, (1, 5)
"""The batch that a model is exported with, and those that the exported one is run with."""


def build(row: Tiny, dtype: torch.dtype = torch.float64) -> nn.Module:
    """The model in float64, so that differences are not rounding, and in eval mode: no dropout, and BatchNorm as it was learned."""
    return row.build().to(dtype).eval()


def images(row: Tiny, batch: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(batch, 3, row.image_size, row.image_size, dtype=dtype)


def close(found: Tensor, right: Tensor) -> None:
    """Equal up to the rounding of float32."""
    error, largest = (found - right).abs().max().item(), right.abs().max().item()
    assert error <= 1e-4 * largest + 1e-6, f"off by {error:.1e}, of at most {largest:.1e}"


def loss(model: nn.Module, state: Any, x: Tensor) -> Tensor:
    return functional_call(model, state, (x,)).square().sum()


def per_sample_gradients(row: Tiny) -> None:
    """``vmap(grad(loss))`` over the images is a loop over them: in float32, since PyTorch's convolutions in float64 do not all take it."""
    model, batch = build(row, torch.float32), images(row, 3, torch.float32)
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def gradients(image: Tensor) -> dict[str, Tensor]:
        return grad(lambda state: loss(model, state, image[None]))(parameters)

    found = vmap(gradients)(batch)
    for i, image in enumerate(batch):
        alone = torch.autograd.grad(model(image[None]).square().sum(), list(model.parameters()), allow_unused=True)
        for (name, parameter), right in zip(model.named_parameters(), alone, strict=True):
            right = torch.zeros_like(parameter) if right is None else right
            close(found[name][i], right)


def ensembles(row: Tiny) -> None:
    """``stack_module_state`` and ``vmap(functional_call)``: each model's outputs, and the gradients of its own parameters."""
    models, batch = [build(row), build(row)], images(row, 3)
    parameters, buffers = stack_module_state(models)
    base = deepcopy(models[0]).to("meta")
    together = vmap(lambda *state: functional_call(base, state, (batch,)))(parameters, buffers)
    together.square().sum().backward()
    for i, model in enumerate(models):
        alone = model(batch)
        torch.testing.assert_close(together[i], alone)
        alone.square().sum().backward()
        for name, parameter in model.named_parameters():
            stacked = parameters[name].grad
            if parameter.grad is not None:
                torch.testing.assert_close(stacked[i], parameter.grad, msg=lambda text, name=name: f"{name}: {text}")


def run_others(
    row: Tiny,
    model: nn.Module,
    exported: Callable[[Tensor], Tensor],
    close: Callable[[Tensor, Tensor], None] = torch.testing.assert_close,
    dtype: torch.dtype = torch.float64,
) -> None:
    """The exported model gives at other batches what the model gives."""
    for batch in OTHERS:
        x = images(row, batch, dtype)
        close(exported(x), model(x))


@torch.no_grad()
def traced(row: Tiny) -> None:
    """``torch.jit.trace``."""
    model = build(row)
    run_others(row, model, torch.jit.trace(model, images(row, BATCH)))


def run_file(path: Path, row: Tiny, model: nn.Module) -> None:
    """An ONNX file, run by ONNX Runtime with other batches."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(str(path), options)
    run_others(row, model, lambda x: torch.from_numpy(session.run(None, {INPUT: x.numpy()})[0]), close, torch.float32)


def onnx(row: Tiny) -> None:
    """ONNX by the older exporter, as ``deploy`` makes it: in float32, which the runtime has kernels for."""
    onnx_file(row, dynamo=False)


def onnx_dynamo(row: Tiny) -> None:
    """ONNX by ``torch.export``."""
    onnx_file(row, dynamo=True)


@torch.no_grad()
def onnx_file(row: Tiny, *, dynamo: bool) -> None:
    model = build(row, torch.float32)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        to_onnx(model, images(row, BATCH, torch.float32), path, dynamo=dynamo)
        run_file(path, row, model)


@torch.no_grad()
def ahead_of_time(row: Tiny) -> None:
    """AOTInductor's library of what :func:`vitblocks.deploy` gives it, run with other batches. Without vector code, to compile faster."""
    model, sample = build(row, torch.float32), images(row, BATCH, torch.float32)
    program = to_program(fold(model, sample, outputs="logits").model, sample)
    options = {**OPTIONS, "cpp.simdlen": 1, "aot_inductor.compile_wrapper_opt_level": "O0"}
    with TemporaryDirectory() as folder:
        with quiet():
            compile_package(program, Path(folder) / "model.pt2", options)
        run_others(row, model, load_package(Path(folder) / "model.pt2"), close, torch.float32)


@torch.no_grad()
def any_size(row: Tiny) -> None:
    """``torch.export`` with a batch, a height and a width of any size, exported at one size and run at others.

    Not at the model's own: tables of positions are resized for all sizes but that, which is another program.
    """
    model, side = build(row), row.image_size
    program = to_program(model, torch.randn(BATCH, 3, 2 * side, 3 * side, dtype=torch.float64), sizes=True).module()
    for batch, height, width in ((1, 3 * side, 2 * side), (3, 4 * side, 4 * side)):
        x = torch.randn(batch, 3, height, width, dtype=torch.float64)
        torch.testing.assert_close(program(x), model(x))


@torch.no_grad()
def exported(row: Tiny) -> None:
    """``torch.export.export`` with a batch of any size."""
    model = build(row)
    run_others(row, model, to_program(model, images(row, BATCH)).module())


def compiled(row: Tiny) -> None:
    """``torch.compile(fullgraph=True)``: no graph break, the same outputs and gradients. Sizes are fixed: symbolic ones take minutes."""
    model, batch = build(row), images(row, BATCH)
    parameters = list(model.parameters())
    torch.compiler.reset()
    try:
        outputs = torch.compile(model, fullgraph=True, backend="eager", dynamic=False)(batch)
    finally:
        torch.compiler.reset()
    torch.testing.assert_close(outputs, model(batch))
    found = torch.autograd.grad(outputs.square().sum(), parameters, allow_unused=True)
    right = torch.autograd.grad(model(batch).square().sum(), parameters, allow_unused=True)
    torch.testing.assert_close(found, right)


COLUMNS: Mapping[str, Callable[[Tiny], None]] = {
    "per-sample gradients": per_sample_gradients,
    "ensembles": ensembles,
    "jit.trace": traced,
    "ONNX": onnx,
    "ONNX, dynamo": onnx_dynamo,
    "torch.export": exported,
    "AOTInductor": ahead_of_time,
    "any size": any_size,
    "torch.compile": compiled,
}
"""The columns of the table."""
