"""Take out of the code what a model does not use: branches on settings that it has alike everywhere, layers that do nothing."""

from __future__ import annotations

import ast
import operator
from collections.abc import Iterator, Sequence
from typing import Any

from .code import Code, Edits, Function
from .expression import Built, Call, Expr, Literal, Name, Ref, torch_nn, walk
from .narrow import Narrower, is_switch
from .reach import Reach, project_bases

_COMPARE = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ATOMS = (ast.Name, ast.Attribute, ast.Subscript, ast.Call, ast.Constant)


class _Something:
    """A module or other object: not None, and no more is known."""


SOMETHING = _Something()


def simplified(reach: Reach, model: Expr) -> Code:
    """The code with what is known of the model worked in; the same code if there is nothing more to take out."""
    narrower = Narrower(reach, model)
    built = list(dict.fromkeys(part for part in walk(model) if isinstance(part, Built)))
    code = _folded(reach, built, reach.code)
    while (narrowed := narrower.step(code)) is not None:
        code = _folded(reach, built, narrowed)
    return code


def _folded(reach: Reach, built: Sequence[Built], code: Code) -> Code:
    changed = dict(code.changed)
    stored = frozenset().union(*(facts.stored for facts in (*reach.facts.values(), *reach.functions.values())))
    for owner, name in reach.facts:
        own = [each for each in built if owner in project_bases(each.kind)]
        function = code.methods(owner)[name]
        new = Folder(own, code, stored).fold(function)
        if new != function:
            changed[owner, name] = new
    for definition in reach.functions:
        function = code.function(definition)
        new = Folder([], code, stored).fold(function)
        if new != function:
            changed[definition, ""] = new
    return Code(changed)


def _is_object(expr: Expr) -> bool:
    """Whether an attribute is a dataclass's object, whose methods compute and change nothing."""
    return isinstance(expr, Call) and isinstance(expr.callee, Ref) and is_frozen(expr.callee.to.value)


def is_frozen(kind: Any) -> bool:
    parameters = getattr(kind, "__dataclass_params__", None)
    return parameters is not None and parameters.frozen


class Folder:
    """Folds the methods of a class.

    Args:
        built: all modules that run its methods.
        code: as it is.
        stored: attributes that code sets, which are no constants.
    """

    def __init__(self, built: Sequence[Built], code: Code, stored: frozenset[str]) -> None:
        self.constants: dict[str, Any] = {}
        self.idle: set[str] = set()
        self.objects: set[str] = set()
        rows = [dict(each.fields) for each in built]
        for name in rows[0] if rows else ():
            values = {row.get(name) for row in rows}
            if name in stored or None in values:
                continue
            first = next(iter(values))
            if len(values) == 1 and isinstance(first, Literal):
                self.constants[name] = ast.literal_eval(first.text)
            elif not any(isinstance(value, Literal) for value in values):
                self.constants[name] = SOMETHING
                if all(value is not None and _is_object(value) for value in values):
                    self.objects.add(name)
                if all(value is not None and is_idle(value, code) for value in values):
                    self.idle.add(name)
        self.idle |= {
            name
            for each in built[:1]
            for name in _methods_of(each.kind, code)
            if _is_identity_in_all(name, built, code)
        }
        self.me = "self"

    def fold(self, function: Function) -> Function:
        """The method without what is not used."""
        self.me = function.parameters[0] if function.parameters and not function.is_static else ""
        for _ in range(200):
            edits = Edits(function.text)
            if not self._edit(function, edits):
                return function
            function = Function(function.module, edits.result())
        return function

    # One edit at a time: the text is parsed again after each.

    def _edit(self, function: Function, edits: Edits) -> bool:
        return self._edit_statements(function, edits) or any(
            self._edit_expression(node, edits)
            for node in ast.walk(function.node)
            if isinstance(node, ast.expr) and not _in_decorators(node, function)
        )

    def _edit_statements(self, function: Function, edits: Edits) -> bool:
        for parent in ast.walk(function.node):
            for block in _blocks(parent):
                if self._edit_block(function, block, edits):
                    return True
        return self._edit_switch(function, edits)

    def _edit_block(self, function: Function, block: list[ast.stmt], edits: Edits) -> bool:
        for i, statement in enumerate(block):
            rest = block[i + 1 :]
            if isinstance(statement, (ast.Return, ast.Raise)) and rest:
                edits.replace(edits.span(statement)[1], edits.span(rest[-1])[1], "")
                return True
            if isinstance(statement, ast.Assert) and self.truth(statement.test) is True and len(block) > 1:
                _delete(statement, edits)
                return True
            if len(block) > 1 and self._is_idle_statement(statement, function):
                _delete(statement, edits)
                return True
            if not isinstance(statement, ast.If) or edits.source(statement).startswith("elif"):
                continue
            truth = self.truth(statement.test)
            if truth is None:
                continue
            chosen = statement.body if truth else statement.orelse
            if chosen and not edits.source(chosen[0]).startswith("elif"):
                _unwrap(statement, chosen, edits)
                return True
            if not chosen and len(block) > 1:
                _delete(statement, edits)
                return True
        return False

    def _is_idle_statement(self, statement: ast.stmt, function: Function) -> bool:
        """Whether a statement sets a variable to itself, or sets one that nobody reads to what a plain object says."""
        if not (isinstance(statement, ast.Assign) and len(statement.targets) == 1):
            return False
        target, value = statement.targets[0], statement.value
        if not isinstance(target, ast.Name):
            return False
        if isinstance(value, ast.Name):
            return value.id == target.id
        read = any(
            isinstance(n, ast.Name) and n.id == target.id and isinstance(n.ctx, ast.Load)
            for n in ast.walk(function.node)
        )
        if read or not isinstance(value, ast.Call) or not isinstance(value.func, ast.Attribute):
            return False
        return self._own(value.func.value) in self.objects and all(isinstance(a, ast.Name) for a in value.args)

    def _edit_switch(self, function: Function, edits: Edits) -> bool:
        """Put None, True or False for a variable that is nothing else."""
        for parent in ast.walk(function.node):
            for block in _blocks(parent):
                for statement in block:
                    if self._is_switch(statement, function) and len(block) > 1:
                        assert isinstance(statement, ast.Assign)
                        assert isinstance(statement.targets[0], ast.Name)
                        for use in ast.walk(function.node):
                            if isinstance(use, ast.Name) and use.id == statement.targets[0].id:
                                edits.replace_node(use, edits.source(statement.value))
                        _delete(statement, edits)
                        return True
        return False

    def _is_switch(self, statement: ast.stmt, function: Function) -> bool:
        if not (isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)):
            return False
        target = statement.targets[0]
        if not is_switch(statement.value.value) or not isinstance(target, ast.Name) or len(statement.targets) > 1:
            return False
        stores = [n for n in ast.walk(function.node) if isinstance(n, ast.Name) and n.id == target.id]
        outside = any(isinstance(n, (ast.Global, ast.Nonlocal)) for n in ast.walk(function.node))
        once = sum(not isinstance(n.ctx, ast.Load) for n in stores) == 1
        return once and not outside and target.id not in function.parameters

    def _edit_expression(self, node: ast.expr, edits: Edits) -> bool:
        if isinstance(node, ast.IfExp):
            truth = self.truth(node.test)
            if truth is None and self._same(node.body, node.orelse):
                truth = False
            if truth is not None:
                _put(node, node.body if truth else node.orelse, edits)
                return True
        elif isinstance(node, ast.BoolOp):
            neutral = isinstance(node.op, ast.And)
            first = self.value(node.values[0])
            if is_switch(first) and self.truth(node.values[0]) is not neutral:
                edits.replace_node(node, repr(first))
                return True
            rest = [value for value in node.values if self.truth(value) is not neutral]
            if 0 < len(rest) < len(node.values):
                joint = " and " if neutral else " or "
                edits.replace_node(node, joint.join(edits.source(value) for value in rest))
                return True
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and is_switch(self.value(node)):
            edits.replace_node(node, repr(self.value(node)))
            return True
        elif isinstance(node, ast.Starred) and isinstance(node.value, ast.Tuple) and node.value.elts:
            edits.replace_node(node, ", ".join(edits.source(item) for item in node.value.elts))
            return True
        elif isinstance(node, (ast.Compare, ast.UnaryOp)):
            truth = self.truth(node)
            if truth is not None and _is_pure(node):
                edits.replace_node(node, repr(truth))
                return True
        elif isinstance(node, ast.Call) and self._is_idle_call(node):
            _put(node, node.args[0], edits)
            return True
        return False

    def _is_idle_call(self, node: ast.Call) -> bool:
        simple = (ast.Name, ast.Attribute, ast.Constant, ast.Tuple)
        alone = bool(node.args) and not node.keywords and all(isinstance(other, simple) for other in node.args[1:])
        return alone and self._own(node.func) in self.idle

    def _same(self, a: ast.expr, b: ast.expr) -> bool:
        left, right = self.value(a), self.value(b)
        known = not any(value is NotImplemented or value is SOMETHING for value in (left, right))
        return known and type(left) is type(right) and left == right

    def _own(self, node: ast.expr) -> str:
        """The name of an attribute of the object itself."""
        mine = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == self.me
        return node.attr if mine and isinstance(node, ast.Attribute) else ""

    def value(self, node: ast.expr) -> Any:
        """The constant that an expression is, None as such; NotImplemented if it is not known."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Tuple):
            values = [self.value(item) for item in node.elts]
            return NotImplemented if any(v is NotImplemented or v is SOMETHING for v in values) else tuple(values)
        return self.constants.get(self._own(node), NotImplemented)

    def truth(self, node: ast.expr) -> bool | None:
        """Whether a condition holds; None if that is not known."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            truth = self.truth(node.operand)
            return None if truth is None else not truth
        if isinstance(node, ast.BoolOp):
            decisive = isinstance(node.op, ast.Or)
            truths = [self.truth(value) for value in node.values]
            if decisive in truths and all(_is_pure(value) for value in node.values):
                return decisive
            return None if None in truths else not decisive
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            left, right, kind = self.value(node.left), self.value(node.comparators[0]), type(node.ops[0])
            if NotImplemented in (left, right):
                return None
            if kind in (ast.Is, ast.IsNot) and right is None:
                return (left is None) == (kind is ast.Is)
            if kind in _COMPARE and SOMETHING not in (left, right):
                return bool(_COMPARE[kind](left, right))
            return None
        value = self.value(node)
        return None if value is NotImplemented or value is SOMETHING else bool(value)


def is_idle(expr: Expr, code: Code) -> bool:
    """Whether a module gives back what it is called with."""
    if isinstance(expr, Call) and isinstance(expr.callee, Name):
        if expr.callee == torch_nn("Identity"):
            return True
        given = {argument.name: argument.value for argument in expr.arguments}
        return expr.callee == torch_nn("Dropout") and given.get("p") == Literal("0.0")
    return isinstance(expr, Built) and is_identity(_method(expr.kind, "forward", code))


def is_identity(function: Function | None) -> bool:
    """Whether a method does nothing but return its first argument."""
    if (
        function is None
        or len(function.parameters) < 2
        or function.node.decorator_list
        or len(function.statements) != 1
    ):
        return False
    only = function.statements[0]
    return isinstance(only, ast.Return) and isinstance(only.value, ast.Name) and only.value.id == function.parameters[1]


def _is_identity_in_all(name: str, built: Sequence[Built], code: Code) -> bool:
    return all(is_identity(_method(kind, name, code)) for kind in {each.kind for each in built})


def _methods_of(kind: type, code: Code) -> set[str]:
    return {name for definition in project_bases(kind) for name in code.methods(definition)}


def _method(kind: type, name: str, code: Code) -> Function | None:
    """The method that an object of a class has under this name."""
    for base in kind.__mro__:
        if name in vars(base):
            definition = next((d for d in project_bases(kind) if d.value is base), None)
            return None if definition is None else code.methods(definition).get(name)
    return None


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
            yield block


def _in_decorators(node: ast.expr, function: Function) -> bool:
    return any(node in list(ast.walk(d)) for d in function.node.decorator_list)


def _is_pure(node: ast.expr) -> bool:
    return not any(isinstance(n, (ast.Call, ast.NamedExpr, ast.Await, ast.Yield)) for n in ast.walk(node))


def _delete(statement: ast.stmt, edits: Edits) -> None:
    """A statement with the comment lines right above it."""
    assert statement.end_lineno is not None
    lines = edits.text.decode().splitlines()
    first = statement.lineno
    while lines[first - 2].lstrip().startswith("#"):
        first -= 1
    edits.replace(edits.line_start(first), edits.line_start(statement.end_lineno + 1), "")


def _unwrap(statement: ast.stmt, chosen: Sequence[ast.stmt], edits: Edits) -> None:
    """Put the statements of a branch in the place of the whole."""
    last = chosen[-1].end_lineno
    assert last is not None
    assert statement.end_lineno is not None
    shift = chosen[0].col_offset - statement.col_offset
    lines = edits.text.decode().splitlines(keepends=True)
    first = chosen[0].lineno
    while lines[first - 2].lstrip().startswith("#"):
        first -= 1
    kept = "".join(line[shift:] if line[:shift].isspace() else line for line in lines[first - 1 : last])
    edits.replace(edits.line_start(statement.lineno), edits.line_start(statement.end_lineno + 1), kept)


def _put(node: ast.expr, part: ast.expr, edits: Edits) -> None:
    """Put a part of an expression in its place, in brackets where it needs them."""
    start, end = edits.span(node)
    new = edits.source(part)
    several_lines = "\n" in new and not isinstance(part, _ATOMS)
    if several_lines or (isinstance(node, ast.Call) and not isinstance(part, (*_ATOMS, ast.Tuple))):
        new = f"({new})"
    elif isinstance(part, _ATOMS) and _is_bracketed(edits.text, start, end):
        start, end = start - 1, end + 1
    edits.replace(start, end, new)


def _is_bracketed(text: bytes, start: int, end: int) -> bool:
    """Whether brackets stand around a part that only group it."""
    around = text[start - 1 : start] == b"(" and text[end : end + 1] == b")"
    return around and not (text[start - 2 : start - 1].isalnum() or text[start - 2 : start - 1] in (b"_", b")", b"]"))
