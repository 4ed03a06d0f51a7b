"""Constructors: what the instances of a class have in common is written in it, what differs between them is an argument."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from .expression import (
    Argument,
    Array,
    Built,
    Call,
    Expr,
    Given,
    Literal,
    Member,
    Modules,
    Name,
    Ref,
    replaced,
    torch_nn,
    walk,
)
from .source import Definition

_SIZES_NORM = {"normalized_shape", "num_features"}
_SIZES_IN = {"in_features", "in_channels", "embed_dim", "d_model", *_SIZES_NORM}
_SIZES_OUT = {"out_features", "out_channels"}
_MOST_NESTED = 4
"""More than so many arguments for the parts of one part, and the part itself is the argument."""


@dataclass(frozen=True)
class Constructor:
    """``fields`` are the attributes that are set, in order, in terms of ``parameters`` (name, annotation)."""

    fields: tuple[tuple[str, Expr], ...]
    parameters: tuple[tuple[str, str], ...]


Values = tuple[Expr, ...]


@dataclass
class Holes:
    """Where the instances differ: what each of them has there, and the paths to the places.

    Numbers that go together are one hole; a module is one alone, since no module may be in two places.
    """

    places: dict[tuple[Values, tuple[str, ...]], list[tuple[str, ...]]] = field(default_factory=dict)

    def add(self, path: tuple[str, ...], values: Values) -> Given:
        key = values, () if all(map(is_value, values)) else path
        self.places.setdefault(key, []).append(path)
        return Given(f"#{list(self.places).index(key)}")

    def copy(self) -> Holes:
        return Holes({key: list(paths) for key, paths in self.places.items()})


def is_value(expr: Expr) -> bool:
    """Whether an expression makes a number or a plain object, of which it does not matter how many there are."""
    return isinstance(expr, (Literal, Name, Member)) or _kind(expr) == "object"


def merge(values: tuple[Expr, ...], path: tuple[str, ...], holes: Holes) -> Expr:
    """One expression for what all instances have at a place."""
    first = values[0]
    if all(value == first for value in values) and not any(isinstance(part, Built) for part in walk(first)):
        return first
    merged = _merge_parts(values, path, holes)
    if merged is not None:
        return merged
    if all(isinstance(value, Modules) and not value.bare for value in values):
        bare = tuple(Modules(value.items, bare=True) for value in values if isinstance(value, Modules))
        return Call(torch_nn("ModuleList"), (Argument("modules", holes.add(path, bare), positional=True),))
    return holes.add(path, values)


def _merge_parts(values: tuple[Expr, ...], path: tuple[str, ...], holes: Holes) -> Expr | None:
    """The same kind of expression everywhere, merged part by part; None if it is not, or if little of it is the same."""
    first = values[0]
    tried = holes.copy()
    if isinstance(first, Call) and all(isinstance(v, Call) and _signature(v) == _signature(first) for v in values):
        calls = [value for value in values if isinstance(value, Call)]
        columns = list(zip(*(call.arguments for call in calls), strict=True))
        arguments = tuple(
            Argument(
                column[0].name,
                merge(tuple(a.value for a in column), (*path, column[0].name), tried),
                column[0].positional,
            )
            for column in columns
        )
        return _accept(Call(first.callee, arguments), holes, tried, listed=first.callee == torch_nn("Sequential"))
    if isinstance(first, Modules) and all(isinstance(v, Modules) and len(v.items) == len(first.items) for v in values):
        lists = [value.items for value in values if isinstance(value, Modules)]
        items = tuple(merge(column, (*path, str(i)), tried) for i, column in enumerate(zip(*lists, strict=True)))
        return _accept(Modules(items, first.bare), holes, tried, listed=True)
    if isinstance(first, Array) and all(isinstance(v, Array) and _rank(v) == _rank(first) for v in values):
        shapes = [value.shape for value in values if isinstance(value, Array)]
        last = len(first.shape) - 1
        shape = tuple(
            merge(column, (*path, "in_features" if i == last else "length"), tried)
            for i, column in enumerate(zip(*shapes, strict=True))
        )
        holes.places = tried.places
        return Array(shape, first.buffer_type)
    if isinstance(first, Member) and all(isinstance(v, Member) and v.name == first.name for v in values):
        return Member(merge(tuple(v.of for v in values if isinstance(v, Member)), path, holes), first.name)
    return None


def _accept(merged: Expr, holes: Holes, tried: Holes, *, listed: bool) -> Expr | None:
    """Keep what was tried if it took few arguments; those of the parts of a list must be plain numbers besides."""
    new = [key for key in tried.places if key not in holes.places]
    plain = all(isinstance(value, Literal) for values, _ in new for value in values)
    if len(new) > _MOST_NESTED or (listed and not plain):
        return None
    holes.places = tried.places
    return merged


def _signature(call: Call) -> object:
    return call.callee, [(argument.name, argument.positional) for argument in call.arguments]


def _rank(array: Array) -> object:
    return len(array.shape), array.buffer_type


class Constructors:
    """The constructor of each class, and the call that makes each module.

    Args:
        model: the expression of the model.
        home: the class that is written out for a class of modules.
    """

    def __init__(self, model: Expr, home: Callable[[type], Definition]) -> None:
        self.home = home
        self.found: dict[Ref, Constructor] = {}
        self._calls: dict[Built, Call] = {}
        self._groups = _groups([part for part in walk(model) if isinstance(part, Built)], home)
        self._refs = {built: ref for ref, group in self._groups.items() for built in group}
        self._busy: set[Ref] = set()
        self.model = self._resolved(self._with_calls(model))
        for ref, constructor in self.found.items():
            fields = tuple((name, self._resolved(value)) for name, value in constructor.fields)
            self.found[ref] = Constructor(fields, constructor.parameters)

    def _with_calls(self, expr: Expr) -> Expr:
        """With calls in place of modules, but for those of a class whose constructor is still being made."""

        def change(part: Expr) -> Expr:
            if not isinstance(part, Built):
                return part
            ref = self._refs[part]
            if ref not in self.found and ref not in self._busy:
                self._make(ref)
            return self._calls.get(part, part)

        return replaced(expr, change)

    def _resolved(self, expr: Expr) -> Expr:
        """With calls in place of all modules."""
        while any(isinstance(part, Built) for part in walk(expr)):
            expr = replaced(expr, lambda part: self._calls[part] if isinstance(part, Built) else part)
        return expr

    def _make(self, ref: Ref) -> None:
        self._busy.add(ref)
        group = self._groups[ref]
        order = _order(group)
        assert order is not None
        holes = Holes()
        rows = [dict(built.fields) for built in group]
        values = {name: tuple(self._with_calls(row[name]) for row in rows) for name in order}
        fields = [(name, merge(values[name], (name,), holes)) for name in order]
        names = _Names(group, holes)
        self.found[ref] = Constructor(tuple((name, names.given(value)) for name, value in fields), names.parameters)
        for i, built in enumerate(group):
            arguments = [Argument(name, column[i]) for name, column in names.columns]
            self._calls[built] = Call(ref, tuple(arguments))
        self._busy.remove(ref)


def _groups(built: Sequence[Built], home: Callable[[type], Definition]) -> dict[Ref, list[Built]]:
    """The different modules of each class, and of each set of parts that they have."""
    by_parts: dict[tuple[Definition, object], list[Built]] = {}
    for each in dict.fromkeys(built):
        by_parts.setdefault((home(each.kind), frozenset(name for name, _ in each.fields)), []).append(each)
    groups: dict[Ref, list[Built]] = {}
    variants: dict[Definition, int] = {}
    for (definition, _), group in by_parts.items():
        split: dict[object, list[Built]] = {}
        for each in group:
            split.setdefault(None if _order(group) is not None else _stateful(each), []).append(each)
        for same in split.values():
            variants[definition] = variants.get(definition, -1) + 1
            groups[Ref(definition, variants[definition])] = same
    return groups


def _stateful(built: Built) -> tuple[str, ...]:
    """The names of what has an order: parameters, buffers and children."""
    none = Literal("None")
    return tuple(
        name
        for name, value in built.fields
        if value != none and any(isinstance(part, (Array, Built)) or _is_module(part) for part in walk(value))
    )


def _is_module(expr: Expr) -> bool:
    return isinstance(expr, Modules) or (isinstance(expr, Name) and expr.text.startswith("nn."))


def _order(group: Sequence[Built]) -> list[str] | None:
    """The names of the attributes in an order that agrees with all instances; None if there is none."""
    names = [name for name, _ in group[0].fields]
    graph: dict[str, set[str]] = {name: set() for name in names}
    stateful = [_stateful(built) for built in group]
    for order in stateful:
        for before, after in pairwise(order):
            graph[after].add(before)
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError:
        return None
    placed: list[str] = []
    plain = [name for name in names if not any(name in order for order in stateful)]
    rest = [name for name in names if name not in plain]
    while rest:
        name = next(name for name in rest if graph[name] <= set(placed))
        placed.append(name)
        rest.remove(name)
    return plain + placed


class _Names:
    """Names for what a constructor is given."""

    def __init__(self, group: Sequence[Built], holes: Holes) -> None:
        self.columns: list[tuple[str, tuple[Expr, ...]]] = []
        self._given: dict[str, Given] = {}
        sizes = [dict(built.sizes) for built in group]
        attributes = [name for name in sizes[0] if all(name in size for size in sizes)]
        hints: dict[tuple[int | None, ...], str] = {
            tuple(size[name] for size in sizes): name for name in reversed(attributes)
        }
        widths: tuple[int | None, ...] = ()
        for i, ((values, _), paths) in enumerate(holes.places.items()):
            numbers = tuple(value.number if isinstance(value, Literal) else None for value in values)
            direct = any(len(path) == 1 for path in paths)
            factor = None if direct else _factor(numbers, widths)
            if factor is not None:
                self._given[f"#{i}"] = Given("dim", factor)
                continue
            name = self._free(_name(paths, hints.get(numbers)), paths[0][0])
            if name == "dim" and None not in numbers:
                widths = numbers
            self._given[f"#{i}"] = Given(name)
            self.columns.append((name, values))

    @property
    def parameters(self) -> tuple[tuple[str, str], ...]:
        return tuple((name, annotation(values)) for name, values in self.columns)

    def given(self, expr: Expr) -> Expr:
        """The expression with the names in it."""

        def change(part: Expr) -> Expr:
            if isinstance(part, Array):
                return Array(tuple(change(size) for size in part.shape), part.buffer_type)
            return self._given[part.name] if isinstance(part, Given) else part

        return replaced(expr, change)

    def _free(self, name: str, prefix: str) -> str:
        taken = {taken for taken, _ in self.columns} | {"self", "nn", "torch"}
        candidates = [name, f"{prefix}_{name}", *(f"{name}{i}" for i in range(2, 99))]
        return next(c for c in candidates if c not in taken and c.isidentifier())


def _factor(numbers: tuple[int | None, ...], widths: tuple[int | None, ...]) -> int | None:
    """The whole number by which all widths must be multiplied; None if there is none."""
    if not widths or None in numbers or not widths[0] or numbers[0] is None:
        return None
    factor = numbers[0] // widths[0]
    same = all(n == factor * (w or 0) for n, w in zip(numbers, widths, strict=True))
    return factor if same and factor > 1 else None


def _name(paths: Sequence[tuple[str, ...]], hint: str | None) -> str:
    """The best name for what stands at these places."""
    for path in paths:
        if len(path) == 1:
            return path[0]
    if hint is not None:
        return hint
    last = [path[-1] for path in paths]
    for name in last:
        if name not in _SIZES_IN | _SIZES_OUT and not name.isdigit():
            return name
    if last[0] in _SIZES_IN:
        return "dim"
    if last[0].isdigit():
        return paths[0][0]
    if any(name in _SIZES_IN - _SIZES_NORM for name in last):
        return "hidden"
    first = paths[0][0]
    return f"{first}_dim" if first in ("qkv", "kv", "q", "k", "v") else "out_dim"


def annotation(values: Sequence[Expr]) -> str:
    """The type of all of these, as an annotation."""
    kinds = list(dict.fromkeys(_kind(value) for value in values))
    if "None" in kinds:
        kinds = [kind for kind in kinds if kind != "None"] + ["None"]
    if "object" in kinds:
        return "object"
    return " | ".join(kinds)


def _kind(value: Expr) -> str:
    if isinstance(value, Literal):
        plain = ast.literal_eval(value.text)
        if isinstance(plain, tuple) and plain and len({type(item) for item in plain}) == 1:
            return f"tuple[{', '.join(type(item).__name__ for item in plain)}]"
        return "None" if plain is None else type(plain).__name__
    if isinstance(value, Modules):
        return "list[nn.Module]" if value.bare else "nn.ModuleList"
    if isinstance(value, Built):
        return "nn.Module"
    if isinstance(value, Call) and isinstance(value.callee, Ref):
        kind = value.callee.to.value
        return "nn.Module" if _makes_modules(kind) else "object"
    of_torch = isinstance(value, Call) and isinstance(value.callee, Name) and value.callee.text.startswith("nn.")
    return "nn.Module" if of_torch else "object"


def _makes_modules(kind: object) -> bool:
    return isinstance(kind, type) and hasattr(kind, "register_buffer")
