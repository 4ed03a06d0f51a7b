"""Which module calls are under way while a model runs, kept by hooks: the tokens and the grid that each was given."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from threading import Lock, get_ident
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..grid import Grid


class Frame(NamedTuple):
    """A call under way: the module, the shape of the first tensor it was given, and its grid, None where it was given none."""

    module: nn.Module
    shape: tuple[int, ...] | None
    grid: Grid | None


class Enough(BaseException):
    """All that a call was made for is there: a hook leaves it. No Exception, which somebody on the way might take for an error."""


def is_grid(value: Any) -> bool:
    """Whether a value can be the grid of tokens: a tuple of one or two ints."""
    return isinstance(value, tuple) and len(value) in (1, 2) and all(isinstance(side, int) for side in value)


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples and lists, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors(part)


def named_parts(model: nn.Module) -> dict[str, nn.Module]:
    """The modules of a model by name, what was compiled in place of its compiled wrapper.

    Raises:
        TypeError: not a module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model must be an nn.Module, got {type(model).__name__}; of an exported program give the model it came from"
        )
    parts = {}
    for name, module in model.named_modules():
        if "_orig_mod" not in dict(module.named_children()):
            parts[".".join(part for part in name.split(".") if part != "_orig_mod")] = module
    return parts


def towers_of(module: nn.Module) -> list[nn.Module]:
    """The towers of a block of several, each with tokens of its own (CrossViT's): its list ``towers``."""
    towers = getattr(module, "towers", None)
    return list(towers) if isinstance(towers, nn.ModuleList) else []


def path(name: str) -> list[str]:
    """The names of a module and of all that hold it, the model (``""``) first."""
    parts = name.split(".") if name else []
    return [".".join(parts[:i]) for i in range(len(parts) + 1)]


class _Uncompiling:
    """How many blocks of all threads want compiled code to run as it was written, and the stance that makes it."""

    lock = Lock()
    blocks = 0
    stance = ExitStack()


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run what was compiled as it was written, since compiled code calls no hooks.

    The stance holds for all compiled code of all threads: the first block takes it, the last gives it back. It is taken only where there
    can be compiled code, since the compiler takes seconds to import.
    """
    with _Uncompiling.lock:
        _Uncompiling.blocks += 1
        if _Uncompiling.blocks == 1 and "torch._dynamo" in sys.modules:
            _Uncompiling.stance.enter_context(torch.compiler.set_stance("force_eager"))
    try:
        yield
    finally:
        with _Uncompiling.lock:
            _Uncompiling.blocks -= 1
            if _Uncompiling.blocks == 0:
                _Uncompiling.stance.close()


def in_this_thread(hook: Callable[..., Any]) -> Callable[..., Any]:
    """The hook for the thread it was made in: other threads that call the same modules are not its concern."""
    mine = get_ident()

    def only_here(*args: Any, **kwargs: Any) -> Any:
        return hook(*args, **kwargs) if get_ident() == mine else None

    return only_here


@contextmanager
def follow(modules: Iterable[nn.Module], stack: list[Frame] | None = None) -> Iterator[list[Frame]]:
    """Keep the stack of calls of these modules by this thread, innermost last. It holds no tensors.

    Hooks set before, that were given the ``stack``, find a module's own call on it still when the module has returned.
    """
    stack = [] if stack is None else stack

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        given = [*args, *kwargs.values()]
        first = next(tensors(given), None)
        grid = next((value for value in given if is_grid(value)), None)
        stack.append(Frame(module, None if first is None else tuple(first.shape), grid))

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        # Where a hook of someone else raised before enter, there is no frame to take away.
        if stack and stack[-1].module is module:
            stack.pop()

    handles = []
    try:
        for module in modules:
            handles.append(module.register_forward_pre_hook(in_this_thread(enter), with_kwargs=True))
            handles.append(module.register_forward_hook(in_this_thread(leave), always_call=True))
        yield stack
    finally:
        for handle in handles:
            handle.remove()
        stack.clear()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode, and every module's own mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, training in modes.items():
            module.training = training
