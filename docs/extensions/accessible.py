"""What the theme's pages lack for those who cannot see them or have no mouse, put in after the build."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

MENDED = {
    '<p class="caption" role="heading">': '<p class="caption" role="heading" aria-level="2">',
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="Pages">',
    '<aside class="toc-drawer': '<aside aria-label="On this page" class="toc-drawer',
    '<div class="table-wrapper': '<div tabindex="0" class="table-wrapper',  # scrolled by keys
    '<div class="content-icon-container">': '<div role="navigation" aria-label="This page" class="content-icon-container">',
    '<div class="highlight-text notranslate"><div class="highlight"><pre>': (
        '<div class="highlight-text notranslate"><div class="highlight"><pre tabindex="0">'
    ),
    "<p><img ": '<p tabindex="0" class="picture"><img ',  # likewise, on a phone
    '<label class="overlay': '<label aria-hidden="true" class="overlay',
    '<div id="search-results"></div>': '<h1>Search</h1>\n<div id="search-results"></div>',
}


BACK = re.compile(r'(vitblocks\.zoo\.html#vitblocks\.zoo\.)[a-z0-9_]+\.(?=[A-Z]\w*")')
"""From a paper's code to its model, which stands in the reference by its name in the zoo alone."""


ARGUMENTS = re.compile(r'<dl>\n((?:<dd><em class="sig-param">.*</dd>\n)+)</dl>')
"""Arguments below one another, which are no list of terms."""


NUMBERS = re.compile(r'<td class="text-right"><p>.*?</p></td>')
RANGE = re.compile(r"\([^()<>]*\)")
UNIT = re.compile(r"(<td[^>]*><p>[\d.,]+) (\w{1,3}</p></td>)")
"""Least and most of a number in a table, and its unit, stay in one line."""


def kept_together(found: re.Match[str]) -> str:
    return RANGE.sub(lambda span: span[0].replace(" ", "&#160;"), found[0])


def lines(found: re.Match[str]) -> str:
    return f'<div class="sig-lines">\n{found[1].replace("<dd>", "<div>").replace("</dd>", "</div>")}</div>'


def mend(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        text = path.read_text()
        mended = text
        for given, better in MENDED.items():
            mended = mended.replace(given, better)
        mended = ARGUMENTS.sub(lines, BACK.sub(r"\1", UNIT.sub(r"\1&#160;\2", NUMBERS.sub(kept_together, mended))))
        if mended != text:
            path.write_text(mended)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", mend)
    return {"parallel_read_safe": True}
