"""Server-sent events, decoded: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from __future__ import annotations

from collections.abc import Iterator

from roomkit_plugins.wire.origin import Origin

__all__ = ["SSEDecoder"]

_LONGEST = 32 * 1024 * 1024


class SSEDecoder:
    """Turns the bytes of a response, cut anywhere, into the data of its events.

    Raises ProviderError, as a `bad_response` of `origin`, for bytes that are not UTF-8 and for an event of
    more than 32 MiB.
    """

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._rest = bytearray()  # bound: _LONGEST
        self._data: list[bytes] = []  # bound: _LONGEST
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Yield the data of each event that `chunk` completes. An event without data is omitted."""
        if b"\n" not in chunk:  # a long line, of which each byte is copied once
            self._rest += chunk
            self._check(len(self._rest))
            return
        *lines, rest = (bytes(self._rest) + chunk).split(b"\n")
        self._rest[:] = rest
        self._check(len(rest))
        for line in lines:
            yield from self._line(line.removesuffix(b"\r"))

    def _line(self, line: bytes) -> Iterator[str]:
        if line.startswith(b"data:"):
            data = line.removeprefix(b"data:").removeprefix(b" ")
            self._size += len(data)
            self._check(self._size)
            self._data.append(data)
        elif not line and self._data:
            event = b"\n".join(self._data)
            self._data, self._size = [], 0
            yield self._text(event)

    def _text(self, event: bytes) -> str:
        try:
            return event.decode()
        except UnicodeDecodeError as error:
            raise self._origin.bad_response(str(error)) from error

    def _check(self, size: int) -> None:
        if size > _LONGEST:
            raise self._origin.bad_response(f"an event of more than {_LONGEST} bytes")
