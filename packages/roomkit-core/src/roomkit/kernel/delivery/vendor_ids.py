"""How a channel's vendor knows the messages of a room: what an edit, a reaction or an answer is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.models.content import DeleteContent, EditContent
from roomkit.models.enums import EventType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.abc.store import ConversationStore
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent

__all__ = ["VendorIds", "is_about_another", "target_of"]


class VendorIds:
    """Looks up the vendor's ids of events, in the ledger for what was sent and in the event for what came."""

    def __init__(self, store: ConversationStore) -> None:
        self._store = store

    async def of(self, event_id: str, binding: ChannelBinding) -> Sequence[str]:
        """Return the ids by which a binding's vendor knows an event, in order; none where it does not.

        Raises StoreError.
        """
        row = await self._store.get_delivery(f"{event_id}:{binding.channel_id}")
        if row is not None:
            return row.vendor_ids
        event = await self._store.get_event(event_id)
        if event is None or event.room_id != binding.room_id:
            return ()
        source = event.source
        own = source.external_id or source.provider_message_id
        return (own,) if own is not None and source.channel_id == binding.channel_id else ()


def is_about_another(event: RoomEvent, binding: ChannelBinding) -> bool:
    """Return whether a vendor may have to be told which earlier message an event is about."""
    if event.type is EventType.REACTION or isinstance(event.content, EditContent | DeleteContent):
        return True
    return event.parent_event_id is not None and binding.capabilities.supports_threading


def target_of(event: RoomEvent) -> str | None:
    """Return the id of the event that an edit, a deletion or a reaction is about; None for other events."""
    if isinstance(event.content, EditContent | DeleteContent):
        return event.content.target_event_id
    return event.parent_event_id if event.type is EventType.REACTION else None
