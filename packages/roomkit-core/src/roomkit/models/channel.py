"""A channel in a room: its binding, what it can carry, and how it is paced."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict

from pydantic import Field, field_validator

from roomkit._dataclasses import dataclass
from roomkit.models.base import EMPTY, Json, Record, utcnow
from roomkit.models.enums import (
    Access,
    ChannelCategory,
    ChannelDirection,
    ChannelMediaType,
    ChannelType,
    DeliveryMode,
    DeliveryState,
    DoubleText,
    EventType,
    LengthPolicy,
)
from roomkit.models.values import Int, Key, Label, Reference
from roomkit.models.vocabulary import about, reads_stored

if TYPE_CHECKING:
    from roomkit.models.ai import StreamEvent
    from roomkit.models.content import EventContent
    from roomkit.models.delivery import ProviderResult
    from roomkit.models.event import RoomEvent
    from roomkit.models.parking import ParkedRound
    from roomkit.models.task import Observation, Task

__all__ = [
    "BindingFields",
    "ChannelBinding",
    "ChannelCapabilities",
    "ChannelOutput",
    "RateLimit",
    "RetryPolicy",
    "default_address_type",
]

_PHONE = frozenset(
    {
        ChannelType.SMS,
        ChannelType.MMS,
        ChannelType.RCS,
        ChannelType.WHATSAPP,
        ChannelType.WHATSAPP_PERSONAL,
        ChannelType.VOICE,
    }
)


def default_address_type(channel_type: str) -> str:
    """Return the kind of addresses of a channel that does not say its own: see `Channel.address_type`."""
    if channel_type in _PHONE:
        return "phone"
    said = about(ChannelType, channel_type).get("address_type")
    return said if isinstance(said, str) else str(channel_type)


class ChannelCapabilities(Record):
    """What a channel carries natively. Each limit is positive when set; sizes in bytes, times in seconds.

    Lengths are code points. Buttons, cards and quick replies over their limits go out as lines of text.
    A longer caption than `max_caption_length` (0: files have none) goes before its file as a text, and a
    longer body than `max_rich_length` before its buttons, cards and quick replies. Without
    `supports_composite` the vendor takes one part per message: composite content goes out as several
    messages, each with an idempotency key of its own, a text beside one file as its caption where it fits.
    """

    media_types: tuple[ChannelMediaType, ...] = (ChannelMediaType.TEXT,)
    max_length: Int | None = Field(default=None, gt=0)
    max_caption_length: Int | None = Field(default=None, ge=0)
    max_rich_length: Int | None = Field(default=None, gt=0)
    supports_composite: bool = True
    supports_threading: bool = False
    supports_reactions: bool = False
    supports_edit: bool = False
    supports_delete: bool = False
    supports_read_receipts: bool = False
    supports_delivery_receipts: bool = False
    supports_typing: bool = False
    supports_templates: bool = False
    supports_rich_text: bool = False
    supports_buttons: bool = False
    max_buttons: Int | None = Field(default=None, gt=0)
    max_button_text_length: Int | None = Field(default=None, gt=0)
    """Of a button and of a quick reply."""
    supports_cards: bool = False
    max_cards: Int | None = Field(default=None, gt=0)
    max_card_title_length: Int | None = Field(default=None, gt=0)
    max_card_description_length: Int | None = Field(default=None, gt=0)
    max_card_buttons: Int | None = Field(default=None, gt=0)
    supports_text_with_cards: bool = True
    """Whether cards and a body go in one message; else the body, with its buttons, goes before them."""
    supports_quick_replies: bool = False
    max_quick_replies: Int | None = Field(default=None, gt=0)
    supports_media: bool = False
    supported_media_types: tuple[Label, ...] = ()
    max_media_size_bytes: Int | None = Field(default=None, gt=0)
    supports_audio: bool = False
    max_audio_duration_seconds: Int | None = Field(default=None, gt=0)
    supported_audio_formats: tuple[Label, ...] = ()
    supports_video: bool = False
    max_video_duration_seconds: Int | None = Field(default=None, gt=0)
    supported_video_formats: tuple[Label, ...] = ()
    delivery_mode: DeliveryMode = DeliveryMode.BROADCAST
    event_types: tuple[EventType, ...] = ()
    """Plugins' event types that the channel takes; the core's own are delivered to every channel."""
    custom: Json = EMPTY


class RateLimit(Record):
    """How often something may happen; every limit that is set applies.

    `burst` is how many may pass at once after a pause, one second's worth and at least 1 when None.
    """

    max_per_second: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The most in a second; None for no such limit."""
    max_per_minute: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The most in a minute; None for no such limit."""
    max_per_hour: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The most in an hour; None for no such limit."""
    burst: Int | None = Field(default=None, ge=1)
    """How many may pass at once after a pause; None for one second's worth."""


class RetryPolicy(Record):
    """How a retryable failure is tried again.

    Try n (from 0) waits min(base * exponential_base ** n, max) seconds, spread by up to
    `jitter` of itself; a vendor's `retry_after` is waited for when it is longer. There are
    `max_retries` + 1 attempts in all.
    """

    max_retries: Int = Field(default=3, ge=0)
    """How many times a failure is retried after the first attempt."""
    base_delay_seconds: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """The wait before the first retry."""
    max_delay_seconds: float = Field(default=60.0, gt=0, allow_inf_nan=False)
    """The longest wait before a retry."""
    exponential_base: float = Field(default=2.0, ge=1, allow_inf_nan=False)
    """By how much each wait is longer than the one before."""
    jitter: float = Field(default=0.1, ge=0, le=1)
    """The share of a wait by which it is spread at random, so that workers do not retry together."""

    def delay(self, retry: int, *, spread: float = 0.0) -> float:
        """Return the seconds to wait before retry number `retry` (from 0); `spread` is in [-1, 1]."""
        try:
            plain = min(self.base_delay_seconds * self.exponential_base**retry, self.max_delay_seconds)
        except OverflowError:
            plain = self.max_delay_seconds
        return plain * (1.0 + self.jitter * spread)


_TEXT_ONLY = ChannelCapabilities()
LONGEST_BINDING_STATE = 4_096


class ChannelBinding(Record):
    """One channel in one room, with its permissions, limits and recipient.

    `access` and `muted` gate what the channel may add (`can_write`); `access` and `direction`
    what it receives (`can_read`): an INBOUND binding only brings events in. `visibility` caps who
    sees what the channel says. The recipient's address is in `metadata`, under the channel's
    recipient key. `double_text` and `fold_seconds` apply to intelligences. With `judge_streams`, the binding
    is shown no answer before gates have judged the whole of it; on an intelligence's own binding, no channel
    is shown its answers before. `address_type` is the channel's kind of addresses where that is not the usual
    one of its type. `mute_reason` is `taken_over` on a binding that `take_over` muted.

    `rate_limit` paces the channel: all bindings of the channel with the same limit share it, in whatever
    room (see `Channel.pace_key`). `recipient_rate_limit` paces this binding alone; both hold together.
    A limit counts per worker: with two workers the channel may send at twice the rate.

    `fallback` is the channel of the room that an event goes to if its delivery by this one fails, unless its
    outcome is unknown; with `fallback_after`, also if no receipt says within so many seconds that it was
    delivered. A chain has three such steps at most, and no channel twice. An event of this channel is not
    delivered to its fallback in addition.

    `address` is the recipient's, in the one spelling of the channel; a message from it is routed to this
    room. `also` are further addresses of the conversation, which a merge of rooms brought together: a message
    from one of them makes it the address that is written to. `state` is what the channel knows of its side of
    the conversation, at most 4 KiB as JSON; it is never shown outside.
    """

    channel_id: Key
    room_id: Key
    channel_type: ChannelType
    address_type: Label | None = None
    category: ChannelCategory = ChannelCategory.TRANSPORT
    direction: ChannelDirection = ChannelDirection.BIDIRECTIONAL
    access: Access = Access.READ_WRITE
    muted: bool = False
    mute_reason: Label | None = None
    visibility: Reference = "all"
    participant_id: Key | None = None
    last_read_index: Int | None = Field(default=None, ge=0)
    attached_at: datetime = Field(default_factory=utcnow)
    capabilities: ChannelCapabilities = _TEXT_ONLY
    rate_limit: RateLimit | None = None
    recipient_rate_limit: RateLimit | None = None
    retry_policy: RetryPolicy | None = None
    length_policy: LengthPolicy = LengthPolicy.SPLIT
    double_text: DoubleText = DoubleText.QUEUE
    fold_seconds: float = Field(default=0.5, gt=0, le=60)
    judge_streams: bool = False
    metadata: Json = EMPTY
    fallback: Key | None = None
    fallback_after: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    address: Key | None = None
    also: tuple[Key, ...] = ()
    state: Json = Field(default=EMPTY, repr=False)

    @field_validator("state")
    @classmethod
    def _check_state(cls, state: Json) -> Json:
        if state and not reads_stored() and len(json.dumps(state)) > LONGEST_BINDING_STATE:
            raise ValueError(f"the state of a binding has {LONGEST_BINDING_STATE} bytes as JSON at most")
        return state

    def client_view(self) -> dict[str, Any]:
        """Return what a client may see of the binding, as JSON values: without its `state`."""
        known = self if self.__pydantic_extra__ is None else self.without_unknown()
        return known.model_dump(mode="json", exclude={"state"}, exclude_none=True)

    @property
    def addresses(self) -> str:
        """The kind of addresses that the channel's senders have: see `Channel.address_type`."""
        return self.address_type or default_address_type(self.channel_type)

    @property
    def can_write(self) -> bool:
        """Whether the channel may add events to the room now."""
        return self.access.can_write and not self.muted

    @property
    def can_read(self) -> bool:
        """Whether the channel receives the room's events."""
        return self.access.can_read and self.direction is not ChannelDirection.INBOUND


class BindingFields(TypedDict, total=False):
    """The fields of a `ChannelBinding` that `attach_channel` takes beside its own parameters."""

    direction: ChannelDirection
    muted: bool
    mute_reason: str | None
    participant_id: str | None
    last_read_index: int | None
    rate_limit: RateLimit | None
    recipient_rate_limit: RateLimit | None
    retry_policy: RetryPolicy | None
    length_policy: LengthPolicy
    double_text: DoubleText
    fold_seconds: float
    judge_streams: bool
    metadata: Mapping[str, Any]
    fallback: str | None
    fallback_after: float | None
    address: str | None
    state: Mapping[str, Any]


_OF_ONE_ROOM = {"address", "participant_id", "last_read_index", "mute_reason", "state"}
BINDING_DEFAULTS = (
    "access",
    "visibility",
    *(name for name in BindingFields.__annotations__ if name not in _OF_ONE_ROOM),
)
"""The fields of a binding for which a channel may have defaults."""


def binding_defaults(channel_id: str, given: Mapping[str, object]) -> Mapping[str, Any]:
    """Return fields of a channel's bindings as a binding has them. Raises pydantic.ValidationError."""
    own = {"channel_id": channel_id, "room_id": "room", "channel_type": ChannelType.SYSTEM}
    made = ChannelBinding.model_validate({**given, **own})
    return {name: getattr(made, name) for name in given}


@dataclass(slots=True, kw_only=True)
class ChannelOutput:
    """What a channel made of an event.

    From `deliver`: `state` SENT (the default) or SKIPPED with a `skip_reason`; a failure is raised, or by a
    false `provider_result.success`. `rendered` is the text really sent of a message in one piece, where it
    differs from the event, such as a template in its place. `heard` is how many characters of the event's
    text, from its start, the recipient perceived, said by a channel that plays it: see `TextStream.heard`.
    From `on_event`: `response_events` (complete answers) or `response_stream` (an answer being generated:
    text deltas or stream events), with tasks, observations and shallow `metadata_updates` to the room.

    `binding_state` is what a delivery learnt, such as a new conversation's id. It is merged, key by key,
    into `ChannelBinding.state` before the lane's next delivery begins, which gets the binding as it is
    then. A message that came in during the delivery may have changed it: let `Channel.binding_state` and a
    delivery write different keys, or return a function. That gets the state as it is and returns the whole
    new one; it must be pure and not wait, and may be called again. What cannot be stored, or a function that
    raises, is the framework event `binding_state_refused`: the message was sent. If the process is killed
    between the vendor's answer and that write, the delivery is re-run under its id.

    `parked` has the round of a turn that waits for results of its tools (`SupportsParking`): it is stored in
    the commit of the turn's words. Of a stream it is read once that has ended.
    """

    responded: bool = False
    response_events: list[RoomEvent] | tuple[RoomEvent, ...] = ()
    response_stream: AsyncIterator[str | StreamEvent] | None = None
    tasks: list[Task] | tuple[Task, ...] = ()
    observations: list[Observation] | tuple[Observation, ...] = ()
    metadata_updates: dict[str, Any] | None = None
    provider_result: ProviderResult | None = None
    state: DeliveryState = DeliveryState.SENT
    skip_reason: str | None = None
    rendered: EventContent | None = None
    heard: int | None = None
    binding_state: Mapping[str, Any] | Callable[[Json], Mapping[str, Any]] | None = None
    parked: list[ParkedRound] | tuple[ParkedRound, ...] = ()

    @classmethod
    def empty(cls) -> ChannelOutput:
        """Return the output of a delivery that went well and says nothing more."""
        return _EMPTY_OUTPUT

    @classmethod
    def skipped(cls, reason: str) -> ChannelOutput:
        """Return the output of a delivery that had nowhere to go; `reason` is a stable code."""
        return cls(state=DeliveryState.SKIPPED, skip_reason=reason)


_EMPTY_OUTPUT = ChannelOutput()
