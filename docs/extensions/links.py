"""``python docs/extensions/links.py site``: every link within the built site leads to a page, a picture or a place in a page."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

TARGETS = {"a": "href", "img": "src", "link": "href", "script": "src", "source": "srcset", "iframe": "src"}


class Page(HTMLParser):
    """The links of a page, the places that can be led to, pictures that say nothing to those who cannot see them, links within links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.silent: list[str] = []
        self.nested: list[str] = []
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.places |= {value for name in ("id", "name") if (value := given.get(name))}
        if target := given.get(TARGETS.get(tag, "")):
            self.links.append(target)
        if tag == "img" and given.get("alt") is None:
            self.silent.append(given.get("src") or "an image without a source")
        if tag == "a" and "href" in given:
            if self._within:
                self.nested.append(self._within)
            self._within = given["href"] or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._within = ""


def broken(site: Path) -> list[str]:
    """What is wrong, a line each; empty if nothing is.

    Raises:
        FileNotFoundError: no pages there.
    """
    pages = {path.resolve(): Page(path.read_text(errors="replace")) for path in sorted(site.rglob("*.html"))}
    if not pages:
        raise FileNotFoundError(f"{site} holds no pages: build them by `make docs`")
    root = site.resolve()
    found = []
    for path, page in pages.items():
        where = path.relative_to(root)
        found += [f"{where}: no alt text for {source}" for source in page.silent]
        found += [f"{where}: another link within the one to {link}" for link in page.nested]
        for link in dict.fromkeys(page.links):
            if wrong := what_is_wrong(link, path, root, pages):
                found.append(f"{where}: {link} {wrong}")
    return found


def what_is_wrong(link: str, path: Path, root: Path, pages: dict[Path, Page]) -> str:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return ""
    name = unquote(parts.path)
    target = (root / name.lstrip("/") if name.startswith("/") else path.parent / name).resolve() if name else path
    target = target / "index.html" if target.is_dir() else target
    if not target.exists():
        return "leads nowhere"
    place = unquote(parts.fragment)
    if place and target in pages and place not in pages[target].places:
        return "has no such place"
    return ""


def main() -> int:
    found = broken(Path(sys.argv[1] if len(sys.argv) > 1 else "site"))
    print("\n".join(found) or "every link within the site leads somewhere")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
