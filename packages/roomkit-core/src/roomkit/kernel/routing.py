"""Finding the room of a message that names none, without ever guessing."""

from __future__ import annotations

from typing import TYPE_CHECKING, override

from roomkit.abc.router import InboundRoomRouter

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.enums import ChannelType

__all__ = ["DefaultInboundRoomRouter"]


class DefaultInboundRoomRouter(InboundRoomRouter):
    """Goes by who is writing, then by where the channel is the sender's alone.

    1. The open room where the sender came by this channel before: their own conversation, the
       most recently active one when there are several.
    2. The one open room the channel is attached to, if nobody else has come to it by that channel.
    3. None: a new room. Two rooms that would do are no answer, and neither is somebody else's.
    """

    def __init__(self, store: ConversationStore) -> None:
        self._store = store

    @override
    async def route(
        self,
        channel_id: str,
        channel_type: ChannelType,
        participant_id: str | None = None,
        *,
        message: InboundMessage | None = None,
    ) -> str | None:
        if participant_id:
            own = await self._store.find_sender_room_ids(channel_id, participant_id, limit=1)
            if own:
                return own[0]
        rooms = await self._store.find_room_ids_by_channel(channel_id, limit=2)
        if len(rooms) == 1:
            record = await self._store.load(rooms[0])
            if record is not None and _is_free(record, channel_id, participant_id):
                return rooms[0]
        return None


def _is_free(record: RoomRecord, channel_id: str, sender_id: str | None) -> bool:
    """Whether nobody but the sender has come to the room by that channel."""
    bound = record.bindings[channel_id].participant_id
    if bound is not None and bound != sender_id:
        return False
    return all(
        sender_id in (person.id, person.external_id)
        for person in record.participants.values()
        if channel_id in (person.connected_via or (person.channel_id,))
    )
