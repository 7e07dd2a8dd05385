"""What a page says of itself: its title, its description, its picture."""

from __future__ import annotations

import contextlib
from html.parser import HTMLParser
from urllib.parse import urljoin

MAX_CHARS = 300
DESCRIPTIONS = ("og:description", "description", "twitter:description")
TITLES = ("og:title", "twitter:title")
PICTURES = ("og:image:secure_url", "og:image", "twitter:image")


class PageHead(HTMLParser):
    """Reads the head of a page. Its texts are cut at 300 characters."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._meta: dict[str, str] = {}
        self._title = ""
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take what a `meta` element says."""
        named = {name: value or "" for name, value in attrs}
        self._in_title = tag == "title" and not self._title
        if tag == "meta":
            name = (named.get("property") or named.get("name") or "").lower()
            self._meta.setdefault(name, named.get("content", "")[:4096])

    def handle_endtag(self, tag: str) -> None:
        """The title ends."""
        if tag == "title":
            self._in_title = False

    def handle_data(self, data: str) -> None:
        """Take the title."""
        if self._in_title and len(self._title) < MAX_CHARS:
            self._title += data

    @property
    def title(self) -> str:
        """How the page is called."""
        return _line(self._first(TITLES) or self._title)

    @property
    def description(self) -> str:
        """What it is about."""
        return _line(self._first(DESCRIPTIONS))

    def picture(self, page: str) -> str:
        """The address of its picture; empty when it has none."""
        address = self._first(PICTURES)
        return urljoin(page, address) if address else ""

    def _first(self, names: tuple[str, ...]) -> str:
        return next((self._meta[name] for name in names if self._meta.get(name)), "")


def read_page(html: bytes) -> PageHead:
    """The head of a page, whatever its bytes are. Never raises."""
    head = PageHead()
    with contextlib.suppress(ValueError, AssertionError, RecursionError):  # what was read by then counts
        head.feed(html.decode("utf-8", "replace"))
    return head


def _line(text: str) -> str:
    return " ".join(text.split())[:MAX_CHARS]
