"""What the source files of a model's classes define and import, and which of their names code uses."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import resolve_name
from types import ModuleType

from . import einops_shim
from .values import PARTS

Function = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
Loop = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

SHIM = einops_shim.__name__


@dataclass(frozen=True)
class Definition:
    """A name that a module of the project defines: a class, a function or an assignment."""

    module: str
    name: str


@dataclass(frozen=True)
class Import:
    """A name of another package: ``from module import name``; the module itself where there is no name."""

    module: str
    name: str = ""


def is_external(module: str) -> bool:
    """Whether a file may import it: torch and the standard library."""
    top = module.partition(".")[0]
    return top in ("torch", "typing_extensions") or top in sys.stdlib_module_names


class Source:
    """The text of a module and the statements that define its names.

    Raises:
        ValueError: the module has no source.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        try:
            self.text = inspect.getsource(sys.modules[name])
        except (OSError, TypeError, KeyError) as error:
            raise ValueError(f"the module {name} has no source that can be read: put its parts into a file") from error
        self.package = name if hasattr(sys.modules[name], "__path__") else name.rpartition(".")[0]
        self.statements: dict[str, ast.stmt] = {}
        self.registered: dict[str, list[ast.expr]] = {}  # the decorators @part, which no file needs
        self.unbased: dict[str, tuple[ast.expr, ast.expr]] = {}  # a base that is left out, and the one after it
        self.imports: dict[str, Import] = {}
        self.submodules: set[str] = set()  # of ``import torch.utils.checkpoint``, which binds torch
        for statement in ast.parse(self.text).body:
            self._read(statement)
        starts = [0]
        for line in self.text.splitlines(keepends=True):
            starts.append(starts[-1] + len(line.encode()))
        self._starts, self.bytes = starts, self.text.encode()

    def _read(self, statement: ast.stmt) -> None:
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
            self.statements[statement.name] = statement
            self.registered[statement.name] = [d for d in statement.decorator_list if _is_part(d)]
            statement.decorator_list = [d for d in statement.decorator_list if not _is_part(d)]
            if isinstance(statement, ast.ClassDef):
                self._drop_base(statement)
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names = [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
            self.statements.update(dict.fromkeys(names, statement))
        elif isinstance(statement, ast.Import):
            for alias in statement.names:
                top = alias.name.partition(".")[0]
                self.imports[alias.asname or top] = Import(alias.name if alias.asname else top)
                self.submodules |= set() if alias.asname or top == alias.name else {alias.name}
        elif isinstance(statement, ast.ImportFrom):
            home = resolve_name("." * statement.level + (statement.module or ""), self.package)
            self.imports.update({a.asname or a.name: Import(home, a.name) for a in statement.names})
        elif isinstance(statement, (ast.If, ast.Try)):
            for inner in ast.iter_child_nodes(statement):
                if isinstance(inner, ast.stmt):
                    self._read(inner)

    def _drop_base(self, statement: ast.ClassDef) -> None:
        """Leave out the methods that save and load, which no file needs, where another base comes after them."""
        bases = statement.bases
        if len(bases) > 1 and isinstance(bases[0], ast.Name) and bases[0].id == "Pretrained":
            self.unbased[statement.name] = (bases[0], bases[1])
            statement.bases = bases[1:]

    def place(self, line: int, column: int) -> int:
        """The offset in ``bytes`` of a line (from 1) and a column."""
        return self._starts[line - 1] + column

    def span(self, node: ast.expr | ast.stmt | ast.arg) -> tuple[int, int]:
        """Where a node stands in ``bytes``, its decorators included."""
        decorators = getattr(node, "decorator_list", [])
        line = min([node.lineno, *(d.lineno for d in decorators)])
        column = node.col_offset if line == node.lineno else decorators[0].col_offset - 1
        return self.place(line, column), self.place(node.end_lineno or line, node.end_col_offset or 0)

    def of(self, node: ast.expr | ast.stmt) -> str:
        start, end = self.span(node)
        return self.bytes[start:end].decode()


source_of = cache(Source)


def _is_part(decorator: ast.expr) -> bool:
    return (decorator.attr if isinstance(decorator, ast.Attribute) else getattr(decorator, "id", "")) == "part"


def resolve(module: str, name: str) -> Definition | Import | None:
    """What a global name of a module is, through any number of imports; None where it is a builtin or nothing."""
    source = source_of(module)
    if name in source.statements:
        return Definition(module, name)
    found = source.imports.get(name)
    if found is None:
        return None
    if found.module == "einops" or found.module.startswith("einops."):
        return Definition(SHIM, found.name) if found.name in source_of(SHIM).statements else found
    if found.module.partition(".")[0] not in projects():
        return found
    if not found.name:
        return found
    if isinstance(sys.modules.get(f"{found.module}.{found.name}"), ModuleType) and not (
        found.module in sys.modules and _defines(found.module, found.name)
    ):
        return Import(f"{found.module}.{found.name}")
    return resolve(found.module, found.name)


def _defines(module: str, name: str) -> bool:
    source = source_of(module)
    return name in source.statements or name in source.imports


def projects() -> set[str]:
    """Top-level modules and packages whose code may be written out: those of registered parts."""
    return {"vitblocks", *(named.__module__.partition(".")[0] for named in PARTS.values())}


def free_names(node: ast.AST, bound: frozenset[str] = frozenset()) -> Iterator[ast.Name]:
    """The names that a piece of code reads and does not bind itself; those in annotations are left out."""
    if isinstance(node, ast.Name):
        if node.id not in bound and isinstance(node.ctx, ast.Load):
            yield node
    elif isinstance(node, Function):
        outside = [*node.args.defaults, *(d for d in node.args.kw_defaults if d)]
        if not isinstance(node, ast.Lambda):
            outside += node.decorator_list
        body = node.body if isinstance(node.body, list) else [node.body]
        inner = bound | {a.arg for a in _arguments(node)} | _stored(body)
        yield from (name for part in outside for name in free_names(part, bound))
        yield from (name for part in body for name in free_names(part, inner))
    elif isinstance(node, ast.ClassDef):
        parts = [*node.bases, *(k.value for k in node.keywords), *node.decorator_list, *node.body]
        yield from (name for part in parts for name in free_names(part, bound))
    elif isinstance(node, ast.AnnAssign):
        yield from free_names(node.value, bound) if node.value else ()
    elif isinstance(node, Loop):
        inner = bound | _stored([g.target for g in node.generators])
        yield from (name for part in ast.iter_child_nodes(node) for name in free_names(part, inner))
    else:
        yield from (name for part in ast.iter_child_nodes(node) for name in free_names(part, bound))


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> list[ast.arg]:
    found = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [*found, *(a for a in (node.args.vararg, node.args.kwarg) if a is not None)]


def annotations_in(code: ast.AST) -> Iterator[ast.expr]:
    """The annotations within a piece of code."""
    for node in ast.walk(code):
        if isinstance(node, ast.AnnAssign):
            yield node.annotation
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from (a for a in [*(arg.annotation for arg in _arguments(node)), node.returns] if a is not None)


def _stored(body: list[ast.stmt] | list[ast.expr]) -> frozenset[str]:
    """The names that statements bind, not those of functions and classes within them."""
    found: set[str] = set()
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
            continue
        if isinstance(node, (ast.Lambda, *Loop)):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
            found.add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name:
            found.add(node.name)
        waiting += ast.iter_child_nodes(node)
    return frozenset(found)
