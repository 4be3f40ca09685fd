"""The one function that says who may see what; broadcast, history, memory and search all ask it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from roomkit.models.enums import ChannelCategory, EventStatus, EventType
from roomkit.models.vocabulary import about

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent

__all__ = ["admits", "is_shown", "narrowest", "seen_of", "sees"]

_OWN = frozenset(EventType)
"""The core's event types."""
_NOBODY = frozenset({"none", "internal"})


@lru_cache(maxsize=4096)
def _channel_ids(visibility: str) -> frozenset[str]:
    return frozenset(filter(None, (part.strip() for part in visibility.split(","))))


def admits(visibility: str, channel_id: str, category: ChannelCategory) -> bool:
    """Return whether something of that `visibility` may be shown to a channel.

    `all` is every channel; `none` and `internal` none; `transport` and `intelligence` a category;
    anything else is one channel id, or several separated by commas. Two of these joined by `&`
    admit whom both admit.
    """
    if visibility == "all":
        return True
    if visibility in _NOBODY:
        return False
    if "&" in visibility:
        return all(admits(part, channel_id, category) for part in visibility.split("&"))
    if visibility == "transport" or visibility == "intelligence":
        return category == visibility
    return channel_id in _channel_ids(visibility)


def sees(reader: ChannelBinding, event: RoomEvent) -> bool:
    """Return whether `reader` may see `event`.

    A channel sees its own events, and others' when it may read and they are meant for it. No one
    sees a deleted event, and only its author a blocked one.
    """
    if event.deleted:
        return False
    if event.source.channel_id == reader.channel_id:
        return True
    return (
        event.status is not EventStatus.BLOCKED
        and reader.access.can_read
        and admits(event.visibility, reader.channel_id, reader.category)
    )


def seen_of(reader: ChannelBinding, events: Sequence[RoomEvent]) -> Sequence[RoomEvent]:
    """Return those of `events` that `reader` may see: `events` itself if all, and none was changed."""
    if reader.access.can_read:
        open_to_all = [
            event
            for event in events
            if event.visibility == "all"
            and event.amendment is None
            and event.status is not EventStatus.BLOCKED
        ]
        if len(open_to_all) == len(events):
            return events
    return [event for event in events if sees(reader, event)]


def is_shown(event: RoomEvent, binding: ChannelBinding) -> bool:
    """Return whether a committed event is shown to the live things of a channel, as it would be delivered.

    Unlike `sees`, that holds for the channel's own events too: others of its people said them. What people
    say to the kit itself (consent), and reactions and a plugin's events that the channel cannot show,
    are for no channel that would deliver them.
    """
    if not binding.can_read or event.status is EventStatus.BLOCKED or event.deleted:
        return False
    kind = event.type
    if kind is not EventType.MESSAGE and not _carries(binding, kind):
        return False
    return event.visibility == "all" or admits(event.visibility, binding.channel_id, binding.category)


def _carries(binding: ChannelBinding, kind: EventType) -> bool:
    """Whether a channel is delivered events of that type at all."""
    if kind is EventType.REACTION:
        return binding.capabilities.supports_reactions
    if kind is EventType.CONSENT:
        return binding.category is ChannelCategory.INTELLIGENCE
    is_own = kind in _OWN or about(EventType, kind).get("delivered") is True
    return is_own or kind in binding.capabilities.event_types


def narrowest(first: str, second: str) -> str:
    """Return the visibility that admits whom both admit: a binding caps what its channel says."""
    if first == "all" or first == second:
        return second
    if second == "all" or first in _NOBODY or second in first.split("&"):
        return first
    return second if second in _NOBODY else f"{first}&{second}"
