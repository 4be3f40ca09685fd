"""The timeline entry and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Self, override

from pydantic import Field
from pydantic_core import to_json

from roomkit.models.base import EMPTY, Json, Record, new_id, utcnow
from roomkit.models.content import EventContent, SystemContent, readable_content, text_of
from roomkit.models.enums import ChannelDirection, ChannelType, EventStatus, EventType
from roomkit.models.values import Int, Key, Label, Reference, Text, VendorJson

__all__ = [
    "SYSTEM_CHANNEL_ID",
    "Amendment",
    "ChannelData",
    "EventOrigin",
    "EventSource",
    "Generation",
    "Heard",
    "RoomEvent",
]

SYSTEM_CHANNEL_ID = "system"
"""The source of events the framework makes; it is never registered or attached."""


# What a client is not shown: vendors' payloads and ids, other clients' connections and keys, who else may
# see an event, the former words of edited events, and the cost of a model.
_PRIVATE_OF_SOURCE = {"raw_payload", "external_id", "provider_message_id", "connection_id"}
_PRIVATE: Mapping[str, Any] = {  # Any: pydantic's own type of what a serialiser leaves out
    "source": _PRIVATE_OF_SOURCE,
    "channel_data": True,
    "idempotency_key": True,
    "response_visibility": True,
    "visibility": True,
    "addressed_to": True,
    "blocked_by": True,
    "block_reason": True,
    "amendment": {"former_contents": True},
    "generation": {"usage": True, "provider": True, "model": True, "error_code": True, "heard": True},
    "trace_parent": True,
    "limited": True,
    "origin": True,
}


class EventSource(Record):
    """Who an event came from, and by which way.

    `direction` is INBOUND for what a transport brought in or `send_event` added, OUTBOUND for what
    an intelligence or the framework made. `on_behalf_of` is the participant an intelligence answers,
    whose rights its own events are judged by. `raw_payload` is the vendor's payload as received.
    """

    channel_id: Key
    channel_type: ChannelType
    direction: ChannelDirection = ChannelDirection.INBOUND
    participant_id: Key | None = None
    on_behalf_of: Key | None = None
    connection_id: Key | None = None
    external_id: Key | None = None
    provider: Key | None = None
    provider_message_id: Key | None = None
    raw_payload: VendorJson = EMPTY

    def client_view(self) -> dict[str, Any]:
        """Return what a client may see of the source, as JSON values; see `RoomEvent.client_view`."""
        known = self if self.__pydantic_extra__ is None else self.without_unknown()
        return known.model_dump(mode="json", exclude=_PRIVATE_OF_SOURCE, exclude_none=True)


class ChannelData(Record):
    """What the vendor's world calls the message; `thread_id` is the vendor's thread reference."""

    provider: Key | None = None
    external_id: Key | None = None
    thread_id: Key | None = None
    extra: VendorJson = EMPTY


class Heard(Record):
    """How far the person behind a channel perceived an answer that was played or shown to them.

    `chars` counts characters of the event's text from its start, and only rises. `estimated` says that it
    was computed from time, because the channel does not know it.
    """

    channel_id: Key
    chars: Int = Field(ge=0)
    estimated: bool = False


class Generation(Record):
    """How a model made an event.

    `usage` has the keys `input_tokens` (cache reads excluded), `output_tokens`,
    `cache_read_input_tokens`, `cache_creation_input_tokens`, `reasoning_tokens`, where known.
    `finish_reason` is `stop`, `length`, `tool_calls`, `content_filter`, `refusal`, `cancelled` or `error`;
    `interrupted` when the person answered broke it off; or, when the agent lost its voice or its room while
    it answered, `muted`, `detached`, `taken_over`, `unregistered`, `room_closed` or `room_archived`.
    While an answer streams, gates see its segments, numbered from 0 in `segment`. The content of each begins
    with `preceding`: the last 200 characters, at most, that were released before. Both are None when the
    whole answer is judged and in the committed event.
    `cost` is what the answer's requests cost, in the currency of the agent's prices; None where that is not
    known.
    `heard` has an entry for each channel that says how far its person perceived the answer, such as a call:
    it is kept beside the text, usually after the commit, and does not change the event.
    """

    provider: Label | None = None
    model: Label | None = None
    finish_reason: Label | None = None
    usage: VendorJson = EMPTY
    tool_rounds: Int = 0
    stream_id: Label | None = None
    segment: Int | None = None
    preceding: Text | None = None
    error_code: Label | None = None
    cost: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    heard: tuple[Heard, ...] = ()


class Amendment(Record):
    """What later happened to a committed event: the entry stays, with its former contents."""

    edited_at: datetime | None = None
    deleted_at: datetime | None = None
    amended_by: Key | None = None
    former_contents: tuple[EventContent, ...] = ()


class EventOrigin(Record):
    """Where an event was committed that a merge or split has moved since: its first room, its index there."""

    room_id: Key
    index: Int = Field(ge=0)


NO_CHANNEL_DATA = ChannelData()
_ERASED = "erased"
_STAND_INS: Mapping[str, Any] = {
    "source": {"channel_id": SYSTEM_CHANNEL_ID, "channel_type": "system"},
    "content": {"type": "unreadable"},
    "status": "delivered",
    "visibility": "internal",
    "created_at": datetime(1970, 1, 1, tzinfo=UTC),
}


class RoomEvent(Record):
    """One immutable entry of a room's timeline.

    `index` is -1 until the commit, then the event's place, which strictly rises per room.
    `visibility` says who may see it, `response_visibility` who may see the answers to it, both in
    the vocabulary of `Visibility`. `addressed_to` names the intelligences asked to act: None lets
    the framework ask all that may see it, `()` asks none. `chain_depth` is 0 for what people
    say and one more for each answer. `blocked_by` and `block_reason` are set when a gate refused it.
    `limited` is True for a message beyond its channel's `inbound_rate_limit`, which no intelligence is asked
    to answer; else None.
    `origin` is set of an event that was moved here from another room: its index then follows those of this
    room's own events, whatever its `created_at`.
    `trace_parent` is its place in a trace (W3C Trace Context), set by the kernel where telemetry is on.
    """

    id: Key = Field(default_factory=new_id)
    room_id: Key
    type: EventType = EventType.MESSAGE
    source: EventSource
    content: EventContent
    status: EventStatus = EventStatus.PENDING
    blocked_by: Label | None = None
    block_reason: Label | None = None
    visibility: Reference = "all"
    response_visibility: Reference | None = None
    addressed_to: tuple[Key, ...] | None = None
    index: Int = Field(default=-1, ge=-1)
    chain_depth: Int = Field(default=0, ge=0)
    parent_event_id: Key | None = None
    correlation_id: Key | None = None
    idempotency_key: Key | None = None
    created_at: datetime = Field(default_factory=utcnow)
    metadata: Json = EMPTY
    channel_data: ChannelData = NO_CHANNEL_DATA
    generation: Generation | None = None
    amendment: Amendment | None = None
    limited: bool | None = None
    origin: EventOrigin | None = None
    trace_parent: Label | None = None

    @override
    def forget_given(self) -> Self:
        self.source.forget_given()
        self.content.forget_given()
        return super().forget_given()

    def client_view(self) -> dict[str, Any]:
        """Return what a client may see of the event, as JSON values, ready for browsers and apps.

        It lacks vendors' payloads and ids, connection ids, idempotency keys, visibility, the former
        contents of an edit, and which model answered at what cost. Fields that are None are absent.
        Whether the client may see the event at all is decided before, by whom it is delivered to.
        """
        known = self if self.__pydantic_extra__ is None else self._known()
        return known.model_dump(mode="json", exclude=_PRIVATE, exclude_none=True)

    @cached_property
    def json_bytes(self) -> bytes:
        """`client_view` as UTF-8 JSON, encoded once however many clients it is written to.

        To store or audit the whole event, use `model_dump_json`.
        """
        known = self if self.__pydantic_extra__ is None else self._known()
        return to_json(known, exclude=_PRIVATE, exclude_none=True)

    def _known(self) -> Self:
        """Return the event without a newer version's fields, which may be private; content stays whole."""
        inner = {"source": self.source, "generation": self.generation, "amendment": self.amendment}
        known = {name: each.without_unknown() for name, each in inner.items() if each is not None}
        return self.replace(**known).without_unknown()

    @classmethod
    @override
    def _prepared(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        amendment = fields.get("amendment")
        if isinstance(amendment, dict) and isinstance(former := amendment.get("former_contents"), list):
            amendment = {**amendment, "former_contents": [readable_content(each) for each in former]}
        return {**fields, "content": readable_content(fields.get("content")), "amendment": amendment}

    @classmethod
    def from_damaged(cls, fields: Mapping[str, Any], *, event_id: str, room_id: str, index: int) -> Self:
        """Return the event of a stored row that cannot be read, without the fields that are wrong.

        A missing field has a stand-in: content that is `UnknownContent` of kind "unreadable", the system
        as source, and "internal" visibility, because who may see it is not known.
        """
        known = {"id": event_id, "room_id": room_id, "index": index}
        return cls.salvaged(fields, stand_ins=_STAND_INS, known=known)

    @property
    def is_history(self) -> bool:
        """Whether it is shown as history: a message that was neither blocked nor deleted."""
        return (
            self.type is EventType.MESSAGE
            and self.status is not EventStatus.BLOCKED
            and (self.amendment is None or self.amendment.deleted_at is None)
        )

    @property
    def deleted(self) -> bool:
        """Whether the event was deleted after its commit."""
        return self.amendment is not None and self.amendment.deleted_at is not None

    @property
    def is_erased(self) -> bool:
        """Whether it is what `redacted` has left of an event."""
        return isinstance(self.content, SystemContent) and self.content.code == _ERASED

    @property
    def edited(self) -> bool:
        """Whether the event was edited after its commit."""
        return self.amendment is not None and self.amendment.edited_at is not None

    def amended(self, content: EventContent | None, by: str | None, at: datetime) -> Self:
        """Return the event with new content, or deleted when that is None; what it was is kept."""
        before = self.amendment or Amendment()
        if content is None:
            return self.replace(amendment=before.replace(deleted_at=at, amended_by=by))
        amendment = before.replace(
            edited_at=at, amended_by=by, former_contents=(*before.former_contents, self.content)
        )
        return self.replace(content=content, amendment=amendment)

    def without_former_contents(self) -> Self:
        """Return the event as its readers see it: without what it said before it was edited.

        Former contents are for export and audit. The event itself is returned when it has none.
        """
        amendment = self.amendment
        if amendment is None or not amendment.former_contents:
            return self
        return self.replace(amendment=amendment.replace(former_contents=()))

    def heard_by(self, channel_id: str) -> str:
        """Return the text that the person behind a channel perceived: all of it where nothing says less."""
        text = text_of(self.content)
        heard = () if self.generation is None else self.generation.heard
        chars = next((each.chars for each in heard if each.channel_id == channel_id), None)
        return text if chars is None else text[:chars]

    def as_heard(self, heard: Heard) -> Self:
        """Return the event with what a channel now knows to be heard; a channel's count never falls."""
        generation = self.generation or Generation()
        others = tuple(each for each in generation.heard if each.channel_id != heard.channel_id)
        before = next((each for each in generation.heard if each.channel_id == heard.channel_id), heard)
        kept = heard if (heard.chars, not heard.estimated) >= (before.chars, not before.estimated) else before
        return self.replace(generation=generation.replace(heard=(*others, kept)))

    def moved(self, room_id: str, index: int, *, key: str | None, authors: Mapping[str, str]) -> Self:
        """Return the event as an entry of another room; all but its place and its authors' names stays.

        `key` is its idempotency key there, `authors` the ids by which participants are known there.
        """
        source = self.source
        names = {
            field: authors[name]
            for field in ("participant_id", "on_behalf_of")
            if (name := getattr(source, field)) in authors
        }
        return self.replace(
            room_id=room_id,
            index=index,
            idempotency_key=key,
            source=source.replace(**names) if names else source,
            origin=self.origin or EventOrigin(room_id=self.room_id, index=self.index),
        )

    def redacted(self, at: datetime) -> Self:
        """Return the event without its contents and author, as it stays after an erasure.

        Its place in the timeline, its kind, the channel it came by and its idempotency key stay; it
        counts as deleted. Unknown fields of a newer version go too: what they hold is not known.
        """
        source = EventSource(
            channel_id=self.source.channel_id,
            channel_type=self.source.channel_type,
            direction=self.source.direction,
        )
        return self.replace(
            content=SystemContent(body="", code=_ERASED),
            source=source,
            metadata=EMPTY,
            channel_data=NO_CHANNEL_DATA,
            block_reason=None,
            amendment=Amendment(deleted_at=at, amended_by=SYSTEM_CHANNEL_ID),
        ).without_unknown()
