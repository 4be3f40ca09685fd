"""Files in `data:` URLs."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

__all__ = ["InlineFile", "inline_file"]


class InlineFile(NamedTuple):
    """A file of a `data:` URL."""

    mime_type: str
    data: bytes


def inline_file(url: str) -> InlineFile | None:
    """Return the file in a `data:` URL (RFC 2397); None for another URL, or one that cannot be read."""
    if url[:5].lower() != "data:":
        return None
    head, comma, body = url.partition(",")
    if not comma:
        return None
    mime_type, *parameters = head[len("data:") :].split(";")
    mime_type = mime_type or "text/plain"
    if not parameters or parameters[-1].strip().lower() != "base64":
        return InlineFile(mime_type, unquote_to_bytes(body))
    try:
        return InlineFile(mime_type, base64.b64decode(unquote_to_bytes(body), validate=True))
    except binascii.Error:
        return None
