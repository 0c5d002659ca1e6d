"""Checks that the pages of a folder load nothing from the network: scripts, styles, fonts, images, frames."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

#: Attributes of elements that a browser fetches by itself, without a click.
_FETCHED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "embed": "src",
    "object": "data",
    "source": "src",
    "video": "src",
    "audio": "src",
}
_LINKS = {"stylesheet", "icon", "shortcut", "preload", "prefetch", "preconnect", "dns-prefetch", "modulepreload"}
_FAR = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
_IN_STYLES = re.compile(r"""(?:url\(\s*['"]?|@import\s+['"])((?:https?:)?//[^'")\s]+)""", re.IGNORECASE)


class _Fetches(HTMLParser):
    """Collects what a page fetches from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        fetched = values.get(_FETCHED.get(tag, ""), "")
        if tag == "link" and _LINKS & set(values.get("rel", "").lower().split()):
            fetched = values.get("href", "")
        candidates = [fetched, *(part.split()[0] for part in values.get("srcset", "").split(",") if part.strip())]
        self.found += [value for value in candidates if _FAR.match(value)]
        self.found += _IN_STYLES.findall(values.get("style", ""))


def fetches(page: Path) -> list[str]:
    """Return what a page or style sheet fetches from elsewhere."""
    text = page.read_text(encoding="utf-8")
    found = _IN_STYLES.findall(
        "".join(re.findall(r"<style.*?</style>", text, re.DOTALL)) if page.suffix == ".html" else text
    )
    if page.suffix == ".html":
        parser = _Fetches()
        parser.feed(text)
        found += parser.found
    return found


def main() -> None:
    """Print what is fetched, and fail if there is anything."""
    folder = Path(sys.argv[1])
    pages = [*folder.rglob("*.html"), *folder.rglob("*.css")]
    if not pages:
        sys.exit(f"no pages in {folder}")
    bad = [f"{page}: {url}" for page in pages for url in fetches(page)]
    print("\n".join(bad) or f"{len(pages)} pages and style sheets, nothing from afar")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
