"""Models as Python files that need torch alone."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from torch import Tensor, nn

from . import changing
from .describing import describe
from .expressing import express, text
from .modules import Definition, Import, Source, free_names, resolve, source_of
from .reaching import Reach, attributes
from .values import PARTS
from .verifying import verify_source

Edit: TypeAlias = tuple[int, int, str]

CHANGED = Definition(changing.__name__, "changed")
ABSENT = Definition(changing.__name__, "ABSENT")
SEEDED: dict[Definition | Import, str] = {
    CHANGED: "changed",
    ABSENT: "ABSENT",
    Import("torch", "nn"): "nn",
    Import("torch"): "torch",
    Import("functools", "partial"): "partial",
    Import("collections", "OrderedDict"): "OrderedDict",
    Import("typing", "Any"): "Any",
}
"""What the expression of a model may need, under the names that it has there."""


def to_source(model: nn.Module, *, sample: Tensor | None = None, verify: bool = True) -> str:
    """The model as the text of one Python file that needs torch alone, to be read and changed.

    The classes that the model uses stand in it as in their own sources, without what is not used, their constructors as they are, so
    that a width is changed by a number. ``build_model()`` at its end makes the model with fresh weights and the same state_dict keys.
    einops becomes a few lines of PyTorch.

    Args:
        model: of parts, this package's or your own, whose source can be read and uses torch, einops and the standard library.
        sample: images to compare on; random ones of the model's ``image_size``, or of a usual size, if None.
        verify: run the file in a process of its own, where nothing else can be imported, and compare state and outputs.

    Raises:
        TypeError: ``model`` is no module.
        ValueError: it cannot be described (see :func:`describe`), its code needs another package or has no source, or the file would
            not do the same.
    """
    description = describe(model)
    inside = list(_forms(description))
    named = dict.fromkeys(data[key] for data in inside for key in ("class", "name", "partial") if key in data)
    roots = [_definition(name) for name in named if not name.startswith("nn.")]
    roots += [CHANGED] if any(data.keys() & {"changed", "shared"} for data in inside) else []
    roots += [ABSENT] if any("absent" in data for data in inside) else []
    reach = Reach(roots)
    written = _write(reach, description)
    if verify:
        verify_source(written, model, sample)
    return written


def _definition(name: str) -> Definition:
    part = PARTS[name]
    if "." in part.__qualname__:
        raise ValueError(
            f"{part.__module__}.{part.__qualname__} cannot be written out: it is not defined at the top of a file"
        )
    return Definition(part.__module__, part.__name__)


def _forms(data: Any) -> Iterator[Mapping[str, Any]]:
    """Every dictionary of a description that stands for something, and not those that only hold arguments or entries by name."""
    if isinstance(data, Mapping):
        yield data
        named = [data.get(key, {}) for key in ("dict", "args", "changed")]
        data = [*data.get("tuple", ()), *(item for items in named for item in items.values())]
    for item in data if isinstance(data, list) else ():
        yield from _forms(item)


def _write(reach: Reach, description: dict[str, Any]) -> str:
    for needed in (Import("torch", "nn"), *((Import("typing", "Any"),) if reach.loose else ())):
        reach.imports.setdefault(needed, SEEDED[needed])
    names = _file_names(reach)

    def part_name(name: str) -> str:
        return name if name.startswith("nn.") else names[_definition(name)]

    body = [_Text(reach, definition, names).written() for definition in _in_order(reach)]
    made = text(express(description, part_name), 4, len("return "))
    for needed, name in SEEDED.items():
        if isinstance(needed, Import) and re.search(rf"\b{name}\b", made):
            reach.imports.setdefault(needed, name)
    title = f"{description['class']}, written out by vitblocks: it needs torch alone."
    build = f'def build_model() -> nn.Module:\n    """The model with fresh weights."""\n    return {made}'
    head = [f'"""{title}"""', "from __future__ import annotations", _import_lines(reach, names)]
    return "\n\n".join(head) + "\n\n" + _spaced([*body, build]) + "\n"


def _spaced(pieces: list[str]) -> str:
    """Pieces with two empty lines around classes and functions, none between assignments."""
    written = ""
    for piece in pieces:
        plain = not piece.startswith(("class ", "def ", "@", "async "))
        written += ("" if plain and written.endswith("\n \n") else "\n\n") + piece + ("\n \n" if plain else "\n")
    return written.replace("\n \n", "\n").strip("\n")


def _file_names(reach: Reach) -> dict[Definition | Import, str]:
    """A name in the file for everything that it defines or imports, its own where that is free."""
    names: dict[Definition | Import, str] = dict(SEEDED)
    taken = {*names.values(), *dir(builtins), "build_model"}
    wanted: list[tuple[Definition | Import, str]] = [*((d, d.name) for d in reach.kept), *reach.imports.items()]
    for found, name in wanted:
        if found in names:
            continue
        free, count = name, 2
        while free in taken:
            free, count = f"{name}_{count}", count + 1
        taken.add(free)
        names[found] = free
    return names


def _import_lines(reach: Reach, names: Mapping[Any, str]) -> str:
    lines = {f"import {module}" for module in reach.submodules}
    grouped: dict[str, list[str]] = {}
    for found in reach.imports:
        name = names[found]
        above, _, last = found.module.rpartition(".")
        if found.name:
            grouped.setdefault(found.module, []).append(found.name if name == found.name else f"{found.name} as {name}")
        elif name == found.module:
            lines.add(f"import {name}")
        elif above and name == last:
            grouped.setdefault(above, []).append(name)
        else:
            lines.add(f"import {found.module} as {name}")
    lines |= {f"from {module} import {', '.join(sorted(found))}" for module, found in grouped.items()}
    ours = sorted((line for line in lines if "torch" in line.split()[1]), key=lambda line: (line[0] == "f", line))
    standard = sorted(lines - {*ours}, key=lambda line: (line[0] == "f", line))
    return "\n\n".join("\n".join(group) for group in (standard, ours) if group)


def _in_order(reach: Reach) -> list[Definition]:
    """Definitions so that each comes after those that it needs to be defined, and where possible after all that it uses."""
    hard = {d: [u for u in _uses(reach, d, defining=True) if u != d] for d in reach.kept}
    done: dict[Definition, None] = {}
    open_: set[Definition] = set()

    def needs_open(definition: Definition) -> bool:
        return definition in open_ or any(needs_open(inner) for inner in hard[definition] if inner not in done)

    def visit(definition: Definition) -> None:
        if definition in done or definition in open_:
            return
        open_.add(definition)
        for inner in hard[definition]:
            visit(inner)
        for inner in _uses(reach, definition, defining=False):
            if inner not in done and not needs_open(inner):
                visit(inner)
        open_.discard(definition)
        done[definition] = None

    # Constants and aliases of types first, as far as they need no class or function.
    for definition in sorted(reach.kept, key=lambda d: isinstance(reach.statement(d), (ast.ClassDef, ast.FunctionDef))):
        visit(definition)
    return list(done)


def _uses(reach: Reach, definition: Definition, *, defining: bool) -> list[Definition]:
    """The definitions that one uses; with ``defining`` those that must stand before it."""
    found: list[Definition] = []
    for node in reach.nodes(definition):
        parts: list[ast.AST] = [node]
        if defining and isinstance(node, ast.FunctionDef):
            parts = [*node.decorator_list, *node.args.defaults, *(d for d in node.args.kw_defaults if d)]
        for part in parts:
            found += [u for n in free_names(part) if isinstance(u := resolve(definition.module, n.id), Definition)]
            found += [target for _, target in attributes(definition.module, part)]
    return [use for use in dict.fromkeys(found) if use in reach.kept]


class _Text:
    """The text of one definition: its own, with what is not kept cut out and names as they are in the file."""

    def __init__(self, reach: Reach, definition: Definition, names: Mapping[Any, str]) -> None:
        self.reach, self.definition, self.names = reach, definition, names
        self.source: Source = source_of(definition.module)
        self.statement = reach.statement(definition)
        self.edits: list[Edit] = []

    def written(self) -> str:
        for node in self.reach.nodes(self.definition):
            self._rename(node)
        for annotation in self.reach.annotations(self.definition):
            if id(annotation) in self.reach.loose:
                self._edit(annotation, "Any")
            else:
                self._rename(annotation)
        for decorator in self.source.registered.get(self.definition.name, []):
            self._cut_lines(decorator.lineno, decorator.end_lineno)
        if bases := self.source.unbased.get(self.definition.name):
            self.edits.append((self.source.span(bases[0])[0], self.source.span(bases[1])[0], ""))
        if isinstance(self.statement, ast.ClassDef):
            self._cut_members(self.statement)
        for node in ast.walk(self.statement):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                self._shorten(node)
        if isinstance(self.statement, (ast.ClassDef, ast.FunctionDef)):
            self._name_definition(self.statement)
        start, end = self.source.span(self.statement)
        return self._applied(start, end)

    def _edit(self, node: Any, new: str) -> None:
        self.edits.append((*self.source.span(node), new))

    def _rename(self, code: ast.AST) -> None:
        formatted = {id(n) for part in ast.walk(code) if isinstance(part, ast.JoinedStr) for n in ast.walk(part)}
        of_modules = {id(node.value): (node, target) for node, target in attributes(self.definition.module, code)}
        for name in free_names(code):
            node, found = of_modules.get(id(name), (name, resolve(self.definition.module, name.id)))
            new = self.names.get(found, name.id)
            if new != name.id or node is not name:
                if id(name) in formatted:  # whose places are not known before Python 3.12
                    raise ValueError(
                        f"{self.definition.module}: two names {name.id!r} in one file, one of them in a formatted text"
                    )
                self._edit(node, new)

    def _cut_members(self, statement: ast.ClassDef) -> None:
        kept = {id(member) for member in self.reach.members(self.definition)}
        has_text = ast.get_docstring(statement) is not None
        lines = self.source.text.splitlines()
        for member in statement.body[1 if has_text else 0 :]:
            if id(member) not in kept:
                first = min([member.lineno, *(d.lineno for d in getattr(member, "decorator_list", []))])
                while lines[first - 2].lstrip().startswith("#"):
                    first -= 1
                self._cut_lines(first, member.end_lineno)
        if not has_text and not kept:
            end = self.source.span(statement)[1]
            self.edits.append((end, end, "\n    pass"))

    def _cut_lines(self, first: int, last: int | None) -> None:
        self.edits.append((self.source.place(first, 0), self.source.place((last or first) + 1, 0), ""))

    def _shorten(self, node: ast.ClassDef | ast.FunctionDef) -> None:
        """Leave the first paragraph of a docstring."""
        if ast.get_docstring(node) is None:
            return
        literal = node.body[0]
        written = self.source.of(literal)
        first, more, _ = written.partition("\n\n")
        if more:
            self._edit(literal, first.rstrip() + written[-3:])

    def _name_definition(self, statement: ast.ClassDef | ast.FunctionDef) -> None:
        new = self.names[self.definition]
        if new != statement.name:
            place = self.source.place(statement.lineno, statement.col_offset)
            line = self.source.bytes[place:].decode().partition("\n")[0]
            start = place + line.index(statement.name)
            self.edits.append((start, start + len(statement.name.encode()), new))

    def _applied(self, start: int, end: int) -> str:
        """The text between two places with all edits made; one within another is left out."""
        pieces, at = [], start
        for first, last, new in sorted(set(self.edits), key=lambda edit: (edit[0], -edit[1])):
            if first >= at and last <= end + 1:
                pieces += [self.source.bytes[at:first].decode(), new]
                at = max(at, last)
        written = "".join(pieces) + self.source.bytes[at:end].decode()
        written = "\n".join(line.rstrip() for line in written.splitlines()).strip()
        return re.sub(r"\n{3,}", "\n\n", written)
