"""``python docs/extensions/look.py site --axe axe.min.js --output shots``: the built site in a headless Chromium.

Every page at 1280 and 390 pixels, light and dark: whether anything is wider than the window, whether all pictures came, what the browser
complains of, and what axe says (npm's ``axe-core``, if given). Searches once. Needs playwright and a Chromium (``playwright install
chromium``, or ``--chromium PATH``), which no extra holds.
"""

from __future__ import annotations

import argparse
import functools
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

WIDTHS, SCHEMES = (1280, 390), ("light", "dark")
# As in a container, and nothing of the browser's own on the network.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]

WIDER = """() => {
  const room = document.documentElement.clientWidth, roots = [document.body, document.documentElement], told = [];
  const scrolls = (one) => {
    for (let at = one.parentElement; at && !roots.includes(at); at = at.parentElement)
      if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(at).overflowX)) return true;
    return false; };
  const article = document.querySelector('article') || document.body;
  for (const one of article.querySelectorAll('*')) {
    const box = one.getBoundingClientRect();
    if (box.width > 0 && box.right > room + 1 && !scrolls(one) && !one.closest('.headerlink') && told.length < 3)
      told.push(`<${one.tagName.toLowerCase()} ${one.className}> reaches ${Math.round(box.right)}`); }
  const wide = document.documentElement.scrollWidth;
  if (wide > room + 1) told.push(`the page scrolls to ${wide}`);
  const cut = [...article.querySelectorAll('pre:not([tabindex])')].filter((one) => one.scrollWidth > one.clientWidth + 1);
  if (cut.length) told.push(`${cut.length} blocks of code are cut: ${cut[0].innerText.slice(0, 60)}`);
  for (const one of document.images)
    if (getComputedStyle(one).display !== 'none' && !(one.complete && one.naturalWidth)) told.push(`no picture ${one.src}`);
  return told; }"""

AXE = """async () => (await axe.run(document, {resultTypes: ['violations']})).violations.map(
  (one) => `axe ${one.impact} ${one.id}: ${one.nodes.length} times, ${one.nodes[0].target.join(' ')}`)"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Nothing."""


def look(browser: Browser, base: str, pages: list[str], axe: str | None, shots: Path | None) -> list[str]:
    """What is wrong with each page, a line each."""
    found = []
    for scheme in SCHEMES:
        page = browser.new_context(color_scheme=scheme).new_page()
        told: list[str] = []
        page.on("pageerror", lambda error, told=told: told.append(f"error {error}"))
        for name in pages:
            told.clear()
            page.goto(f"{base}/{name}")
            page.evaluate("document.querySelectorAll('img').forEach((one) => { one.loading = 'eager' })")
            if axe is not None:
                page.evaluate(axe)
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                page.wait_for_timeout(150)
                wrong = [*page.evaluate(WIDER), *told, *(page.evaluate(AXE) if axe is not None else [])]
                lines = [f"{name} at {width}, {scheme}: {line}" for line in wrong]
                print(*lines, sep="\n", end="\n" * bool(lines), flush=True)
                found += lines
                if shots is not None:
                    page.screenshot(path=shots / f"{name.replace('/', '_')}-{width}-{scheme}.png", full_page=True)
    return found


def search(browser: Browser, base: str) -> list[str]:
    page = browser.new_page()
    page.goto(f"{base}/search.html?q=LocalWindowAttention")
    page.wait_for_selector("#search-results li a", timeout=20_000)
    links = page.locator("#search-results li a").count()
    page.close()
    if not links:
        print("the search finds nothing")
    return [] if links else ["search"]


def main() -> int:
    parser = argparse.ArgumentParser(description="Look at the built site in a headless Chromium.")
    parser.add_argument("site", type=Path)
    parser.add_argument("--axe", type=Path, help="axe.min.js of npm's axe-core")
    parser.add_argument("--output", type=Path, help="a folder for pictures of every page")
    parser.add_argument(
        "--only", nargs="+", help="pages, as generated/gallery/swin.html; all but listings of code if left out"
    )
    parser.add_argument("--chromium", help="the program, if it is not playwright's own")
    options = parser.parse_args()
    pages = options.only or [
        str(path.relative_to(options.site))
        for path in sorted(options.site.rglob("*.html"))
        if "_modules" not in path.parts and "_static" not in path.parts
    ]
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(options.site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=options.chromium, args=ARGUMENTS)
        axe = options.axe.read_text() if options.axe else None
        found = look(browser, base, pages, axe, options.output) + search(browser, base)
        browser.close()
    print(f"{len(pages)} pages, {len(found) or 'nothing'} wrong")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
