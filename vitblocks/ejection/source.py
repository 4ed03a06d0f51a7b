"""Where the classes and functions of a model were written: their statements, and what the names in them stand for."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from dataclasses import dataclass
from functools import lru_cache
from types import FunctionType, ModuleType
from typing import Any, TypeAlias

_OWN = __name__.partition(".")[0]


@dataclass(frozen=True)
class Import:
    """A name of torch or the standard library: ``from module import name as alias``, ``import module as alias`` if ``name`` is empty."""

    module: str
    name: str
    alias: str


@dataclass(frozen=True)
class Definition:
    """A statement at the top of a module of the project: a class, a function or a constant."""

    module: str
    name: str

    @property
    def node(self) -> ast.stmt:
        return load(self.module).bindings[self.name]

    @property
    def value(self) -> Any:
        return getattr(sys.modules[self.module], self.name)


Symbol: TypeAlias = Import | Definition


@dataclass(frozen=True)
class Source:
    """The text of a module and the statements that bind its names."""

    text: str
    bindings: dict[str, ast.stmt]


@lru_cache(maxsize=512)
def load(module: str) -> Source:
    """The source of an imported module.

    Raises:
        TypeError: it has none, as in an interactive session.
    """
    try:
        text = inspect.getsource(sys.modules[module])
    except (OSError, TypeError, KeyError):
        raise TypeError(f"module {module!r} has no source that could be read") from None
    bindings: dict[str, ast.stmt] = {}
    for node in ast.parse(text).body:
        for name in bound_names(node):
            bindings[name] = node
    return Source(text, bindings)


def bound_names(node: ast.stmt) -> list[str]:
    """The names that a statement at the top of a module binds."""
    if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        return [node.target.id]
    return []


def origin(module: str) -> str:
    """Whose a module is: ``"torch"``, ``"standard"``, ``"project"`` (vitblocks and files of the user's own) or ``"foreign"``."""
    top = module.partition(".")[0]
    if top == "torch":
        return "torch"
    if top in sys.stdlib_module_names:
        return "standard"
    if top == _OWN:
        return "project"
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return "foreign" if "site-packages" in file or "dist-packages" in file or not file.endswith(".py") else "project"


def is_project(kind: type) -> bool:
    """Whether a class is one that must be written out, rather than imported from torch or the standard library."""
    return kind.__module__ != "builtins" and origin(kind.__module__) not in ("torch", "standard")


def definition_of(value: type | FunctionType) -> Definition:
    """The statement that made a class or function.

    Raises:
        TypeError: it is another package's, or was not made at the top of a module.
    """
    name, module = value.__qualname__, value.__module__
    if name.endswith("<lambda>"):
        raise TypeError("a lambda has no name to write it under; define a function")
    if origin(module) == "foreign" and module != "__main__":
        raise TypeError(f"{name} is of {module!r}, which is neither torch nor a file of yours")
    if "<locals>" in name:
        raise TypeError(
            f"{name} is defined inside a function, whose variables it may use; define it at the top of a module"
        )
    node = load(module).bindings.get(name)
    if getattr(sys.modules[module], name, None) is not value or not isinstance(node, (ast.ClassDef, ast.FunctionDef)):
        raise TypeError(f"{name} is not what the source of module {module!r} defines under that name")
    return Definition(module, name)


def resolve(module: str, name: str) -> Symbol:
    """What a name at the top of a module stands for.

    Raises:
        TypeError: it is of another package, a module of the project, or not found in the source.
    """
    node = load(module).bindings.get(name)
    if isinstance(node, ast.Import):
        alias = next(alias for alias in node.names if (alias.asname or alias.name.partition(".")[0]) == name)
        return _imported(Import(alias.name, "", alias.asname or ""))
    if isinstance(node, ast.ImportFrom):
        alias = next(alias for alias in node.names if (alias.asname or alias.name) == name)
        parent = _absolute(module, node)
        if origin(parent) in ("torch", "standard"):
            return Import(parent, alias.name, alias.asname or "")
        _imported(Import(parent, alias.name, ""))
        return _from_project(parent, alias.name)
    if node is None:
        raise TypeError(f"the name {name!r} is not defined at the top of module {module!r}")
    return Definition(module, name)


def _imported(found: Import) -> Import:
    """An import, if it is one that the file may have."""
    if origin(found.module) == "foreign":
        raise TypeError(f"it uses {found.module!r}, which is neither torch nor the standard library")
    if not found.name and origin(found.module) == "project":
        raise TypeError(f"it uses the module {found.module!r} as a whole; import the names that it needs")
    return found


def _from_project(module: str, name: str) -> Symbol:
    if name in load(importlib.import_module(module).__name__).bindings:
        return resolve(module, name)
    # A package that loads its names when they are first used binds none of them in its source.
    value = getattr(sys.modules[module], name, None)
    if isinstance(value, ModuleType) or not isinstance(value, (type, FunctionType)):
        raise TypeError(f"it uses {name!r} of {module!r}, which is no class or function")
    return definition_of(value)


def _absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = module if hasattr(sys.modules[module], "__path__") else module.rpartition(".")[0]
    for _ in range(node.level - 1):
        package = package.rpartition(".")[0]
    return f"{package}.{node.module}" if node.module else package
