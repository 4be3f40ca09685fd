"""A worker that dies with a delivery in its hands, and comes back when another has made it."""

from __future__ import annotations

from roomkit.abc.store import Commit, ConversationStore, Entry
from roomkit.models.base import utcnow
from roomkit.models.content import TextContent
from roomkit.models.delivery import Delivery
from roomkit.models.enums import ChannelDirection, ChannelType, DeliveryState
from roomkit.models.event import SYSTEM_CHANNEL_ID, EventSource, RoomEvent
from roomkit_plugins.testing.trees.commands import CARRIER

__all__ = ["FENCED", "Ghost"]

FENCED = "fenced"
"""The reason that the ghost gives when it comes back: no row may have it."""
_LEASE = 0.05


class Ghost:
    """Holds one delivery under a lease that runs out at once; what it says later counts for nothing."""

    def __init__(self, store: ConversationStore, worker_id: str, row: Delivery) -> None:
        self._store = store
        self._worker_id = worker_id
        self._row = row

    @classmethod
    async def holding(cls, store: ConversationStore, room_id: str) -> Ghost:
        """Commit an event for the carrier of a room, as a worker that dies then."""
        worker_id = await store.open_lease(_LEASE)
        source = EventSource(
            channel_id=SYSTEM_CHANNEL_ID,
            channel_type=ChannelType.SYSTEM,
            direction=ChannelDirection.OUTBOUND,
        )
        event = RoomEvent(room_id=room_id, source=source, content=TextContent(body="boo"), visibility=CARRIER)
        committed = await store.commit(
            Commit(room_id=room_id, entries=[Entry(event, [CARRIER])], at=utcnow(), worker_id=worker_id)
        )
        row = Delivery.planned(committed.events[0], CARRIER)
        return cls(store, worker_id, row)

    async def come_back(self) -> None:
        """Write how the delivery ended for the ghost, which another worker has ended since."""
        late = self._row.replace(state=DeliveryState.FAILED, reason=FENCED)
        await self._store.complete([late.outcome()], worker_id=self._worker_id)
