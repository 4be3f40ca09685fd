"""Short messages as a phone network carries them: 3GPP TS 23.038 (alphabets), TS 23.040 (concatenation).

A text is encoded into real messages, and put together again from what each of them holds, decoded by itself:
a character that was divided between two of them would not survive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ShortMessage", "joined_text", "short_messages"]

_ESCAPE = 0x1B
_TABLE = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = {
    0x0A: "\f",
    0x14: "^",
    0x28: "{",
    0x29: "}",
    0x2F: "\\",
    0x3C: "[",
    0x3D: "~",
    0x3E: "]",
    0x40: "|",
    0x65: "€",
}
_SEPTETS = {character: bytes([place]) for place, character in enumerate(_TABLE) if place != _ESCAPE}
_SEPTETS |= {character: bytes([_ESCAPE, place]) for place, character in _EXTENSION.items()}
_OCTETS = 140
_HEADER = 6
"""Octets: the length, and the element that says which message of how many this is."""


@dataclass(frozen=True, slots=True)
class ShortMessage:
    """One message: `header` is empty for one that is alone; `data` holds septets, one a byte, or UTF-16."""

    header: bytes
    data: bytes
    is_gsm: bool

    @property
    def octets(self) -> int:
        """How many octets of user data it has; 140 fit."""
        size = -(-len(self.data) * 7 // 8) if self.is_gsm else len(self.data)
        return len(self.header) + size

    @property
    def text(self) -> str:
        """What it says by itself. Raises ValueError for a part of a character."""
        return _decoded(self.data) if self.is_gsm else self.data.decode("utf-16-be")


def short_messages(text: str, reference: int = 7) -> list[ShortMessage]:
    """Return the messages of a text, each full before the next begins."""
    is_gsm = all(character in _SEPTETS for character in text)
    units = [_SEPTETS[each] if is_gsm else each.encode("utf-16-be") for each in text]
    if len(b"".join(units)) <= (_OCTETS * 8 // 7 if is_gsm else _OCTETS):
        return [ShortMessage(b"", b"".join(units), is_gsm)]
    room = (_OCTETS - _HEADER) * 8 // 7 if is_gsm else _OCTETS - _HEADER
    room -= 0 if is_gsm else room % 2
    parts = [b""]
    for unit in units:
        if len(parts[-1]) + len(unit) > room:
            parts.append(b"")
        parts[-1] += unit
    total = len(parts)
    return [
        ShortMessage(bytes((5, 0, 3, reference, total % 256, number % 256)), part, is_gsm)
        for number, part in enumerate(parts, 1)
    ]


def joined_text(messages: Sequence[ShortMessage]) -> str:
    """Return the text that a phone shows of messages that came in any order."""
    return "".join(each.text for each in sorted(messages, key=lambda each: each.header[-1:]))


def _decoded(septets: bytes) -> str:
    text, escaped = "", False
    for septet in septets:
        if escaped:
            text, escaped = text + _EXTENSION[septet], False
        elif septet == _ESCAPE:
            escaped = True
        else:
            text += _TABLE[septet]
    if escaped:
        raise ValueError("a message ends within a character of the extension table")
    return text
