"""The crawler of the built site finds what leads nowhere."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

PATH = Path(__file__).parent.parent / "docs" / "extensions" / "links.py"


@pytest.fixture(scope="module")
def links() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_links", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_kind_of_dead_link(links: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "drawn.png").touch()
    (tmp_path / "sub" / "index.html").write_text('<h1 id="top place">Sub</h1><a href="../index.html#there">back</a>')
    (tmp_path / "index.html").write_text(
        '<h1 id="there">Here</h1><a href="#there">a</a><a href="sub/">b</a><a href="sub/index.html#top%20place">c</a>'
        '<a href="https://example.org/none">d</a><img src="drawn.png" alt=""><img src="/drawn.png" alt="drawn">'
    )
    assert links.broken(tmp_path) == []
    (tmp_path / "bad.html").write_text(
        '<a href="none.html">a</a><a href="#none">b</a><a href="sub/index.html#none">c</a><img src="none.png">'
        '<a href="sub/"><code><a href="index.html">e</a></code></a>'
    )
    assert links.broken(tmp_path) == [
        "bad.html: no alt text for none.png",
        "bad.html: another link within the one to sub/",
        "bad.html: none.html leads nowhere",
        "bad.html: #none has no such place",
        "bad.html: sub/index.html#none has no such place",
        "bad.html: none.png leads nowhere",
    ]


def test_no_pages_is_no_success(links: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no pages"):
        links.broken(tmp_path)
