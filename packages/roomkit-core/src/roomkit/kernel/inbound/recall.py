"""A room from memory, for a message that needs no more than the commit's word that it is as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.kernel.flow.context import RECENT_EVENTS
from roomkit.models.enums import RoomStatus

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.inbound.claims import Home

__all__ = ["Recall"]


class Recall:
    """Where a message may be decided on the room in memory, and at which version that was.

    Whatever ends without a commit at that version is decided again on the room as it is loaded.
    """

    __slots__ = ("_store", "version")

    def __init__(self, store: ConversationStore) -> None:
        self._store = store
        self.version: int | None = None
        """The version of the room that was taken from memory; None for a loaded one."""

    def home(self, room_id: str, channel_id: str) -> Home | None:
        """Return an active room in memory that has the channel, or None."""
        record = self._store.recall(room_id, recent=RECENT_EVENTS)
        if record is None or record.status is not RoomStatus.ACTIVE or channel_id not in record.bindings:
            return None
        self.version = record.version
        return room_id, record
