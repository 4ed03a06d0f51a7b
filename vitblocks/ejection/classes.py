"""Which classes are written, under which names: what a subclass merely composes is folded into the class with the code."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import nn

from .code import class_node
from .expression import Ref
from .reach import Reach, project_bases
from .source import Definition, definition_of, is_project

Member = tuple[Definition, str]


@dataclass
class Written:
    """A class of the file: the methods and constants in it, with the classes they come from, and its bases."""

    definition: Definition
    members: list[Member]
    bases: tuple[type, ...]
    label: type
    """The class whose name and docstring it bears."""
    made: bool
    """Whether there are instances of it."""
    children: set[Definition] = field(default_factory=set)


class Classes:
    """The classes of the file.

    Args:
        reach: what is needed.
        kinds: the classes of modules that there are instances of.
        objects: classes of plain objects, and what code refers to by name.
        fixed: classes that must stay as they are.
    """

    def __init__(self, reach: Reach, kinds: Iterable[type], objects: Iterable[type], fixed: set[Definition]) -> None:
        self.reach = reach
        self.fixed = reach.pinned | fixed
        self.written: dict[Definition, Written] = {}
        leaves: dict[Definition, list[type]] = {}
        self.home: dict[type, Definition | type] = {}
        for kind in kinds:
            self.home[kind] = home = self._home(kind)
            if isinstance(home, Definition):
                leaves.setdefault(home, []).append(kind)
        for definition, group in leaves.items():
            self._add(definition.value, made=True, label=group[0] if len(group) == 1 else definition.value)
        for kind in objects:
            self._add(kind, made=issubclass(kind, nn.Module) and kind in self.home, label=kind)
        self._fold()

    def definition(self, kind: type) -> Definition:
        """The class that is written for the instances of one."""
        home = self.home[kind]
        assert isinstance(home, Definition)
        return home

    def _home(self, kind: type) -> Definition | type:
        """The class whose code an instance runs: its own, or the nearest one above that has any."""
        while is_project(kind):
            definition = definition_of(kind)
            base = kind.__bases__[0]
            if self.reach.kept[definition] or definition in self.fixed or len(kind.__bases__) > 1 or base is nn.Module:
                return definition
            kind = base
        return kind

    def _add(self, kind: type, *, made: bool, label: type) -> None:
        definition = definition_of(kind)
        if definition in self.written:
            self.written[definition].made |= made
            if made:
                self.written[definition].label = label
            return
        bases = tuple(self._base(base) for base in kind.__bases__)
        self.written[definition] = Written(definition, self._members(definition), bases, label, made)
        for base in bases:
            if is_project(base):
                self._add(base, made=False, label=base)
                self.written[definition_of(base)].children.add(definition)

    def _base(self, kind: type) -> type:
        """A base, or the nearest above it that has code."""
        while is_project(kind) and kind not in self.home.values() and len(kind.__bases__) == 1:
            definition = definition_of(kind)
            if self.reach.kept[definition] or definition in self.fixed or definition in self.home.values():
                break
            kind = kind.__bases__[0]
        return kind

    def _members(self, definition: Definition) -> list[Member]:
        """The kept methods and constants in the order of the source."""
        kept = self.reach.kept[definition]
        order: list[str] = []
        for child in class_node(definition).body:
            if isinstance(child, ast.FunctionDef):
                order.append(child.name)
            elif isinstance(child, ast.Assign):
                order += [target.id for target in child.targets if isinstance(target, ast.Name)]
            elif isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
                order.append(child.target.id)
        return [(definition, name) for name in dict.fromkeys(order) if name in kept]

    def _fold(self) -> None:
        """Fold each base without instances into the one class that builds on it, unless super() tells them apart."""
        changed = True
        while changed:
            changed = False
            for base in list(self.written.values()):
                child = self.written[next(iter(base.children))] if len(base.children) == 1 else None
                if child is None or base.made or base.definition in self.fixed or len(child.bases) > 1:
                    continue
                if hasattr(base.definition.value, "__dataclass_fields__") or self._uses_super(child):
                    continue
                own = {name for _, name in child.members}
                child.members = [member for member in base.members if member[1] not in own] + child.members
                child.bases = base.bases
                for parent in base.bases:
                    if is_project(parent):
                        siblings = self.written[definition_of(parent)].children
                        siblings.remove(base.definition)
                        siblings.add(child.definition)
                del self.written[base.definition]
                changed = True

    def _uses_super(self, written: Written) -> bool:
        return any(self.reach.facts[member].inherited for member in written.members if member in self.reach.facts)

    def initialised(self, kind: type) -> bool:
        """Whether a base of a class has a constructor of its own in the file."""
        above = project_bases(kind)[1:]
        return any(definition in self.written and self.written[definition].made for definition in above)


def names_of(classes: Classes, refs: Iterable[Ref], others: Iterable[Definition], taken: set[str]) -> dict[Ref, str]:
    """A name for everything that is written, different from one another and from what is imported."""
    names: dict[Ref, str] = {}
    used = set(taken)
    wanted = [
        (ref, classes.written[ref.to].label.__name__ if ref.to in classes.written else ref.to.name) for ref in refs
    ]
    wanted += [(Ref(other), other.name) for other in others]
    for ref, name in sorted(wanted, key=lambda pair: pair[0].variant):
        if ref in names:
            continue
        candidate, i = name, 2
        while candidate in used:
            candidate, i = f"{name}{i}", i + 1
        names[ref] = candidate
        used.add(candidate)
    return names
