"""The functions and classes of a model as text, which may be changed before it is written."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from ..attention.materialize import materialized
from ..recompute import through
from .source import Definition, load, resolve


@dataclass(frozen=True)
class Function:
    """A function of a module: its text at the left margin, decorators included."""

    module: str
    text: str

    @property
    def node(self) -> ast.FunctionDef:
        return _parsed(self.text)

    @property
    def parameters(self) -> list[str]:
        return [argument.arg for argument in (*self.node.args.posonlyargs, *self.node.args.args)]

    @property
    def is_static(self) -> bool:
        return any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in self.node.decorator_list)

    @property
    def statements(self) -> list[ast.stmt]:
        """The body without its docstring."""
        body = self.node.body
        return body[1:] if ast.get_docstring(self.node) is not None else body


@lru_cache(maxsize=4096)
def _parsed(text: str) -> ast.FunctionDef:
    node = ast.parse(text).body[0]
    assert isinstance(node, ast.FunctionDef)
    return node


class Code:
    """The code that is written: that of the sources, but for methods that were changed."""

    def __init__(self, changed: dict[tuple[Definition, str], Function] | None = None) -> None:
        self.changed = {} if changed is None else changed

    def function(self, definition: Definition) -> Function:
        changed = self.changed.get((definition, ""))
        return changed or Function(definition.module, _function_text(definition.module, definition.node))

    def methods(self, definition: Definition) -> dict[str, Function]:
        """The functions in the body of a class; of overloads the last, which is the one that runs."""
        return {
            name: self.changed.get((definition, name)) or Function(definition.module, text)
            for name, text in _method_texts(definition).items()
        }


@lru_cache(maxsize=1024)
def _method_texts(definition: Definition) -> dict[str, str]:
    node = class_node(definition)
    return {
        child.name: _function_text(definition.module, child)
        for child in node.body
        if isinstance(child, ast.FunctionDef)
    }


# What decides how a result comes about, and is no architecture: by what its call is replaced.
_WRITTEN_OUT: dict[Definition, Callable[..., str]] = {
    Definition(through.__module__, through.__name__): lambda first, x, then, *rest: (
        f"{then}({', '.join([f'{first}({x})', *rest])})"
    ),
    Definition(materialized.__module__, materialized.__name__): lambda x: x,
}


def _function_text(module: str, node: ast.stmt) -> str:
    """The text of a function, with ``through(first, x, then)`` as ``then(first(x))`` and ``materialized(x)`` as ``x``."""
    text = statement_text(module, node)
    names = {each.name: each for each in _WRITTEN_OUT if each.name in load(module).bindings}
    names = {name: each for name, each in names.items() if resolve(module, name) == each}
    while calls := [call for call in ast.walk(ast.parse(text)) if _called(call) in names]:
        edits = Edits(text)
        for call in calls:
            assert isinstance(call, ast.Call)
            edits.replace_node(call, _WRITTEN_OUT[names[_called(call)]](*map(edits.source, call.args)))
        text = edits.result()
    return text


def _called(node: ast.AST) -> str:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def class_node(definition: Definition) -> ast.ClassDef:
    node = definition.node
    assert isinstance(node, ast.ClassDef)
    return node


def method_node(definition: Definition, name: str) -> ast.FunctionDef:
    """A method as it stands in the source; of overloads the last."""
    return [
        child for child in class_node(definition).body if isinstance(child, ast.FunctionDef) and child.name == name
    ][-1]


def class_values(definition: Definition) -> dict[str, ast.stmt]:
    """The assignments in the body of a class by name: constants, and the fields of a dataclass."""
    found: dict[str, ast.stmt] = {}
    for child in class_node(definition).body:
        if isinstance(child, ast.Assign):
            found |= {target.id: child for target in child.targets if isinstance(target, ast.Name)}
        elif isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
            found[child.target.id] = child
    return found


@lru_cache(maxsize=512)
def _lines(module: str) -> list[str]:
    return load(module).text.splitlines(keepends=True)


def statement_text(module: str, node: ast.stmt) -> str:
    """A statement as it was written, its decorators included, moved to the left margin."""
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    lines = _lines(module)[first - 1 : node.end_lineno]
    return textwrap.dedent("".join(lines)).rstrip("\n")


class Edits:
    """Replacements of parts of a text, by the nodes that were parsed from it."""

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        starts = [0]
        for line in text.encode().splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        self._starts = starts
        self._edits: list[tuple[int, int, bytes]] = []

    def span(self, node: ast.expr | ast.stmt | ast.arg) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._starts[node.lineno - 1] + node.col_offset
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset

    def source(self, node: ast.expr | ast.stmt) -> str:
        start, end = self.span(node)
        return self.text[start:end].decode()

    def line_start(self, line: int) -> int:
        return self._starts[line - 1]

    def replace(self, start: int, end: int, new: str) -> None:
        self._edits.append((start, end, new.encode()))

    def replace_node(self, node: ast.expr | ast.stmt, new: str) -> None:
        self.replace(*self.span(node), new)

    def result(self) -> str:
        """The text with all replacements made, but for those within another."""
        text = self.text
        edits = set(self._edits)
        outer = [
            (a, b, new) for a, b, new in edits if not any(c <= a and b <= d and (c, d) != (a, b) for c, d, _ in edits)
        ]
        for start, end, new in sorted(outer, reverse=True):
            text = text[:start] + new + text[end:]
        return text.decode()
