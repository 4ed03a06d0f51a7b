"""Descriptions as one would write them: constructor calls, laid out to be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from inspect import Parameter
from itertools import groupby
from keyword import iskeyword
from typing import Any, TypeAlias

from torch import nn

from .describing import Description, describe
from .part import signature_of
from .torch_nn import CLASSES
from .values import PARTS

WIDTH = 110


@dataclass(frozen=True)
class Group:
    """What stands between two brackets: ``opening, item, item, closing``; an item is a text before a value, and the value."""

    opening: str
    items: tuple[tuple[str, Expression], ...]
    closing: str


Expression: TypeAlias = "str | Group"
Names: TypeAlias = Callable[[str], str]


def expression(model: nn.Module | Description) -> str:
    """The composition of a model, or a description, as the call that one would write for it.

    What was changed in the model since follows, one line for each description: ``stages.0.layers.2.attn = GlobalAttention(64)``.

    Raises:
        ValueError: the model cannot be described.
    """
    found = describe(model) if isinstance(model, nn.Module) else model
    call = {key: value for key, value in found.items() if key in ("class", "args")}
    lines = [text(express(call))]
    for paths, data in grouped(found.get("changed", {})):
        lines.append(f"{', '.join(paths)} = {'taken away' if 'absent' in (data or {}) else text(express(data))}")
    lines += [f"{path} is {first}" for path, first in found.get("shared", {}).items()]
    return "\n".join(lines)


def grouped(changed: Mapping[str, Any]) -> Iterator[tuple[list[str], Any]]:
    """Changes of the same description together, in the order of the first."""
    left = dict(changed)
    while left:
        first = next(iter(left.values()))
        paths = [path for path, data in left.items() if data == first]
        yield paths, first
        for path in paths:
            del left[path]


def express(data: Any, names: Names = str) -> Expression:
    """Plain data as the expression that makes what it stands for; ``names`` says how parts are called in the code."""
    if isinstance(data, list):
        return Group("[", tuple(_items(data, names)), "]")
    if not isinstance(data, Mapping):
        return repr(data)
    if "tuple" in data:
        entries = tuple(("", express(item, names)) for item in data["tuple"])
        return Group("(", entries, ",)" if len(entries) == 1 else ")")
    if "dict" in data:
        return Group("{", tuple((f"{key!r}: ", express(item, names)) for key, item in data["dict"].items()), "}")
    if "float" in data:
        return f"float({data['float']!r})"
    if "dtype" in data:
        return f"torch.{data['dtype']}"
    if "name" in data:
        return names(data["name"])
    args = data.get("args", {})
    if "partial" in data:
        function = names(data["partial"])
        return Group("partial(", (("", function), *_keywords(args, names)), ")")
    made = _call(data["class"], args, names)
    if not data.keys() & {"changed", "shared"}:
        return made
    changes = [_change(paths, new, names) for paths, new in grouped(data.get("changed", {}))]
    shared = [(f"{path!r}: ", repr(first)) for path, first in data.get("shared", {}).items()]
    items = [("", made), ("", Group("{", tuple(changes), "}")), ("", Group("{", tuple(shared), "}"))]
    return Group("changed(", tuple(items[: 3 if shared else 2]), ")")


def _change(paths: list[str], data: Any, names: Names) -> tuple[str, Expression]:
    new = "ABSENT" if isinstance(data, Mapping) and "absent" in data else express(data, names)
    if len(paths) == 1:
        return f"{paths[0]!r}: ", new
    return "**", Group("{path: ", (("", new),), f" for path in ({', '.join(map(repr, paths))})}}")


def _items(data: list[Any], names: Names) -> Iterator[tuple[str, Expression]]:
    """The items of a list; the same instance several times in a row is made in a loop."""
    runs = [(item, len(list(run))) for item, run in groupby(data)]
    for item, count in runs:
        made = express(item, names)
        if count == 1 or not (isinstance(item, Mapping) and "class" in item):
            yield from [("", made)] * count
        elif len(runs) == 1:
            yield "", Group("", (("", made),), f" for _ in range({count})")
        else:
            yield "", Group("*(", (("", made),), f" for _ in range({count}))")


def _call(name: str, args: Mapping[str, Any], names: Names) -> Expression:
    kind = CLASSES.get(name) or PARTS[name]
    if kind in (nn.Sequential, nn.ModuleList, nn.ModuleDict):
        return _container(kind, args, names)
    many = next((key for key in args if key.startswith("*")), None)
    first: list[str] = []
    for i, parameter in enumerate(signature_of(kind).parameters.values()):
        wanted = parameter.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
        if parameter.name not in args or not wanted or (i and parameter.default is not parameter.empty and not many):
            break
        first.append(parameter.name)
    items = [("", express(args[key], names)) for key in first]
    items += [("", express(item, names)) for item in (args[many] if many else ())]
    rest = {key: value for key, value in args.items() if key not in first and key != many}
    return Group(f"{names(name)}(", (*items, *_keywords(rest, names)), ")")


def _keywords(args: Mapping[str, Any], names: Names) -> list[tuple[str, Expression]]:
    """Arguments by name; one that is no name of Python is given in a dictionary."""
    odd = {key: value for key, value in args.items() if not key.isidentifier() or iskeyword(key)}
    items = [(f"{key}=", express(value, names)) for key, value in args.items() if key not in odd]
    return [*items, ("**", express({"dict": odd}, names))] if odd else items


def _container(kind: Any, args: Mapping[str, Any], names: Names) -> Expression:
    numbered = list(args) == [str(i) for i in range(len(args))]
    items = list(args.values())
    if kind is nn.Sequential and numbered:
        return Group("nn.Sequential(", tuple(("", express(item, names)) for item in items), ")")
    if kind is nn.ModuleList and numbered:
        return Group("nn.ModuleList(", (("", express(items, names)),), ")")
    opening, closing = ("OrderedDict(", ")") if kind is nn.Sequential else ("", "")
    return Group(f"nn.{kind.__name__}({opening}", (("", express({"dict": dict(args)}, names)),), f"{closing})")


def text(value: Expression, indent: int = 0, before: int = 0) -> str:
    """An expression as text: on one line where it fits, else one item on each.

    Args:
        indent: of the line that it starts on.
        before: how long the text before it on that line is, and after it.
    """
    line = _flat(value)
    if isinstance(value, str) or indent + before + len(line) <= WIDTH:
        return line
    loop = value.closing.startswith(" for ")
    if loop or (len(value.items) == 1 and not value.items[0][0] and isinstance(value.items[0][1], Group)):
        # A single value in brackets needs no lines of its own.
        length = before + len(value.opening) + len(value.closing)
        return f"{value.opening}{text(value.items[0][1], indent, length)}{value.closing}"
    pad = " " * (indent + 4)
    lines = [f"{pad}{name}{text(item, indent + 4, len(name) + 1)}," for name, item in value.items]
    return "\n".join([value.opening, *lines, f"{' ' * indent}{value.closing.removeprefix(',')}"])


def _flat(value: Expression) -> str:
    if isinstance(value, str):
        return value
    return f"{value.opening}{', '.join(name + _flat(item) for name, item in value.items)}{value.closing}"
