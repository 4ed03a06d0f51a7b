"""What of the source a composition uses: definitions, and of each class the members that are reached."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from typing import Any

from .modules import Definition, Import, annotations_in, free_names, is_external, projects, resolve, source_of

_DROPPED = {"__repr__", "__str__", "extra_repr"}


class Reach:
    """All definitions that some use, with what they use in turn.

    A method is reached where its name is read of anything, or where it overrides one of torch; a constructor and ``forward`` always.

    Raises:
        ValueError: code needs a name that is not found, or of a package that the file may not import.
    """

    def __init__(self, roots: list[Definition]) -> None:
        self.kept: dict[Definition, None] = dict.fromkeys(roots)
        self.imports: dict[Import, str] = {}
        self.submodules: set[str] = set()
        self.mentioned: set[str] = set()
        self._done: dict[Definition, set[int]] = {}
        size = -1
        while size != (size := len(self.kept) + len(self.mentioned)):
            for definition in list(self.kept):
                for node in self.nodes(definition):
                    if id(node) not in self._done.setdefault(definition, set()):
                        self._done[definition].add(id(node))
                        self._use(definition.module, node)
        self.loose = {id(a) for d in list(self.kept) for a in self.annotations(d) if not self._known(d.module, a)}

    def statement(self, definition: Definition) -> ast.stmt:
        return source_of(definition.module).statements[definition.name]

    def nodes(self, definition: Definition) -> list[ast.AST]:
        """The pieces of code of a definition that are kept."""
        statement = self.statement(definition)
        if isinstance(statement, ast.ClassDef):
            bases: list[ast.AST] = [*statement.bases, *(keyword.value for keyword in statement.keywords)]
            return [*bases, *statement.decorator_list, *self.members(definition)]
        return [statement]

    def members(self, definition: Definition) -> list[ast.stmt]:
        """The statements of a class body that are kept, its docstring not among them."""
        statement = self.statement(definition)
        assert isinstance(statement, ast.ClassDef)
        kind: Any = vars(sys.modules[definition.module])[definition.name]
        data = bool(statement.decorator_list) or issubclass(kind, (tuple, dict))
        return [member for member in statement.body if self._keeps(kind, member, data)]

    def _keeps(self, kind: type, member: ast.stmt, data: bool) -> bool:
        if isinstance(member, (ast.Assign, ast.AnnAssign)):
            targets = member.targets if isinstance(member, ast.Assign) else [member.target]
            names = {target.id for target in targets if isinstance(target, ast.Name)}
            wanted = data or bool(names & self.mentioned)
            return wanted and (data or isinstance(member, ast.Assign) or member.value is not None)
        if not isinstance(member, ast.FunctionDef) or member.name in _DROPPED:
            return isinstance(member, ast.ClassDef)
        if any(isinstance(d, ast.Name) and d.id == "overload" for d in member.decorator_list):
            return False
        name = member.name
        overrides = any(name in vars(base) for base in kind.__mro__ if base.__module__.startswith("torch."))
        return name == "forward" or name.startswith("__") or name in self.mentioned or overrides

    def _use(self, module: str, code: ast.AST) -> None:
        for name in free_names(code):
            self._name(module, name)
        for node in ast.walk(code):
            if isinstance(node, ast.Attribute):
                self.mentioned.add(node.attr)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and "attr" in node.func.id:
                self.mentioned |= {
                    a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)
                }
            elif isinstance(node, ast.ImportFrom) and node.level:
                raise ValueError(f"{module}, line {node.lineno}: an import within a function cannot be written out")
        for _, target in attributes(module, code):
            self.kept.setdefault(target)

    def _name(self, module: str, name: ast.Name) -> None:
        found = resolve(module, name.id)
        if isinstance(found, Definition):
            self.kept.setdefault(found)
        elif found is not None and not is_project(found):
            if not is_external(found.module):
                raise ValueError(
                    f"{module}, line {name.lineno}: the code needs {found.module}, and a file may import torch alone"
                )
            self.need(module, found, name.id)
        elif found is None and not _is_builtin(name.id):
            raise ValueError(f"{module}, line {name.lineno}: the code needs {name.id!r}, which was not found")

    def need(self, module: str, found: Import, name: str) -> None:
        """Import something, under the name that it has in a module."""
        self.imports.setdefault(found, name)
        self.submodules |= {
            s for s in source_of(module).submodules if s.startswith(f"{found.module}.") and not found.name
        }

    def annotations(self, definition: Definition) -> Iterator[ast.expr]:
        for node in self.nodes(definition):
            yield from annotations_in(node)

    def _known(self, module: str, annotation: ast.AST) -> bool:
        """Whether all names of an annotation are in the file, or can be, and are then: imports, and aliases of types made of these."""
        needed: list[tuple[str, Import, str]] = []
        aliases: dict[Definition, None] = {}
        waiting: list[tuple[str, ast.AST]] = [(module, annotation)]
        while waiting:
            home, code = waiting.pop()
            for name in free_names(code):
                found = resolve(home, name.id)
                if isinstance(found, Import) and is_external(found.module):
                    needed.append((home, found, name.id))
                elif isinstance(found, Definition) and isinstance(self.statement(found), (ast.Assign, ast.AnnAssign)):
                    if found not in self.kept and found not in aliases:
                        aliases[found] = None
                        statement = self.statement(found)
                        waiting += [(found.module, part) for part in (statement, *annotations_in(statement))]
                elif (found is None and not _is_builtin(name.id)) or found not in (None, *self.kept):
                    return False
        self.kept.update(aliases)
        for home, found, alias in needed:
            self.need(home, found, alias)
        return True


def is_project(found: Import) -> bool:
    """Whether it is a module of the project itself."""
    return not found.name and found.module in sys.modules and found.module.partition(".")[0] in projects()


def attributes(module: str, code: ast.AST) -> Iterator[tuple[ast.Attribute, Definition]]:
    """What code reads of modules of the project: ``vit.ViT`` where ``vit`` is one."""
    free = {id(name) for name in free_names(code)}
    for node in ast.walk(code):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and id(node.value) in free:
            home = resolve(module, node.value.id)
            target = resolve(home.module, node.attr) if isinstance(home, Import) and is_project(home) else None
            if isinstance(target, Definition):
                yield node, target


def _is_builtin(name: str) -> bool:
    import builtins

    return hasattr(builtins, name) or name in ("__class__", "__name__", "__file__")
