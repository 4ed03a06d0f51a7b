"""Proof that a written file does what the model does: it is run, and its state and outputs are compared."""

from __future__ import annotations

import ast
import builtins
import symtable
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from .facts import scopes
from .source import origin

_NAME = "vitblocks_ejected"


def check(text: str, model: nn.Module, sample: Tensor | None) -> None:
    """Raise ValueError unless the text makes a model with the same state, and the same outputs where they can be compared."""
    _check_text(text)
    flat = load_model(text)
    _check_state(flat, model)
    if any(tensor.is_meta for tensor in model.state_dict().values()):
        return
    tried = _sample(model) if sample is None else _given(model, sample)
    if tried is not None:
        _check_outputs(flat, model, *tried)


def load_model(text: str) -> nn.Module:
    """The model of a file, on the meta device.

    Raises:
        ValueError: the text does not run.
    """
    module = ModuleType(_NAME)
    sys.modules[_NAME] = module  # dataclasses look their module up
    try:
        exec(compile(text, f"<{_NAME}>", "exec"), vars(module))
        with torch.device("meta"):
            return module.build_model()
    except Exception as error:
        raise ValueError(f"the model cannot be written out: its file would not run ({error})") from error
    finally:
        del sys.modules[_NAME]


def _check_text(text: str) -> None:
    """Nothing is imported but torch and the standard library, and every global is defined."""
    for node in ast.walk(ast.parse(text)):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        wrong = [module for module in modules if origin(module) not in ("torch", "standard") and module != "__future__"]
        if wrong:
            raise ValueError(f"the model cannot be written out: its code imports {wrong[0]!r}")
    table = symtable.symtable(text, _NAME, "exec")
    defined = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}
    for scope in scopes(table):
        for symbol in scope.get_symbols():
            name = symbol.get_name()
            if symbol.is_global() and symbol.is_referenced() and name not in defined and not hasattr(builtins, name):
                raise ValueError(
                    f"the model cannot be written out: {scope.get_name()} needs {name!r}, which was not found"
                )


def _check_state(flat: nn.Module, model: nn.Module) -> None:
    """The same keys, shapes and dtypes, and the same parameters trained."""
    expected, actual = model.state_dict(), flat.state_dict()
    if expected.keys() != actual.keys():
        differing = sorted(expected.keys() ^ actual.keys())
        raise ValueError(f"the model cannot be written out: its file would differ in the keys {differing[:8]}")
    for key, tensor in expected.items():
        found = actual[key]
        if not isinstance(tensor, Tensor):
            raise ValueError(f"the model cannot be written out: {key} of its state is no tensor")
        if (found.shape, found.dtype) != (tensor.shape, tensor.dtype):
            raise ValueError(
                f"the model cannot be written out: {key} would be {tuple(found.shape)} of {found.dtype}, "
                f"it is {tuple(tensor.shape)} of {tensor.dtype}"
            )
    trained = {name: p.requires_grad for name, p in model.named_parameters()}
    if trained != {name: p.requires_grad for name, p in flat.named_parameters()}:
        raise ValueError("the model cannot be written out: other parameters would be trained")


def _sample(model: nn.Module) -> tuple[Tensor, list[Any]] | None:
    """An image of the size that the model was made for, or of a usual one, and what it gives for it; None if it takes none."""
    size = getattr(model, "image_size", None)
    like = next((p for p in model.parameters() if p.is_floating_point()), None)
    if like is None:
        return None
    sizes = [size] if isinstance(size, tuple) and len(size) == 2 else [(32, 32), (64, 64), (224, 224)]
    for channels, (height, width) in product(dict.fromkeys((_channels(model), 3, 1)), sizes):
        noise = torch.Generator().manual_seed(0)
        image = torch.randn(1, channels, height, width, generator=noise).to(like)
        try:
            return image, _outputs(model, image)
        except Exception:
            continue
    return None


def _channels(model: nn.Module) -> int:
    return next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)), 3)


def _given(model: nn.Module, sample: Tensor) -> tuple[Tensor, list[Any]]:
    try:
        return sample, _outputs(model, sample)
    except Exception as error:
        raise ValueError(f"sample: the model fails on it ({error})") from error


def _check_outputs(flat: nn.Module, model: nn.Module, sample: Tensor, expected: list[Any]) -> None:
    flat.load_state_dict(model.state_dict(), assign=True)
    try:
        actual = _outputs(flat, sample)
    except Exception as error:
        raise ValueError(f"the model cannot be written out: its file would fail on a sample ({error})") from error
    same = len(expected) == len(actual) and all(_same(a, b) for a, b in zip(expected, actual, strict=True))
    if not same:
        raise ValueError("the model cannot be written out: its file would give other outputs on a sample")


def _same(a: Any, b: Any) -> bool:
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        return bool(a == b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    # Kernels of an accelerator need not give the same bits twice.
    close = 0.0 if a.device.type == "cpu" else 1e-5
    return torch.allclose(a, b, rtol=close, atol=close, equal_nan=True)


def _outputs(model: nn.Module, sample: Tensor) -> list[Any]:
    """What a model gives in evaluation, from the same random state each time."""
    with _evaluating(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return tree_flatten(model(sample))[0]


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
