"""Where a request on a connection ends: gathers its bytes until its head, then its body, has come."""

from __future__ import annotations

HEAD_END = b"\r\n\r\n"
MAX_SIZE_DIGITS = 15


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
        self.path = b""
        self.authorization = b""
        self._body_start = 0
        self._chunked = False
        self._next_size = 0
        self._over = False
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
            self._read_head(bytes(self.data[:end]))
        if self._chunked:
            self._skip_chunks()
        else:
            self._over = self.body_here >= (self.body_length or 0)

    def _read_head(self, head: bytes) -> None:
        first, *lines = head.split(b"\r\n")
        self.path = first.partition(b" ")[2].partition(b"?")[0]
        for line in lines:
            name, _, value = line.partition(b":")
            name, value = name.lower(), value.strip()
            if name == b"content-length" and value.isdigit() and len(value) <= MAX_SIZE_DIGITS:
                self.body_length = int(value)
            elif name == b"transfer-encoding":
                self._chunked = True
            elif name == b"expect":
                self.expects_continue = True
            elif name == b"authorization":
                self.authorization = value

    def _skip_chunks(self) -> None:
        """Walk from one chunk's size to the next, as far as they have come."""
        while not self._over and (end := self.data.find(b"\r\n", self._next_size)) >= 0:
            size = bytes(self.data[self._next_size : end]).partition(b";")[0].strip()
            try:
                length = int(size, 16) if len(size) <= MAX_SIZE_DIGITS else -1
            except ValueError:
                length = -1
            if length > 0:
                self._next_size = end + 2 + length + 2
            elif length == 0:  # trailers, if any, end with an empty line
                self._over = self.data.find(HEAD_END, end) >= 0
                return
            else:
                self._over = True
