"""Reads the form of a mail from outside: headers, texts and files, whatever it is like.

On the stdlib's parser with its lenient policy: bounded before it runs, and no header's own parser is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message

from roomkit_plugins.wire.mail.body import MailFile

__all__ = [
    "MOST_FILES",
    "MimeError",
    "MimeMail",
    "Texts",
    "decoded_bytes",
    "head_of",
    "header_text",
    "parse_mime",
    "parts_within",
    "raw_headers",
    "texts_and_files",
    "unfolded",
]

MOST_FILES = 100
_MOST_NESTED = 60
"""Parts that hold others, in one mail: the parser looks at each line once for each that is open."""
_NESTED = re.compile(rb"^content-type:\s*(?:multipart|message)/", re.IGNORECASE | re.MULTILINE)
_MOST_HEADERS = 1_000
_LONGEST_HEADER = 100_000
_SPACES = re.compile(r"[ \t\r\n]+")
_SOFT_BREAK = re.compile(r"(?<! ) \n")
type MimeMail = Message[str, str]


class MimeError(ValueError):
    """A mail is not read: it exceeds a bound."""


@dataclass(slots=True)
class Texts:
    """The text of a mail in its two forms, each None if it has none, and its files."""

    plain: str | None = None
    html: str | None = None
    files: list[MailFile] = field(default_factory=list)


def parse_mime(data: bytes) -> MimeMail:
    """Return a mail's structure. Raises MimeError for one that nests or has headers beyond all measure."""
    nested = len(_NESTED.findall(data))
    if nested > _MOST_NESTED:
        raise MimeError(f"it has {nested} parts that hold others: at most {_MOST_NESTED} are read")
    try:
        mail = message_from_bytes(data)
        headers = mail.items()
    except (RecursionError, ValueError, LookupError, AttributeError, TypeError, IndexError) as error:
        raise MimeError(f"the parser failed ({type(error).__name__})") from error
    if len(headers) > _MOST_HEADERS or any(len(str(value)) > _LONGEST_HEADER for _, value in headers):
        raise MimeError(f"its head exceeds {_MOST_HEADERS} headers, or one {_LONGEST_HEADER} characters")
    return mail


def head_of(data: bytes) -> MimeMail:
    """Return the head of a mail that `parse_mime` refuses, as far as 20,000 bytes of it go."""
    return message_from_bytes(re.split(rb"\r?\n\r?\n", data[:20_000], maxsplit=1)[0] + b"\r\n\r\n")


# -- headers --------------------------------------------------------------------------------------


def header_text(mail: MimeMail, name: str) -> str:
    """Return the first header of a name in Unicode and on one line, "" without one."""
    values = raw_headers(mail, name)
    return unfolded(values[0]) if values else ""


def raw_headers(mail: MimeMail, name: str) -> list[str]:
    """Return the values of a header as they came; bytes beyond ASCII are surrogates."""
    wanted = name.lower()
    return [str(value) for key, value in mail.raw_items() if key.lower() == wanted]


def unfolded(value: str) -> str:
    """Return a header's value, or a part of it, in Unicode and on one line (RFC 2047)."""
    try:
        pieces = decode_header(value)
    except (HeaderParseError, ValueError):
        return _one_line(value)
    return _one_line("".join(_piece(piece, charset) for piece, charset in pieces))


def _piece(piece: bytes | str, charset: str | None) -> str:
    return piece if isinstance(piece, str) else decoded_bytes(piece, charset)


def _one_line(text: str) -> str:
    raw = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    line = _SPACES.sub(" ", raw).strip()
    return "".join(each for each in line if each.isprintable())


def decoded_bytes(data: bytes, charset: str | None) -> str:
    """Return bytes as text by a declared charset, else as UTF-8, else as Windows-1252: none is lost."""
    for each in (charset, "utf-8"):
        try:
            if each and each.lower() not in ("unknown-8bit", "x-unknown"):
                return data.decode(each)
        except (LookupError, UnicodeError, ValueError):
            continue
    return data.decode("cp1252", "replace")


# -- parts ----------------------------------------------------------------------------------------


def texts_and_files(mail: MimeMail) -> Texts:
    """Return what a mail says and holds. Raises MimeError for more than `MOST_FILES` files."""
    found = Texts()
    for part in _leaves(mail):
        _take(part, found)
        if len(found.files) > MOST_FILES:
            raise MimeError(f"it has more than {MOST_FILES} files")
    return found


def _leaves(part: MimeMail) -> Iterator[MimeMail]:
    """Yield the parts that hold no others; a mail within one is a file."""
    if part.get_content_maintype() == "multipart" and part.is_multipart():
        for each in parts_within(part):
            yield from _leaves(each)
    else:
        yield part


def parts_within(part: MimeMail) -> list[MimeMail]:
    """Return the parts that a part holds, [] for one that holds none."""
    inner = part.get_payload()
    return [each for each in inner if isinstance(each, Message)] if isinstance(inner, list) else []


def _take(part: MimeMail, found: Texts) -> None:
    # One that says to hold parts, and has none, is a text.
    kind = "text/plain" if part.get_content_maintype() == "multipart" else part.get_content_type()
    is_text = not _is_file(part)
    if is_text and kind == "text/plain":
        text = _plain_text(part)
        found.plain = text if found.plain is None else f"{found.plain}\n\n{text}"
    elif is_text and kind == "text/html":
        html = _decoded(part)
        found.html = html if found.html is None else f"{found.html}<hr>{html}"
    else:
        data = _payload(part)
        if data or part.get_filename():
            found.files.append(MailFile(data, kind, _filename(part, len(found.files) + 1), _content_id(part)))


def _is_file(part: MimeMail) -> bool:
    disposition = str(part.get("Content-Disposition", "")).strip().lower()
    return disposition.startswith("attachment") or bool(part.get_filename())


def _payload(part: MimeMail) -> bytes:
    if part.is_multipart():  # a mail within the mail
        return b"\n".join(_as_bytes(each) for each in parts_within(part))
    try:
        data = part.get_payload(decode=True)
    except (LookupError, ValueError):
        data = None
    if isinstance(data, bytes):
        return data
    return str(part.get_payload() or "").encode("utf-8", "surrogateescape")


def _as_bytes(mail: MimeMail) -> bytes:
    """Return a mail within another as it came, or nearly so where the stdlib cannot write it."""
    try:
        return mail.as_bytes()
    except (LookupError, ValueError, AttributeError, TypeError):
        return str(mail.get_payload()).encode("utf-8", "replace")


def _decoded(part: MimeMail) -> str:
    charset = part.get_param("charset")
    return decoded_bytes(_payload(part), charset if isinstance(charset, str) else None)


def _plain_text(part: MimeMail) -> str:
    text = _decoded(part).replace("\r\n", "\n").replace("\r", "\n")
    if str(part.get_param("format", "")).lower() != "flowed":
        return text
    joined = "\n" if str(part.get_param("delsp", "")).lower() == "yes" else " \n"
    return _unflowed(text, joined)


def _unflowed(text: str, mark: str) -> str:
    """Join the lines of format=flowed (RFC 3676), but those of quotations; "-- " stays a line of its own."""
    lines: list[str] = []
    is_open = False
    for line in text.split("\n"):
        line = line[1:] if line.startswith(" ") else line
        if is_open and not line.startswith(">"):
            lines[-1] += line
        else:
            lines.append(line)
        is_open = line.endswith(" ") and line != "-- " and not line.startswith(">")
        if is_open and mark == "\n":
            lines[-1] = lines[-1][:-1]
    return "\n".join(line.rstrip() if line != "-- " else line for line in lines)


def _filename(part: MimeMail, number: int) -> str:
    """Return the last part of a file's name, without what a path or a terminal would take for its own."""
    try:
        said = part.get_filename() or ""
    except (LookupError, ValueError, UnicodeError):
        said = ""
    name = re.split(r"[/\\]", unfolded(said))[-1].strip(" .")
    if name:
        return name[:200]
    kind = part.get_content_type()
    return f"message-{number}.eml" if kind == "message/rfc822" else f"{part.get_content_maintype()}-{number}"


def _content_id(part: MimeMail) -> str | None:
    said = unfolded(str(part.get("Content-ID", ""))).strip("<> ")
    return said[:200] or None
