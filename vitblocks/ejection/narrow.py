"""Take parameters out of functions that are called alike everywhere: with None, True or False, or with nothing at all."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from .code import Code, Edits, Function
from .expression import Built, Call, Expr, Member, Ref, walk
from .reach import Reach, project_bases
from .source import Definition

Key = tuple[Definition, str]
"""A method by its class and name, a function with no name."""
Token = tuple[str, object]
"""What calls name: ("function", definition), ("method", name), ("class", definition) for a forward."""

_BUSY_NAMES = {name for kind in (torch.Tensor, nn.Module, str, list, dict, tuple, int, float) for name in dir(kind)}
_MISSING = object()
_HARMLESS = {"prod", "len", "min", "max", "sum", "tuple", "type", "isinstance", "ValueError", "TypeError"}
_SIMPLE = (ast.Name, ast.Constant, ast.Attribute)


@dataclass
class Site:
    """A call in a function."""

    where: Key
    call: ast.Call


@dataclass
class Family:
    """Functions that the same calls may reach, and these calls."""

    members: list[Key] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    escapes: bool = False
    """Whether it may be called in ways that are not seen here."""


class Narrower:
    """Finds parameters that are alike at all calls, and takes them out.

    Args:
        reach: the functions.
        model: the expression of the model, which says where its modules are held.
    """

    def __init__(self, reach: Reach, model: Expr) -> None:
        self.reach = reach
        self.model = model
        self.parent: dict[Token, Token] = {}

    def step(self, code: Code) -> Code | None:
        """The code with some parameters less; None if there are none to take out."""
        functions = self._functions(code)
        changed: dict[Key, Function] = {}
        for family in self._families(code, functions).values():
            touched = {*family.members, *(site.where for site in family.sites)}
            # Calls are found by their places in the text, which must not have changed.
            if family.escapes or not family.members or not family.sites or touched & changed.keys():
                continue
            changed |= self._narrowed(family, functions)
        return Code(code.changed | changed) if changed else None

    def _narrowed(self, family: Family, functions: dict[Key, Function]) -> dict[Key, Function]:
        """The functions that change where something is taken out of a family; none if there is nothing."""
        parameters = [functions[member].parameters for member in family.members]
        for i, name in enumerate(parameters[0]):
            if all(len(other) > i and other[i] == name for other in parameters):
                value = self._common(family, functions, i, name)
                if value is not _MISSING:
                    return _without(functions, family, i, name, value)
        returned = [_returned(functions[member]) for member in family.members]
        if returned[0] is not _MISSING and all(value is returned[0] for value in returned):
            sites = [site for site in family.sites if all(isinstance(a, _SIMPLE) for a in site.call.args)]
            if sites:
                return _with_values(functions, sites, partial(_same_value, returned[0]))
        tuples = [_passed(functions[member]) for member in family.members]
        if tuples[0] is not None and all(places == tuples[0] for places in tuples):
            places = tuples[0]
            sites = [s for s in family.sites if len(s.call.args) == len(places) and _is_plain_call(s.call)]
            if sites:
                return _with_values(functions, sites, partial(_picked, places))
        return {}

    def _functions(self, code: Code) -> dict[Key, Function]:
        found: dict[Key, Function] = {(d, ""): code.function(d) for d in self.reach.functions}
        return found | {(owner, name): code.methods(owner)[name] for owner, name in self.reach.facts}

    # Families, by what calls name.

    def _root(self, token: Token) -> Token:
        while self.parent.get(token, token) != token:
            token = self.parent[token]
        return token

    def _join(self, *tokens: Token) -> None:
        first = self._root(tokens[0])
        for token in tokens[1:]:
            self.parent[self._root(token)] = first

    def _families(self, code: Code, functions: dict[Key, Function]) -> dict[Token, Family]:
        escaped = self._held()
        families: dict[Token, Family] = {}
        sites: list[tuple[Token, Site]] = []
        for key, function in functions.items():
            found, leaving = self._uses(key, function)
            sites += found
            escaped |= leaving
        for key, function in functions.items():
            family = families.setdefault(self._root(_token(key)), Family())
            family.members.append(key)
            family.escapes |= bool(function.node.decorator_list) or _is_open(function)
        for token, site in sites:
            if self._root(token) in families:
                families[self._root(token)].sites.append(site)
        for token in escaped:
            if self._root(token) in families:
                families[self._root(token)].escapes = True
        return families

    def _held(self) -> set[Token]:
        """Where modules are held joins their forwards; what is held in a list, or by no name, escapes."""
        escaped: set[Token] = {("method", name) for name in _BUSY_NAMES}
        by_name: set[Built] = set()
        every: set[type] = set()
        for part in walk(self.model):
            if isinstance(part, Ref):
                escaped |= {("function", part.to), ("class", part.to)}
            elif isinstance(part, Member):
                escaped.add(("method", part.name))
            elif isinstance(part, Built):
                every.add(part.kind)
                for name, value in part.fields:
                    if isinstance(value, Built):
                        by_name.add(value)
                        self._join(("method", name), *self._forwards(value.kind))
        for part in walk(self.model):
            inside: Iterable[Expr] = ()
            if isinstance(part, Call):
                inside = (argument.value for argument in part.arguments)
            elif not isinstance(part, Built):
                inside = getattr(part, "items", ())
            for value in inside:
                if isinstance(value, Built):
                    escaped |= set(self._forwards(value.kind))
        for kind in every:
            forwards = self._forwards(kind)
            if forwards:
                self._join(*forwards)
        if isinstance(self.model, Built):
            escaped |= set(self._forwards(self.model.kind))
        for definition in self.reach.pinned:
            escaped.add(("class", definition))
        for constant in self.reach.constants:
            names = {n.id for n in ast.walk(constant.node) if isinstance(n, ast.Name)}
            escaped |= {("function", s) for name in names if (s := self.reach.symbols.get((constant.module, name)))}
        return escaped

    def _forwards(self, kind: type) -> list[Token]:
        return [("class", d) for d in project_bases(kind) if (d, "forward") in self.reach.facts]

    def _uses(self, key: Key, function: Function) -> tuple[list[tuple[Token, Site]], set[Token]]:
        """The calls in a function, and what it hands on without calling it."""
        sites: list[tuple[Token, Site]] = []
        leaving: set[Token] = set()
        called = {id(n.func) for n in ast.walk(function.node) if isinstance(n, ast.Call)}
        # What is indexed or asked for an attribute is no method that leaves.
        based = {id(n.value) for n in ast.walk(function.node) if isinstance(n, (ast.Attribute, ast.Subscript))}
        for n in ast.walk(function.node):
            if isinstance(n, ast.Call):
                token = self._called(key, n.func)
                if token is not None:
                    sites.append((token, Site(key, n)))
                base = n.func.value if isinstance(n.func, ast.Attribute) else None
                if isinstance(base, ast.Name) and isinstance(
                    self.reach.symbols.get((key[0].module, base.id)), Definition
                ):
                    leaving.add(("method", n.func.attr if isinstance(n.func, ast.Attribute) else ""))
                if isinstance(n.func, ast.Name) and n.func.id in ("getattr", "hasattr", "setattr"):
                    leaving |= {("method", a.value) for a in n.args if isinstance(a, ast.Constant)}
            elif (
                isinstance(n, ast.Attribute)
                and id(n) not in called
                and (id(n) not in based or not isinstance(n.ctx, ast.Load))
            ):
                leaving.add(("method", n.attr))
            elif isinstance(n, ast.Name) and id(n) not in called:
                symbol = self.reach.symbols.get((key[0].module, n.id))
                if isinstance(symbol, Definition):
                    leaving.add(("function", symbol))
        return sites, leaving

    def _called(self, key: Key, func: ast.expr) -> Token | None:
        if isinstance(func, ast.Attribute):
            above = isinstance(func.value, ast.Call) and getattr(func.value.func, "id", "") == "super"
            return ("class", key[0]) if above and func.attr == "forward" else ("method", func.attr)
        if isinstance(func, ast.Name):
            symbol = self.reach.symbols.get((key[0].module, func.id))
            return ("function", symbol) if isinstance(symbol, Definition) else None
        return None

    # What is alike at all calls.

    def _common(self, family: Family, functions: dict[Key, Function], i: int, name: str) -> Any:
        """The value that a parameter always has; NotImplemented if nobody reads it; _MISSING if it must stay."""
        if any(i == 0 and key[1] and not functions[key].is_static for key in family.members):
            return _MISSING
        if any(_is_stored(functions[key], name) for key in family.members):
            return _MISSING
        given: list[Any] = []
        for site in family.sites:
            argument = _argument(site, functions, family, i, name)
            if argument is _MISSING:
                return _MISSING
            # A member that hands its own parameter on says nothing about it.
            if not (site.where in family.members and isinstance(argument, ast.Name) and argument.id == name):
                given.append(argument)
        if not given:
            return _MISSING
        if all(
            isinstance(value, ast.Constant) and is_switch(value.value) and value.value is given[0].value
            for value in given
        ):
            return given[0].value
        read = any(
            isinstance(n, ast.Name) and n.id == name for key in family.members for n in ast.walk(functions[key].node)
        )
        if not read and all(isinstance(value, _SIMPLE) or self._is_check(value, functions) for value in given):
            return NotImplemented
        return _MISSING

    def _is_check(self, value: ast.expr, functions: dict[Key, Function]) -> bool:
        """Whether an expression is a call of a function that does nothing but compute a number and raise."""
        if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Name)):
            return False
        found = {key: function for key, function in functions.items() if not key[1] and key[0].name == value.func.id}
        if len(found) != 1 or not all(isinstance(a, _SIMPLE) for a in value.args):
            return False
        node = next(iter(found.values())).node
        called = [n.func for n in ast.walk(node) if isinstance(n, ast.Call)]
        return all(isinstance(f, ast.Name) and f.id in _HARMLESS for f in called) and not any(
            isinstance(n, (ast.For, ast.While, ast.With, ast.Global)) for n in ast.walk(node)
        )


def is_switch(value: object) -> bool:
    """Whether a value is None, True or False, of which there is one each."""
    return value is None or value is True or value is False


def _token(key: Key) -> Token:
    definition, name = key
    return ("function", definition) if not name else ("class", definition) if name == "forward" else ("method", name)


def _is_open(function: Function) -> bool:
    """Whether a function takes any number of arguments, or some by name alone."""
    arguments = function.node.args
    return bool(arguments.vararg or arguments.kwarg or arguments.kwonlyargs)


def _is_stored(function: Function, name: str) -> bool:
    return any(
        isinstance(n, ast.Name) and n.id == name and not isinstance(n.ctx, ast.Load) for n in ast.walk(function.node)
    )


def _place(site: Site, family: Family, functions: dict[Key, Function], i: int) -> int:
    """The place of a parameter among the positional arguments of a call, which do not have the object itself."""
    key = family.members[0]
    return i - int(bool(key[1]) and not functions[key].is_static)


def _argument(site: Site, functions: dict[Key, Function], family: Family, i: int, name: str) -> Any:
    """What a call gives for a parameter: its default if nothing; _MISSING if that is not known."""
    if any(isinstance(a, ast.Starred) for a in site.call.args) or any(k.arg is None for k in site.call.keywords):
        return _MISSING
    place = _place(site, family, functions, i)
    if place < len(site.call.args):
        return site.call.args[place]
    for keyword in site.call.keywords:
        if keyword.arg == name:
            return keyword.value
    defaults = {ast.dump(d) if d is not None else None: d for d in (_default(functions[k], i) for k in family.members)}
    only = next(iter(defaults.values()))
    return only if len(defaults) == 1 and only is not None else _MISSING


def _default(function: Function, i: int) -> ast.expr | None:
    defaults = function.node.args.defaults
    offset = i - (len(function.parameters) - len(defaults))
    return defaults[offset] if offset >= 0 else None


def _without(functions: dict[Key, Function], family: Family, i: int, name: str, value: Any) -> dict[Key, Function]:
    """The functions with a parameter taken out of all members of a family, and its argument out of all calls."""
    texts = {key: Edits(functions[key].text) for key in {*family.members, *(site.where for site in family.sites)}}
    for key in family.members:
        edits, node = texts[key], functions[key].node
        arguments = [*node.args.posonlyargs, *node.args.args]
        spans = []
        for j, argument in enumerate(arguments):
            default = _default(functions[key], j)
            spans.append((edits.span(argument)[0], edits.span(argument if default is None else default)[1]))
        _cut(edits, spans, i)
        for n in ast.walk(node):
            if isinstance(n, ast.Name) and n.id == name and value is not NotImplemented:
                edits.replace_node(n, repr(value))
    for site in family.sites:
        edits, call = texts[site.where], site.call
        spans = [edits.span(a) for a in call.args] + [
            (edits.line_start(k.lineno) + k.col_offset, edits.span(k.value)[1]) for k in call.keywords
        ]
        place = _place(site, family, functions, i)
        if place >= len(call.args):
            named = [j for j, keyword in enumerate(call.keywords) if keyword.arg == name]
            place = len(call.args) + named[0] if named else -1
        if place >= 0:
            _cut(edits, spans, place)
    return {key: Function(functions[key].module, edits.result()) for key, edits in texts.items()}


def _returned(function: Function) -> object:
    """The switch that a function returns whatever it is called with; _MISSING if it does more."""
    if function.node.decorator_list or len(function.statements) != 1:
        return _MISSING
    only = function.statements[0]
    constant = only.value if isinstance(only, ast.Return) else None
    return constant.value if isinstance(constant, ast.Constant) and is_switch(constant.value) else _MISSING


def _passed(function: Function) -> list[int] | None:
    """The places of the arguments that a method returns as a tuple, all of them and nothing else; None if it does more."""
    if function.node.decorator_list or len(function.statements) != 1 or function.is_static:
        return None
    only = function.statements[0]
    value = only.value if isinstance(only, ast.Return) else None
    if not isinstance(value, ast.Tuple) or not all(isinstance(item, ast.Name) for item in value.elts):
        return None
    names = [item.id for item in value.elts if isinstance(item, ast.Name)]
    given = function.parameters[1:]
    return [given.index(name) for name in names] if sorted(names) == sorted(given) else None


def _is_plain_call(call: ast.Call) -> bool:
    return not call.keywords and all(isinstance(a, _SIMPLE) for a in call.args)


def _same_value(value: object, call: ast.Call) -> str:
    return repr(value)


def _picked(places: list[int], call: ast.Call) -> str:
    return f"({', '.join(ast.unparse(call.args[place]) for place in places)})"


def _with_values(
    functions: dict[Key, Function], sites: list[Site], value: Callable[[ast.Call], str]
) -> dict[Key, Function]:
    """The functions with calls replaced by what they return."""
    texts = {site.where: Edits(functions[site.where].text) for site in sites}
    for site in sites:
        texts[site.where].replace_node(site.call, value(site.call))
    return {key: Function(functions[key].module, edits.result()) for key, edits in texts.items()}


def _cut(edits: Edits, spans: list[tuple[int, int]], i: int) -> None:
    """Take one of several parts out, and the comma with it."""
    if i > 0:
        edits.replace(spans[i - 1][1], spans[i][1], "")
    elif len(spans) > 1:
        edits.replace(spans[0][0], spans[1][0], "")
    else:
        edits.replace(*spans[0], "")
