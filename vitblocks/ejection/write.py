"""The text of the file: definitions with their docstrings cut to the first paragraph, each after what it needs."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable

from .classes import Classes, Written
from .code import Edits, Function, class_node, class_values, statement_text
from .constructors import Constructor
from .expression import WIDTH, Array, Expr, Name, Printer, Ref, walk
from .facts import annotations_in, definition_names, expression_names
from .reach import Reach, is_builtin
from .source import Definition, Import, Symbol, definition_of, is_project, resolve


class Writer:
    """Writes definitions, and keeps what they import.

    Args:
        reach: what the names in the code stand for.
        classes: the classes of the file.
        names: the names in the file of what is written.
        constructors: of the classes of modules.
        added: attributes of classes that build on one of torch.
    """

    def __init__(
        self,
        reach: Reach,
        classes: Classes,
        names: dict[Ref, str],
        constructors: dict[Ref, Constructor],
        added: dict[Definition, list[str]],
    ) -> None:
        self.reach = reach
        self.classes = classes
        self.names = names
        self.constructors = constructors
        self.added = added
        self.printer = Printer(names)
        self.imports: set[Import] = set()

    # What a definition needs: first what must stand before it, then what should.

    def needs(self, ref: Ref) -> tuple[list[Ref], list[Ref]]:
        """What must be defined before this, and what it uses when it runs."""
        if ref.variant:
            return [Ref(ref.to)], self._parts(ref)
        if ref.to in self.classes.written:
            written = self.classes.written[ref.to]
            hard = [Ref(definition_of(base)) for base in written.bases if is_project(base)]
            soft: list[Ref] = []
            for owner, name in written.members:
                method = self.reach.code.methods(owner).get(name)
                if method is None:
                    hard += self._refs(owner.module, expression_names(class_values(owner)[name]))
                else:
                    hard += self._refs(owner.module, definition_names(method.node))
                    soft += self._types(method)
                    soft += self._refs(owner.module, self.reach.facts[owner, name].globals)
            for decorator in class_node(ref.to).decorator_list:
                hard += self._refs(ref.to.module, expression_names(decorator))
            return hard, [*self._parts(ref), *soft]
        node_of = ref.to.node
        if isinstance(node_of, ast.FunctionDef):
            function = self.reach.code.function(ref.to)
            soft = [*self._types(function), *self._refs(ref.to.module, self.reach.functions[ref.to].globals)]
            return self._refs(ref.to.module, definition_names(function.node)), soft
        return self._refs(ref.to.module, expression_names(node_of)), []

    def _types(self, function: Function) -> list[Ref]:
        """The type aliases of the file that annotations name."""
        found = [
            resolved(function.module, name)
            for a in annotations_in(function.node)
            for name in sorted(expression_names(a))
        ]
        return [Ref(symbol) for symbol in found if isinstance(symbol, Definition) and symbol in self.reach.constants]

    def _parts(self, ref: Ref) -> list[Ref]:
        constructor = self.constructors.get(ref)
        values = [value for _, value in constructor.fields] if constructor else []
        return [part for value in values for part in self.refs_in(value)]

    def refs_in(self, expr: Expr) -> list[Ref]:
        """What an expression uses of the file."""
        return [part for part in walk(expr) if isinstance(part, Ref)]

    def _refs(self, module: str, names: Iterable[str]) -> list[Ref]:
        found = [self.reach.symbols.get((module, name)) for name in sorted(names)]
        return [Ref(symbol) for symbol in found if isinstance(symbol, Definition) and Ref(symbol) in self.names]

    # Text.

    def definition(self, ref: Ref) -> str:
        """A class, function or constant as it stands in the file."""
        if ref.variant:
            return self._variant(ref)
        if ref.to in self.classes.written:
            return self._class(ref, self.classes.written[ref.to])
        if isinstance(ref.to.node, ast.FunctionDef):
            return self._function(
                self.reach.code.function(ref.to), self.reach.functions[ref.to].globals, self.names[ref]
            )
        return self._statement(ref.to.module, ref.to.node)

    def expression(self, expr: Expr, indent: int = 0, before: str = "") -> str:
        """An expression, its imports noted."""
        for part in walk(expr):
            if isinstance(part, Name):
                self.imports.add(part.needs)
        return self.printer.layout(expr, indent, before)

    def _class(self, ref: Ref, written: Written) -> str:
        node = class_node(ref.to)
        bases = ", ".join(self._base(base) for base in written.bases if base is not object)
        lines = [self._statement(ref.to.module, d, before="@") for d in node.decorator_list]
        lines.append(f"class {self.names[ref]}({bases}):" if bases else f"class {self.names[ref]}:")
        about = ast.get_docstring(class_node(definition_of(written.label)))
        blocks = [docstring(about, 4) if about else ""]
        values: list[ast.stmt] = [c for c in node.body if node.decorator_list and isinstance(c, ast.AnnAssign)]
        kept = [
            class_values(owner)[name] for owner, name in written.members if name not in self.reach.code.methods(owner)
        ]
        values += [value for value in kept if value not in values]
        blocks.append("\n".join(textwrap.indent(self._statement(ref.to.module, value), "    ") for value in values))
        if ref in self.constructors:
            blocks.append(self._init(ref, written.definition.value))
        elif ref.to in self.added:
            blocks.append(self._init_of_torch(self.added[ref.to]))
        for owner, name in written.members:
            method = self.reach.code.methods(owner).get(name)
            if method is not None:
                text = self._function(method, self.reach.facts[owner, name].globals, indent=4)
                blocks.append(textwrap.indent(text, "    "))
        body = "\n\n".join(block for block in blocks if block)
        return "\n".join([*lines, body or "    pass"])

    def _variant(self, ref: Ref) -> str:
        doc = f'    """A {self.names[Ref(ref.to)]} of other parts."""'
        return (
            f"class {self.names[ref]}({self.names[Ref(ref.to)]}):\n{doc}\n\n{self._init(ref, ref.to.value, above=True)}"
        )

    def _base(self, base: type) -> str:
        if is_project(base):
            return self.names[Ref(definition_of(base))]
        if base.__module__.startswith("torch.nn"):
            self.imports.add(Import("torch", "nn", ""))
            return f"nn.{base.__name__}"
        if base.__module__ != "builtins":
            self.imports.add(Import(base.__module__, base.__name__, ""))
        return base.__name__

    def _init(self, ref: Ref, kind: type, above: bool = False) -> str:
        """The constructor of a class of modules."""
        constructor = self.constructors[ref]
        if not constructor.fields:
            return ""
        parameters = "".join(f", {name}: {text}" for name, text in constructor.parameters)
        self._import_for(" ".join(text for _, text in constructor.parameters))
        head = f"    def __init__(self{parameters}) -> None:"
        if len(head) > WIDTH:
            split = "".join(f"        {name}: {text},\n" for name, text in constructor.parameters)
            head = f"    def __init__(\n        self,\n{split}    ) -> None:"
        start = "nn.Module.__init__(self)" if above or self.classes.initialised(kind) else "super().__init__()"
        lines = [head, f"        {start}"]
        for name, value in constructor.fields:
            for part in walk(value):
                if isinstance(part, Name):
                    self.imports.add(part.needs)
            lines.append(self._set(name, value))
        self.imports.add(Import("torch", "nn", ""))
        return "\n".join(lines)

    def _init_of_torch(self, added: Iterable[str]) -> str:
        """The constructor of a class that adds attributes to those of a class of torch."""
        self.imports.add(Import("typing", "Any", ""))
        given = ", ".join(f"{name}: Any" for name in added)
        lines = [f"    def __init__(self, *args: Any, {given}, **options: Any) -> None:"]
        lines += ["        super().__init__(*args, **options)", *(f"        self.{name} = {name}" for name in added)]
        return "\n".join(lines)

    def _set(self, name: str, value: Expr) -> str:
        if isinstance(value, Array) and value.buffer_type:
            return "        " + self.printer.layout(value, 8, f'self.register_buffer("{name}", ', ")")
        return "        " + self.printer.layout(value, 8, f"self.{name} = ")

    def _import_for(self, text: str) -> None:
        if "nn." in text:
            self.imports.add(Import("torch", "nn", ""))

    def _function(self, function: Function, globals_: Iterable[str], name: str = "", indent: int = 0) -> str:
        """A function with the names of the file, its docstring cut, without annotations that name what is not in the file."""
        node, edits = function.node, Edits(function.text)
        typed = annotations_in(node)
        self._rename(function.module, node, globals_, edits, skip={id(n) for a in typed for n in ast.walk(a)})
        for annotation in typed:
            self._annotation(function.module, annotation, edits)
        text = ast.get_docstring(node)
        if text is not None:
            edits.replace_node(node.body[0], docstring(text, 4, WIDTH - indent).lstrip())
        return cleaned(
            re.sub(rf"^def {node.name}\b", f"def {name or node.name}", edits.result(), count=1, flags=re.MULTILINE)
        )

    def _statement(self, module: str, node: ast.stmt | ast.expr, before: str = "") -> str:
        """A constant, a field or a decorator with the names of the file."""
        text = ast.unparse(node) if isinstance(node, ast.expr) else statement_text(module, node)
        parsed, edits = ast.parse(text), Edits(text)
        self._rename(module, parsed, expression_names(parsed), edits)
        return before + cleaned(edits.result())

    def _rename(
        self,
        module: str,
        node: ast.AST,
        names: Iterable[str],
        edits: Edits,
        skip: set[int] = frozenset(),  # type: ignore[assignment]
    ) -> None:
        """Give names what they are called in the file, and note their imports."""
        wanted = {name: self._name(self.reach.symbol(module, name)) for name in names if not is_builtin(module, name)}
        for n in ast.walk(node):
            if isinstance(n, ast.Name) and wanted.get(n.id, n.id) != n.id and id(n) not in skip:
                edits.replace_node(n, wanted[n.id])

    def _name(self, symbol: Symbol) -> str:
        """The name of a symbol in the file, its import noted."""
        if isinstance(symbol, Import):
            self.imports.add(symbol)
            return symbol.alias or symbol.name or symbol.module.partition(".")[0]
        return self.names[Ref(symbol)]

    def _annotation(self, module: str, annotation: ast.expr, edits: Edits) -> None:
        """An annotation with the names of the file; none where it names what is not in the file."""
        symbols: dict[str, Symbol] = {}
        for name in expression_names(annotation):
            if is_builtin(module, name):
                continue
            symbol = resolved(module, name)
            if symbol is None or (isinstance(symbol, Definition) and Ref(symbol) not in self.names):
                return _remove(annotation, edits)
            symbols[name] = symbol
        for n in ast.walk(annotation):
            if isinstance(n, ast.Name) and n.id in symbols:
                new = self._name(symbols[n.id])
                if new != n.id:
                    edits.replace_node(n, new)
        return None


def resolved(module: str, name: str) -> Symbol | None:
    """What a name stands for; None where that is not found."""
    try:
        return resolve(module, name)
    except TypeError:
        return None


def _remove(annotation: ast.expr, edits: Edits) -> None:
    """Take an annotation away with its colon or arrow."""
    start, end = edits.span(annotation)
    before = edits.text[:start]
    edits.replace(len(re.sub(rb"(\s*->|\s*:)\s*$", b"", before)), end, "")


def cleaned(text: str) -> str:
    """Without comments for tools, and with long comments on several lines."""
    text = re.sub(r"[ \t]+# (type: ignore|noqa).*$", "", text, flags=re.MULTILINE)
    return re.sub(rf"^([ \t]*)# .{{{WIDTH - 8},}}$", _wrapped_comment, text, flags=re.MULTILINE)


def _wrapped_comment(found: re.Match[str]) -> str:
    margin = found.group(1) + "# "
    lines = textwrap.wrap(found.group().strip()[2:], WIDTH - 4 - len(margin), break_long_words=False)
    return "\n".join(margin + line for line in lines)


def docstring(text: str, indent: int, width: int = WIDTH) -> str:
    """The first paragraph of a docstring, wrapped."""
    first = " ".join(text.strip().split("\n\n")[0].split())
    first = re.sub(r":\w+:`~?([^`]*)`", lambda m: f"``{m.group(1).rpartition('.')[2]}``", first)
    # What stands between backticks is not broken.
    first = re.sub(r"``[^`]*``", lambda m: m.group().replace(" ", "\0"), first)
    first = first.replace("\\", "\\\\").replace('"""', "'''")
    lines = textwrap.wrap(first, width - indent - 6, break_long_words=False, break_on_hyphens=False) or [""]
    lines = [line.replace("\0", " ") for line in lines]
    margin = " " * indent
    if len(lines) == 1:
        return f'{margin}"""{lines[0]}"""'
    return "\n".join([f'{margin}"""{lines[0]}', *(margin + line for line in lines[1:]), f'{margin}"""'])


def ordered(writer: Writer, roots: Iterable[Ref]) -> list[Ref]:
    """Everything that is written, each after what it needs as far as that is possible, and after what it must have."""
    visited: list[Ref] = []
    seen: set[Ref] = set()

    def visit(ref: Ref) -> None:
        if ref in seen:
            return
        seen.add(ref)
        hard, soft = writer.needs(ref)
        for need in (*hard, *soft):
            visit(need)
        visited.append(ref)

    for root in roots:
        visit(root)
    result: list[Ref] = []

    def place(ref: Ref) -> None:
        if ref not in result:
            for need in writer.needs(ref)[0]:
                place(need)
            result.append(ref)

    for ref in visited:
        place(ref)
    return result


def import_lines(imports: Iterable[Import]) -> str:
    """Import statements, the standard library first, as formatters sort them."""
    sections: list[str] = []
    for place in range(3):
        part = [i for i in set(imports) if _section(i) == place]
        whole = sorted(
            f"import {i.module}" + (f" as {i.alias}" if i.alias and i.alias != i.module else "")
            for i in part
            if not i.name
        )
        names: dict[str, set[str]] = {}
        for i in part:
            if i.name:
                names.setdefault(i.module, set()).add(
                    i.name + (f" as {i.alias}" if i.alias and i.alias != i.name else "")
                )
        froms = [
            f"from {module} import {', '.join(sorted(names[module], key=_import_order))}" for module in sorted(names)
        ]
        if whole or froms:
            sections.append("\n".join([*whole, *froms]))
    return "\n\n".join(sections)


def _section(found: Import) -> int:
    """0 for the future, 1 for the standard library, 2 for torch."""
    return 0 if found.module == "__future__" else 2 if found.module.partition(".")[0] == "torch" else 1


def _import_order(name: str) -> tuple[int, str]:
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2), name
