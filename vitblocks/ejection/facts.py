"""What a function refers to: globals, attributes of its own object, attributes of others."""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from .code import Function


@dataclass(frozen=True)
class Facts:
    """The names a function uses; ``calls`` and ``reads`` are attributes of objects other than its own."""

    globals: frozenset[str]
    own: frozenset[str]
    inherited: frozenset[str]
    calls: frozenset[str]
    reads: frozenset[str]
    made: frozenset[str]
    """Globals that are called."""
    stored: frozenset[str]
    """Attributes of any object that are set."""


def expression_names(node: ast.AST | None) -> frozenset[str]:
    """All names that an expression or a constant's statement reads."""
    if node is None:
        return frozenset()
    return frozenset(n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))


@lru_cache(maxsize=4096)
def facts_of(function: Function, of_class: bool) -> Facts:
    """The facts of a function, or of a method whose first parameter is its own object.

    Raises:
        TypeError: it reads attributes by names that are only known when it runs.
    """
    node = function.node
    me = function.parameters[0] if of_class and function.parameters and not function.is_static else None
    own: set[str] = set()
    inherited: set[str] = set()
    calls: set[str] = set()
    reads: set[str] = set()
    stored: set[str] = set()
    called = {id(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)}
    for n in body_nodes(node):
        if isinstance(n, ast.Attribute):
            if isinstance(n.ctx, (ast.Store, ast.Del)):
                stored.add(n.attr)
            if isinstance(n.value, ast.Name) and n.value.id == me:
                own.add(n.attr)
            elif _is_super(n.value):
                inherited.add(n.attr)
            else:
                (calls if id(n) in called else reads).add(n.attr)
        elif (
            isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id in ("getattr", "hasattr", "setattr")
        ):
            name = n.args[1] if len(n.args) > 1 else None
            if not (isinstance(name, ast.Constant) and isinstance(name.value, str)):
                raise TypeError(f"{node.name} uses {n.func.id} with a name that is only known when it runs")
            reads.add(name.value)
            own.add(name.value)
            if n.func.id == "setattr":
                stored.add(name.value)
    return Facts(
        _global_names(function),
        frozenset(own),
        frozenset(inherited),
        frozenset(calls),
        frozenset(reads),
        frozenset(n.func.id for n in ast.walk(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)),
        frozenset(stored),
    )


def definition_names(node: ast.FunctionDef) -> frozenset[str]:
    """What must be defined before the function: the names in its decorators and defaults."""
    when_defined = [*node.decorator_list, *node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]
    return frozenset().union(*map(expression_names, when_defined))


def body_nodes(node: ast.FunctionDef) -> Iterator[ast.AST]:
    """The nodes of a function without its decorators and annotations."""
    for part in [*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None), *node.body]:
        yield from _without_annotations(part)


def _without_annotations(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _without_annotations(child)


def annotations_in(node: ast.AST) -> list[ast.expr]:
    """The annotations in a function: of arguments, the result and variables."""
    found: list[ast.expr] = []
    for n in ast.walk(node):
        for name in ("annotation", "returns"):
            annotation = getattr(n, name, None)
            if isinstance(annotation, ast.expr):
                found.append(annotation)
    return found


def _is_super(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def _global_names(function: Function) -> frozenset[str]:
    """The globals that the body reads, by Python's own rules for scopes, and those of decorators and defaults."""
    table = symtable.symtable("from __future__ import annotations\n" + function.text, function.module, "exec")
    in_body = {n.id for n in body_nodes(function.node) if isinstance(n, ast.Name)}
    found: set[str] = set()
    for scope in scopes(table):
        found |= {s.get_name() for s in scope.get_symbols() if s.is_global() and s.is_referenced()}
    return frozenset(found & in_body) | definition_names(function.node)


def scopes(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    """All scopes within one."""
    for child in table.get_children():
        yield child
        yield from scopes(child)
