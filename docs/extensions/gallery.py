"""The gallery: a page for every paper of the zoo, made of the model itself, of what is proven of it and of what it loads."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from cards import card, libraries, proofs, table
from citations import bibtex
from sphinx.application import Sphinx
from torch import nn

import vitblocks
from tests.counts import count, recorded
from vitblocks import border, objectives, zoo
from vitblocks.viz import stage_diagram

DOCS = Path(__file__).parents[1]
OUT = DOCS / "generated" / "gallery"
"""Made anew at every build, pictures where there is none yet; nothing here is in the repository."""

NARROW = 3.4
"""Inches of the picture for a phone."""

DEIT_S = vitblocks.registry.variants()["vit_small_patch16_224"].options
EXAMPLES: dict[str, tuple[str, dict[str, Any]]] = {
    "ats_vit": ("ATSViT", {**DEIT_S, "num_classes": 1000, "max_tokens_per_depth": (None,) * 3 + (196,) * 9}),
}
"""Of papers that name no sizes: the class and the arguments of what they show."""

OBJECTIVES = {"dino": "Dino", "mae": "MAE", "simmim": "SimMIM"}
"""Modules of objectives that are a paper, and their classes."""

MANY = 15
"""Papers that use a part, beyond which they are counted rather than named."""

PICTURES = {"mae": "mae_digits.png", "simmim": "simmim_digits.png"}

USED_BY: dict[int, list[tuple[str, str]]] = {}
"""The papers that use a part: page and title, by the class's id."""


def papers() -> Iterator[ModuleType]:
    """The packages and modules of the zoo that hold a paper's model."""
    for found in sorted(pkgutil.iter_modules(zoo.__path__), key=lambda found: found.name):
        module = importlib.import_module(f"{zoo.__name__}.{found.name}")
        if getattr(module, "VARIANTS", None) or found.name in EXAMPLES:
            yield module


def write(app: Sphinx) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    USED_BY.clear()
    listed, learned = [], []
    for module in papers():
        name = module.__name__.rpartition(".")[2]
        listed.append(name)
        save(OUT / f"{name}.md", page(module, name))
    for name in OBJECTIVES:
        learned.append(f"learn_{name}")
        save(OUT / f"learn_{name}.md", objective(name))
    save(OUT / "index.md", INDEX.format(models=tree(listed), objectives=tree(learned)))


def tree(names: list[str]) -> str:
    """A table of pages, each with what it is compared with, and the hidden list of them that the navigation needs."""
    lines = []
    for name in names:
        path = OUT / f"{name}.md"
        title = path.read_text().partition("\n")[0].strip("# ")
        cases = proofs().get(name.removeprefix("learn_"), [])
        compared = ", ".join(libraries(cases))
        largest = max((row[3] for row in cases), key=float, default="")
        lines.append([f"[{title}]({name}.md)", compared, str(len(cases)), largest])
    pages = "\n".join(["```{toctree}", ":hidden:", "", *names, "```"])
    return table(["paper", "compared with", "cases", "largest error"], lines) + "\n\n" + pages


INDEX = """# Gallery

A page for every paper: its model drawn from the model itself, its parts, its published sizes, what it was compared with, and which
published weights it loads. Errors are of all outputs in float64, over the largest value ([all cases](../../fidelity.md)).

{models}

## What they learn by

{objectives}
"""


def save(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def page(module: ModuleType, name: str) -> str:
    about, _, more = (inspect.getdoc(module) or "").partition("\n")
    title = title_of(about)
    models = examples(module, name)
    first, model = next(iter(models.items()))
    for one in models.values():
        note_uses(one, name, title)
    kinds = {type(one) for one in models.values()}
    own = {kind.__name__ for kind in kinds if kind.__module__.startswith(module.__name__)}
    sections = [
        f"# {title}",
        linked(about),
        rest(more),
        source(kinds),
        pictures(model, name, first),
        parts(list(models.values())),
        sizes(getattr(module, "VARIANTS", {})),
        card(name, own, title),
        weights(set(getattr(module, "VARIANTS", {})), kinds),
        cite(about),
        own_parts(module),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def objective(name: str) -> str:
    module = importlib.import_module(f"{objectives.__name__}.{name}")
    kind = getattr(objectives, OBJECTIVES[name])
    about, _, more = (inspect.getdoc(module) or "").partition("\n")
    drawn = f"![What {kind.__name__} makes of digits](../../images/{PICTURES[name]})" if name in PICTURES else ""
    sections = [
        f"# {title_of(about)}",
        linked(about),
        rest(more),
        source({kind}),
        drawn,
        "It trains any model that it can: [Objectives](../../objectives.md) shows how, and whether it learns.",
        card(name, {kind.__name__}, title_of(about)),
        cite(about),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def examples(module: ModuleType, name: str) -> dict[str, nn.Module]:
    """The first published size, and the first of every other class or set of arguments, on the meta device."""
    with torch.device("meta"):
        if name in EXAMPLES:
            kind, options = EXAMPLES[name]
            return {f"{kind} of DeiT-S's size": getattr(zoo, kind)(**options)}
        firsts: dict[Any, str] = {}
        for variant, found in module.VARIANTS.items():
            firsts.setdefault((found.build, frozenset(found.options)), variant)
        return {variant: vitblocks.create_model(variant) for variant in firsts.values()}


def title_of(about: str) -> str:
    return about.partition(":")[0].partition(" (arXiv")[0].partition(", and with it")[0]


def rest(text: str) -> str:
    return f"```{{eval-rst}}\n{text.strip()}\n```" if text.strip() else ""


def linked(text: str) -> str:
    return re.sub(r"arXiv:(\d{4}\.\d{5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def source(kinds: set[type]) -> str:
    """The classes, each with its first line and the page of its code."""
    lines = []
    for kind in sorted(kinds, key=lambda kind: kind.__name__):
        about = (inspect.getdoc(kind) or "").partition("\n")[0]
        code = f"../../_modules/{kind.__module__.replace('.', '/')}.html#{kind.__name__}"
        lines.append(f":class:`~vitblocks.{kind.__name__}`: {about} (`source <{code}>`__)\n")
    return "```{eval-rst}\n" + "\n".join(lines) + "```"


def pictures(model: nn.Module, name: str, shown: str) -> str:
    """The stages twice: for a wide page and for a phone; the style sheet shows one."""
    for suffix, options in (("", {}), ("_narrow", {"width": NARROW})):
        path = OUT / f"{name}{suffix}.png"
        if not path.exists():
            stage_diagram(model, **options).savefig(path, dpi=160 if suffix else 130)
    image = "```{{image}} {file}\n:alt: The stages of {shown}, from the image down to the logits\n:class: {kind}\n```"
    drawn = "\n\n".join(
        image.format(file=f"{name}{suffix}.png", shown=shown, kind=kind)
        for suffix, kind in (("", "for-wide"), ("_narrow", "for-narrow"))
    )
    return f"{drawn}\n\n`{shown}`, drawn from the model."


def parts_of(model: nn.Module) -> dict[type, int]:
    counts: dict[type, int] = {}
    for module in model.modules():
        kind = type(module)
        if kind.__module__.startswith("vitblocks.") and module is not model:
            counts[kind] = counts.get(kind, 0) + 1
    return counts


def note_uses(model: nn.Module, name: str, title: str) -> None:
    for kind in parts_of(model):
        used = USED_BY.setdefault(id(kind), [])
        if (name, title) not in used:
            used.append((name, title))


def parts(models: list[nn.Module]) -> str:
    """The parts of the model that is drawn, each with its number and a link; then those of other sizes."""
    counts = parts_of(models[0])
    others = dict.fromkeys(kind for model in models[1:] for kind in parts_of(model) if kind not in counts)
    lines = ", ".join(f"{number} {role(kind)}" for kind, number in counts.items()) + "."
    if others:
        lines += "\n\nIn other sizes, too: " + ", ".join(map(role, others)) + "."
    return f"## Parts\n\n```{{eval-rst}}\n{lines}\n```"


def role(kind: type) -> str:
    return f":class:`~{kind.__module__}.{kind.__qualname__}`"


def own_parts(module: ModuleType) -> str:
    """The public names of the paper's package that have no other place in the reference."""
    from reference import own_names

    entries = [f".. {kind}:: {name}\n" for kind, name in own_names(module)]
    if not entries:
        return ""
    return "\n\n".join(["## Parts that only it uses", *(f"```{{eval-rst}}\n{entry}\n```" for entry in entries)])


def sizes(variants: dict[str, Any]) -> str:
    """Parameters and multiply-adds of every published size, beside the paper's where we know them."""
    if not variants:
        return "## Sizes\n\nThe paper puts its sampling into models that are there; no size has a name here."
    published = json.loads((DOCS.parent / "tests" / "variants.json").read_text())
    counts = recorded()
    rows, sources = [], {}
    for name in variants:
        (height, width), params, macs = counts.get(name) or count(name)
        there = published.get(name, {})
        theirs = [figure(there.get("paper_params_M"), "M"), figure(there.get("paper_gmacs"), "G")]
        if any(theirs):
            sources[there.get("paper_source") or "the paper"] = None
        image = str(height) if height == width else f"{height} x {width}"
        rows.append([f"`{name}`", image, f"{params / 1e6:.2f} M", f"{macs / 1e9:.2f} G", *theirs])
    head = ["`create_model(...)`", "image", "parameters", "MACs", "published", "MACs"]
    if not sources:
        rows, head = [row[:4] for row in rows], head[:4]
    said = f"\n\nPublished figures: {'; '.join(sources)}." if sources else ""
    return "## Sizes\n\n" + table(head, rows) + said


def figure(number: float | None, unit: str) -> str:
    return "" if number is None else f"{number:g} {unit}"


def weights(variants: set[str], kinds: set[type]) -> str:
    names = dict.fromkeys(f"`{layout}`" for kind in kinds for layout in getattr(kind, "layouts", {}))
    said = f"Files and state dicts in the layouts {', '.join(names)}, which it writes as well." if names else ""
    rows = [
        [f"`{name}`", str(one.num_classes), one.license or "not said", f"[{one.hub}](https://huggingface.co/{one.hub})"]
        for name, one in border.published().items()
        if one.variant in variants
    ]
    head = ["`create_model(..., pretrained=True)`", "classes", "licence", "of"]
    listed = table(head, rows) if rows else "No published weights have a name here."
    return "\n\n".join(section for section in ("## Weights that it loads", said, listed) if section)


def cite(about: str) -> str:
    entries = "\n\n".join(bibtex(number) for number in re.findall(r"arXiv:(\d{4}\.\d{5})", about))
    return f"## Citation\n\n```bibtex\n{entries}\n```"


def say_who_uses(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """At the end of a part's entry the pages of the papers that are made of it."""
    used = USED_BY.get(id(obj))
    if what == "class" and used:
        links = ", ".join(f":doc:`{title} </generated/gallery/{page}>`" for page, title in used)
        most = f"{len(used)} papers of the :doc:`gallery </generated/gallery/index>`"
        lines += ["", f"Used by {links if len(used) <= MANY else most}.", ""]


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", write)
    app.connect("autodoc-process-docstring", say_who_uses, priority=900)
    return {"parallel_read_safe": True}
