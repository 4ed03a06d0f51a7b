"""Models as plain data: what call would make each of them, as it is now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ..fast.extend import plain_type
from .building import make
from .torch_nn import CONTAINERS, NAME_OF, torch_arguments
from .tree import Tree, aliases, join
from .values import NOTE, PARTS, Undescribed, encode, note_of, path_of

Description: TypeAlias = dict[str, Any]

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


def describe(model: nn.Module) -> Description:
    """The composition of a model as plain JSON data, from which :func:`build` makes it again with fresh weights.

    ``{"class": name, "args": {...}}``, nested; a finished part that was given as an argument is described as it is now. What a
    constructor made itself and was replaced since stands under ``"changed"``, by its path; ``{"shared": {path: path}}`` names modules
    and parameters that were made one and the same since. Weights, modes, hooks and whether parameters are trained are not part of it.

    Raises:
        TypeError: ``model`` is no module.
        ValueError: something of it cannot be described: it is no part, was given something without a name, or was changed by hand so
            that no arguments make it. The message names the module and why.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    return _whole(model, "")


def _whole(model: nn.Module, start: str) -> Description:
    """:func:`describe` of a module that lies at ``start`` in the model that was asked for."""
    found = _call(model, start, ())
    tree = Tree(model)
    changed, shared = _differences(tree, Tree(_remake(found)), start)
    if changed or shared:
        if "" in changed:
            raise ValueError(_about(model, start, "its arguments no longer make a module like it"))
        found |= {key: value for key, value in (("changed", changed), ("shared", shared)) if value}
        left, unshared = _differences(tree, Tree(_remake(found)), start)
        if left or unshared:
            path = next(iter({**left, **unshared}))
            raise ValueError(
                _about(tree.modules.get(path, model), join(start, path), "it was changed in a way that cannot be told")
            )
    return found


def _remake(found: Description) -> nn.Module:
    """The described module on the meta device."""
    with torch.device("meta"):
        return make(found)


def _about(module: Any, path: str, why: str) -> str:
    return f"{path or 'the model'} ({type(module).__name__}) cannot be described: {why}"


def _call(module: nn.Module, path: str, owners: tuple[nn.Module, ...]) -> Description:
    """The call that made a module, with the modules that were its arguments as they are now."""
    if any(module is owner for owner in owners):
        raise ValueError(_about(module, path, "it holds itself"))
    owners = (*owners, module)
    note = _note_of_part(module)
    if note is not None:
        args = {name: _now(value, module, path, name, owners) for name, value in note["args"].items()}
        return {"class": note["class"], "args": {name: value for name, value in args.items() if value is not _GONE}}
    name = NAME_OF.get(plain_type(type(module)))
    if name is None:
        raise ValueError(_about(module, path, _why_unknown(module)))
    if name in CONTAINERS:
        children = {child: module.get_submodule(child) for child in Tree(module).children("")}
        return {"class": name, "args": {child: _call(m, join(path, child), owners) for child, m in children.items()}}
    try:
        args = {
            key: encode(value, lambda part: _call(part, path, owners)) for key, value in torch_arguments(module).items()
        }
    except Undescribed as error:
        raise ValueError(_about(module, path, str(error))) from error
    return {"class": name, "args": args}


def _note_of_part(module: nn.Module) -> Description | None:
    """The note of an instance of a registered class. Sharding and the like may have put a class of their own above it."""
    note = note_of(module)
    known = PARTS.get(note["class"]) if note else None
    same = known is not None and any(path_of(kind) == path_of(known) for kind in type(module).__mro__)
    return note if same else None


def _why_unknown(module: nn.Module) -> str:
    kind = type(module)
    if any(hasattr(module, name) for name in ("_orig_mod", "_fsdp_wrapped_module")) or isinstance(
        module, (nn.DataParallel, nn.parallel.DistributedDataParallel)
    ):
        return "it wraps a compiled or parallel model; describe the model inside"
    if path_of(kind) == (path_of(PARTS[kind.__name__]) if kind.__name__ in PARTS else ""):
        return "it was made before its class was registered, or not by its constructor"
    if kind.__module__.startswith("torch."):
        return f"{path_of(kind)} is none of the classes of torch.nn that can be described"
    return f"{path_of(kind)} is no part; register it with @part"


_GONE = object()


def _now(value: Any, owner: nn.Module, path: str, argument: str, owners: tuple[nn.Module, ...]) -> Any:
    """A noted argument with its modules as they are now; ``_GONE`` for one that was taken away since."""
    if isinstance(value, list):
        items = [_now(item, owner, path, argument, owners) for item in value]
        return [item for item in items if item is not _GONE]
    if not isinstance(value, dict):
        return value
    if "refused" in value:
        raise ValueError(_about(owner, path, f"its argument {argument} is {value['refused']}"))
    if "child" in value:
        child = _held(owner, value["child"])
        return _GONE if child is None else _call(child, join(path, value["child"]), owners)
    return _within(value, lambda item: _now(item, owner, path, argument, owners))


def _within(form: Description, change: Callable[[Any], Any]) -> Description:
    """A form with the values in it changed, without those that are gone; what they are called is no matter."""
    found = dict(form)
    for key in found.keys() & {"dict", "args"}:
        now = {name: change(item) for name, item in found[key].items()}
        found[key] = {name: item for name, item in now.items() if item is not _GONE}
    if "tuple" in found:
        found["tuple"] = [item for item in map(change, found["tuple"]) if item is not _GONE]
    return found


def _differences(tree: Tree, fresh: Tree, start: str) -> tuple[dict[str, Any], dict[str, str]]:
    """What of a model is another module than in a fresh one, described, and what is one and the same that is not in a fresh one."""
    changed: dict[str, Any] = {}
    now, then = aliases(tree), aliases(fresh)
    apart = then.keys() - now.keys()
    _compare(tree, fresh, "", changed, set(now), apart, start)
    within = [f"{path}." for path in changed]
    for path in apart - tree.modules.keys():
        if not path.startswith(tuple(within)):
            raise ValueError(
                f"{join(start, path)} cannot be described: it was made the same as {then[path]}, and no longer is"
            )
    # What is shared within a module that was changed is said where that is described.
    shared = {
        path: first
        for path, first in now.items()
        if then.get(path) != first and not any(path.startswith(w) and first.startswith(w) for w in within)
    }
    return changed, shared


def _compare(
    tree: Tree, fresh: Tree, path: str, changed: dict[str, Any], shared: set[str], apart: set[str], start: str
) -> None:
    if path in shared:
        return
    module, other = tree.modules[path], fresh.modules[path]
    now, then = tree.children(path), fresh.children(path)
    in_order = [name for name in now if name in then] == [name for name in then if name in now]
    if path in apart or _kind(module) != _kind(other) or not in_order:
        changed[path] = _whole(module, join(start, path)) if path else {}
        return
    _check_tensors(module, other, join(start, path))
    _check_attributes(module, other, join(start, path))
    for name in then:
        if name not in now:
            inner = join(path, name)
            changed[inner] = None if getattr(module, name, 0) is None else {"absent": True}
    for name in now:
        inner = join(path, name)
        if name in then:
            _compare(tree, fresh, inner, changed, shared, apart, start)
        elif inner not in shared:
            changed[inner] = _whole(tree.modules[inner], join(start, inner))


def _kind(module: nn.Module) -> Any:
    """The class of a module and its arguments, but for modules among them."""
    note = _note_of_part(module)
    if note is not None:
        return _without_paths(note, module)
    name = NAME_OF.get(plain_type(type(module)))
    if name is None or name in CONTAINERS:
        return path_of(plain_type(type(module)))
    try:
        return name, {key: encode(value, lambda _: None) for key, value in torch_arguments(module).items()}
    except Undescribed as error:
        return str(error)


def _without_paths(note: Any, owner: nn.Module) -> Any:
    """A note without where its modules are held, since those that are shared are met elsewhere, and without those that are gone."""
    if isinstance(note, list):
        items = [_without_paths(item, owner) for item in note]
        return [item for item in items if item is not _GONE]
    if not isinstance(note, dict):
        return note
    if "child" in note:
        return "a module" if _held(owner, note["child"]) is not None else _GONE
    return _within(note, lambda item: _without_paths(item, owner))


def _held(owner: nn.Module, path: str) -> nn.Module | None:
    try:
        return owner.get_submodule(path)
    except AttributeError:
        return None


def _check_tensors(module: nn.Module, other: nn.Module, path: str) -> None:
    """Raise ValueError unless both hold parameters and buffers of the same names and shapes."""
    for kind in ("parameters", "buffers"):
        now, then = (dict(getattr(m, f"named_{kind}")(recurse=False, remove_duplicate=False)) for m in (module, other))
        if now.keys() != then.keys():
            names = ", ".join(sorted(now.keys() ^ then.keys()))
            raise ValueError(_about(module, path, f"its {kind} are not those that its arguments make: {names}"))
        for name, tensor in now.items():
            shape, made = _shape(tensor), _shape(then[name])
            if shape != made:
                raise ValueError(_about(module, path, f"its {name} is {shape}, its arguments make {made}"))


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def _check_attributes(module: nn.Module, other: nn.Module, path: str) -> None:
    """Raise ValueError where an attribute was set to something else since, or a method was replaced on the instance."""
    now, then = attributes_of(module), attributes_of(other)
    for name, value in now.items():
        if name not in then:
            if not name.startswith("_") and callable(value) and hasattr(type(module), name):
                raise ValueError(_about(module, path, f"its {name} was replaced on the instance"))
            continue
        data, made = plain(value), plain(then[name])
        known = made is not OPAQUE and (data is not OPAQUE or isinstance(then[name], (bool, int, float, str)))
        if known and data != made:
            raise ValueError(
                _about(module, path, f"its {name} was set to {value!r}, its arguments make {then[name]!r}")
            )


def attributes_of(module: nn.Module) -> dict[str, Any]:
    """The attributes of an instance, but for those of every module and those that its class says come and go."""
    without = _OF_EVERY_MODULE.union(getattr(type(module), "passing", ()), (NOTE,))
    return {name: value for name, value in vars(module).items() if name not in without}


OPAQUE = object()


def plain(value: Any) -> Any:
    def refuse(module: nn.Module) -> Any:
        raise Undescribed("a module")

    try:
        return encode(value, refuse)
    except Undescribed:
        return OPAQUE
