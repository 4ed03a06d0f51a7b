"""A model as an expression: what every module is made of, and what cannot be written out."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from .expression import Argument, Array, Built, Call, Expr, Literal, Member, Modules, Name, Ref, torch_nn
from .reach import Reach, reads_children, torch_base
from .source import Definition, Import, definition_of, is_project, origin
from .torch_call import INTERNAL, attributes_of, torch_arguments

_HOOKS = [name for name in vars(nn.Module()) if name.endswith("_hooks")]


@contextmanager
def naming(path: str, module: nn.Module) -> Iterator[None]:
    """Let errors say which module they are about."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if getattr(error, "named", False):
            raise
        where = path or "the model"
        new = type(error)(f"{where} ({type(module).__name__}) cannot be written out: {error}")
        new.named = True  # type: ignore[union-attr]
        raise new from error


def check_tree(model: nn.Module) -> None:
    """Refuse what no constructor would make again.

    Raises:
        TypeError: a compiled, scripted, lazy or parametrized module, or one that is changed by hand.
        ValueError: hooks, or a module, parameter or buffer that is held twice.
    """
    modules: dict[int, str] = {}
    tensors: dict[int, str] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        with naming(path, module):
            if id(module) in modules:
                raise ValueError(
                    f"it is the very module that {modules[id(module)] or 'the model'} is; copy one of them"
                )
            modules[id(module)] = path
            _check_module(module)
            for name, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is None:
                    continue
                key = tensor.untyped_storage().data_ptr() or id(tensor)
                full = f"{path}.{name}".lstrip(".")
                if id(tensor) in tensors or (tensor.numel() and key in tensors):
                    raise ValueError(
                        f"its {name} shares memory with {tensors.get(id(tensor)) or tensors[key]}; clone one"
                    )
                tensors[id(tensor)] = tensors[key] = full


def _check_module(module: nn.Module) -> None:
    if isinstance(module, torch._dynamo.OptimizedModule) or getattr(module, "_compiled_call_impl", None) is not None:
        raise TypeError("it is compiled; give the module that it was compiled from")
    if isinstance(module, torch.jit.ScriptModule):
        raise TypeError("it is scripted; give the module that it was made from")
    if isinstance(module, nn.modules.lazy.LazyModuleMixin) and module.has_uninitialized_params():
        raise TypeError("its parameters have no shape yet; call it once")
    if is_parametrized(module):
        raise TypeError("it is parametrized; remove the parametrization, or leave it by remove_parametrizations")
    for name in _HOOKS:
        if getattr(module, name):
            raise ValueError(f"it has hooks ({name.strip('_')}), which are no part of a class; remove them")
    for name, value in vars(module).items():
        if inspect.isroutine(getattr(type(module), name, None)) and name not in INTERNAL:
            raise TypeError(f"its {name} was replaced on the instance by {value!r}")
    hidden = [name for name in module._non_persistent_buffers_set if module._buffers.get(name) is not None]
    if hidden:
        raise TypeError(f"its buffers {sorted(hidden)} are not in the state_dict, so that nothing would fill them")


def survey(model: nn.Module, reach: Reach) -> None:
    """Find what the code of all modules needs, and what the objects do that they hold."""
    modules = [(path, module) for path, module in model.named_modules() if is_project(type(module))]
    for path, module in modules:
        with naming(path, module):
            reach.instance(type(module))
    seen: set[tuple[int, str]] = set()
    before = -1
    # The code of one object may read attributes of another.
    while len(seen) != before:
        before = len(seen)
        for path, module in modules:
            for name, value in plain(module).items():
                if (id(module), name) not in seen and reach.needs(type(module), name, value):
                    seen.add((id(module), name))
                    with naming(path, module):
                        _survey_value(value, reach)
    reach.aliases()


def _survey_value(value: Any, reach: Reach) -> None:
    if isinstance(value, MethodType) and is_dataclass(value.__self__):
        _survey_value(value.__self__, reach)
        reach.method(type(value.__self__), value.__name__)
    elif isinstance(value, functools.partial):
        for part in (value.func, *value.args, *value.keywords.values()):
            _survey_value(part, reach)
    elif isinstance(value, FunctionType) and origin(value.__module__) not in ("torch", "standard"):
        reach.definition(definition_of(value))
    elif is_dataclass(value) and not isinstance(value, type):
        reach.instance(type(value))
        for held in fields(value):
            _survey_value(getattr(value, held.name), reach)


def plain(module: nn.Module) -> dict[str, Any]:
    """The attributes that a module has besides its parts."""
    return {name: value for name, value in vars(module).items() if name not in INTERNAL}


class Reader:
    """Modules as expressions, of classes whose needs ``reach`` has found."""

    def __init__(self, reach: Reach) -> None:
        self.reach = reach
        self._every_child = reads_children(reach)
        self.added: dict[Definition, list[str]] = {}
        """Attributes that classes add to those of the class of torch that they build on."""

    def module(self, module: nn.Module, path: str = "") -> Expr:
        """The expression that makes a module like this one."""
        with naming(path, module):
            kind = type(module)
            if not is_project(kind):
                if origin(kind.__module__) != "torch":
                    raise TypeError(
                        f"{kind.__name__} is of {kind.__module__!r}, which is neither torch nor a file of yours"
                    )
                return self.of_torch(module, kind, name_of_class(kind), path)
            base = torch_base(kind)
            if base is None or base is nn.Module:
                return self.built(module, path)
            call = self.of_torch(module, base, Ref(definition_of(kind)), path)
            if isinstance(call, Modules):
                return call
            added = [
                Argument(name, self.value(value))
                for name, value in plain(module).items()
                if name not in attributes_of(module, base) and self.reach.needs(kind, name, value)
            ]
            if added:
                self.added[definition_of(kind)] = [argument.name for argument in added]
            return Call(call.callee, (*call.arguments, *added))

    def built(self, module: nn.Module, path: str) -> Built:
        """A module by its attributes: those that code reads, then its parameters, buffers and children in their order."""
        found: list[tuple[str, Expr]] = []
        sizes = []
        for name, value in plain(module).items():
            if isinstance(value, int) and not isinstance(value, bool):
                sizes.append((name, value))
            if self.reach.needs(type(module), name, value):
                if isinstance(value, (nn.Module, Tensor)):
                    raise TypeError(f"its {name} is a {type(value).__name__} that it does not register")
                try:
                    found.append((name, self.value(value)))
                except TypeError as error:
                    raise TypeError(f"its attribute {name}: {error}") from error
        for name, tensor in module._parameters.items():
            found.append((name, Literal("None") if tensor is None else Array(_shape(tensor))))
        for name, buffer in module._buffers.items():
            found.append((name, Literal("None") if buffer is None else Array(_shape(buffer), _buffer_type(buffer))))
        for name, child in module._modules.items():
            below = f"{path}.{name}".lstrip(".")
            if not (self._every_child or has_state(child) or self.reach.needs(type(module), name, child)):
                continue
            found.append((name, Literal("None") if child is None else self.module(child, below)))
        for name, _ in found:
            if not name.isidentifier():
                raise TypeError(f"its part {name!r} is no attribute that code could set")
        return Built(type(module), tuple(found), tuple(sizes))

    def of_torch(self, module: nn.Module, kind: type[nn.Module], callee: Name | Ref, path: str) -> Call | Modules:
        """A module of a class of torch, or of one that builds on it."""
        if kind in (nn.Sequential, nn.ModuleList):
            children = [
                (name, self.module(child, f"{path}.{name}".lstrip("."))) for name, child in module.named_children()
            ]
            numbered = [name for name, _ in children] == [str(i) for i in range(len(children))]
            if kind is nn.ModuleList and callee == torch_nn("ModuleList"):
                return Modules(tuple(child for _, child in children))
            if kind is nn.Sequential:
                if numbered:
                    return Call(callee, tuple(Argument(name, child, positional=True) for name, child in children))
                ordered = Name("OrderedDict", Import("collections", "OrderedDict", ""))
                inner = Call(ordered, tuple(Argument(name, child) for name, child in children))
                return Call(callee, (Argument("modules", inner, positional=True),))
        arguments = torch_arguments(module, kind)
        return Call(callee, tuple(Argument(name, self.argument(v, path), p) for name, v, p in arguments))

    def argument(self, value: Any, path: str) -> Expr:
        return self.module(value, path) if isinstance(value, nn.Module) else self.value(value)

    def value(self, value: Any) -> Expr:
        """A plain value.

        Raises:
            TypeError: it is of a kind that has no text.
        """
        text = literal(value)
        if text is not None:
            return Literal(text)
        if isinstance(value, float):
            return Name(f"float({str(value)!r})".replace("'", '"'), Import("torch", "nn", ""))
        if isinstance(value, (torch.dtype, torch.device, torch.memory_format)):
            return Name(
                repr(value) if not isinstance(value, torch.device) else f"torch.{value!r}", Import("torch", "", "")
            )
        if isinstance(value, MethodType) and is_dataclass(value.__self__):
            return Member(self.value(value.__self__), value.__name__)
        if isinstance(value, functools.partial):
            arguments = [Argument("", self.value(v), positional=True) for v in (value.func, *value.args)]
            keywords = [Argument(name, self.value(v)) for name, v in value.keywords.items()]
            return Call(Name("partial", Import("functools", "partial", "")), (*arguments, *keywords))
        if (
            isinstance(value, (FunctionType, BuiltinFunctionType, type))
            and origin(value.__module__ or "torch") == "torch"
        ):
            return _of_torch(value)
        if isinstance(value, FunctionType):
            return Ref(definition_of(value))
        if is_dataclass(value) and not isinstance(value, type):
            given = [f for f in fields(value) if f.init]
            return Call(
                Ref(definition_of(type(value))),
                tuple(Argument(f.name, self.value(getattr(value, f.name)), positional=not f.kw_only) for f in given),
            )
        raise TypeError(f"a {type(value).__name__} has no text that would make it again, got {value!r}")


def has_state(module: nn.Module | None) -> bool:
    """Whether a module has a parameter or a buffer."""
    return module is not None and any(True for _ in (*module.parameters(), *module.buffers()))


def literal(value: Any) -> str | None:
    """The text of a plain value; None if it has none."""
    if value is None or type(value) in (bool, int, str, bytes):
        return repr(value).replace("'", '"') if type(value) is str and '"' not in value else repr(value)
    if type(value) is float:
        return repr(value) if math.isfinite(value) else None
    if isinstance(value, torch.Size):
        value = tuple(value)
    if type(value) in (tuple, list):
        items = [literal(item) for item in value]
        if any(item is None for item in items):
            return None
        inside = ", ".join(item for item in items if item is not None)
        if type(value) is list:
            return f"[{inside}]"
        return f"({inside},)" if len(items) == 1 else f"({inside})"
    if type(value) is dict:
        pairs = [(literal(key), literal(item)) for key, item in value.items()]
        if any(key is None or item is None for key, item in pairs):
            return None
        return "{" + ", ".join(f"{key}: {item}" for key, item in pairs) + "}"
    return None


def name_of_class(kind: type[nn.Module]) -> Name:
    """A class of torch: ``nn.Linear``, or by its module where ``nn`` has none of that name."""
    if getattr(nn, kind.__name__, None) is kind:
        return torch_nn(kind.__name__)
    return Name(kind.__name__, Import(kind.__module__, kind.__name__, ""))


def _of_torch(value: Any) -> Name:
    name = value.__name__
    for module, needs in (
        (torch.nn.functional, Import("torch.nn.functional", "", "F")),
        (torch, Import("torch", "", "")),
    ):
        if getattr(module, name, None) is value:
            return Name(f"{needs.alias or 'torch'}.{name}", needs)
    if isinstance(value, type) and getattr(nn, name, None) is value:
        return torch_nn(name)
    raise TypeError(f"{name} of torch is not found under that name")


def _shape(tensor: Tensor) -> tuple[Expr, ...]:
    return tuple(Literal(str(size)) for size in tensor.shape)


def _buffer_type(tensor: Tensor) -> str:
    return str(tensor.dtype)
