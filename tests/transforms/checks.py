"""The transformations: each is a check that raises unless the model that is transformed gives what it gives by itself."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from tests.zoo.tiny import Tiny

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


@contextmanager
def quiet() -> Iterator[None]:
    """The older ONNX exporter prints, graphs too where it fails."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


@torch.no_grad()
def onnx(row: Tiny) -> None:
    """``torch.onnx.export(dynamo=False)`` with a batch of any size, run by ONNX Runtime: in float32, which it has kernels for."""
    import onnxruntime

    model, file = build(row, torch.float32), io.BytesIO()
    sizes = {"image": {0: "batch"}, "logits": {0: "batch"}}
    with quiet():
        torch.onnx.export(
            model,
            (images(row, BATCH, torch.float32),),
            file,
            dynamo=False,
            opset_version=17,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes=sizes,
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file.getvalue(), options)

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"image": x.numpy()})[0])

    run_others(row, model, run, close, torch.float32)


@torch.no_grad()
def exported(row: Tiny) -> None:
    """``torch.export.export`` with a batch of any size."""
    model = build(row)
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(model, (images(row, BATCH),), dynamic_shapes=shapes)
    run_others(row, model, program.module())


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
    "torch.export": exported,
    "torch.compile": compiled,
}
"""The columns of the table."""
