"""The gallery: a page for every paper of the zoo, made of the model itself, of what is proven of it and of what it loads."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from sphinx.application import Sphinx
from torch import nn

import vitblocks
from tests.golden import builders
from tests.golden.case import Case
from tests.golden.check import find_builder
from vitblocks import border, zoo
from vitblocks.grid import to_pair
from vitblocks.viz import stage_diagram

DOCS = Path(__file__).parents[1]
OUT = DOCS / "generated" / "gallery"
"""Made anew at every build, pictures where there is none yet; nothing here is in the repository."""

Rows = list[list[str]]


def papers() -> Iterator[ModuleType]:
    """The packages of the zoo that hold a paper's model."""
    for found in sorted(pkgutil.iter_modules(zoo.__path__), key=lambda found: found.name):
        module = importlib.import_module(f"{zoo.__name__}.{found.name}")
        if getattr(module, "VARIANTS", None):
            yield module


def write(app: Sphinx) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    proven = proofs()
    names = []
    for module in papers():
        name = module.__name__.rpartition(".")[2]
        names.append(name)
        save(OUT / f"{name}.md", page(module, name, proven))
    listed = "\n".join(names)
    save(OUT / "index.md", f"{INDEX}\n```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n")


INDEX = """# Gallery

A page for every paper: its model drawn from the model itself, its parts, its published sizes, what it was compared with, and which
published weights it loads.
"""


def save(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def page(module: ModuleType, name: str, proven: dict[str, Rows]) -> str:
    about, _, more = (inspect.getdoc(module) or "").partition("\n")
    variants: dict[str, Any] = module.VARIANTS
    first = next(iter(variants))
    with torch.device("meta"):
        model = vitblocks.create_model(first)
    picture = OUT / f"{name}.png"
    if not picture.exists():
        stage_diagram(model).savefig(picture, dpi=110)
    title = about.partition(":")[0].partition(" (arXiv")[0]
    sections = [
        f"# {title}",
        linked(about),
        rest(more),
        f"```{{eval-rst}}\n:class:`~vitblocks.{type(model).__name__}`: {first_line(type(model))}\n```",
        f"![The stages of {first}, from the image down to the logits](../gallery/{name}.png)",
        f"`{first}`, drawn from the model.",
        parts(model),
        sizes(variants),
        proof(proven.get(name, [])),
        weights(set(variants)),
        cite(about),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def first_line(kind: type) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def rest(text: str) -> str:
    return f"```{{eval-rst}}\n{text.strip()}\n```" if text.strip() else ""


def linked(text: str) -> str:
    return re.sub(r"arXiv:(\d{4}\.\d{5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def parts(model: nn.Module) -> str:
    """The parts that the model is made of, each with its number and a link."""
    counts: dict[type, int] = {}
    for module in model.modules():
        kind = type(module)
        if kind.__module__.startswith("vitblocks.") and module is not model:
            counts[kind] = counts.get(kind, 0) + 1
    rows = [f"{count} :class:`~{kind.__module__}.{kind.__qualname__}`" for kind, count in counts.items()]
    return "## Parts\n\n```{eval-rst}\n" + ", ".join(rows) + ".\n```"


def sizes(variants: dict[str, Any]) -> str:
    rows = []
    for name, variant in variants.items():
        size = variant.options.get("image_size")
        image = "any" if size is None else " x ".join(map(str, to_pair(size, "image_size")))
        rows.append([f"`{name}`", image, f"{parameters(name) / 1e6:.2f} M"])
    return "## Sizes\n\n" + table(["`create_model(...)`", "image", "parameters"], rows)


def parameters(name: str) -> int:
    with torch.device("meta"):
        model = vitblocks.create_model(name)
    return sum(parameter.numel() for parameter in model.parameters())


def proof(rows: Rows) -> str:
    if not rows:
        return ""
    return "## Equal to\n\n" + table(["case", "published implementation", "layout", "largest error"], rows)


def proofs() -> dict[str, Rows]:
    """The rows of docs/fidelity.md by the package of the zoo that they are about, which a module of builders is named after."""
    homes = {
        id(builder): module.name
        for module in pkgutil.iter_modules(builders.__path__)
        for builder in importlib.import_module(f"{builders.__name__}.{module.name}").BUILDERS.values()
    }
    found: dict[str, Rows] = {}
    for line in (DOCS / "fidelity.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        path = DOCS.parent / "tests" / "golden" / f"{cells[0]}.json"
        if len(cells) == 5 and path.exists():
            home = homes[id(find_builder(Case.read(str(path))))]
            found.setdefault(home, []).append([cells[0], cells[1], cells[2], cells[4]])
    return found


def weights(variants: set[str]) -> str:
    rows = [
        [f"`{name}`", str(one.num_classes), one.license or "not said", f"[{one.hub}](https://huggingface.co/{one.hub})"]
        for name, one in border.published().items()
        if one.variant in variants
    ]
    if not rows:
        return ""
    return "## Weights that it loads\n\n" + table(
        ["`create_model(..., pretrained=True)`", "classes", "licence", "of"], rows
    )


def cite(about: str) -> str:
    ids = re.findall(r"arXiv:(\d{4}\.\d{5})", about)
    entries = "\n".join(
        f"@misc{{arxiv{i.replace('.', '_')},\n  eprint = {{{i}}},\n  archivePrefix = {{arXiv}}\n}}" for i in ids
    )
    return f"## Citation\n\n```bibtex\n{entries}\n```"


def table(head: list[str], rows: Rows) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
