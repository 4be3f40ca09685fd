"""A form with a file, as browsers send it: RFC 7578."""

from __future__ import annotations

import re
from collections.abc import Mapping
from uuid import uuid4

__all__ = ["multipart"]

_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(?:; ?[\w-]+=[\w.+-]+)*", re.ASCII)


def multipart(
    fields: Mapping[str, str], *, name: str, filename: str, mime_type: str, data: bytes
) -> tuple[str, bytes]:
    """Return the media type and the bytes of a form with these fields and one file under `name`.

    No name or type can add a header: quotes and line breaks of a file's name are escaped as browsers do it,
    and what is no media type is `application/octet-stream`.
    """
    boundary = uuid4().hex
    parts = [_part(boundary, f'name="{_escaped(key)}"', value.encode()) for key, value in fields.items()]
    kind = mime_type if _TYPE.fullmatch(mime_type) else "application/octet-stream"
    where = f'name="{_escaped(name)}"; filename="{_escaped(filename)}"\r\nContent-Type: {kind}'
    parts.append(_part(boundary, where, data))
    return f"multipart/form-data; boundary={boundary}", b"".join(parts) + f"--{boundary}--\r\n".encode()


def _part(boundary: str, where: str, value: bytes) -> bytes:
    return f"--{boundary}\r\nContent-Disposition: form-data; {where}\r\n\r\n".encode() + value + b"\r\n"


def _escaped(name: str) -> str:
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
