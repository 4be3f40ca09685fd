"""What an SMS webhook says, in one shape for all carriers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import ValidationError

from roomkit.abc.errors import InvalidInputError
from roomkit.authoring.payload import VendorPayload
from roomkit.models.base import EMPTY, Record
from roomkit.models.content import CompositeContent, ConsentContent, EventContent, MediaContent, TextContent
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.models.enums import ConsentState, EventType
from roomkit.models.values import Int, Label, Text, VendorJson, VendorKey
from roomkit_plugins.sms.carriers import CARRIERS

__all__ = ["WebhookMeta", "extract_sms_meta"]

_RECEIPTS = frozenset({"message.sent", "message.delivered", "message.failed", "message.finalized"})


class WebhookMeta(Record):
    """One webhook of a carrier: a message of a person, a receipt, or neither.

    Numbers are in E.164 where the carrier says which country they are of. Of `media_urls` each has `url` and
    `mime_type`. `raw` is the carrier's payload. `status` is the carrier's word for what became of a message
    that was sent, with `error_code` and `error_message`. `consent` is what the carrier's own opt-out made of
    the message. `missing_files` counts files that the carrier could not keep. `timestamp` is None where the
    carrier gives none, or none with a time zone.
    """

    provider: Label
    sender: Label = ""
    recipient: Label = ""
    body: Text = ""
    external_id: VendorKey | None = None
    timestamp: datetime | None = None
    raw: VendorJson = EMPTY
    media_urls: tuple[VendorJson, ...] = ()
    direction: Literal["inbound", "outbound"] | None = None
    event_type: Label | None = None
    status: Label | None = None
    error_code: Label | None = None
    error_message: Text | None = None
    consent: ConsentState | None = None
    missing_files: Int = 0

    @property
    def is_inbound(self) -> bool:
        """Whether it is a message of a person; without a direction only `message.received` is."""
        if self.direction is None:
            return self.event_type == "message.received"
        return self.direction == "inbound"

    @property
    def is_status(self) -> bool:
        """Whether it is a receipt for a message that was sent."""
        return self.direction == "outbound" and (self.status is not None or self.event_type in _RECEIPTS)

    def to_inbound(self, channel_id: str) -> InboundMessage:
        """Return the message for `kit.process_inbound`; its idempotency key is the carrier's id.

        Raises InvalidInputError, which is a ValueError, for an object that is not a message, names no sender,
        or makes no event.
        """
        if not self.is_inbound:
            raise self._is_not("a message", "is_inbound")
        if not self.sender:
            raise InvalidInputError(f"the message of {self.provider} has no sender: it has no one to answer")
        try:
            return self._inbound(channel_id)
        except ValidationError as error:
            (first, *_) = error.errors(include_url=False, include_input=False)
            where = ".".join(map(str, first["loc"]))
            raise InvalidInputError(
                f"the message of {self.provider} makes no event: {where}: {first['msg']}"
            ) from None

    def _inbound(self, channel_id: str) -> InboundMessage:
        said = {
            "provider": self.provider,
            "recipient": self.recipient,
            "timestamp": None if self.timestamp is None else self.timestamp.isoformat(),
            "missing_files": self.missing_files or None,
        }
        return InboundMessage(
            channel_id=channel_id,
            sender_id=self.sender,
            content=self._content(),
            event_type=EventType.MESSAGE if self.consent is None else EventType.CONSENT,
            external_id=self.external_id,
            provider_message_id=self.external_id,
            idempotency_key=self.external_id,
            raw_payload=self.raw,
            extra={"to": self.recipient} if self.recipient else {},
            metadata={name: value for name, value in said.items() if value not in (None, "")},
        )

    def to_status(self, channel_id: str | None = None) -> DeliveryStatus:
        """Return the receipt for `kit.process_delivery_status`, which matches it by provider and message id.

        Raises InvalidInputError, which is a ValueError, for an object that is no receipt or names no message.
        """
        if not self.is_status:
            raise self._is_not("a receipt", "is_status")
        if self.external_id is None:
            raise InvalidInputError(
                f"the receipt of {self.provider} has no message id: it matches no delivery"
            )
        return DeliveryStatus(
            provider=self.provider,
            channel_id=channel_id,
            message_id=self.external_id,
            status=self.status or (self.event_type or "").removeprefix("message."),
            recipient=self.recipient,
            sender=self.sender,
            error_code=self.error_code,
            error_message=self.error_message,
            timestamp=self.timestamp,
            raw=self.raw,
        )

    def _is_not(self, what: str, ask: str) -> InvalidInputError:
        return InvalidInputError(
            f"the webhook of {self.provider} is not {what} (direction {self.direction}, event_type "
            f"{self.event_type}): ask {ask} first"
        )

    def _content(self) -> EventContent:
        if self.consent is not None:
            return ConsentContent(
                address_type="phone",
                address=self.sender,
                state=self.consent,
                source="vendor",
                body=self.body,
                at=self.timestamp,
            )
        files = [MediaContent(url=each["url"], mime_type=each["mime_type"]) for each in self.media_urls]
        if not files:
            return TextContent(body=self.body)
        if len(files) == 1:
            return files[0].replace(caption=self.body or None)
        texts = [TextContent(body=self.body)] if self.body else []
        return CompositeContent(parts=(*texts, *files))


def extract_sms_meta(provider: str, payload: Mapping[str, object]) -> WebhookMeta:
    """Return what a webhook says that the caller has verified; a form's fields, or the JSON object.

    `provider` is `twilio`, `telnyx`, `sinch` or `voicemeup`, in any case. Nothing of a signature is checked
    here: `kit.process_webhook` does both for an installed provider. Raises InvalidInputError, which is a
    ValueError, for another provider and for a payload that this one does not send.
    """
    name = provider.strip().lower()
    carrier = CARRIERS.get(name)
    if carrier is None:
        raise InvalidInputError(
            f"SMS webhooks of {provider[:40]!r} cannot be read; supported are {', '.join(sorted(CARRIERS))}"
        )
    return WebhookMeta.model_validate(
        {**carrier(VendorPayload(name, payload)), "provider": name, "raw": payload}
    )
