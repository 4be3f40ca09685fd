"""What deliveries learn of their bindings: stored before the lane's next delivery, which gets it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from roomkit.abc.attributes import read
from roomkit.abc.errors import (
    ForeignCodeError,
    InvalidInputError,
    RoomKitError,
    RoomNotFoundError,
    StaleRoomError,
    StoreError,
)
from roomkit.abc.log import get_logger
from roomkit.kernel.flow.contract import owner_of
from roomkit.kernel.flow.quiet import QuietCommit
from roomkit.kernel.flow.state import BindingStateChange, with_binding_state
from roomkit.models.base import FrozenDict, Json
from roomkit.models.values import message_of

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.flow.job import Job
    from roomkit.kernel.runtime.framework_events import FrameworkEvents

__all__ = ["LearntState"]

_log = get_logger("roomkit.kernel")
_LONGEST_PAUSE = 60.0
_MOST = 10_000


class LearntState:
    """Merges what `deliver` returned into the state of bindings, by compare-and-set.

    Not under the room's lock: a conflict is another try. Deliveries to a binding that was written to are
    given it as it is then, because they may have been planned before; that is one read each.
    """

    def __init__(self, *, store: ConversationStore, clock: Clock, events: FrameworkEvents) -> None:
        self._store = store
        self._clock = clock
        self._events = events
        self.written: dict[tuple[str, str], None] = {}  # bound: _MOST, those written last

    async def refresh(self, job: Job) -> None:
        """Give a delivery its binding as it is now, if it may have been planned before a write."""
        binding = job.target.binding
        place = binding.room_id, binding.channel_id
        if place in self.written:
            found = await _until_done(partial(self._store.get_binding, *place), place)
            if found is not None:
                job.target.binding = binding.replace(state=found.state)

    async def keep(self, job: Job, given: Iterable[BindingStateChange]) -> None:
        """Store what a delivery learnt; while the store fails, its lane waits for it."""
        binding = job.target.binding
        place = binding.room_id, binding.channel_id
        self.written.pop(place, None)
        self.written[place] = None
        if len(self.written) > _MOST:
            del self.written[next(iter(self.written))]
        try:
            await _until_done(partial(self._merge, *place, given), place)
        except RoomNotFoundError:  # deleted in between, and the binding with it
            return
        except (
            InvalidInputError,
            ForeignCodeError,
        ) as error:  # the message was sent
            self._refused(job, error)

    async def _merge(self, room_id: str, channel_id: str, given: Iterable[BindingStateChange]) -> None:
        record = await self._store.load(room_id)
        binding = None if record is None else record.bindings.get(channel_id)
        if record is None or binding is None:
            return
        state = binding.state
        for change in given:
            state = _changed(state, change, channel_id)
        if state != binding.state:
            commit = QuietCommit(
                room_id=room_id,
                at=self._clock.now(),
                expected_version=record.version,
                bindings=(with_binding_state(binding, state),),
            )
            await self._store.commit(commit)

    def _refused(self, job: Job, error: RoomKitError) -> None:
        binding = job.target.binding
        why = message_of(error)
        _log.error("what delivery %s learnt of its binding was not stored: %s", job.delivery_id, why)
        self._events.emit(
            "binding_state_refused",
            room_id=binding.room_id,
            channel_id=binding.channel_id,
            event_id=job.run.event.id,
            error=why,
        )


def _changed(state: Json, change: BindingStateChange, channel_id: str) -> Json:
    """Return a state after a change. Raises ForeignCodeError."""
    if isinstance(change, Mapping):
        return FrozenDict({**state, **change})
    owner = f"the binding_state of an output of {owner_of(channel_id)}"
    changed: Json = read(owner, "its function", lambda: change(state), Mapping)
    return changed


async def _until_done[T](work: Callable[[], Awaitable[T]], place: tuple[str, str]) -> T:
    """Run `work` until the store is there, and nothing changes the room in between."""
    pause = 1.0
    while True:
        try:
            return await work()
        except StaleRoomError:
            continue
        except RoomNotFoundError:
            raise
        except StoreError:
            room_id, channel_id = place
            _log.warning(
                "the state of channel %r in room %r waits for the store", channel_id, room_id, exc_info=True
            )
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
