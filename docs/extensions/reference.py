"""The reference: a page for every package, with all public names, and links to them by whatever name a docstring calls them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

import vitblocks
from vitblocks import zoo

OUT = Path(__file__).parents[1] / "generated" / "reference"
"""Made anew at every build; no page here is in the repository."""

PACKAGES = sorted(name for name in vitblocks.__all__ if inspect.ismodule(getattr(vitblocks, name)))


@cache
def places() -> dict[int, str]:
    """Where each public object is documented, by its id: in the package it is public in, what no package has at the top level."""
    found: dict[int, str] = {}
    for package in [*(f"vitblocks.{name}" for name in PACKAGES), "vitblocks"]:
        module = importlib.import_module(package)
        for name in public(module):
            found.setdefault(id(getattr(module, name)), f"{package}.{name}")
    for home in pkgutil.iter_modules(zoo.__path__, f"{zoo.__name__}."):
        if home.ispkg:
            module = importlib.import_module(home.name)
            for name in public(module):
                found.setdefault(id(getattr(module, name)), f"{home.name}.{name}")
    return found


def own_names(module: ModuleType) -> list[tuple[str, str]]:
    """The directive and the full name of what a paper's package alone has, for its page of the gallery."""
    where = places()
    own = ((name, getattr(module, name)) for name in public(module) if name != "VARIANTS")
    return [
        (_kind(value), f"{module.__name__}.{name}")
        for name, value in own
        if where[id(value)] == f"{module.__name__}.{name}" and _kind(value) != "py:data"
    ]


def public(module: ModuleType) -> list[str]:
    return [name for name in getattr(module, "__all__", ()) if not inspect.ismodule(getattr(module, name))]


def write(app: Sphinx) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    where = places()
    pages = []
    for package in ["vitblocks", *(f"vitblocks.{name}" for name in PACKAGES)]:
        module = importlib.import_module(package)
        names = [name for name in public(module) if where[id(getattr(module, name))] == f"{package}.{name}"]
        if names:
            pages.append(package)
            _write(OUT / f"{package}.md", _page(module, names))
    _write(OUT / "index.md", _index(pages))


def _page(module: ModuleType, names: list[str]) -> str:
    package = module.__name__
    about = (
        (inspect.getdoc(module) or "")
        if package != "vitblocks"
        else "What a model is made of, and what is done with it."
    )
    entries = (f".. {_kind(getattr(module, name))}:: {package}.{name}\n" for name in names)
    return "\n".join([f"# {package}\n", *(f"```{{eval-rst}}\n{text}\n```\n" for text in (about, *entries))])


def _kind(value: Any) -> str:
    if inspect.isclass(value):
        return "autoexception" if issubclass(value, BaseException) else "autoclass"
    return "autofunction" if callable(value) and hasattr(value, "__code__") else "py:data"


def _index(pages: list[str]) -> str:
    listed = "\n".join(pages)
    return f"# Reference\n\nEvery public name, by package.\n\n```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n"


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def resolve(app: Sphinx, env: Any, node: Any, contnode: nodes.Element) -> nodes.Element | None:
    """A link to an object by the place where it is documented, whichever of its names it was called by."""
    if node.get("refdomain") != "py":
        return None
    target, _, member = _split(node["reftarget"], node.get("py:module") or "vitblocks")
    if target is None:
        return None
    name = places().get(id(target))
    if name is None:
        return None
    domain = env.get_domain("py")
    full = f"{name}.{member}" if member else name
    return domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], full, node, contnode)


@cache
def names() -> dict[str, str]:
    """Where each name that pages call a public object by is documented: ``ViT``, ``vitblocks.ViT``, ``zoo.ViT``."""
    where, found = places(), {}
    for package in [*(f"vitblocks.{name}" for name in PACKAGES), "vitblocks"]:
        module = importlib.import_module(package)
        found |= {f"{package}.{name}": where[id(getattr(module, name))] for name in public(module)}
    short = {name.removeprefix("vitblocks."): place for name, place in found.items()}
    return {place: place for place in where.values()} | found | short


def link_literals(app: Sphinx, doctree: nodes.document) -> None:
    """Makes a link of a public name that stands as code in a page's text, where it is first called so in a section.

    On a page that is called as a package, as convert.md, also what that package has.
    """
    if app.env.docname.startswith("generated/"):
        return
    seen = set()
    for literal in list(doctree.findall(nodes.literal)):
        called = re.fullmatch(r"([\w.]+)(\(.*\))?", literal.astext())
        place = names().get(called[1], names().get(f"{app.env.docname}.{called[1]}")) if called else None
        section = literal.parent
        while section is not None and not isinstance(section, nodes.section):
            if isinstance(section, nodes.reference | nodes.title | pending_xref):
                place = None
            section = section.parent
        if place is not None and (id(section), place) not in seen:
            seen.add((id(section), place))
            link = pending_xref("", refdomain="py", reftype="obj", reftarget=place, refdoc=app.env.docname)
            literal.replace_self(link)
            link += literal


def _split(name: str, module: str) -> tuple[Any, str, str]:
    """The object of a dotted name and what is asked of it: a class and the name of its method."""
    for start in (name, f"{module}.{name}", f"vitblocks.{name}"):
        parts = start.split(".")
        for i in range(len(parts), 0, -1):
            try:
                found: Any = importlib.import_module(".".join(parts[:i]))
            except (ImportError, ValueError):
                continue
            rest = parts[i:]
            if not rest or not hasattr(found, rest[0]):
                break
            return getattr(found, rest[0]), rest[0], ".".join(rest[1:])
    return None, "", ""


def join_names(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Names of arguments that fill more than a line stand in one, as napoleon expects them."""
    joined: list[str] = []
    for line in lines:
        if (
            joined
            and joined[-1].endswith(",")
            and re.fullmatch(r"\s*(\w+, )*\w+", joined[-1][:-1])
            and line.startswith("    ")
        ):
            joined[-1] += " " + line.strip()
        else:
            joined.append(line)
    lines[:] = joined


def leave_out(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """What every module of PyTorch has and nobody calls."""
    return True if name == "extra_repr" else None


def forget_torch(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """What PyTorch says of every ``forward``, where a part says it of the class."""
    if lines and lines[0] == "Define the computation performed at every call.":
        lines.clear()


def plain_aliases(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Names of type aliases as they are written, which a union would show with what wraps them."""
    return _unwrapped(signature), _unwrapped(returned)


def _unwrapped(words: str | None) -> str | None:
    if words is None:
        return None
    words = re.sub(r"TypeAliasForwardRef\('([\w.]+)'\)", r"\1", words)
    words = re.sub(
        r"<class '(?:\w+\.)*(\w+)'>", r"\1", words
    )  # as a default, it would end the reading of the signature
    return re.sub(r"<function (?:\w+\.)*(\w+) at 0x\w+>", r"\1", words)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", write)
    app.connect("doctree-read", link_literals)
    app.connect("missing-reference", resolve)
    app.connect("autodoc-skip-member", leave_out)
    app.connect("autodoc-process-docstring", forget_torch)
    app.connect("autodoc-process-signature", plain_aliases)
    app.connect("autodoc-process-docstring", join_names, priority=400)
    return {"parallel_read_safe": True}
