"""Codes by which people prove who they are: made, hashed, found in messages and withheld from them."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from roomkit.models.base import EMPTY
from roomkit.models.content import AudioContent, TextContent, text_of

if TYPE_CHECKING:
    from roomkit.models.content import EventContent
    from roomkit.models.event import RoomEvent

__all__ = ["WITHHELD", "codes_in", "digest_of", "has_words", "new_code", "new_salt", "said_in", "withhold"]

WITHHELD = "••••••"
"""What stands in place of digits that may be a code."""
_SEPARATORS = r"[ ,.\-\u00a0\u2009\u200b-\u200d\u2010-\u2013\u202f\u2060\ufeff]"
_DIGITS = re.compile(rf"\d(?:{_SEPARATORS}{{0,2}}\d)*")
_RUN = re.compile(r"\d+")
_QUOTES = re.compile(
    r"^(?:.*\bwrote:|.*\bschrieb.*:|.*\ba écrit\s*:|-{2,} ?original.*|from: .*|_{5,})$", re.IGNORECASE
)
_TEXTS = ("body", "plain_text", "caption", "transcript", "label", "address", "filename")
_FREE = ("buttons", "cards", "quick_replies", "data")


def new_code(length: int) -> str:
    """Return a random code of so many digits."""
    return f"{secrets.randbelow(10**length):0{length}d}"


def new_salt() -> str:
    """Return a salt for the codes of one person."""
    return secrets.token_hex(16)


async def digest_of(code: str, salt: str) -> str:
    """Return a code's stored digest. It is slow by design (scrypt, RFC 7914), so a thread computes it."""
    return await asyncio.to_thread(_digest, code, salt)


def _digest(code: str, salt: str) -> str:
    return hashlib.scrypt(code.encode(), salt=salt.encode(), n=2**12, r=8, p=1, dklen=32).hex()


def codes_in(text: str, length: int) -> list[str]:
    """Return what may be codes in a text: so many digits on their own, also grouped as in 123 456."""
    return list(dict.fromkeys(code for _, code in _spans(text, length)))


def _spans(text: str, length: int) -> Iterator[tuple[slice, str]]:
    for group in _DIGITS.finditer(text):
        digits = _plain(group[0])
        if len(digits) == length:
            yield slice(*group.span()), digits
            continue
        for run in _RUN.finditer(text, *group.span()):
            if len(run[0]) == length:
                yield slice(*run.span()), _plain(run[0])


def _plain(text: str) -> str:
    """Return the digits of any script as ASCII ones."""
    return "".join(str(unicodedata.decimal(each)) for each in text if each.isdecimal())


def said_in(text: str) -> str:
    """Return a text without what it quotes: the code is in a quoted request, too."""
    said = []
    for line in text.splitlines():
        if _QUOTES.match(line.strip()):
            break
        if not line.lstrip().startswith((">", "|")):
            said.append(line)
    return "\n".join(said)


def has_words(text: str) -> bool:
    """Return whether anything is left to say beside codes that were withheld."""
    return any(each.isalnum() for each in text.replace(WITHHELD, ""))


def withhold(event: RoomEvent, length: int) -> RoomEvent:
    """Return an event in which nothing is left that may be a code; the vendor's payload is dropped."""
    data = event.channel_data
    return event.replace(
        content=_content(event.content, length),
        metadata=_json(event.metadata, length),
        channel_data=data.replace(extra=_json(data.extra, length)) if data.extra else data,
        source=event.source.replace(raw_payload=EMPTY),
    )


def _content(content: EventContent, length: int) -> EventContent:
    if isinstance(content, AudioContent):  # the recording says it, too
        return TextContent(body=_text(text_of(content), length))
    changes: dict[str, Any] = {}
    for name in _TEXTS:
        value = getattr(content, name, None)
        if isinstance(value, str):
            changes[name] = _text(value, length)
    for name in _FREE:
        value = getattr(content, name, None)
        if value:
            changes[name] = _json(value, length)
    parts = getattr(content, "parts", ())
    if parts:
        changes["parts"] = tuple(_content(each, length) for each in parts)
    after = getattr(content, "new_content", None)
    if after is not None:
        changes["new_content"] = _content(after, length)
    return content.replace(**changes)


def _text(text: str, length: int) -> str:
    for span, _ in reversed([*_spans(text, length)]):
        text = text[: span.start] + WITHHELD + text[span.stop :]
    return text


def _json(value: Any, length: int) -> Any:
    if isinstance(value, str):
        return _text(value, length)
    if isinstance(value, dict):
        return type(value)({key: _json(each, length) for key, each in value.items()})
    if isinstance(value, list | tuple):
        return type(value)(_json(each, length) for each in value)
    if isinstance(value, int | float) and not isinstance(value, bool) and codes_in(str(value), length):
        return WITHHELD
    return value
