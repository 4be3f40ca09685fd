"""How far answers that play have been heard, stored once a second for the case that this worker dies."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import batched
from typing import TYPE_CHECKING

from roomkit.abc.errors import EventNotFoundError, RoomNotFoundError, StoreError
from roomkit.abc.log import get_logger
from roomkit.abc.store import Hearing
from roomkit.kernel.flow.quiet import QuietCommit
from roomkit.kernel.flow.timers import PLAYBACK, TimerOutcome
from roomkit.models.base import new_id
from roomkit.models.content import text_of
from roomkit.models.enums import DeliveryState
from roomkit.models.event import Heard
from roomkit.models.timer import Timer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.flow.live_answer import LiveRecipient
    from roomkit.kernel.runtime.lease import Lease
    from roomkit.kernel.runtime.supervisor import Supervisor

__all__ = ["Playbacks"]

_log = get_logger("roomkit.kernel")
_EVERY = 1.0
_GRACE = timedelta(seconds=3)
"""A worker that did not move its timer for so long counts as dead. If it lives, nothing wrong is stored."""
_MOST = 80
"""How many playbacks the data of one timer can name."""


class Playbacks:
    """Keeps a timer ahead of this worker's time while anything plays; who fires it stores what it says.

    So a second costs a worker one statement however many answers it plays, and nothing where none does.
    """

    def __init__(
        self, *, store: ConversationStore, clock: Clock, supervisor: Supervisor, lease: Lease
    ) -> None:
        self._store = store
        self._clock = clock
        self._supervisor = supervisor
        self._lease = lease
        self._own_id = new_id()
        self._playing: set[LiveRecipient] = set()  # bound: the answers that play on this worker
        self._timers = 0
        self._task: asyncio.Task[None] | None = None

    def heard(self, recipient: LiveRecipient) -> None:
        """Note that a recipient said how far its answer was heard."""
        if self._lease.worker_id is None:  # what this process has ends with it
            return
        self._playing.add(recipient)
        if self._task is None:
            self._task = self._supervisor.serve(self._keep(), "checkpoints of playback")

    async def _keep(self) -> None:
        try:
            while self._playing:
                await asyncio.sleep(_EVERY)
                try:
                    await self._write()
                except StoreError:
                    _log.warning("how far answers were heard was not stored; it is retried", exc_info=True)
        finally:
            self._task = None

    async def _write(self) -> None:
        """Store the present numbers; a delivery that has ended keeps its own."""
        self._playing = {each for each in self._playing if each.task is None or not each.task.done()}
        known = [
            [each.target.binding.room_id, each.id, each.target.binding.channel_id, each.heard_chars]
            for each in self._playing
        ]
        due_at, before = self._clock.now() + _GRACE, self._timers
        for number, some in enumerate(batched(known, _MOST)):
            self._timers = max(self._timers, number + 1)
            timer = Timer(id=self._name(number), kind=PLAYBACK, due_at=due_at, data={"heard": [*some]})
            await self._store.set_timer(timer)
        self._timers = -(-len(known) // _MOST)
        for number in range(self._timers, before):
            await self._store.delete_timer(self._name(number))

    def _name(self, number: int) -> str:
        return f"{PLAYBACK}:{self._own_id}:{number}"

    async def fire(self, timer: Timer) -> TimerOutcome:
        """Store what the dead worker of a timer knew to be heard, as an estimate. Raises StoreError."""
        for room_id, event_id, channel_id, chars in timer.data["heard"]:
            await self._recover(room_id, event_id, Heard(channel_id=channel_id, chars=chars, estimated=True))
        return TimerOutcome(None)

    async def _recover(self, room_id: str, event_id: str, heard: Heard) -> None:
        event = await self._store.get_event(event_id)
        if event is None or event.is_erased:
            return  # never committed, or gone since
        whole = len(text_of(event.content))
        found = [heard.replace(chars=min(heard.chars, whole))]
        if heard.chars < whole:
            found += await self._read_by_others(room_id, event_id, heard.channel_id, whole)
        commit = QuietCommit(
            room_id=room_id, at=self._clock.now(), heard=[Hearing(event_id, each) for each in found]
        )
        try:
            await self._store.commit(commit)
        except (RoomNotFoundError, EventNotFoundError):
            return  # erased or pruned in between

    async def _read_by_others(
        self, room_id: str, event_id: str, channel_id: str, whole: int
    ) -> Sequence[Heard]:
        rows = await self._store.list_deliveries(room_id, event_id=event_id, state=DeliveryState.SENT)
        return [Heard(channel_id=row.channel_id, chars=whole) for row in rows if row.channel_id != channel_id]
