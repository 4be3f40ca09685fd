"""Which room a new sender's first messages open, on any worker."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from roomkit.abc.errors import StaleRoomError, StaleValueError
from roomkit.kernel.flow.claim_values import CLAIMS, claim_key
from roomkit.kernel.flow.context import RECENT_EVENTS
from roomkit.models.base import new_id
from roomkit.models.value import Value

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.models.delivery import InboundMessage

__all__ = ["Claims", "Home"]

_LASTS = timedelta(minutes=10)
"""By then the router knows the sender."""
_TRIES = 8
_PURGE_EVERY = 100


type Home = tuple[str, RoomRecord | None]
"""Where a message belongs: a room's id, and the room if it is there."""


class Claims:
    """Has one sender's first messages open one room, over all workers.

    A claim is a value that names the room before it is made, so a worker that is killed in between leaves
    the room's id to the next message. It is put only where there is none: who comes second adopts the id.
    """

    def __init__(self, *, store: ConversationStore, clock: Clock, organization_id: str | None) -> None:
        self._store = store
        self._clock = clock
        self._organization_id = organization_id
        self._made = 0

    async def _purge(self) -> None:
        """Remove claims that have expired, now and then: in a store of this process nothing else does."""
        self._made += 1
        if self._made % _PURGE_EVERY == 0 and self._store.is_process_local:
            await self._store.purge_values(self._clock.now())

    async def claim(self, message: InboundMessage, key: str | None) -> Home:
        """Return the room that the message opens, or that another message opens just now.

        `key` is the idempotency key to load that room with. Raises StoreError.
        """
        before: Value | None = None
        for _ in range(_TRIES):
            wanted = self._wanted(message)
            try:
                await self._store.put_value(wanted, if_revision=0 if before is None else before.revision)
            except StaleValueError:
                before = await self._read(wanted)
                adopted = None if before is None else await self._adopted(before, message.channel_id, key)
                if adopted is not None:
                    return adopted
            else:
                assert wanted.room_id is not None
                await self._purge()
                return wanted.room_id, None
        raise StaleRoomError(
            f"no room for the first message of {message.sender_id!r} on {message.channel_id!r}: "
            f"other workers claimed {_TRIES} in turn; try again"
        )

    async def known(self, message: InboundMessage) -> Home | None:
        """Return the room of an earlier claim for a message's sender; nothing is claimed."""
        claim = await self._read(self._wanted(message))
        return None if claim is None else await self._adopted(claim, message.channel_id, None)

    def _wanted(self, message: InboundMessage) -> Value:
        address = message.conversation or message.sender_id
        return Value(
            namespace=CLAIMS,
            key=claim_key(message.channel_id, address),
            organization_id=self._organization_id,
            expires_at=self._clock.now() + _LASTS,
            subject=address,
            room_id=new_id(),
        )

    async def _read(self, wanted: Value) -> Value | None:
        return await self._store.get_value(CLAIMS, wanted.key, organization_id=self._organization_id)

    async def _adopted(self, claim: Value, channel_id: str, key: str | None) -> Home | None:
        """Return the room of another message's claim, None when the claim is to be replaced."""
        if claim.room_id is None or claim.is_expired(self._clock.now()):
            return None
        record = await self._store.load(claim.room_id, recent=RECENT_EVENTS, key=key)
        if record is not None and (not record.status.is_open or channel_id in record.room.detached_channels):
            return None
        return claim.room_id, record
