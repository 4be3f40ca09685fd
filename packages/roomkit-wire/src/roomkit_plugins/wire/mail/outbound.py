"""Writes a message of a room as MIME (RFC 5322, 2045 to 2049, 2387, 3834), on the stdlib's email package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from roomkit.abc.errors import ErrorCode
from roomkit.models.enums import ChannelType
from roomkit.models.hints import EmailHints
from roomkit_plugins.wire.mail.addresses import Mailbox, mailbox_of
from roomkit_plugins.wire.mail.body import MailBody, MailFile, mail_body
from roomkit_plugins.wire.mail.threads import bounded_references, check_message_id, message_id_for
from roomkit_plugins.wire.markup import to_html

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent
    from roomkit_plugins.wire.origin import Origin

__all__ = ["DEFAULT_SUBJECT", "LOOP_HEADER", "OutboundMail", "loop_mark", "outbound_mail"]

DEFAULT_SUBJECT = "New message"
LOOP_HEADER = "X-RoomKit-Loop"
"""Names the address that a mail was sent from, as a digest: it is known when it comes back."""
_LONGEST_SUBJECT = 900
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")


@dataclass(frozen=True, slots=True)
class OutboundMail:
    """A mail, before it has the form that a vendor takes: `mime` writes it whole.

    `in_reply_to` and `references` are the thread, `headers` what else stands in its head.
    """

    sender: Mailbox
    to: Mailbox
    cc: tuple[Mailbox, ...]
    reply_to: Mailbox | None
    subject: str
    message_id: str
    references: tuple[str, ...]
    headers: tuple[tuple[str, str], ...]
    body: MailBody
    date: str

    @property
    def recipients(self) -> tuple[str, ...]:
        """Every address that gets it, the first is the one that it is to."""
        return (self.to.address, *(each.address for each in self.cc))

    @property
    def html(self) -> str:
        """The text as an HTML document."""
        body = to_html(self.body.tree)
        return f'<!DOCTYPE html>\n<html><head><meta charset="utf-8"></head>\n<body>\n{body}\n</body></html>\n'

    @property
    def thread_headers(self) -> Iterator[tuple[str, str]]:
        """The headers by which mail programs find the thread."""
        if self.references:
            yield "In-Reply-To", self.references[-1]
            yield "References", " ".join(self.references)

    def mime(self) -> EmailMessage:
        """Return the whole message: its text twice, pictures within, files beside."""
        message = EmailMessage(policy=SMTP)
        message["From"] = self.sender.header
        message["To"] = self.to.header
        if self.cc:
            message["Cc"] = tuple(each.header for each in self.cc)
        if self.reply_to is not None:
            message["Reply-To"] = self.reply_to.header
        message["Subject"] = self.subject
        message["Date"] = self.date
        message["Message-ID"] = self.message_id
        for name, value in (*self.thread_headers, *self.headers):
            message[name] = value
        self._fill(message)
        return message

    def _fill(self, message: EmailMessage) -> None:
        message.set_content(self.body.text, charset="utf-8")
        message.add_alternative(self.html, subtype="html", charset="utf-8")
        html = message.get_payload()[-1]  # type: ignore[index]  # of a multipart, a list
        for file in self.body.files:
            maintype, _, subtype = _mime_type(file).partition("/")
            if file.content_id is None:
                message.add_attachment(file.data, maintype, subtype, filename=_filename(file))
                continue
            html.add_related(  # type: ignore[union-attr]
                file.data,
                maintype,
                subtype,
                cid=f"<{file.content_id}>",
                disposition="inline",
                filename=_filename(file),
            )


def _mime_type(file: MailFile) -> str:
    found = file.mime_type.partition(";")[0].strip().lower()
    is_file = _TYPE.fullmatch(found) and not found.startswith(("multipart/", "message/"))
    return found if is_file else "application/octet-stream"


def _filename(file: MailFile) -> str:
    """Return a name without control characters, which could add a header."""
    return "".join(each if each.isprintable() else "_" for each in file.filename)[:200]


def loop_mark(address: str) -> str:
    """Return what `LOOP_HEADER` says for a sender."""
    return sha256(address.lower().encode()).hexdigest()[:16]


def outbound_mail(
    event: RoomEvent,
    to: str,
    *,
    sender: Mailbox,
    hints: EmailHints | None,
    key: str | None,
    origin: Origin,
    subject: str = DEFAULT_SUBJECT,
) -> OutboundMail:
    """Return the mail of an event. It has no side effects, and the same key gives the same Message-ID.

    `subject` is for an event whose hints name none. Mail that an agent or the framework wrote says that it is
    automatic. Raises ProviderError for an address, subject or reference that is none, and what `mail_body`
    raises.
    """
    said = hints or EmailHints()
    if not to.strip():
        raise origin.refused("there is no address to send to", error_code=ErrorCode.MISSING_RECIPIENT)
    recipient = _mailbox(to, origin, ErrorCode.INVALID_RECIPIENT)
    sender = sender if said.from_ is None else _sender(said.from_, sender, origin)
    return OutboundMail(
        sender=sender,
        to=recipient,
        cc=tuple(_mailbox(each, origin) for each in said.cc),
        reply_to=None if said.reply_to is None else _mailbox(said.reply_to, origin),
        subject=_subject(subject if said.subject is None else said.subject, origin),
        message_id=message_id_for(key or event.id, sender.domain),
        references=tuple(_references(said, origin)),
        headers=tuple(_headers(event, sender, said, origin)),
        body=mail_body(event.content, origin),
        date=format_datetime(event.created_at),
    )


def _mailbox(text: str, origin: Origin, code: ErrorCode = ErrorCode.INVALID_REQUEST) -> Mailbox:
    try:
        return mailbox_of(text)
    except ValueError as error:
        raise origin.refused(str(error), error_code=code) from error


def _sender(text: str, configured: Mailbox, origin: Origin) -> Mailbox:
    """Return the sender that hints name; a bare address keeps the configured name."""
    named = _mailbox(text, origin)
    return named if named.name else Mailbox(named.address, configured.name)


def _subject(text: str, origin: Origin) -> str:
    if not text.isprintable():
        raise origin.refused("the subject has a line break or a control character: send it without")
    if len(text) > _LONGEST_SUBJECT:
        raise origin.refused(
            f"the subject has {len(text)} characters: at most {_LONGEST_SUBJECT} are sent",
            error_code=ErrorCode.TOO_LONG,
        )
    return text.strip() or DEFAULT_SUBJECT


def _references(hints: EmailHints, origin: Origin) -> list[str]:
    try:
        return bounded_references([check_message_id(each) for each in hints.references])
    except ValueError as error:
        raise origin.refused(str(error)) from error


def _headers(
    event: RoomEvent, sender: Mailbox, hints: EmailHints, origin: Origin
) -> Iterator[tuple[str, str]]:
    yield LOOP_HEADER, loop_mark(sender.address)
    if is_automatic(event):
        yield "Auto-Submitted", "auto-generated"
        yield "X-Auto-Response-Suppress", "All"
    if (url := hints.unsubscribe_url) is not None:
        if not url.isprintable() or not url.startswith(("https://", "http://")) or {*"<>, "} & {*url}:
            raise origin.refused("the unsubscribe_url of a mail is no http(s) URL")
        yield "List-Unsubscribe", f"<{url}>"
        yield "List-Unsubscribe-Post", "List-Unsubscribe=One-Click"


def is_automatic(event: RoomEvent) -> bool:
    """Whether an agent or the framework wrote an event, and no person."""
    kind = event.source.channel_type
    return event.generation is not None or kind in (ChannelType.AI, ChannelType.SYSTEM)
