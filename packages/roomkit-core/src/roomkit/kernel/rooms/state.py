"""Changes of a room's state, without an entry in its timeline."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from roomkit.abc.errors import InvalidInputError
from roomkit.kernel.flow.quiet import QuietCommit
from roomkit.kernel.flow.state import changed_state, check_namespace
from roomkit.kernel.rooms.checks import check_open
from roomkit.kernel.runtime.scope import gate_of

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.rooms.changes import RoomChanges
    from roomkit.models.base import Json

__all__ = ["RoomStates"]


class RoomStates:
    """Changes the state of rooms by compare-and-set under the room's lock.

    The lock only spares tries: a lock that is lost loses no change.
    """

    def __init__(self, *, store: ConversationStore, clock: Clock, changes: RoomChanges) -> None:
        self._store = store
        self._clock = clock
        self._changes = changes

    async def change(
        self, room_id: str, namespace: str, fn: Callable[[Json | None], Json | None]
    ) -> Json | None:
        """Replace the state of a namespace by `fn(state)`; return it."""
        check_namespace(namespace)
        if gate_of(room_id) is not None:
            raise InvalidInputError(
                f"the state of {namespace!r} in room {room_id!r} cannot be changed inside its gates: "
                "return HookResult.allow(state={...}), which is committed with the event"
            )
        change = partial(self._change, room_id, namespace, fn)
        return await self._changes.retried(room_id, change, f"the state of {namespace!r}")

    async def _change(
        self, room_id: str, namespace: str, fn: Callable[[Json | None], Json | None]
    ) -> Json | None:
        room = await self._changes.room(room_id)
        check_open(room, f"the state of {namespace!r} cannot be changed")
        state = changed_state(room_id, room.state, [(namespace, fn)])
        if state != room.state:
            await self._store.commit(
                QuietCommit(
                    room_id=room_id,
                    at=self._clock.now(),
                    expected_version=room.version,
                    room_changes={"state": state},
                )
            )
        after: Json | None = state.get(namespace)
        return after
