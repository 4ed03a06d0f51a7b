"""What the theme's pages lack for those who cannot see them or have no mouse, put in after the build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

MENDED = {
    '<p class="caption" role="heading">': '<p class="caption" role="heading" aria-level="2">',
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="Pages">',
    '<aside class="toc-drawer': '<aside aria-label="On this page" class="toc-drawer',
    '<div class="table-wrapper': '<div tabindex="0" class="table-wrapper',  # scrolled by keys
    "<p><img ": '<p tabindex="0" class="picture"><img ',  # likewise, on a phone
    '<label class="overlay': '<label aria-hidden="true" class="overlay',
}


def mend(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        text = path.read_text()
        mended = text
        for given, better in MENDED.items():
            mended = mended.replace(given, better)
        if mended != text:
            path.write_text(mended)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", mend)
    return {"parallel_read_safe": True}
