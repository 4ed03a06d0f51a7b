"""What must be written out so that ``forward`` runs: methods, helpers and attributes, found from the source."""

from __future__ import annotations

import ast
import builtins
from dataclasses import dataclass, field
from functools import lru_cache
from types import FunctionType
from typing import Any

from torch import Tensor, nn

from . import pairwise
from .code import Code, class_node, class_values, method_node
from .facts import Facts, annotations_in, expression_names, facts_of
from .source import Definition, Symbol, definition_of, is_project, load, resolve

# Helpers whose own modules need more than torch, and what is written in their place.
SUBSTITUTES = {
    Definition("vitblocks.contract", "contract"): Definition(pairwise.__name__, "contract"),
}
_UNKNOWN = object()
_NOT_CALLED = {"__init__", "__new__", "__repr__", "__post_init__", "__init_subclass__", "extra_repr"}


@dataclass
class Reach:
    """What is reached, grown by :meth:`instance` and :meth:`symbol` until nothing new comes."""

    code: Code
    kept: dict[Definition, set[str]] = field(default_factory=dict)
    """Of each class the methods and constants that are written."""
    symbols: dict[tuple[str, str], Symbol] = field(default_factory=dict)
    """What names in the code stand for, by module and name."""
    functions: dict[Definition, Facts] = field(default_factory=dict)
    constants: set[Definition] = field(default_factory=set)
    pinned: set[Definition] = field(default_factory=set)
    """Classes that code refers to by name."""
    facts: dict[tuple[Definition, str], Facts] = field(default_factory=dict)
    _classes: list[type] = field(default_factory=list)
    _own: dict[type, set[str]] = field(default_factory=dict)
    _calls: set[str] = field(default_factory=set)
    _reads: set[str] = field(default_factory=set)
    _visited: set[tuple[type, Definition, str]] = field(default_factory=set)

    def instance(self, kind: type) -> None:
        """Make what objects of a class do when they are called."""
        if kind in self._classes:
            return
        self._classes.append(kind)
        self._own[kind] = set()
        for definition in project_bases(kind):
            self.kept.setdefault(definition, set())
            for name in sorted(_class_names(definition, fields=not issubclass(kind, nn.Module))):
                self._global(definition.module, name)
            for name in self.code.methods(definition):
                # What torch or Python calls by itself: forward, and all that is overridden of nn.Module.
                if (
                    name in vars(nn.Module) or (name.startswith("__") and name.endswith("__"))
                ) and name not in _NOT_CALLED:
                    self._name(kind, name)
        for name in sorted(self._calls | self._reads):
            self._name_if_method(kind, name)

    def method(self, kind: type, name: str) -> None:
        """A method that is called by a reference to it."""
        self._name(kind, name)

    def needs(self, kind: type, name: str, value: Any) -> bool:
        """Whether code that is written reads this attribute of a module."""
        other = name in self._reads or (name in self._calls and callable(value))
        return other or name in self._own[kind]

    def symbol(self, module: str, name: str) -> Symbol:
        """What a global name stands for, and with it all that it needs."""
        if (module, name) not in self.symbols:
            found = resolve(module, name)
            found = SUBSTITUTES.get(found, found) if isinstance(found, Definition) else found
            self.symbols[module, name] = found
            if isinstance(found, Definition):
                self.definition(found)
        return self.symbols[module, name]

    def definition(self, found: Definition) -> None:
        """All that a function, a class or a constant needs."""
        node = found.node
        if isinstance(node, ast.ClassDef):
            self._class_by_name(found)
        elif isinstance(node, ast.FunctionDef):
            if found not in self.functions:
                _check_unchanged(found.name, found.value, node)
                self.functions[found] = facts = facts_of(self.code.function(found), False)
                self._follow(found.module, facts)
        elif found not in self.constants:
            if isinstance(found.value, (nn.Module, Tensor)):
                raise TypeError(f"the global {found.name} of {found.module!r} is a {type(found.value).__name__}")
            if _literal(found) not in (found.value, _UNKNOWN):
                raise TypeError(f"the global {found.name} of {found.module!r} is no longer what its source says")
            self.constants.add(found)
            for name in sorted(expression_names(node)):
                self._global(found.module, name)

    def _class_by_name(self, found: Definition) -> None:
        if found in self.pinned:
            return
        kind = found.value
        definition_of(kind)
        self.pinned.add(found)
        self.instance(kind)
        if not issubclass(kind, nn.Module):
            # Code may make objects of it, so that all that it does when they are made is needed.
            for definition in project_bases(kind):
                for name in (*self.code.methods(definition), *class_values(definition)):
                    if name in ("__init__", "__new__", "__post_init__") or not hasattr(kind, "__dataclass_fields__"):
                        self._name(kind, name)

    def _name(self, kind: type, name: str, after: type | None = None) -> None:
        """A name looked up on objects of a class; ``after`` as super() does it."""
        order = list(kind.__mro__)
        for base in order[order.index(after) + 1 if after is not None else 0 :]:
            if name not in vars(base):
                continue
            if is_project(base) and (after is None or name != "__init__"):
                self._member(kind, base, name)
            return
        self._own[kind].add(name)

    def _member(self, kind: type, base: type, name: str) -> None:
        definition = definition_of(base)
        if (kind, definition, name) in self._visited:
            return
        self._visited.add((kind, definition, name))
        method = self.code.methods(definition).get(name)
        if method is None:
            value = class_values(definition).get(name)
            # A value that an instance holds under the same name comes before the class's.
            self._own[kind].add(name)
            if value is not None and getattr(value, "value", None) is not None:
                self.kept.setdefault(definition, set()).add(name)
                for used in sorted(expression_names(value)):
                    self._global(definition.module, used)
            return
        if any(isinstance(d, ast.Attribute) and d.attr in ("setter", "deleter") for d in method.node.decorator_list):
            raise TypeError(f"the property {definition.name}.{name} has a setter")
        _check_unchanged(f"{definition.name}.{name}", vars(base)[name], method_node(definition, name))
        self.kept.setdefault(definition, set()).add(name)
        if (definition, name) not in self.facts:
            self.facts[definition, name] = facts_of(method, True)
        facts = self.facts[definition, name]
        for used in sorted(facts.own):
            self._name(kind, used)
        for used in sorted(facts.inherited):
            self._name(kind, used, after=base)
        self._follow(definition.module, facts)

    def _follow(self, module: str, facts: Facts) -> None:
        new = (facts.calls - self._calls) | (facts.reads - self._reads)
        self._calls |= facts.calls
        self._reads |= facts.reads
        for name in sorted(new):
            for kind in list(self._classes):
                self._name_if_method(kind, name)
        for name in sorted(facts.globals):
            self._global(module, name)
            found = self.symbols.get((module, name))
            if name in facts.made and isinstance(found, Definition) and issubclass_of_module(found):
                raise TypeError(f"it makes a new module ({name}) each time that it runs")

    def _name_if_method(self, kind: type, name: str) -> None:
        if any(name in vars(base) for base in kind.__mro__ if is_project(base)):
            self._name(kind, name)

    def _global(self, module: str, name: str) -> None:
        if not is_builtin(module, name):
            self.symbol(module, name)

    def aliases(self) -> None:
        """Reach the type aliases of annotations that name nothing but types of torch, the standard library and other aliases."""
        functions = [self.code.function(found) for found in self.functions]
        functions += [self.code.methods(owner)[name] for owner, name in self.facts]
        for function in functions:
            for annotation in annotations_in(function.node):
                for name in sorted(expression_names(annotation)):
                    found = _alias(function.module, name)
                    if found is not None:
                        self.definition(found)


def issubclass_of_module(found: Definition) -> bool:
    return isinstance(found.node, ast.ClassDef) and issubclass(found.value, nn.Module)


def _check_unchanged(name: str, live: object, node: ast.FunctionDef) -> None:
    """Raise TypeError if a function was replaced after its source was read; what decorators return is not known."""
    if isinstance(live, FunctionType) and not node.decorator_list and live.__code__.co_firstlineno != node.lineno:
        raise TypeError(f"{name} is no longer what its source says")


def _literal(found: Definition) -> object:
    """The value in the statement of a constant, if it is a plain one."""
    try:
        return ast.literal_eval(getattr(found.node, "value", found.node))
    except (ValueError, TypeError):
        return _UNKNOWN


def _class_names(definition: Definition, *, fields: bool) -> frozenset[str]:
    """The names in the decorators of a class, and in its fields if it is a plain object's."""
    node = class_node(definition)
    parts: list[ast.AST] = list(node.decorator_list)
    if fields:
        parts += [child for child in node.body if isinstance(child, ast.AnnAssign)]
    return frozenset().union(*map(expression_names, parts))


def _alias(module: str, name: str) -> Definition | None:
    """The constant that a name in an annotation stands for, if it can be written without any class."""
    if is_builtin(module, name):
        return None
    try:
        found = resolve(module, name)
    except TypeError:
        return None
    if not isinstance(found, Definition) or isinstance(found.node, (ast.ClassDef, ast.FunctionDef)):
        return None
    for inner in expression_names(found.node):
        if is_builtin(found.module, inner):
            continue
        try:
            symbol = resolve(found.module, inner)
        except TypeError:
            return None
        if isinstance(symbol, Definition) and _alias(found.module, inner) is None:
            return None
    return found


def is_builtin(module: str, name: str) -> bool:
    """Whether a name in a module is Python's own."""
    return name in vars(builtins) and name not in load(module).bindings


@lru_cache(maxsize=1024)
def project_bases(kind: type) -> tuple[Definition, ...]:
    """The classes of a class's line that must be written out, itself first."""
    return tuple(definition_of(base) for base in kind.__mro__ if is_project(base))


def torch_base(kind: type) -> type[nn.Module] | None:
    """The first class of torch that a module class builds on; None for a plain object."""
    bases = (base for base in kind.__mro__ if issubclass(base, nn.Module) and not is_project(base))
    return next(bases, None)


def reads_children(reach: Reach) -> bool:
    """Whether any code goes through the parts of a module whatever their names."""
    names = {"children", "named_children", "modules", "named_modules", "_modules"}
    every = (*reach.facts.values(), *reach.functions.values())
    return any(names & (facts.own | facts.calls | facts.reads) for facts in every)
