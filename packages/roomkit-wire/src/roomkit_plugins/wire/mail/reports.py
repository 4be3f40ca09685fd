"""What is reported of a mail: RFC 3464 (delivery), RFC 8098 (reading) and RFC 5965 (complaints)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_string
from email.message import Message

from roomkit.models.enums import ReceiptState
from roomkit_plugins.wire.mail.addresses import mailboxes
from roomkit_plugins.wire.mail.mime import MimeMail, header_text, parts_within
from roomkit_plugins.wire.mail.threads import message_ids

__all__ = ["Complaint", "MailReceipt", "Report", "read_report"]

_ACTIONS = {
    "failed": ReceiptState.UNDELIVERED,
    "delayed": ReceiptState.SENDING,
    "delivered": ReceiptState.DELIVERED,
    "relayed": ReceiptState.SENT,
    "expanded": ReceiptState.SENT,
}
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_MOST_RECIPIENTS = 200


@dataclass(frozen=True, slots=True)
class MailReceipt:
    """What became of a mail, by its Message-ID, for one recipient."""

    message_id: str
    state: ReceiptState
    recipient: str = ""
    code: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Complaint:
    """A person's complaint of a mail, which ends their consent."""

    address: str
    kind: str


type Report = list[MailReceipt | Complaint]


def read_report(mail: MimeMail) -> Report | None:
    """Return what a report says; None for a mail that is none, [] for a report that names no mail."""
    if mail.get_content_type() != "multipart/report":
        return None
    parts = parts_within(mail)
    original = _original(parts)
    for part in parts:
        match part.get_content_type():
            case "message/delivery-status" | "message/global-delivery-status":
                return list(_deliveries(part, original))
            case "message/disposition-notification" | "message/global-disposition-notification":
                return list(_disposition(part, original))
            case "message/feedback-report":
                return list(_complaint(part, original))
    return []


def _fields(part: MimeMail) -> list[MimeMail]:
    """Return the groups of fields of a report's machine-readable part."""
    inner = parts_within(part)
    return inner or [message_from_string(str(part.get_payload() or "").lstrip())]


def _original(parts: list[MimeMail]) -> MimeMail:
    """Return the mail that a report is about, or its head, as far as the report has it."""
    for part in parts:
        inner = parts_within(part)
        if part.get_content_type() in ("message/rfc822", "message/global") and inner:
            return inner[0]
        if part.get_content_type() in ("text/rfc822-headers", "message/global-headers"):
            payload = part.get_payload(decode=True)
            text = payload.decode("utf-8", "replace") if isinstance(payload, bytes) else ""
            return message_from_string(text.lstrip())
    return Message()


def _deliveries(part: MimeMail, original: MimeMail) -> Iterator[MailReceipt]:
    ids = message_ids(header_text(original, "Message-ID"))
    for fields in _fields(part)[:_MOST_RECIPIENTS]:
        state = _ACTIONS.get(header_text(fields, "Action").lower())
        if state is None or not ids:
            continue
        yield MailReceipt(
            ids[0],
            state,
            _typed(fields, "Final-Recipient") or _typed(fields, "Original-Recipient"),
            _status(fields) if state in (ReceiptState.UNDELIVERED, ReceiptState.SENDING) else None,
            _typed(fields, "Diagnostic-Code") or None,
        )


def _status(fields: MimeMail) -> str | None:
    found = _STATUS.search(header_text(fields, "Status")) or _STATUS.search(
        header_text(fields, "Diagnostic-Code")
    )
    return found[0] if found else None


def _typed(fields: MimeMail, name: str) -> str:
    """Return a field's value without its type, as in `rfc822; ann@example.com`."""
    said = header_text(fields, name)
    return said.partition(";")[2].strip() or said


def _disposition(part: MimeMail, original: MimeMail) -> Iterator[MailReceipt]:
    for fields in _fields(part)[:1]:
        ids = message_ids(header_text(fields, "Original-Message-ID")) or message_ids(
            header_text(original, "Message-ID")
        )
        kind = header_text(fields, "Disposition").rpartition(";")[2].strip().lower().partition("/")[0]
        if ids:
            state = ReceiptState.READ if kind == "displayed" else ReceiptState.DELIVERED
            yield MailReceipt(ids[0], state, _typed(fields, "Final-Recipient"))


def _complaint(part: MimeMail, original: MimeMail) -> Iterator[Complaint]:
    for fields in _fields(part)[:1]:
        kind = header_text(fields, "Feedback-Type").lower() or "abuse"
        said = [_typed(fields, "Original-Rcpt-To"), header_text(original, "To")]
        found = mailboxes(filter(None, said))
        if found and kind in ("abuse", "opt-out", "opt-out-list", "fraud", "other"):
            yield Complaint(found[0].address, kind)
