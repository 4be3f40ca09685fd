"""Thinking that a server leaves in the text, between `<think>` and `</think>`."""

from __future__ import annotations

from collections.abc import Iterator

from roomkit.models.ai import StreamTextDelta, StreamThinkingDelta

__all__ = ["ThinkTags", "tagged"]

_OPEN, _CLOSE = "<think>", "</think>"


class ThinkTags:
    """Parts text, cut anywhere, from the thinking inside it.

    The end of a piece that may be the beginning of a tag waits for the next one. White space right
    after a tag is dropped.
    """

    def __init__(self, *, inside: bool = False) -> None:
        self._inside = inside
        self._rest = ""
        self._trim = inside

    def feed(self, text: str) -> Iterator[StreamTextDelta | StreamThinkingDelta]:
        """Yield the text that is certain so far."""
        self._rest += text
        while True:
            tag = _CLOSE if self._inside else _OPEN
            before, found, after = self._rest.partition(tag)
            if not found:
                break
            yield from self._say(before)
            self._inside, self._rest, self._trim = not self._inside, after, True
        keep = _overlap(self._rest, tag)
        said, self._rest = self._rest[: len(self._rest) - keep], self._rest[len(self._rest) - keep :]
        yield from self._say(said)

    def flush(self) -> Iterator[StreamTextDelta | StreamThinkingDelta]:
        """Yield the text held back: no more text comes."""
        said, self._rest = self._rest, ""
        yield from self._say(said)

    def _say(self, text: str) -> Iterator[StreamTextDelta | StreamThinkingDelta]:
        if self._trim:
            text = text.lstrip()
        if text:
            self._trim = False
            yield StreamThinkingDelta(text) if self._inside else StreamTextDelta(text)


def tagged(thinking: str) -> str:
    """Write thinking the way the model wrote it."""
    return f"{_OPEN}\n{thinking}\n{_CLOSE}\n\n"


def _overlap(text: str, tag: str) -> int:
    """Count the characters at the end of `text` that may begin `tag`."""
    return next((size for size in range(len(tag) - 1, 0, -1) if text.endswith(tag[:size])), 0)
