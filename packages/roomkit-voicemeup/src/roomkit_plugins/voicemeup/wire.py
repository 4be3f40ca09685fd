"""Between RoomKit's records and VoiceMeUp's fields: pure functions, without network.

VoiceMeUp publishes no reference; the fields are those that its accounts are seen to send and take (Nov 2026).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from roomkit.authoring.addresses import international
from roomkit.authoring.payload import VendorPayload
from roomkit.models.content import EventContent, MediaContent, SystemContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.webhook import UnparsedPart, WebhookRequest
from roomkit_plugins.voicemeup.errors import ORIGIN
from roomkit_plugins.wire.plain_message import text_and_files

__all__ = ["TOKEN", "MMSPart", "fields_of", "message_of", "read_part"]

TOKEN = "token"
"""The parameter of the callback URL's query that proves who calls."""
_UNKNOWN_TYPE = "application/octet-stream"
_LONGEST_ID = 200


class MMSPart:
    """One webhook: a message, or one of the parts that an MMS comes in.

    The first has the words and, in the place of a file, a page about it; each other one has a file.
    """

    def __init__(self, payload: Mapping[str, Any]) -> None:
        said = VendorPayload(ORIGIN.vendor, payload)
        self.raw = said.raw
        self.id = said.needed("sms_hash")
        self.sender = international(said.needed("source_number"), shortest=11)
        self.recipient = international(said.text("destination_number"), shortest=11)
        self.text = said.text("message")
        self.sent_at = said.text("datetime_transmission")
        self.direction = said.text("direction") or "inbound"
        url = said.text("attachment") or said.text("attachment_url")
        self.mime_type = said.text("attachment_mime_type") or said.text("attachment_type") or _UNKNOWN_TYPE
        self.is_page = url.endswith(".mms.html") or (self.mime_type == "text/html" and ".mms." in url)
        self.url = "" if self.is_page else url

    @property
    def is_of_several(self) -> bool:
        """Whether there are other parts: words with a page, or a file without words."""
        return self.is_page or bool(self.url and not self.text)

    @property
    def group(self) -> tuple[str, str, str]:
        """What the parts of one MMS have in common; two of one second have it, too."""
        return self.sender, self.recipient, self.sent_at


def fields_of(request: WebhookRequest) -> Mapping[str, Any]:
    """Return the fields of a request: of its JSON, its form, or its query. Raises WebhookBodyError."""
    if request.body.lstrip()[:1] in (b"{", b"[") or "json" in (request.header("content-type") or ""):
        said = request.json()
        return said if isinstance(said, Mapping) else {}
    if not request.body:
        return {name: value for name, value in request.query().items() if name != TOKEN}
    return {name: values[-1] for name, values in request.form().items()}


def read_part(payload: Mapping[str, Any], channel_id: str) -> MMSPart | UnparsedPart:
    """Return what a webhook is. Raises InvalidInputError for what VoiceMeUp does not send."""
    part = MMSPart(payload)
    if part.direction != "inbound":
        reason = f"a callback of VoiceMeUp about a message that is {part.direction[:40]}"
        return UnparsedPart(channel_id=channel_id, reason=reason, raw=part.raw)
    return part


def message_of(parts: Sequence[MMSPart], channel_id: str) -> InboundMessage:
    """Return the message that parts make, at least one: the words first, then the files as they came."""
    first = min(parts, key=lambda part: not part.text)
    identity = "+".join(part.id for part in (first, *(part for part in parts if part is not first)))
    if len(identity) > _LONGEST_ID:
        identity = f"{first.id[:100]}+{sha256(identity.encode()).hexdigest()}"
    has_file = any(part.url for part in parts)
    is_short = any(part.is_page for part in parts) and not has_file
    return InboundMessage(
        channel_id=channel_id,
        sender_id=first.sender,
        content=_content(parts),
        external_id=identity,
        provider_message_id=identity,
        idempotency_key=identity,
        raw_payload=first.raw if len(parts) == 1 else {"parts": [part.raw for part in parts]},
        extra={"to": first.recipient} if first.recipient else {},
        metadata={"missing_file": True} if is_short else {},
    )


def _content(parts: Sequence[MMSPart]) -> EventContent:
    text = "\n".join(part.text for part in parts if part.text)
    files = [MediaContent(url=part.url, mime_type=part.mime_type) for part in parts if part.url]
    if not text and not files and any(part.is_page for part in parts):
        return SystemContent(body="A file did not arrive", code="missing_file")
    return text_and_files(text, files)
