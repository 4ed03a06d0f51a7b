"""The expressions that build a model, and how they are printed."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

from .source import Definition, Import

WIDTH = 120
_TORCH = Import("torch", "", "")
_NN = Import("torch", "nn", "")


@dataclass(frozen=True)
class Literal:
    """A number, a string, None or a container of them, by its text: 1, 1.0 and True are three."""

    text: str

    @property
    def number(self) -> int | None:
        value = ast.literal_eval(self.text)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


@dataclass(frozen=True)
class Name:
    """A name of torch or the standard library, with the import that it takes."""

    text: str
    needs: Import


@dataclass(frozen=True)
class Ref:
    """A class or function that is written out; a ``variant`` of a class has the same code and other parts."""

    to: Definition
    variant: int = 0


@dataclass(frozen=True)
class Argument:
    """``name=value``, or ``value`` alone where it is positional."""

    name: str
    value: Expr
    positional: bool = False


@dataclass(frozen=True)
class Call:
    callee: Name | Ref
    arguments: tuple[Argument, ...] = ()


@dataclass(frozen=True)
class Modules:
    """An nn.ModuleList; the list alone if ``bare``."""

    items: tuple[Expr, ...]
    bare: bool = False


@dataclass(frozen=True)
class Member:
    """``of.name``: a bound method."""

    of: Expr
    name: str


@dataclass(frozen=True)
class Array:
    """A parameter or buffer of this shape."""

    shape: tuple[Expr, ...]
    buffer_type: str = ""
    """The dtype of a buffer; empty for a parameter."""


@dataclass(frozen=True, eq=False)
class Built:
    """A module of a class that is written out, by what its attributes are."""

    kind: type
    fields: tuple[tuple[str, Expr], ...]
    sizes: tuple[tuple[str, int], ...] = ()
    """The ints among all its attributes, which may name what its constructor takes; modules may be equal without them."""

    @cached_property
    def _hash(self) -> int:
        return hash((self.kind, self.fields))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return (
            isinstance(other, Built)
            and self._hash == other._hash
            and (self.kind, self.fields) == (other.kind, other.fields)
        )


@dataclass(frozen=True)
class Given:
    """What a constructor is given under this name."""

    name: str
    factor: int = 1


Expr: TypeAlias = Literal | Name | Ref | Call | Modules | Member | Array | Built | Given


@dataclass(frozen=True)
class Repeat:
    """The same layers several times over; with ``rows``, for each row of values under these names."""

    items: tuple[Expr, ...]
    times: int
    names: tuple[str, ...] = ()
    rows: tuple[tuple[Expr, ...], ...] = ()


@dataclass(frozen=True)
class Row:
    """Several items in brackets."""

    items: tuple[Expr, ...]


Item: TypeAlias = Expr | Repeat | Row


def parts_of(expr: Expr) -> tuple[Expr, ...]:
    """The expressions that an expression is made of, what is called among them."""
    if isinstance(expr, Call):
        return (expr.callee, *(argument.value for argument in expr.arguments))
    if isinstance(expr, Modules):
        return expr.items
    if isinstance(expr, Member):
        return (expr.of,)
    if isinstance(expr, Array):
        return (Name("torch", _TORCH), Name("nn", _NN), *expr.shape)
    if isinstance(expr, Built):
        return tuple(value for _, value in expr.fields)
    return ()


def walk(expr: Expr) -> Iterator[Expr]:
    """An expression and all in it, outer ones first."""
    yield expr
    for part in parts_of(expr):
        yield from walk(part)


def replaced(expr: Expr, change: Callable[[Expr], Expr], *, deep: bool = False) -> Expr:
    """The expression with ``change`` made to all in it, inner ones first; of a :class:`Built`, if ``deep``, to what it holds too."""
    if isinstance(expr, Call):
        arguments = tuple(replace(a, value=replaced(a.value, change, deep=deep)) for a in expr.arguments)
        callee = replaced(expr.callee, change, deep=deep)
        assert isinstance(callee, (Name, Ref))
        expr = Call(callee, arguments)
    elif isinstance(expr, Modules):
        expr = replace(expr, items=tuple(replaced(item, change, deep=deep) for item in expr.items))
    elif isinstance(expr, Member):
        expr = replace(expr, of=replaced(expr.of, change, deep=deep))
    elif isinstance(expr, Built) and deep:
        expr = replace(expr, fields=tuple((name, replaced(value, change, deep=True)) for name, value in expr.fields))
    return change(expr)


def torch_nn(name: str) -> Name:
    return Name(f"nn.{name}", _NN)


def compact(items: Sequence[Expr]) -> list[Item]:
    """The items of a list with repetitions written as such."""
    result: list[Item] = []
    i = 0
    while i < len(items):
        best: Repeat | None = None
        for period in range(1, min(4, (len(items) - i) // 2) + 1):
            for found in (_same(items, i, period), _rows(items, i, period)):
                if found is not None and (best is None or _length(found) > _length(best)):
                    best = found
        result.append(items[i] if best is None else best)
        i += 1 if best is None else _length(best)
    return result


def _length(repeat: Repeat) -> int:
    return len(repeat.items) * repeat.times


def _same(items: Sequence[Expr], start: int, period: int) -> Repeat | None:
    """The next items as a repetition; None if it would save nothing."""
    first = tuple(items[start : start + period])
    times = 1
    while tuple(items[start + times * period : start + (times + 1) * period]) == first:
        times += 1
    return Repeat(first, times) if times > 1 and times * period > 2 else None


def _rows(items: Sequence[Expr], start: int, period: int) -> Repeat | None:
    """The next items as a repetition of calls that differ in two literals at most; None if it would save nothing."""
    best: Repeat | None = None
    for times in range(2, (len(items) - start) // period + 1):
        columns = [items[start + k : start + times * period : period] for k in range(period)]
        places = [_places(column) for column in columns]
        if any(place is None for place in places) or sum(len(place or ()) for place in places) > 2:
            break
        if times > 2 or period > 1:
            best = _over(columns, [place or [] for place in places])
    return best


def _places(column: Sequence[Expr]) -> list[int] | None:
    """Which arguments of calls differ; None if more than literals do."""
    calls = [item for item in column if isinstance(item, Call)]
    first = calls[0] if calls else None
    if first is None or len(calls) < len(column):
        return None if len(set(column)) > 1 else []
    if any(
        c.callee != first.callee or [a.name for a in c.arguments] != [a.name for a in first.arguments] for c in calls
    ):
        return None
    places = []
    for i, arguments in enumerate(zip(*(call.arguments for call in calls), strict=True)):
        values = {argument.value for argument in arguments}
        if len(values) > 1:
            if not all(isinstance(value, Literal) for value in values):
                return None
            places.append(i)
    return places


def _over(columns: Sequence[Sequence[Expr]], places: Sequence[Sequence[int]]) -> Repeat:
    names: list[str] = []
    taken = {part.name for column in columns for part in walk(column[0]) if isinstance(part, Given)}
    items: list[Expr] = []
    values: list[tuple[Expr, ...]] = []
    for column, differing in zip(columns, places, strict=True):
        first = column[0]
        if not isinstance(first, Call):
            items.append(first)
            continue
        arguments = list(first.arguments)
        for i in differing:
            name = arguments[i].name
            name = name if name not in taken else f"{name}{len(names) + 2}"
            names.append(name)
            taken.add(name)
            values.append(tuple(call.arguments[i].value for call in column if isinstance(call, Call)))
            arguments[i] = replace(arguments[i], value=Given(name))
        items.append(Call(first.callee, tuple(arguments)))
    return Repeat(tuple(items), len(columns[0]), tuple(names), tuple(zip(*values, strict=True)))


class Printer:
    """Expressions as text, given the names of what is written out."""

    def __init__(self, names: dict[Ref, str]) -> None:
        self.names = names

    def flat(self, item: Item, star: bool = True) -> str:
        """On one line."""
        opening, children, joint, closing = self._parts(item, star)
        return opening + joint.join(c if isinstance(c, str) else self._child(c, None) for c in children) + closing

    def layout(self, item: Item, indent: int, before: str = "", after: str = "", star: bool = True) -> str:
        """On one line if ``before``, it and ``after`` fit there, else one part a line."""
        flat = self.flat(item, star)
        if indent + len(before) + len(flat) + len(after) <= WIDTH:
            return before + flat + after
        opening, children, joint, closing = self._parts(item, star)
        if not children:
            return before + flat + after
        inner = " " * (indent + 4)
        body = joint.join(c if isinstance(c, str) else self._child(c, None) for c in children)
        if len(inner) + len(body) <= WIDTH and len(children) > 1 and opening.endswith("("):
            return f"{before}{opening}\n{inner}{body}\n{' ' * indent}{closing}{after}"
        end = "," if joint == ", " and len(children) > 1 else ""
        lines = [
            filled(c + end, inner) if isinstance(c, str) else inner + self._child(c, indent + 4, end) for c in children
        ]
        return "\n".join([before + opening, *lines, " " * indent + closing + after])

    def _child(self, child: tuple[str, Item], indent: int | None, after: str = "") -> str:
        before, item = child
        return before + self.flat(item) if indent is None else self.layout(item, indent, before, after)

    def _parts(self, item: Item, star: bool) -> tuple[str, list[str | tuple[str, Item]], str, str]:
        """Opening, children, what joins them, closing."""
        if isinstance(item, Call):
            return self._call(item)
        if isinstance(item, Modules):
            if item.bare:
                return self._list(item.items)
            return "nn.ModuleList(", [("", replace(item, bare=True))], ", ", ")"
        if isinstance(item, Repeat):
            opening, closing = ("*[", "]") if star else ("[", "]")
            each = "part" if any(Given("layer") in walk(part) for part in item.items) else "layer"
            children: list[str | tuple[str, Item]] = [("", item.items[0]) if len(item.items) == 1 else each]
            children.append(self._loop(item))
            if len(item.items) > 1:
                children.append((f"for {each} in ", Row(item.items)))
            return opening, children, " ", closing
        if isinstance(item, Row):
            return "(", [("", part) for part in item.items], ", ", ")"
        return self._atom(item), [], "", ""

    def _loop(self, item: Repeat) -> str:
        if not item.names:
            return f"for _ in range({item.times})"
        rows = [", ".join(self.flat(value) for value in row) for row in item.rows]
        values = ", ".join(rows if len(item.names) == 1 else [f"({row})" for row in rows])
        return f"for {', '.join(item.names)} in ({values})"

    def _atom(self, item: Item) -> str:
        if isinstance(item, (Literal, Name)):
            return item.text
        if isinstance(item, Ref):
            return self.names[item]
        if isinstance(item, Given):
            return item.name if item.factor == 1 else f"{item.factor} * {item.name}"
        if isinstance(item, Member):
            return f"{self.flat(item.of)}.{item.name}"
        assert isinstance(item, Array)
        shape = ", ".join(self.flat(size) for size in item.shape)
        if item.buffer_type:
            return f"torch.zeros({shape or '()'}, dtype={item.buffer_type})"
        return f"nn.Parameter(torch.randn({shape or '()'}) * 0.02)"

    def _list(self, items: Sequence[Expr]) -> tuple[str, list[str | tuple[str, Item]], str, str]:
        compacted = compact(items)
        if len(compacted) == 1 and isinstance(compacted[0], Repeat):
            return self._parts(compacted[0], star=False)
        return "[", [("", item) for item in compacted], ", ", "]"

    def _call(self, call: Call) -> tuple[str, list[str | tuple[str, Item]], str, str]:
        opening = f"{self._atom(call.callee)}("
        if call.callee == torch_nn("Sequential") and all(a.positional for a in call.arguments):
            return opening, [("", item) for item in compact([a.value for a in call.arguments])], ", ", ")"
        # A constructor with one argument needs no name for it.
        alone = len(call.arguments) == 1 and isinstance(call.callee, Ref)
        children: list[str | tuple[str, Item]] = []
        for argument in call.arguments:
            before = "" if argument.positional or (alone and not is_plain(argument.value)) else f"{argument.name}="
            children.append((before, argument.value))
        return opening, children, ", ", ")"


def filled(text: str, margin: str) -> str:
    """A loop over values on one line if it fits, else its values on as many lines as they take."""
    if len(margin) + len(text) <= WIDTH or not text.endswith(")"):
        return margin + text
    head, _, values = text.partition(" in (")
    lines = textwrap.wrap(values[:-1] + ",", WIDTH - len(margin) - 4, break_long_words=False)
    return "\n".join([f"{margin}{head} in (", *(f"{margin}    {line}" for line in lines), f"{margin})"])


def is_plain(expr: Expr) -> bool:
    """Whether an expression is a number or the like, which says little without a name."""
    return isinstance(expr, (Literal, Given))
