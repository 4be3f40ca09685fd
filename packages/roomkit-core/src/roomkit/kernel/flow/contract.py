"""What plugins say of themselves in properties and plain methods: read under a guard, and checked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Container, Sequence
from types import UnionType
from typing import TYPE_CHECKING, Any

from roomkit.abc.attributes import mistyped, read, read_attribute, unreadable
from roomkit.abc.errors import ForeignCodeError, InvalidInputError
from roomkit.abc.locks import RoomLockManager
from roomkit.abc.realtime import RealtimeBackend
from roomkit.models.channel import ChannelCapabilities, ChannelOutput, RateLimit
from roomkit.models.enums import ChannelCategory, ChannelDirection, MediaForm

if TYPE_CHECKING:
    from roomkit.abc.channel import Channel
    from roomkit.abc.clock import Clock
    from roomkit.abc.media import MediaStore
    from roomkit.abc.store import ConversationStore
    from roomkit.abc.telemetry import TelemetryProvider
    from roomkit.models.enums import ChannelType

__all__ = [
    "OPTIONAL_TEXT",
    "RAISED",
    "attempt_seconds_of",
    "check_channel",
    "check_flags",
    "check_media",
    "check_output",
    "check_store",
    "check_telemetry",
    "grace_of",
    "idle_seconds_of",
    "limit_of",
    "made_locks",
    "made_realtime",
    "organization_of",
    "owner_of",
    "provider_of",
    "providers_of",
    "type_of",
]

OPTIONAL_TEXT = str | None
_LIMIT = RateLimit | None
_LOCKS = RoomLockManager | None
_REALTIME = RealtimeBackend | None
RAISED = (Exception, asyncio.CancelledError, GeneratorExit)
"""What a property may raise that is then read again by a function here, for its error."""
_NUMBER = int | float
_SECONDS = int | float | None
_CHANNEL: tuple[tuple[str, type | UnionType], ...] = (
    ("channel_type", str),
    ("category", str),
    ("direction", str),
    ("address_type", str),
    ("provider_name", OPTIONAL_TEXT),
    ("provider_names", Sequence),
    ("organization", OPTIONAL_TEXT),
    ("rate_limit", _LIMIT),
    ("delivery_timeout", _SECONDS),
    ("stream_idle_timeout", _NUMBER),
    ("typing_seconds", _SECONDS),
    ("marks_read", bool),
    ("home_grace", _NUMBER),
    ("responds_to", Container),
    ("delivers_to_source", bool),
    ("needs_vendor_ids", bool),
    ("follows_rooms", bool),
    ("opens_sessions", bool),
    ("speculates", bool),
    ("supports_streaming_delivery", bool),
    ("media_form", MediaForm),
)


def owner_of(channel_id: object) -> str:
    """Return what errors call a channel."""
    return f"channel {channel_id!r}"


def provider_of(channel: Channel | None, channel_id: str) -> str | None:
    """Return the name of a channel's provider. Raises ForeignCodeError."""
    try:
        found = None if channel is None else channel.provider_name
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # whatever other code raises is its failure
        raise unreadable(owner_of(channel_id), "provider_name", error) from error
    if found is not None and not isinstance(found, str):
        raise mistyped(owner_of(channel_id), "provider_name", found, OPTIONAL_TEXT)
    return found


def type_of(channel: Channel, channel_id: str) -> ChannelType:
    """Return a channel's type. Raises ForeignCodeError."""
    found: ChannelType = read_attribute(owner_of(channel_id), channel, "channel_type", str)
    return found


def grace_of(channel: Channel, channel_id: str) -> float:
    """Return how long deliveries wait for a lost home. Raises ForeignCodeError."""
    found: float = read_attribute(owner_of(channel_id), channel, "home_grace", _NUMBER)
    return found


def limit_of(channel: Channel, channel_id: str) -> RateLimit | None:
    """Return a channel's own rate limit. Raises ForeignCodeError."""
    found: RateLimit | None = read_attribute(owner_of(channel_id), channel, "rate_limit", _LIMIT)
    return found


def providers_of(channel: Channel, channel_id: str) -> tuple[str, ...]:
    """Return the names under which the ledger has what the channel sent. Raises ForeignCodeError."""
    name = provider_of(channel, channel_id)
    return tuple(channel.provider_names) or (channel_id if name is None else name,)


def organization_of(channel: Channel, channel_id: str) -> str | None:
    """Return the organization of a channel's messages. Raises ForeignCodeError."""
    found: str | None = read_attribute(owner_of(channel_id), channel, "organization", OPTIONAL_TEXT)
    return found


def attempt_seconds_of(channel: Channel, channel_id: str) -> float | None:
    """Return a channel's own time for one attempt of a delivery. Raises ForeignCodeError."""
    found: float | None = read_attribute(owner_of(channel_id), channel, "delivery_timeout", _SECONDS)
    return found


def idle_seconds_of(channel: Channel, channel_id: str) -> float:
    """Return for how long a channel's streams may make no progress. Raises ForeignCodeError."""
    found: float = read_attribute(owner_of(channel_id), channel, "stream_idle_timeout", _NUMBER)
    return found


def check_channel(channel: Channel, channel_id: str) -> dict[str, Any]:
    """Return what a channel says of itself, by name; `capabilities` among it. Raises ForeignCodeError."""
    owner = owner_of(channel_id)
    found = {name: read_attribute(owner, channel, name, kind) for name, kind in _CHANNEL}
    found["category"] = read(owner, "category", lambda: ChannelCategory(found["category"]), str)
    found["direction"] = read(owner, "direction", lambda: ChannelDirection(found["direction"]), str)
    found["capabilities"] = read(owner, "capabilities()", channel.capabilities, ChannelCapabilities)
    return found


def check_output(output: object, channel_id: str) -> None:
    """Check what an intelligence returned of an event, but for its effects. Raises ForeignCodeError."""
    owner = f"the output of {owner_of(channel_id)}"
    if not isinstance(output, ChannelOutput):
        raise ForeignCodeError(f"{owner} is {type(output).__name__}: it has to be ChannelOutput")
    if not isinstance(output.response_events, list | tuple):
        raise mistyped(owner, "response_events", output.response_events, list | tuple)
    stream = output.response_stream
    if stream is not None and not isinstance(stream, AsyncIterable):
        raise mistyped(owner, "response_stream", stream, AsyncIterable)


def made_locks(store: ConversationStore) -> RoomLockManager | None:
    """Return the locks that a store makes. Raises ForeignCodeError."""
    name = type(store).__name__
    found: RoomLockManager | None = read(name, "make_lock_manager()", store.make_lock_manager, _LOCKS)
    return found


def made_realtime(store: ConversationStore) -> RealtimeBackend | None:
    """Return the realtime backend that a store makes. Raises ForeignCodeError."""
    name = type(store).__name__
    found: RealtimeBackend | None = read(name, "make_realtime()", store.make_realtime, _REALTIME)
    return found


def check_flags(*parts: RoomLockManager | RealtimeBackend | ConversationStore) -> None:
    """Check that stores, locks and realtime say whom they serve. Raises ForeignCodeError."""
    for part in parts:
        read_attribute(type(part).__name__, part, "is_process_local", bool)


def check_media(media: MediaStore, store: ConversationStore, *, single_process: bool) -> None:
    """Check that each process that uses the store sees the files. Raises InvalidInputError."""
    is_shared = read_attribute(type(media).__name__, media, "shared", bool)
    if not (is_shared or single_process or store.is_process_local):
        raise InvalidInputError(
            f"{type(store).__name__} is shared between processes but the files of {type(media).__name__} are "
            "not: use a shared media store (of a folder that all workers see: shared=True), or "
            "single_process=True if there is only one process"
        )


def check_telemetry(provider: TelemetryProvider) -> None:
    """Check what a telemetry provider says of itself. Raises ForeignCodeError."""
    read_attribute(type(provider).__name__, provider, "enabled", bool)
    read_attribute(type(provider).__name__, provider, "name", str)


def check_store(store: ConversationStore, clock: Clock) -> None:
    """Check what a kit's store and clock say of themselves. Raises ForeignCodeError."""
    read_attribute(type(store).__name__, store, "write_delay", _NUMBER)
    read_attribute(type(clock).__name__, clock, "follows_store", bool)
