"""Characters beyond the basic plane, cut in two: surrogate halves in a vendor's JSON.

JSON escapes such a character as two halves (RFC 8259 section 7), and servers that cut a stream by
UTF-16 unit send them in different events. Two halves that follow each other are one character; a
half that stays alone becomes U+FFFD, because no store, log or request can hold it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from roomkit.models.ai import StreamEvent, StreamTextDelta, StreamThinkingDelta, StreamToolCall
from roomkit.models.values import repaired

__all__ = ["Halves", "joined", "repaired_json"]


class Halves:
    """Joins the halves that two deltas of one stream hold. One object reads one answer."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: StreamTextDelta | StreamThinkingDelta | None = None

    def feed(self, event: StreamEvent) -> Iterator[StreamEvent]:
        """Yield `event` in valid Unicode. A half at its end waits for the next event."""
        held, self._held = self._held, None
        if held is not None:
            if type(held) is type(event):
                event = _with_text(event, _text(held) + _text(event))
            else:
                yield _with_text(held, "\ufffd")
        if not isinstance(event, StreamTextDelta | StreamThinkingDelta):
            yield _repaired_event(event)
            return
        text = _text(event)
        if text and "\ud800" <= text[-1] <= "\udbff" and not _is_signed(event):
            self._held = _with_text(event, text[-1])
            text = text[:-1]
            if not text:
                return
        whole = repaired(text, keep_nul=True)
        yield event if whole == _text(event) else _with_text(event, whole)


def joined(events: Iterable[StreamEvent]) -> Iterator[StreamEvent]:
    """Yield the events of a whole answer in valid Unicode; `StreamDone` ends them."""
    halves = Halves()
    for event in events:
        yield from halves.feed(event)


def repaired_json(value: Any) -> Any:
    """Return a JSON value with every text in it, keys included, in valid Unicode."""
    match value:
        case str():
            return repaired(value, keep_nul=True)
        case dict():
            return {repaired_json(key): repaired_json(item) for key, item in value.items()}
        case list():
            return [repaired_json(item) for item in value]
    return value


def _text(event: StreamEvent) -> str:
    match event:
        case StreamTextDelta(text):
            return text
        case StreamThinkingDelta(thinking):
            return thinking
    return ""


def _with_text[E: StreamEvent](event: E, text: str) -> E:
    match event:
        case StreamTextDelta():
            return replace(event, text=text)
        case StreamThinkingDelta():
            return replace(event, thinking=text)
    return event


def _is_signed(event: StreamTextDelta | StreamThinkingDelta) -> bool:
    """Whether the event ends a block of reasoning, so that nothing more comes to it."""
    return isinstance(event, StreamThinkingDelta) and bool(event.signature or event.redacted_data)


def _repaired_event(event: StreamEvent) -> StreamEvent:
    if isinstance(event, StreamToolCall):
        return replace(event, id=repaired_json(event.id), name=repaired_json(event.name))
    return event
