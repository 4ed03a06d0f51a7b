"""What is proven of a paper's model, read from docs/fidelity.md, which is measured: the card on its page of the gallery."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache
from pathlib import Path

from tests.golden.proofs import proofs

ROOT = Path(__file__).parents[2]
FIDELITY = ROOT / "docs" / "fidelity.md"

Rows = list[list[str]]


def table(head: list[str], rows: Rows) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


@cache
def rows_of_fidelity() -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in FIDELITY.read_text().splitlines()
        if line.startswith("| ")
    ]


def named(title: str, text: str) -> bool:
    """Whether a text is about a model of this title, not about a later one of the same name."""
    return re.search(rf"\b{re.escape(title)}\b(?!-| V2| III)", text) is not None


def live(classes: Collection[str], title: str) -> Rows:
    """Live models in float32 that become one of the classes: which, there, its image sizes, the larger error of both ways."""
    cells = (row for row in rows_of_fidelity() if len(row) == 6)
    return [
        [row[0], row[1], row[3], max(row[4], row[5], key=float)]
        for row in cells
        if row[2].strip("`") in classes or named(title, row[0])
    ]


def disagreements(classes: Collection[str], title: str) -> Rows:
    """Where publications of the model disagree, and how far apart their answers are."""
    found, about = [], ""
    for row in (row for row in rows_of_fidelity() if len(row) == 5 and row[3].endswith(")`")):
        about = row[0] if row[0] != "the same" else about
        if row[3].strip("`").partition("(")[0] in classes or named(title, about):
            found.append([about, *row[1:]])
    return found


def card(name: str, classes: Collection[str], title: str) -> str:
    """What it was compared with, the cases, the largest error; live models; where publications disagree."""
    cases, models, apart = proofs().get(name, []), live(classes, title), disagreements(classes, title)
    sections = []
    if cases:
        references = sorted({version(row[1]) for row in cases})
        largest = max((row[3] for row in cases), key=float)
        sections.append(
            f"{len(cases)} case{'s' * (len(cases) != 1)} in float64 against {', '.join(references)}: "
            f"the largest error of all outputs is **{largest}** of the largest value ([how](../../fidelity.md))."
        )
        sections.append(table(["case", "published implementation", "layout", "largest error"], cases))
    if models:
        sections.append("Live models of other libraries, adopted and loaded, in float32:")
        sections.append(table(["model", "class there", "images", "largest error"], models))
    if apart:
        sections.append("Publications disagree, and both ways are here:")
        sections.append(table(["about", "one", "the other", "said by", "apart"], apart))
    elif cases:
        sections.append("No disagreement between publications is known.")
    return "\n\n".join(["## Equal to", *sections]) if sections else ""


def version(reference: str) -> str:
    """``timm 1.0.31``, or the authors' repository and its commit."""
    commit = re.search(r"commit \w{7}", reference)
    return f"{re.split('[, ]', reference)[0]} ({commit[0]})" if commit else reference.partition(",")[0]


def libraries(cases: Rows) -> list[str]:
    """Whose implementations cases are of: the authors' own first, then those of libraries."""
    sources = {re.split("[, ]", row[1])[0] for row in cases}
    known = sorted(
        source.rpartition("/")[2] for source in sources if "/" not in source or source.endswith("vit-pytorch")
    )
    authors = any("/" in source and not source.endswith("vit-pytorch") for source in sources)
    return (["the authors' code"] if authors else []) + sorted(set(known))
