"""What a page says of itself: its title, its description, its picture."""

from __future__ import annotations

import codecs
import contextlib
import re
from html.parser import HTMLParser
from urllib.parse import urljoin

from unoapi.models.text import mended

MAX_CHARS = 300
DESCRIPTIONS = ("og:description", "description", "twitter:description")
TITLES = ("og:title", "twitter:title")
CHARSET = re.compile(r"<meta\b[^<>]{0,200}?\bcharset\s{0,8}=\s{0,8}[\"']?([A-Za-z0-9_-]{1,32})", re.IGNORECASE)
CHARSET_WITHIN_BYTES = 2048
HEAD_WITHIN_BYTES = 65_536
KNOWN_CHARSETS = re.compile(
    r"iso-8859-(?:[1-9]|1[013-6])|windows-125[0-8]|koi8-[ru]|gb2312|gbk|gb18030|big5|shift_jis|euc-(?:jp|kr)"
)
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
        """The address of its picture; empty when it has none, or what it names is no address."""
        address = self._first(PICTURES)
        try:
            return urljoin(page, address) if address else ""
        except ValueError:
            return ""

    def _first(self, names: tuple[str, ...]) -> str:
        return next((self._meta[name] for name in names if self._meta.get(name)), "")


def read_page(html: bytes) -> PageHead:
    """The head of a page, whatever its bytes are. Never raises."""
    head = PageHead()
    with contextlib.suppress(ValueError, AssertionError, RecursionError):  # what was read by then counts
        head.feed(html.decode(_charset(html), "replace"))
    return head


def _charset(html: bytes) -> str:
    """The charset that a page names in its head, of those that pages are written in; else that of most.

    One that names none and is not of those is of the West, as browsers take it: its server names it alone.
    """
    named = CHARSET.search(html[:CHARSET_WITHIN_BYTES].decode("latin-1"))
    name = named[1].lower() if named else ""
    if KNOWN_CHARSETS.fullmatch(name):
        return name
    try:
        codecs.getincrementaldecoder("utf-8")().decode(html[:HEAD_WITHIN_BYTES])
    except UnicodeDecodeError:
        return "utf-8" if name else "windows-1252"
    return "utf-8"


def _line(text: str) -> str:
    return " ".join(str(mended(text)).split())[:MAX_CHARS]
