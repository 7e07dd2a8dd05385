"""Where a request on a connection ends: gathers its bytes until its head, then its body, has come."""

from __future__ import annotations

import re

FRAMING = re.compile(r"(?i)\r\n(content-length|transfer-encoding|expect):([^\r]*)")
HEAD_END = b"\r\n\r\n"
MAX_SIZE = 10**15


class Inbox:
    """The bytes of one request as they come, and of what follows it.

    It only finds the end. Whether the request is valid is the parser's business: what has no clear end counts as
    complete, and is refused there.
    """

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray()
        self.body_length: int | None = None
        """Of a body whose length the head names."""
        self.expects_continue = False
        self._body_start = 0
        self._chunked = False
        self._next_size = 0
        self._searched = 0
        self._trailers = -1
        self._over = False
        if data:
            self.feed(data)

    @property
    def has_head(self) -> bool:
        """Whether the head has come."""
        return self._body_start > 0

    @property
    def body_here(self) -> int:
        """The bytes behind the head that have come."""
        return len(self.data) - self._body_start if self.has_head else 0

    @property
    def complete(self) -> bool:
        """Whether the whole request has come."""
        return self._over

    @property
    def ends_here(self) -> bool:
        """Whether the request has come, and surely nothing behind it."""
        return self._over and not self._chunked and self.body_here == (self.body_length or 0)

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        searched = max(0, len(self.data) - len(HEAD_END) + 1)
        self.data += data
        if not self.has_head:
            if self.data.startswith(b"\r\n"):
                self.data = self.data.lstrip(b"\r\n")  # an empty line before a request is allowed
                searched = 0
            end = self.data.find(HEAD_END, searched)
            if end < 0:
                return
            self._body_start = self._next_size = end + len(HEAD_END)
            self._read_head(self.data[:end].decode("latin-1"))
        if self._chunked:
            self._skip_chunks()
        else:
            self._over = self.body_here >= (self.body_length or 0)

    def _read_head(self, head: str) -> None:
        for name, value in FRAMING.findall(head):
            if name[0] in "cC":
                length = value.strip()
                self.body_length = _number(length, base=10) if length.isdigit() else self.body_length
            elif name[0] in "tT":
                self._chunked = True
            else:
                self.expects_continue = True

    def _skip_chunks(self) -> None:
        """Walk from one chunk's size to the next, as far as they have come. No byte is searched twice."""
        while not self._over and self._trailers < 0:
            end = self.data.find(b"\r\n", max(self._next_size, self._searched))
            if end < 0:
                self._searched = len(self.data) - 1
                return
            length = _number(bytes(self.data[self._next_size : end]).partition(b";")[0].strip(), base=16)
            if length:
                self._next_size = end + 2 + length + 2
            elif length == 0:
                self._trailers = self._searched = end
            else:
                self._over = True
        if not self._over:  # trailers, if any, end with an empty line
            self._over = self.data.find(HEAD_END, self._searched) >= 0
            self._searched = max(self._trailers, len(self.data) - len(HEAD_END) + 1)


def _number(digits: str | bytes, *, base: int) -> int | None:
    """What digits stand for, however many zeros lead them; None for what is no number, or one too large to be meant."""
    try:
        number = int(digits, base)
    except ValueError:
        return None
    return number if 0 <= number < MAX_SIZE else None
