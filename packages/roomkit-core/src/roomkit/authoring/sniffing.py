"""What the first bytes of a file show."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["SNIFFED_BYTES", "matches_type", "sniffed_type"]

SNIFFED_BYTES = 1024
"""How much of a file is looked at."""
UNKNOWN_TYPE = "application/octet-stream"


class _Signature(NamedTuple):
    pattern: re.Pattern[bytes]
    mime_type: str
    also: tuple[str, ...] = ()
    """Other types of such files, each the beginning of one: a ZIP archive may be a document."""


def _of(pattern: bytes, mime_type: str, *also: str) -> _Signature:
    return _Signature(re.compile(pattern, re.DOTALL), mime_type, also)


_OFFICE = ("application/vnd.", "application/epub+zip", "application/java-archive", "application/x-zip")
_SIGNATURES = (
    _of(rb"\x89PNG\r\n\x1a\n", "image/png", "image/apng"),
    _of(rb"\xff\xd8\xff", "image/jpeg", "image/jpg"),
    _of(rb"GIF8[79]a", "image/gif"),
    _of(rb"RIFF....WEBP", "image/webp"),
    _of(rb"RIFF....WAVE", "audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"),
    _of(rb"RIFF....AVI ", "video/x-msvideo", "video/avi"),
    _of(rb"BM.{4}\x00{4}", "image/bmp", "image/x-ms-bmp"),
    _of(rb"II\*\x00|MM\x00\*", "image/tiff", "image/x-"),
    _of(rb"....ftyp(hei[cxms]|hev[cx]|mif1|msf1)", "image/heic", "image/heif"),
    _of(rb"....ftypavif", "image/avif"),
    _of(rb"....ftypM4A", "audio/mp4", "audio/x-m4a", "audio/m4a", "audio/aac", "video/mp4"),
    _of(rb"....ftyp3g", "video/3gpp", "audio/3gpp", "video/mp4", "audio/mp4"),
    _of(rb"....ftypqt", "video/quicktime", "video/mp4"),
    _of(rb"....ftyp", "video/mp4", "audio/", "video/"),
    _of(rb"\x1aE\xdf\xa3", "video/webm", "audio/webm", "video/x-matroska", "audio/x-matroska"),
    _of(rb"OggS", "audio/ogg", "video/ogg", "application/ogg", "audio/opus"),
    _of(rb"fLaC", "audio/flac", "audio/x-flac"),
    _of(rb"#!AMR", "audio/amr", "audio/amr-wb"),
    _of(rb"ID3|\xff[\xfb\xf3\xf2]", "audio/mpeg", "audio/mp3"),
    _of(rb"\xff[\xf1\xf9]", "audio/aac", "audio/aacp", "audio/x-aac"),
    _of(rb"%PDF-", "application/pdf", "application/x-pdf"),
    _of(rb"PK\x03\x04", "application/zip", *_OFFICE),
    _of(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage", "application/msword", _OFFICE[0]),
    _of(rb"\x1f\x8b", "application/gzip", "application/x-gzip", "application/x-tgz"),
    _of(rb"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    _of(rb"Rar!\x1a\x07", "application/vnd.rar", "application/x-rar"),
    _of(rb"\x7fELF", "application/x-executable"),
    _of(rb"MZ", "application/x-msdownload", "application/x-dosexec"),
    _of(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE[^>]*>\s*)?<svg[\s>]", "image/svg+xml"),
    _of(
        rb"(?i:\s*(<!--.*?-->\s*)?<(!doctype html|html|head|body|script|iframe|h1|div|font|table|style"
        rb"|title|img|b|p|br)[\s>/])",
        "text/html",
        "application/xhtml+xml",
    ),
    _of(rb"\s*<\?xml", "application/xml", "text/xml", "application/"),
)
_RECOGNISED = frozenset(
    name
    for each in _SIGNATURES
    for name in (each.mime_type, *each.also)
    if not name.endswith(("/", ".", "-"))
) - {"application/xml", "text/xml"}
"""Types whose files always begin with one of the signatures."""


def sniffed_type(declared: str, head: bytes) -> str:
    """Return the media type of a file that begins with `head`, without parameters, in lower case.

    The declared one where the bytes allow it; that of the bytes where they have a signature; and
    `application/octet-stream` where the declared type has a signature that the bytes lack, or is none.
    """
    named = declared.partition(";")[0].strip().lower()
    named = named if re.fullmatch(r"[\w.+-]+/[\w.+-]+", named, re.ASCII) else UNKNOWN_TYPE
    head = head.removeprefix(b"\xef\xbb\xbf")
    for signature in _SIGNATURES:
        if signature.pattern.match(head):
            fits = named == signature.mime_type or named.startswith(signature.also or ("\0",))
            return named if fits else signature.mime_type
    return UNKNOWN_TYPE if named in _RECOGNISED else named


def matches_type(mime_type: str, pattern: str) -> bool:
    """Return whether a media type is of a pattern such as "image/*", "*/*" or "image/png"."""
    kind, _, sub = pattern.strip().lower().partition("/")
    own_kind, _, own_sub = mime_type.partition(";")[0].strip().lower().partition("/")
    return kind in ("*", own_kind) and sub in ("*", own_sub)
