"""Makes a message of a room of a mail from outside; nothing of a mail vanishes, whatever it is like."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from roomkit.models.content import (
    CompositeContent,
    ConsentContent,
    EventContent,
    MediaContent,
    RichContent,
    SystemContent,
    TextContent,
)
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.models.enums import ConsentState, EventType
from roomkit.models.webhook import UnparsedPart
from roomkit_plugins.wire.mail.addresses import Mailbox, mailboxes
from roomkit_plugins.wire.mail.body import MailFile
from roomkit_plugins.wire.mail.mime import (
    MimeError,
    MimeMail,
    Texts,
    head_of,
    header_text,
    parse_mime,
    raw_headers,
    texts_and_files,
    unfolded,
)
from roomkit_plugins.wire.mail.pictures import without_pictures
from roomkit_plugins.wire.mail.quoted import cut_text, cut_tree
from roomkit_plugins.wire.mail.reports import Complaint, MailReceipt, read_report
from roomkit_plugins.wire.mail.robots import came_back, robot_sign
from roomkit_plugins.wire.mail.threads import message_ids
from roomkit_plugins.wire.markup import LONGEST_BODY, parse, to_html, to_text
from roomkit_plugins.wire.markup.tree import MarkupTree, Paragraph

if TYPE_CHECKING:
    from roomkit.abc.provider import WebhookPart

__all__ = ["MailReader", "read_mail", "unread_mail"]

_LONGEST_KEY = 800
_HEADERS = ("From", "To", "Cc", "Reply-To", "Subject", "Date", "Message-ID", "In-Reply-To", "References")
_VERDICT = re.compile(r"(?:^|[;\s])(spf|dkim|dmarc|arc)=([a-z]+)")
_FORWARDED = ("fw:", "fwd:", "wg:", "tr:", "rv:")


@dataclass(frozen=True, slots=True, kw_only=True)
class MailReader:
    """What is known of the account that mails come in by.

    `provider` is the name of the provider that sends, by which receipts find their deliveries. Mail from one
    of the `own` addresses is mail of ours that came back. `authserv_id` is what the receiving server calls
    itself in `Authentication-Results` (RFC 8601); without it, what such a header says is not believed.
    """

    channel_id: str
    provider: str
    own: Collection[str] = ()
    authserv_id: str | None = None


@dataclass(frozen=True, slots=True)
class _Envelope:
    """What the server says of a mail, beside the mail."""

    sender: str | None = None
    recipients: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()


def read_mail(
    data: bytes,
    reader: MailReader,
    *,
    envelope_from: str | None = None,
    envelope_to: Sequence[str] = (),
    facts: Sequence[tuple[str, str]] = (),
) -> Sequence[WebhookPart]:
    """Return what a mail says: a message, receipts, a complaint, or an unparsed part; never nothing.

    A message has the person's words without what they quote, which is in `extra["quoted"]`, and the mail's
    files. A mail that a program wrote asks no agent. One that cannot be read is a message that says so, with
    the mail as a file. `envelope_from` is the sender by SMTP, "" the null one; `envelope_to` are the
    addresses it came to; `facts` go into `extra`, such as what the server found of its sender.
    """
    envelope = _Envelope(envelope_from, tuple(envelope_to), tuple(facts))
    try:
        mail = parse_mime(data)
        envelope = _completed(envelope, mail, reader)
        reports = read_report(mail)
        if reports is not None:
            return list(_reports(mail, reports, reader))
        return [_message(mail, data, reader, envelope)]
    except (MimeError, RecursionError) as error:
        return [_unreadable(data, str(error) or type(error).__name__, reader, envelope)]


def unread_mail(head: bytes, why: str, reader: MailReader) -> WebhookPart:
    """Return what stands for a mail that is not read, such as one that is too large: its head is a file."""
    return _unreadable(head, why, reader, _Envelope())


def _completed(envelope: _Envelope, mail: MimeMail, reader: MailReader) -> _Envelope:
    """Return the envelope with what the receiving server wrote into the mail's head, where it is not said."""
    path = header_text(mail, "Return-Path")
    sender = path.strip("<> ") if path and envelope.sender is None else envelope.sender
    delivered = [*raw_headers(mail, "Delivered-To"), *raw_headers(mail, "X-Original-To")]
    recipients = envelope.recipients or tuple(each.address for each in mailboxes(delivered))
    results = raw_headers(mail, "Authentication-Results")
    facts = envelope.facts or tuple(_verdicts(results[0] if results else "", reader.authserv_id))
    return _Envelope(sender, recipients, facts)


def _verdicts(results: str, authserv_id: str | None) -> Iterator[tuple[str, str]]:
    """Yield what the receiving server found of SPF, DKIM and DMARC; its own header is the first."""
    said, _, verdicts = unfolded(results).partition(";")
    if authserv_id is not None and said.split(" ")[0].strip().lower() == authserv_id.lower():
        yield from dict(_VERDICT.findall(verdicts.lower())).items()


# -- reports --------------------------------------------------------------------------------------


def _reports(
    mail: MimeMail, reports: Sequence[MailReceipt | Complaint], reader: MailReader
) -> Iterator[WebhookPart]:
    raw = {**_head(mail), "text": _first_text(mail)}
    for report in reports:
        match report:
            case MailReceipt():
                yield _receipt(report, raw, reader)
            case Complaint():
                yield _complaint(report, raw, reader)
    if not reports:
        yield UnparsedPart(
            channel_id=reader.channel_id, reason="a mail server's report that names no mail", raw=raw
        )


def _receipt(report: MailReceipt, raw: dict[str, Any], reader: MailReader) -> DeliveryStatus:
    return DeliveryStatus(
        provider=reader.provider,
        channel_id=reader.channel_id,
        message_id=report.message_id,
        status=str(report.state),
        recipient=report.recipient,
        error_code=report.code,
        error_message=report.text if report.code else None,
        raw=raw,
    )


def _complaint(report: Complaint, raw: dict[str, Any], reader: MailReader) -> InboundMessage:
    address = report.address.lower()
    return InboundMessage(
        channel_id=reader.channel_id,
        sender_id=address,
        content=ConsentContent(
            address_type="email",
            address=address,
            state=ConsentState.REVOKED,
            source="complaint",
            body=report.kind,
        ),
        event_type=EventType.CONSENT,
        raw_payload=raw,
    )


def _first_text(mail: MimeMail) -> str:
    try:
        return (texts_and_files(mail).plain or "")[:4_000]
    except MimeError:
        return ""


# -- messages -------------------------------------------------------------------------------------


def _message(mail: MimeMail, data: bytes, reader: MailReader, envelope: _Envelope) -> WebhookPart:
    senders = mailboxes(raw_headers(mail, "From")) or mailboxes(raw_headers(mail, "Sender"))
    sender = senders[0] if senders else Mailbox(envelope.sender or "")
    if not sender.address:
        return UnparsedPart(channel_id=reader.channel_id, reason="a mail without a sender", raw=_head(mail))
    if (why := came_back(mail, sender.address, reader.own)) is not None:
        return UnparsedPart(channel_id=reader.channel_id, reason=f"a mail in a loop: {why}", raw=_head(mail))
    found = texts_and_files(mail)
    content, quoted = _content(found, header_text(mail, "Subject"))
    sign = robot_sign(mail, sender.address, envelope.sender)
    ids = message_ids(header_text(mail, "Message-ID"))
    references = _references(mail)
    return InboundMessage(
        channel_id=reader.channel_id,
        sender_id=sender.address.lower(),
        content=content,
        **_identity(ids[0] if ids else None, data),
        thread_id=_key((*reversed(references), *ids)[0]) if references or ids else None,
        in_reply_to=tuple(references[:8]),
        addressed_to=None if sign is None else (),
        raw_payload={**_head(mail), "html": found.html} if found.html else _head(mail),
        extra=_extra(mail, sender, envelope, quoted, sign),
        metadata={} if sign is None else {"automatic": sign},
    )


def _identity(message_id: str | None, data: bytes) -> dict[str, Any]:
    """Return the ids of a mail: its Message-ID, else a digest of its bytes, which knows a second copy."""
    key = _key(message_id or f"<{sha256(data).hexdigest()[:40]}@no-message-id.invalid>")
    return {"external_id": key, "provider_message_id": key, "idempotency_key": key}


def _key(text: str) -> str:
    if len(text.encode()) <= _LONGEST_KEY:
        return text
    return f"<{sha256(text.encode()).hexdigest()}@long.invalid>"


def _references(mail: MimeMail) -> list[str]:
    """Return the Message-IDs that a mail answers, the closest first."""
    answered = message_ids(header_text(mail, "In-Reply-To"))
    thread = message_ids(header_text(mail, "References"))
    return list(dict.fromkeys([*answered, *reversed(thread)]))


def _head(mail: MimeMail) -> dict[str, Any]:
    return {name: said for name in _HEADERS if (said := header_text(mail, name))}


def _extra(
    mail: MimeMail, sender: Mailbox, envelope: _Envelope, quoted: str, sign: str | None
) -> dict[str, Any]:
    to = [each.address for each in mailboxes([*raw_headers(mail, "To"), *raw_headers(mail, "Cc")])]
    given = {
        "subject": header_text(mail, "Subject"),
        "from_name": sender.name,
        "to": to,
        "envelope_to": list(envelope.recipients),
        "reply_to": [each.address for each in mailboxes(raw_headers(mail, "Reply-To"))],
        "references": list(reversed(_references(mail))),
        "quoted": quoted,
        "robot": sign,
        "authentication": dict(envelope.facts),
    }
    return {name: value for name, value in given.items() if value}


def _content(found: Texts, subject: str) -> tuple[EventContent, str]:
    """Return what the person wrote, with the files, and what was cut from it."""
    is_forwarded = subject.lower().startswith(_FORWARDED)
    text, quoted = _text(found, is_forwarded)
    parts: list[EventContent] = [] if text is None else [text]
    parts.extend(map(_file, found.files))
    if not parts:
        parts.append(TextContent(body=""))
    match parts:
        case [only]:
            return only, quoted
        case [TextContent(body=body), MediaContent() as file] if len(body) <= 1_000:
            return file.replace(caption=body), quoted
        case _:
            return CompositeContent(parts=tuple(parts)), quoted


def _text(found: Texts, is_forwarded: bool) -> tuple[TextContent | RichContent | None, str]:
    if found.html is not None and len(found.html) <= LONGEST_BODY:
        kept, cut = cut_tree(without_pictures(parse(found.html, "html")), is_forwarded=is_forwarded)
        if not _is_plain(kept):
            rich = RichContent(body=to_html(kept), format="html", plain_text=to_text(kept))
            return rich, to_text(cut)
        if found.plain is None or not found.plain.strip():
            return (TextContent(body=to_text(kept)) if kept else None), to_text(cut)
    elif found.html is not None:
        found.files.append(MailFile(found.html.encode(), "text/html", "message.html"))
    own, cut_lines = cut_text(found.plain or "", is_forwarded=is_forwarded)
    return (TextContent(body=own) if own else None), cut_lines


def _is_plain(tree: MarkupTree) -> bool:
    """Whether a text has no form that plain text could not have."""
    return all(
        isinstance(block, Paragraph) and all(isinstance(span, str) for span in block.spans) for block in tree
    )


def _file(file: MailFile) -> MediaContent:
    encoded = b64encode(file.data).decode()
    return MediaContent(
        url=f"data:{file.mime_type};base64,{encoded}",
        mime_type=file.mime_type,
        filename=file.filename,
        size_bytes=len(file.data),
    )


def _unreadable(data: bytes, why: str, reader: MailReader, envelope: _Envelope) -> WebhookPart:
    """Return a mail that exceeds a bound as a message with the mail as a file, which asks no agent."""
    head = head_of(data)
    senders = mailboxes(raw_headers(head, "From"))
    sender = senders[0].address if senders else envelope.sender
    if not sender:
        return UnparsedPart(
            channel_id=reader.channel_id, reason=f"a mail that cannot be read: {why}", raw=_head(head)
        )
    file = _file(MailFile(data, "message/rfc822", "mail.eml"))
    ids = message_ids(header_text(head, "Message-ID"))
    return InboundMessage(
        channel_id=reader.channel_id,
        sender_id=sender.lower(),
        content=CompositeContent(
            parts=(SystemContent(body=f"A mail that cannot be read: {why}", code="unparsed"), file)
        ),
        **_identity(ids[0] if ids else None, data),
        addressed_to=(),
        raw_payload=_head(head),
        metadata={"automatic": "unreadable"},
    )
