"""The Python of every page in docs/ runs as it stands, its links lead somewhere, and its pictures are small."""

from __future__ import annotations

import ast
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from vitblocks import objectives, zoo

from .border import cases as cases  # which lets timm import torchvision

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(page for page in DOCS.glob("**/*.md") if "generated" not in page.parts)
BLOCK = re.compile(r"^```python\n(.*?)^```(?:\n\n```text\n(.*?)^```)?", flags=re.MULTILINE | re.DOTALL)
"""Python, and what stands right below it: what it prints."""


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text())


def absent() -> list[str]:
    """Other libraries that pages show and that are not installed here."""
    return [name for name in ("timm", "transformers", "peft", "torchao", "nncf") if find_spec(name) is None]


DECIMAL = re.compile(r"\d+\.\d+(?:e[+-]\d+)?(?![\d%])")


def same(shown: str, printed: str) -> bool:
    """Whether a block printed what the page shows.

    ``...``, with the room around it, stands for numbers that depend on the machine. Decimals may differ as another processor's do.
    """
    assert shown.strip(" .\n"), "nothing is shown"
    if printed == shown:
        return True
    pattern = re.sub(r"(?:\\ )*\\\.\\\.\\\.(?:\\ )*", ".*", re.escape(DECIMAL.sub("<decimal>", shown)))
    found = re.fullmatch(pattern.replace("<decimal>", f"({DECIMAL.pattern})"), printed)
    return found is not None and all(map(near, DECIMAL.findall(shown), found.groups()))


def near(shown: str, printed: str) -> bool:
    """Within 1 of the last digit; an error of 0 stays below 1e-6."""
    mantissa, _, power = shown.partition("e")
    if power and float(shown) == 0:
        return float(printed) < 1e-6
    last = 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2]))
    return abs(float(printed) - float(shown)) <= 1.001 * last


def test_shown_and_printed() -> None:
    assert same("drift 0.084, of 37.5% at 1.2e-07\n", "drift 0.083, of 37.5% at 1.3e-07\n")
    assert same("off by 0.0e+00, in ... ms\n", "off by 3.1e-07, in 12 ms\n")
    for printed in ("drift 0.184\n", "drift 0.082\n", "drift 0.084 more\n", "drift 84\n", "swap 0.084\n"):
        assert not same("drift 0.084\n", printed)
    assert not same("off by 0.0e+00\n", "off by 2.0e-03\n")
    assert not same("3 layers, 0.5\n", "4 layers, 0.5\n")
    assert not same("of 37.5%\n", "of 37.4%\n")


def targets(page: Path, kind: str) -> list[Path]:
    """The files that a page's links, or with ``!`` its pictures, lead to."""
    return [page.parent / target for target in re.findall(kind + r"\[[^]]+\]\(([^)#:]+)\)", page.read_text())]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_python_blocks_run_in_order(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # for what they write
    names: dict[str, Any] = {"__name__": page.stem}
    for i, (block, printed) in enumerate(blocks(page)):
        if any(f"import {name}\n" in block or f"from {name}" in block for name in absent()):
            continue
        capsys.readouterr()
        exec(compile(block, f"{page.name}, block {i}", "exec"), names)
        if printed:
            assert same(printed, capsys.readouterr().out), f"block {i}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_files(page: Path) -> None:
    for target in targets(page, ""):
        assert target.exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pictures_are_small(page: Path) -> None:
    for picture in targets(page, "!"):
        assert picture.stat().st_size < 150_000, picture


def test_every_page_is_in_the_navigation() -> None:
    navigation = (DOCS / "index.md").read_text()
    for page in PAGES:
        assert page.stem == "index" or f"\n{page.relative_to(DOCS).with_suffix('')}\n" in navigation, page


HOMES = [
    *sorted(Path(zoo.__path__[0]).glob("*/__init__.py")),
    Path(zoo.__path__[0]) / "flexivit.py",
    *(Path(objectives.__path__[0]) / name for name in ("dino.py", "mae/__init__.py", "simmim/__init__.py")),
]


@pytest.mark.parametrize("home", HOMES, ids=lambda home: f"{home.parent.name}/{home.stem}")
def test_every_paper_says_what_is_special_about_it(home: Path) -> None:
    """The gallery shows it: at least two sentences below the line that names the paper."""
    docstring = ast.get_docstring(ast.parse(home.read_text())) or ""
    title, _, special = docstring.partition("\n\n")
    assert "arXiv:" in title
    assert special.count(".") >= 2


def test_parts_named_are_there() -> None:
    import vitblocks

    named = set(re.findall(r"`([A-Z]\w+)`", (DOCS / "parts.md").read_text()))
    assert len(named) > 40
    assert named <= set(vitblocks.__all__)
