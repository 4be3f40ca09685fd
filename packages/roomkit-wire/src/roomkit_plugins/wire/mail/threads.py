"""Message-IDs, and the threads that they make: RFC 5322 section 3.6.4."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256

__all__ = ["bounded_references", "check_message_id", "message_id_for", "message_ids"]

_ID = re.compile(r"<[^<>\s]{1,900}>")
_KEPT_FIRST, _KEPT_LAST = 1, 20


def message_id_for(key: str, domain: str) -> str:
    """Return the Message-ID of a message: the same for each try of one delivery."""
    return f"<{sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}@{domain}>"


def message_ids(header: str) -> list[str]:
    """Return the Message-IDs in a header from outside, in its order; what is none is omitted."""
    return list(dict.fromkeys(_ID.findall(header)))


def check_message_id(text: str) -> str:
    """Return a Message-ID. Raises ValueError for what is none: it could add a header."""
    if not _ID.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not a Message-ID, such as <id@example.com>")
    return text


def bounded_references(ids: Sequence[str]) -> list[str]:
    """Return the first id of a thread and the last 20, as far as they are; each once, at its last place."""
    unique = list(reversed(dict.fromkeys(reversed(ids))))
    if len(unique) <= _KEPT_FIRST + _KEPT_LAST:
        return unique
    return [*unique[:_KEPT_FIRST], *unique[-_KEPT_LAST:]]
