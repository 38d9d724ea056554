"""`HttpParser` with http-parser's interface, for HTTP responses, on httptools (llhttp).

What a caller may rely on, as with the original:

- `execute` takes bytes as they arrive, cut anywhere, and returns how many it parsed: all of them,
  or fewer after an error, which `get_errno` then names.
- Headers are known once `is_headers_complete` says so, under names that are looked up without
  regard to case; a repeated header's values are joined with a comma.
- Body bytes (without chunk framing) collect until `recv_body` takes them; `is_partial_body` says
  whether any wait.
- A 1xx response before the real one is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping

import httptools

#: Numbers for `get_errno`; 0 is none. The original has one per cause, nobody tells them apart.
HPE_OK = 0
HPE_UNKNOWN = 1


class Headers(MutableMapping[str, str]):
    """Header values by name; case is kept, and ignored when a name is looked up."""

    def __init__(self, items: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        self._items: dict[str, tuple[str, str]] = {}
        self.update(items)

    def __getitem__(self, name: str) -> str:
        return self._items[name.lower()][1]

    def __setitem__(self, name: str, value: str) -> None:
        self._items[name.lower()] = (name, value)

    def __delitem__(self, name: str) -> None:
        del self._items[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._items.values())

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self)!r})"


class HttpParser:
    """A parser of one HTTP response."""

    def __init__(self, kind: int = 2, decompress: bool = False) -> None:
        # kind 0 is requests, 1 responses, 2 either; nothing here parses requests.
        if kind == 0 or decompress:
            raise NotImplementedError("this http-parser reads plain responses only")
        self._parser = httptools.HttpResponseParser(self)
        self._errno = HPE_OK
        self._begin()

    def _begin(self) -> None:
        self._headers = Headers()
        self._status = 0
        self._body: list[bytes] = []
        self._headers_complete = False
        self._message_complete = False

    # httptools calls these while it parses.

    def on_message_begin(self) -> None:
        self._begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        earlier = self._headers.get(key)
        self._headers[key] = text if earlier is None else f"{earlier}, {text}"

    def on_headers_complete(self) -> None:
        self._status = int(self._parser.get_status_code())
        self._headers_complete = self._status >= 200

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._message_complete = self._headers_complete

    # pymesos calls these.

    def execute(self, data: bytes, length: int) -> int:
        """Parses the first `length` bytes of `data`; returns how many were understood."""
        if self._errno:
            return 0
        try:
            self._parser.feed_data(data[:length])
        except httptools.HttpParserError:
            self._errno = HPE_UNKNOWN
            return 0
        return length

    def get_errno(self) -> int:
        return self._errno

    def is_headers_complete(self) -> bool:
        return self._headers_complete

    def is_message_complete(self) -> bool:
        return self._message_complete

    def is_partial_body(self) -> bool:
        """True while body bytes wait to be taken."""
        return bool(self._body)

    def recv_body(self) -> bytes:
        """The body bytes that arrived since the last call."""
        body = b"".join(self._body)
        self._body.clear()
        return body

    def is_chunked(self) -> bool:
        """True when ``chunked`` is the last transfer coding (RFC 9112, 6.1)."""
        codings = self._headers.get("Transfer-Encoding", "").lower().split(",")
        return codings[-1].strip() == "chunked"

    def get_status_code(self) -> int:
        return self._status

    def get_headers(self) -> Headers:
        return Headers(self._headers)
