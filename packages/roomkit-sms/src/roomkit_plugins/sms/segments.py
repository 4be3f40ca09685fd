"""How many messages a phone network makes of one text: 3GPP TS 23.038, TS 23.040 section 9.2.3.24.1.

A text of the GSM alphabet alone has 160 septets in one message; characters of its extension table, such as
the euro sign, take two. Any other text goes as UCS-2, with 70 UTF-16 code units. A longer one is sent as
several messages, and each loses 6 octets to the header by which phones put them together: 153 septets, or 67
code units, are left. Neither an escaped character nor a surrogate pair is divided between two of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Segments", "segments_of", "utf16_length"]

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = frozenset("\f^{}\\[~]|€")
_GSM_7 = _BASIC | _EXTENDED


@dataclass(frozen=True, slots=True)
class Segments:
    """What a text costs: `count` messages, of `units` septets (GSM-7) or UTF-16 code units (UCS-2) in all."""

    encoding: Literal["GSM-7", "UCS-2"]
    count: int
    units: int


def segments_of(text: str) -> Segments:
    """Return the segments of a text; an empty one is one segment."""
    if _GSM_7.issuperset(text):
        sizes = [2 if each in _EXTENDED else 1 for each in text]
        return Segments("GSM-7", _count(sizes, 160, 153), sum(sizes))
    sizes = [2 if each > "\uffff" else 1 for each in text]
    return Segments("UCS-2", _count(sizes, 70, 67), sum(sizes))


def utf16_length(text: str) -> int:
    """Return the length of a text in UTF-16 code units, as carriers count characters."""
    return len(text) + sum(each > "\uffff" for each in text)


def _count(sizes: list[int], alone: int, joined: int) -> int:
    """Return how many segments hold characters of these sizes, none of which is divided."""
    if sum(sizes) <= alone:
        return 1
    count, left = 1, joined
    for size in sizes:
        if size > left:
            count, left = count + 1, joined
        left -= size
    return count
