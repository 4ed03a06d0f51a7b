"""Modules of torch as calls of their classes, found from the signature and proven by making the module again."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

INTERNAL = {*vars(nn.Module()), "training"}

# Arguments that are not attributes of the same name.
_ARGUMENTS: dict[type, dict[str, Callable[[Any], Any]]] = {
    nn.MultiheadAttention: {
        "bias": lambda m: m.in_proj_bias is not None,
        "add_bias_kv": lambda m: m.bias_k is not None,
    },
    nn.TransformerEncoderLayer: {
        "d_model": lambda m: m.self_attn.embed_dim,
        "nhead": lambda m: m.self_attn.num_heads,
        "dim_feedforward": lambda m: m.linear1.out_features,
        "dropout": lambda m: m.dropout.p,
        "activation": lambda m: getattr(m.activation, "__name__", m.activation),
        "layer_norm_eps": lambda m: m.norm1.eps,
        "batch_first": lambda m: m.self_attn.batch_first,
        "bias": lambda m: m.linear1.bias is not None,
    },
    nn.TransformerEncoder: {"encoder_layer": lambda m: m.layers[0], "num_layers": lambda m: len(m.layers)},
}


def torch_arguments(module: nn.Module, kind: type[nn.Module]) -> list[tuple[str, Any, bool]]:
    """The arguments (name, value, whether positional) with which the torch class ``kind`` makes a module like this one.

    Raises:
        TypeError: there are none that could be found.
    """
    required, optional = _values(module, kind)
    for shorten in (True, False):
        arguments = [(name, _shortened(value) if shorten else value, True) for name, value in required]
        arguments += [(name, _shortened(value) if shorten else value, False) for name, value in optional]
        made = _make(kind, arguments)
        if made is not None and alike(module, made):
            return arguments
    raise TypeError(f"the arguments that nn.{kind.__name__} was made with cannot be found from it")


def attributes_of(module: nn.Module, kind: type[nn.Module]) -> set[str]:
    """The plain attributes of a module that are those of the torch class it builds on."""
    made = nn.Sequential() if kind is nn.Sequential else _make(kind, torch_arguments(module, kind))
    return set(vars(made))


def _values(module: nn.Module, kind: type) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    """Required arguments, and those optional ones whose value is not the default."""
    known = next((known for cls, known in _ARGUMENTS.items() if cls is kind), {})
    required, optional = [], []
    for name, parameter in list(inspect.signature(kind).parameters.items()):
        if name in ("device", "dtype") or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if name in known:
            value = known[name](module)
        elif name == "bias" and "bias" in module._parameters:
            value = module._parameters["bias"] is not None
        elif hasattr(module, name):
            value = getattr(module, name)
        elif parameter.default is not parameter.empty:
            continue
        else:
            raise TypeError(f"nn.{kind.__name__} takes {name}, which cannot be found from it")
        if parameter.default is parameter.empty:
            required.append((name, value))
        elif value is not parameter.default and value not in (parameter.default, _pair(parameter.default)):
            optional.append((name, value))
    return required, optional


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


def _shortened(value: Any) -> Any:
    """One number for a tuple of equal ones."""
    alike = isinstance(value, tuple) and len({(type(v), v) for v in value if isinstance(v, int)}) == 1
    return value[0] if alike and all(isinstance(v, int) for v in value) else value


def _make(kind: type[nn.Module], arguments: list[tuple[str, Any, bool]]) -> nn.Module | None:
    """A new module of these arguments, without memory; None if it does not take them."""
    positional = [value for _, value, is_positional in arguments if is_positional]
    named = {name: value for name, value, is_positional in arguments if not is_positional}
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return kind(*positional, **named)
    except (TypeError, ValueError, RuntimeError):
        return None


def alike(module: nn.Module, made: nn.Module) -> bool:
    """Whether a module differs from one of torch in nothing but the values of its tensors and what a subclass added."""
    own = {name: value for name, value in vars(made).items() if name not in INTERNAL}
    if any(name not in vars(module) or vars(module)[name] != value for name, value in own.items()):
        return False
    if type(module) is type(made) and vars(module).keys() - INTERNAL != own.keys():
        return False
    if _tensors(module) != _tensors(made) or list(module._modules) != list(made._modules):
        return False
    for a, b in zip(module._modules.values(), made._modules.values(), strict=True):
        if type(a) is not type(b) or (a is not None and b is not None and not alike(a, b)):
            return False
    return True


def _tensors(module: nn.Module) -> list[tuple[str, object]]:
    return [*_shapes(module._parameters), *_shapes(module._buffers)]


def _shapes(tensors: Any) -> Iterator[tuple[str, object]]:
    for name, tensor in tensors.items():
        yield name, None if tensor is None else tuple(tensor.shape)
