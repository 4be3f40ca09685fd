"""Changes of a room's state, without an entry in its timeline."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from roomkit.abc.errors import InvalidInputError, RoomNotFoundError, StaleRoomError
from roomkit.abc.store import Commit
from roomkit.kernel.flow.state import changed_state, check_namespace
from roomkit.kernel.rooms.rooms import check_open
from roomkit.kernel.runtime.scope import gate_of

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.commit.writer import Writer
    from roomkit.models.base import Json

__all__ = ["RoomStates"]

_TRIES = 8


class RoomStates:
    """Changes the state of rooms by compare-and-set under the room's lock.

    The lock only spares tries: a lock that is lost loses no change.
    """

    def __init__(self, *, store: ConversationStore, writer: Writer, clock: Clock) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock

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
        for _ in range(_TRIES):
            try:
                return await self._writer.exclusively(room_id, change)
            except StaleRoomError:  # a lock was lost in between
                continue
        raise StaleRoomError(
            f"the state of {namespace!r} was not changed: room {room_id!r} changed {_TRIES} times; try again"
        )

    async def _change(
        self, room_id: str, namespace: str, fn: Callable[[Json | None], Json | None]
    ) -> Json | None:
        room = await self._store.get_room(room_id)
        if room is None:
            raise RoomNotFoundError(f"no room {room_id!r}: create_room first")
        check_open(room, f"the state of {namespace!r} cannot be changed")
        state = changed_state(room_id, room.state, [(namespace, fn)])
        if state != room.state:
            await self._store.commit(
                Commit(
                    room_id=room_id,
                    entries=(),
                    at=self._clock.now(),
                    expected_version=room.version,
                    room_changes={"state": state},
                    activity=False,
                )
            )
        after: Json | None = state.get(namespace)
        return after
