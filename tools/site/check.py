"""Check a built site: `python tools/site/check.py FOLDER`.

Every link and every picture must lead to a file of the site, and a link with `#` to a place on its page.  No page may
load anything from elsewhere, or show the marks of a list as text.  MkDocs checks the links of the sources; this checks
those of the pages as readers get them, the reference, the menus and raw HTML included.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit


class Page(HTMLParser):
    """The places of a page, what it links to, what it loads, and lists that are paragraphs."""

    def __init__(self, text):
        super().__init__()
        self.places, self.links, self.loaded = {""}, set(), set()
        self.lists = re.findall(r"<p>(?:(?!</p>).)*?\n(- (?:(?!</p>|\n).)*)", text, re.DOTALL)
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.places |= {found[name] for name in ("id", "name") if found.get(name)}
        self.links |= {found["href"]} if tag == "a" and found.get("href") else set()
        names = {"link": ("href",), "a": ()}.get(tag, ("src", "data", "poster"))
        self.loaded |= {found[name] for name in names if found.get(name)}
        self.loaded |= {part.split()[0] for part in (found.get("srcset") or "").split(",") if part.strip()}


def faults(folder):
    """Yield a line for each fault of a site."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    for path, page in pages.items():
        yield from (f"{path.relative_to(folder)}: a list is shown as text: {line}" for line in page.lists)
        for address in sorted(page.loaded | page.links):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                if address in page.loaded and parts.scheme != "data":
                    yield f"{path.relative_to(folder)}: loads {address}"
                continue
            relative, place = urldefrag(unquote(address))
            target = folder / relative[1:] if relative.startswith("/") else path.parent / relative
            target = (path if not relative else target / "index.html" if target.is_dir() else target).resolve()
            if not target.is_file():
                yield f"{path.relative_to(folder)}: {address} leads nowhere"
            elif target in pages and place not in pages[target].places:
                yield f"{path.relative_to(folder)}: {address} names no place on its page"
    if not pages:
        yield f"{folder} has no pages"


if __name__ == "__main__":
    found = list(faults(Path(sys.argv[1]).resolve()))
    sys.exit("\n".join(found) if found else None)
