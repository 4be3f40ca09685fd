"""Who may be connected to a room, and why a connection is closed."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from roomkit.models.participant import departed_senders
from roomkit.models.values import is_key
from roomkit_plugins.websocket.files import with_files

if TYPE_CHECKING:
    from roomkit.abc.channel import Channel
    from roomkit.abc.services import Excerpt

__all__ = ["CLOSED", "LOST", "Lost", "index_in", "room_as_it_is"]

_PAGE = 100
_INDEX = re.compile(r"-1|[0-9]{1,18}")
LOST = {
    "room_not_found": "the room is not there any more",
    "channel_not_attached": "the room is not served here any more",
    "channel_detached": "the room is not served here any more",
    "participant_banned": "you are banned from this room",
    "participant_removed": "you were removed from this room",
}
"""Why a connection has no right to its room any more, in words for its client."""
CLOSED = {
    **LOST,
    "rate_limited": "too many frames, again and again",
    "unreadable_frames": "too many frames that cannot be read",
    "frame_too_long": "a frame is longer than this connection takes",
    "invalid_index": "the index of the last event seen is a whole number from -1 on",
}
"""Why a connection is closed with 1008, in words for its client."""


class Lost(Exception):
    """A connection has no right to its room, or not any more; the argument is the code of why."""


def index_in(after: object) -> int | None:
    """Return the index that a client says it has seen, None of none. Raises Lost otherwise."""
    if after is None:
        return None
    if not _INDEX.fullmatch(str(after)):
        raise Lost("invalid_index")
    return int(str(after))


async def room_as_it_is(
    channel: Channel | None,
    room_id: str,
    participant_id: str | None,
    *,
    after: int | None = None,
    may_return: bool = False,
) -> Excerpt:
    """Return a room and a page of its events as a channel may see them now. Raises Lost.

    A participant who was removed without a ban has no right to the room, unless they `may_return`.
    """
    services = channel.services if channel is not None else None
    if channel is None or services is None:
        raise Lost("channel_not_attached")
    excerpt = None
    if is_key(room_id):
        excerpt = await services.rooms.read_timeline(room_id, after_index=after, limit=_PAGE)
    if excerpt is None:
        raise Lost("room_not_found")
    departed = departed_senders(excerpt.participants, channel.channel_id, excerpt.binding.addresses)
    reason = departed.get(participant_id or "")
    if reason is not None and not (may_return and reason == "participant_removed"):
        raise Lost(reason)
    if excerpt.events:
        excerpt = replace(excerpt, events=[await with_files(services, event) for event in excerpt.events])
    return excerpt
