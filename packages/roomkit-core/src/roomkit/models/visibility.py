"""The one function that says who may see what; broadcast, history, memory and search all ask it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from roomkit.models.enums import ChannelCategory, EventStatus

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent

__all__ = ["admits", "narrowest", "sees"]

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

    A channel sees its own events, and others' when it may read and they are meant for it. Nobody
    sees a deleted event, nor, but for its author, a blocked one.
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


def narrowest(first: str, second: str) -> str:
    """Return the visibility that admits whom both admit: a binding caps what its channel says."""
    if first == "all" or first == second:
        return second
    if second == "all" or first in _NOBODY or second in first.split("&"):
        return first
    return second if second in _NOBODY else f"{first}&{second}"
