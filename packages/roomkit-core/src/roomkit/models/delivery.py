"""Inbound messages and their results, and the ledger of outbound deliveries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self, override

from pydantic import Field

from roomkit._dataclasses import dataclass
from roomkit.models.base import EMPTY, Json, Record
from roomkit.models.content import EventContent, readable_content
from roomkit.models.enums import DeliveryState, EventType, ReceiptState
from roomkit.models.values import Int, Key, Label, Reference, Summary, VendorJson, VendorKey

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent

__all__ = [
    "Delivery",
    "DeliveryError",
    "DeliveryOutcome",
    "DeliveryResult",
    "DeliveryStatus",
    "InboundMessage",
    "InboundResult",
    "ProviderResult",
    "ReceiptWatermark",
]

MOST_REPLIED_TO = 8
"""How many ids of `InboundMessage.in_reply_to` are looked up."""


class ProviderResult(Record):
    """What a provider says of one send.

    `error` is a stable code when `success` is false; `parts` are the vendor's ids of every segment sent.
    `provider` names the vendor that took the message where that may not be the one that was asked, by the
    name that its receipts have. Providers raise `ProviderError` for failures that can be classified; a
    false `success` is for a refusal the vendor reports in a normal answer.
    """

    success: bool
    provider_message_id: VendorKey | None = None
    error: Label | None = None
    retryable: bool = False
    retry_after: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    status_code: Int | None = None
    parts: tuple[VendorKey, ...] = ()
    provider: VendorKey | None = None
    metadata: VendorJson = EMPTY


class InboundMessage(Record):
    """A message from outside, before it belongs to a room.

    `sender_id` is the sender's address on that channel. `external_id` is the vendor's id,
    `idempotency_key` what makes a redelivery recognisable: a key names one message of the channel in all
    rooms of an organization, until that message is pruned or its room deleted. `thread_id` is the
    vendor's thread, `connection_id` the socket it came by, `session` a live call it belongs to.
    `limited` marks one that came when its channel's `inbound_rate_limit` was used up: it is committed, and no
    intelligence is asked; the kit sets it for verified webhooks.
    `room_id` is the room that an adapter knows it to be for. A room that is not there, is closed, has the
    channel detached or is another organization's is passed over, and the message is routed as without it.
    Keys of `metadata` that begin with `_` are dropped at the door.

    `conversation` is the address of what several senders share, such as a group's chat: the message is
    routed, ordered and answered by it in place of the sender's, whose own room it never is.

    `in_reply_to` are the vendor's ids of the messages that this one answers, the closest first; the first
    `MOST_REPLIED_TO` are looked up. An edit or a deletion names there the message that it is of: the kit puts
    that event's id in place of the content's `target_event_id`, which may be the vendor's id. So does a
    reaction, which has the emoji as its text, and "add" or "remove" as `action` in `metadata`. An edit of a
    message that the room does not have is committed as a message. `organization_id` is whose message it is,
    set by the adapter or by `Channel.admit` from verified facts (the number, the account), else the
    channel's: a room of another one takes it never, and a new room is the organization's. `extra` are the
    vendor's private facts: they are stored in the event's `channel_data.extra` and never shown to clients.
    """

    channel_id: Key
    sender_id: Key
    conversation: Key | None = None
    content: EventContent
    event_type: EventType = EventType.MESSAGE
    external_id: Key | None = None
    thread_id: Key | None = None
    room_id: Key | None = None
    idempotency_key: Key | None = None
    connection_id: Key | None = None
    provider_message_id: Key | None = None
    parent_event_id: Key | None = None
    visibility: Reference | None = None
    response_visibility: Reference | None = None
    addressed_to: tuple[Key, ...] | None = None
    in_reply_to: tuple[VendorKey, ...] = ()
    organization_id: Key | None = None
    limited: bool | None = None
    raw_payload: VendorJson = EMPTY
    extra: VendorJson = EMPTY
    metadata: Json = EMPTY
    session: Any | None = Field(default=None, repr=False, exclude=True)


class DeliveryError(Record):
    """Why a delivery failed: `code` is an `ErrorCode` value, the vendor's own is in `vendor_code`.

    An agent's turn that failed with another `RoomKitError` has that error's code.
    """

    code: Label
    message: Summary
    retryable: bool = False
    retry_after: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    vendor_code: Label | None = None


class Delivery(Record):
    """One row of the ledger: what became of one event on its way to one binding.

    `id` is the stable idempotency key given to vendors that take one; the further parts of a message that
    was split have `<id>:1`, `<id>:2` and so on. `sent_parts` counts the parts that the vendor has; a retry
    goes on after them. `reason` is why it was skipped. `receipt` is what the vendor said later. While it is
    pending, `holder` is the worker that is to carry it out; `claims` counts how often it was reclaimed from
    a lost one, and a `provider` is the one that it goes by, when others of the channel were tried before.
    `fallback_of` is the id of the row that this one was made for, because that failed or was not confirmed.
    `rendered` is the text really sent, where it differs from the event: in another form, cut, or a template.
    Of a message whose outcome is unknown, and whose receipts bring its key back, the key stands among the
    vendor's ids: `receipt` of the failed row then says what became of it.
    """

    id: Reference
    room_id: Key
    event_id: Key
    event_index: Int
    channel_id: Key
    state: DeliveryState = DeliveryState.PENDING
    attempts: Int = 0
    provider: VendorKey | None = None
    provider_message_id: VendorKey | None = None
    parts: tuple[VendorKey, ...] = ()
    sent_parts: Int = Field(default=0, ge=0)
    rendered: EventContent | None = None
    error: DeliveryError | None = None
    reason: Label | None = None
    fallback_of: Reference | None = None
    receipt: ReceiptState | None = None
    holder: Key | None = None
    claims: int = Field(default=0, ge=0)
    created_at: datetime
    finished_at: datetime | None = None
    duration_ms: float | None = Field(default=None, ge=0, allow_inf_nan=False)

    @classmethod
    @override
    def _prepared(cls, fields: Any) -> Any:
        if not isinstance(fields, dict) or "rendered" not in fields:
            return fields
        return {**fields, "rendered": readable_content(fields["rendered"])}

    @classmethod
    def planned(cls, event: RoomEvent, channel_id: str) -> Self:
        """Return the row that a commit makes for one target of an event."""
        return cls(
            id=f"{event.id}:{channel_id}",
            room_id=event.room_id,
            event_id=event.id,
            event_index=event.index,
            channel_id=channel_id,
            created_at=event.created_at,
        )

    def fallback_to(self, channel_id: str) -> Self:
        """Return the row of the same event to a further channel, in place of this one."""
        return type(self)(
            id=f"{self.event_id}:{channel_id}",
            room_id=self.room_id,
            event_id=self.event_id,
            event_index=self.event_index,
            channel_id=channel_id,
            created_at=self.created_at,
            fallback_of=self.id,
        )

    def redacted(self) -> Self:
        """Return the row of a redacted event: of a failure it keeps the code alone.

        The message of an error may quote the event, or an answer to it. Unknown fields of a newer
        version go too.
        """
        error = self.error and DeliveryError(code=self.error.code, message="erased")
        return self.replace(error=error, sent_parts=0, rendered=None, fallback_of=None).without_unknown()

    def outcome(self, **changes: Any) -> DeliveryOutcome:
        """Return what `complete` of a store takes to write this row, with `changes`, which are trusted."""
        known = {name: getattr(self, name) for name in OUTCOME_FIELDS}
        return DeliveryOutcome(**{**known, "unknown": self.model_extra, **changes})

    @property
    def message_ids(self) -> tuple[str, ...]:
        """Every id the vendor gave the message and its parts, each once."""
        return _message_ids(self)

    @property
    def vendor_ids(self) -> tuple[str, ...]:
        """`message_ids` without a key that stands for one."""
        return tuple(each for each in self.message_ids if not each.startswith(self.id))


@dataclass(slots=True)
class DeliveryOutcome:
    """How a delivery ended, or how far it has come: what a worker has a store write of a `Delivery`.

    It has the fields of that row but for the store's own (`holder`, `claims`, `receipt`), and for its `id`,
    which is made of two others. Each recipient of each message has one, therefore it is not a model: its
    values are trusted, and `delivery` makes a row of them for those who read it. It is shared, and never
    changed. `unknown` are fields of a newer version that the row had when it was claimed.
    """

    room_id: str
    event_id: str
    event_index: int
    channel_id: str
    created_at: datetime
    state: DeliveryState
    attempts: int = 0
    provider: str | None = None
    provider_message_id: str | None = None
    parts: tuple[str, ...] = ()
    sent_parts: int = 0
    rendered: EventContent | None = None
    error: DeliveryError | None = None
    reason: str | None = None
    fallback_of: str | None = None
    finished_at: datetime | None = None
    duration_ms: float | None = None
    unknown: Mapping[str, Any] | None = None

    @property
    def id(self) -> str:
        """The id of the row."""
        return f"{self.event_id}:{self.channel_id}"

    @property
    def message_ids(self) -> tuple[str, ...]:
        """Every id the vendor gave the message and its parts, each once."""
        return _message_ids(self)

    def delivery(
        self, *, receipt: ReceiptState | None = None, holder: str | None = None, claims: int = 0
    ) -> Delivery:
        """Return the row as it is written, with the store's own fields."""
        # Durable stores make one of each outcome: field by field, for a third of what a loop over them takes.
        row = Delivery.trusted(
            {
                "id": f"{self.event_id}:{self.channel_id}",
                "room_id": self.room_id,
                "event_id": self.event_id,
                "event_index": self.event_index,
                "channel_id": self.channel_id,
                "state": self.state,
                "attempts": self.attempts,
                "provider": self.provider,
                "provider_message_id": self.provider_message_id,
                "parts": self.parts,
                "sent_parts": self.sent_parts,
                "rendered": self.rendered,
                "error": self.error,
                "reason": self.reason,
                "fallback_of": self.fallback_of,
                "receipt": receipt,
                "holder": holder,
                "claims": claims,
                "created_at": self.created_at,
                "finished_at": self.finished_at,
                "duration_ms": self.duration_ms,
            }
        )
        return row if self.unknown is None else row.with_unknown(self.unknown)


OUTCOME_FIELDS = tuple(each.name for each in fields(DeliveryOutcome) if each.name != "unknown")
"""The fields that a `DeliveryOutcome` shares with its `Delivery`."""


def _message_ids(row: Delivery | DeliveryOutcome) -> tuple[str, ...]:
    if row.provider_message_id is None:
        return ()
    return tuple(dict.fromkeys((row.provider_message_id, *row.parts)))


@dataclass(slots=True, frozen=True)
class DeliveryResult:
    """The end of one delivery, as `InboundResult` reports it."""

    channel_id: str
    state: DeliveryState
    provider_message_id: str | None = None
    error: DeliveryError | None = None
    reason: str | None = None
    partial: bool = False
    """Whether it failed after a part of the message was sent."""

    @property
    def success(self) -> bool:
        """Whether the event reached the provider."""
        return self.state is DeliveryState.SENT


_TEMPORARY = frozenset({"rate_limited", "process_timeout", "source_detached", "room_moving"})
"""Refusals without an error after which the same message may be accepted."""


@dataclass(frozen=True)
class InboundResult:
    """What became of a message.

    `blocked` with a `reason` (a stable code or the hook's words) when it was refused; `event` is
    then the stored BLOCKED entry, or None when nothing was stored. `error` is the first failure of
    an intelligence or observer in the cascade, `delivery_results` the end of each delivery of this
    event by channel id (empty with `wait="committed"`). `duplicate` marks a redelivery, which gets
    the first result again. `retry_after` is in how many seconds a message refused as `rate_limited` or
    `room_moving` may be sent again.
    """

    event: RoomEvent | None = None
    blocked: bool = False
    reason: str | None = None
    error: Exception | None = None
    delivery_results: Mapping[str, DeliveryResult] = field(default_factory=dict)
    duplicate: bool = False
    retry_after: float | None = None

    def __init__(
        self,
        event: RoomEvent | None = None,
        blocked: bool = False,
        reason: str | None = None,
        error: Exception | None = None,
        delivery_results: Mapping[str, DeliveryResult] | None = None,
        duplicate: bool = False,
        retry_after: float | None = None,
    ) -> None:
        # Each message has one, and a frozen dataclass sets its fields one by one, at ten times the price.
        self.__dict__.update(
            {
                "event": event,
                "blocked": blocked,
                "reason": reason,
                "error": error,
                "delivery_results": {} if delivery_results is None else delivery_results,
                "duplicate": duplicate,
                "retry_after": retry_after,
            }
        )

    @property
    def stored(self) -> bool:
        """Whether the message may be acknowledged: it is committed, or was refused for good.

        False if nothing is stored and the same message may be accepted when it is sent again.
        """
        if self.event is not None or self.reason == "invalid_input":
            return True
        return self.error is None and self.reason not in _TEMPORARY


class DeliveryStatus(Record):
    """A vendor's receipt for a message sent earlier.

    It matches the delivery with that `provider` (the channel's `provider_name`) and `message_id`. For a
    channel without a provider's name, `channel_id` is enough. `reference` is the idempotency key that the
    message was sent under, where the vendor brings it back: it finds a delivery whose answer was lost.
    `status` is a `ReceiptState` value or the vendor's word; what the vendor sent is kept in `raw`. Observers
    see `event_id` None when nothing matched.
    """

    provider: VendorKey = ""
    message_id: VendorKey
    status: Label
    room_id: Key | None = None
    channel_id: Key | None = None
    event_id: Key | None = None
    reference: Reference | None = None
    recipient: Label = ""
    sender: Label = ""
    error_code: Label | None = None
    error_message: Summary | None = None
    timestamp: datetime | None = None
    raw: VendorJson = EMPTY


class ReceiptWatermark(Record):
    """A vendor's receipt for everything that was sent to an address up to an instant.

    It is a receipt, `status`, for each delivery of the channel to the `recipient` whose send began at or
    before `at`, by the vendor's clock; those that the vendor reported as failed, or that another `provider`
    sent, are passed over, and so are those without a vendor's message id. `status` means "delivered" or
    "read" (see `ReceiptState.of_word`). The 20 rooms that were active last are looked at, closed ones too.
    """

    provider: VendorKey = ""
    channel_id: Key | None = None
    recipient: Key
    status: Label
    at: datetime
    raw: VendorJson = EMPTY
