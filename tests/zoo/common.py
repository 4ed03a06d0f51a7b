"""What every zoo model must do, checked on a tiny configuration of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import einops
import torch
from torch import Tensor, nn

from vitblocks import CrossViT, Model


def stirred(module: nn.Module) -> Any:
    """In float64 and evaluation, with every parameter another than the one it began with."""
    with torch.no_grad():
        for parameter in module.double().eval().parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return module


def check_model(model: nn.Module, image: Tensor, *, classes: int) -> None:
    """Logits, gradients, compilation, export, half precision, feature maps and recomputation of ``model`` on ``image``.

    Every aspect is a function of its own below, so that a model with a stated exception can leave one out.
    """
    check_compiles(model, image)
    if image.shape[2] != image.shape[3]:  # each class is exported for squares by tests.transforms
        check_exports(model, image)
    check_eager(model, image, classes=classes)


def check_eager(model: nn.Module, image: Tensor, *, classes: int) -> None:
    """All of it but compilation and export."""
    check_logits(model, image, classes)
    check_gradients(model, image)
    check_bfloat16(model, image)
    if isinstance(model, Model):
        check_feature_maps(model, image)
    if isinstance(model, (Model, CrossViT)):
        check_recomputation(model, image)


def check_logits(model: nn.Module, image: Tensor, classes: int) -> None:
    logits = model.eval()(image)
    assert logits.shape == (image.shape[0], classes)
    assert logits.isfinite().all()


def check_gradients(model: nn.Module, image: Tensor) -> None:
    """In training every parameter gets a finite gradient."""
    model = copy.deepcopy(model).train()
    wake(model)
    model(image).square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without, f"no gradient: {without}"
    broken = [name for name, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    assert not broken, f"gradient is not finite: {broken}"


def wake(model: nn.Module) -> None:
    """Give parameters that start at zero, such as a branch's last norm, a value that lets gradients through."""
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.02)


@contextmanager
def einops_as_operators() -> Iterator[None]:
    """Let the compiler take calls of einops for operators, as it does for versions before 0.8.2, rather than trace how a pattern is read.

    That takes four fifths of the time that it needs for a model, and is the same for all. Where nothing is said of einops
    (``tests.transforms``, ``tests/test_compile.py``) it is traced.
    """
    operators = (einops.rearrange, einops.reduce, einops.repeat)
    for operator in operators:
        torch.compiler.allow_in_graph(operator)
    try:
        yield
    finally:
        for operator in operators:
            torch._dynamo.trace_rules._allowed_callable_ids.remove(id(operator))


def check_compiles(model: nn.Module, image: Tensor) -> None:
    """In one graph, with the same logits."""
    model = model.eval()
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad(), einops_as_operators():
        torch.testing.assert_close(compiled(image), model(image), rtol=1e-4, atol=1e-5)


def check_exports(model: nn.Module, image: Tensor) -> None:
    """With a dynamic batch: another number of images than it was exported with."""
    model = model.eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(model, (image,), dynamic_shapes=({0: batch},)).module()
    more = torch.cat([image, image.flip(0), image])
    with torch.no_grad():
        torch.testing.assert_close(exported(more), model(more), rtol=1e-4, atol=1e-5)


def check_bfloat16(model: nn.Module, image: Tensor) -> None:
    """Logits within a tenth of the largest one's size."""
    low = copy.deepcopy(model).eval().bfloat16()
    with torch.no_grad():
        expected, actual = model.eval()(image), low(image.bfloat16())
    assert actual.dtype == torch.bfloat16
    assert (actual.float() - expected).abs().max() <= 0.1 * expected.abs().max()


def check_feature_maps(model: Model, image: Tensor) -> None:
    """One map a stage, as many times smaller than the image as its stride says, sides rounded either way."""
    maps = model.eval().feature_maps(image)
    assert len(maps) == len(model.stages)
    for feature, (x, grid) in zip(maps, model.forward_stages(image), strict=True):
        assert feature.map.shape == (image.shape[0], x.shape[2], *grid)
        for side, places, stride in zip(image.shape[2:], grid, feature.stride, strict=True):
            assert side // stride - 1 <= places <= -(-side // stride), (side, places, stride)


def check_recomputation(model: Model | CrossViT, image: Tensor) -> None:
    """Gradient checkpointing changes no gradient."""
    plain, recomputing = copy.deepcopy(model).eval(), copy.deepcopy(model).eval().gradient_checkpointing()
    for each in (plain, recomputing):
        each(image).square().sum().backward()
    for (name, p), q in zip(plain.named_parameters(), recomputing.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), name
        if p.grad is not None and q.grad is not None:
            torch.testing.assert_close(p.grad, q.grad, msg=name)
