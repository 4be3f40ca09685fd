"""The answers that are being prepared to messages which are not committed yet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from roomkit.abc.attributes import read_attribute
from roomkit.abc.errors import ForeignCodeError
from roomkit.abc.log import get_logger
from roomkit.kernel.commit.held_turn import HeldTurn, SpeculativeContext
from roomkit.kernel.flow.contract import owner_of
from roomkit.kernel.flow.speculation import HeldAnswers, Prepared
from roomkit.kernel.flow.voices import may_answer
from roomkit.models.enums import EventStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.flow.recipients import Target
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.event import RoomEvent
    from roomkit.models.options import KitOptions

__all__ = ["Speculations"]

_log = get_logger("roomkit.kernel")


class Speculations:
    """Starts held turns, one set per room and channel of the speaker, and ends them."""

    def __init__(
        self,
        *,
        settings: KitOptions,
        store: ConversationStore,
        supervisor: Supervisor,
        channels: Channels,
        events: FrameworkEvents,
        is_idle: Callable[[str, str], bool],
    ) -> None:
        self._settings = settings
        self._store = store
        self._supervisor = supervisor
        self._channels = channels
        self._events = events
        self._is_idle = is_idle
        self.open: dict[tuple[str, str], HeldAnswers] = {}  # bound: rooms with an unfinished utterance
        self._closed = False

    async def begin(
        self, channel_id: str, event: RoomEvent, targets: Sequence[Target], record: RoomRecord, version: int
    ) -> HeldAnswers | None:
        """Have the intelligences among the targets prepare answers to an event; None if none can."""
        able = [target for target in targets if target.is_agent and self._can(target)]
        held = HeldAnswers(channel_id, event, version)
        for target in able:
            context = SpeculativeContext(record, target.binding, event, self._store)
            await context.prepare(event)
            assert target.channel is not None
            prepared = HeldTurn(target.channel, target.binding, event, context, self._supervisor)
            held.turns[target.binding.channel_id] = prepared
        if not able or self._closed:
            return None
        earlier = self.open.get(held.key)
        if earlier is not None:
            self.withdraw(earlier, "replaced")
        self.open[held.key] = held
        loop = asyncio.get_running_loop()
        held.expiry = loop.call_later(self._settings.agent_timeout, self.withdraw, held, "expired")
        for turn in held.turns.values():
            turn.begin()
        return held

    def _can(self, target: Target) -> bool:
        """Return whether a target can prepare an answer now: its lane is idle, and it would be asked."""
        binding, channel = target.binding, target.channel
        channel_id = binding.channel_id
        if channel is None or target.failure is not None or channel_id in self._channels.starts:
            return False
        if may_answer(binding) is not None or not self._is_idle(binding.room_id, channel_id):
            return False
        try:
            return bool(read_attribute(owner_of(channel_id), channel, "speculates", bool))
        except ForeignCodeError as error:
            _log.warning("no answer is prepared: %s", error)
            return False

    def committed(self, event: RoomEvent, own: HeldAnswers | None, version: int) -> dict[str, Prepared]:
        """Withdraw the speculations in the room of a committed event, except the answers to this event.

        Return those, by intelligence, for their lanes; `taken` follows. Called under the room's lock.
        """
        for held in list(self.open.values()):
            if held.event.room_id == event.room_id and held is not own:
                self.withdraw(held, "room_changed")
        if own is None or own.ended is not None:
            return {}
        why_not = "refused" if event.status is EventStatus.BLOCKED else own.why_not(event, version)
        if why_not is not None:
            self.withdraw(own, why_not)
            return {}
        self._forget(own, "elsewhere")
        return own.turns

    def withdraw(self, held: HeldAnswers, reason: str) -> None:
        """End the turns of a message that is not committed, or not as expected. Idempotent."""
        if held.ended is None:
            self._forget(held, reason)
            self._drop(held, held.turns, reason)

    def taken(self, held: HeldAnswers, lanes: Sequence[str]) -> None:
        """Note which lanes of this worker take the turns of a committed message; end the others."""
        here = {name: turn for name, turn in held.turns.items() if name in lanes}
        others = {name: turn for name, turn in held.turns.items() if name not in lanes}
        held.is_released = bool(here)
        if here:
            self._count("speculation_released", held, here)
        if others:
            self._drop(held, others, "elsewhere")

    def changed(self, room_id: str) -> None:
        """Withdraw the speculations in a room whose history changed without a commit by the writer."""
        for held in list(self.open.values()):
            if held.event.room_id == room_id:
                self.withdraw(held, "room_changed")

    async def unregistered(self, channel_id: str) -> None:
        """End what an intelligence prepares that is being unregistered; return when it has ended."""
        for held in list(self.open.values()):
            if channel_id in held.turns:
                self.withdraw(held, "unregistered")
                await held.over()

    def close(self) -> None:
        """Withdraw all, and prepare no more."""
        self._closed = True
        for held in list(self.open.values()):
            self.withdraw(held, "closing")

    def _forget(self, held: HeldAnswers, reason: str) -> None:
        held.ended = reason
        del self.open[held.key]
        if held.expiry is not None:
            held.expiry.cancel()

    def _drop(self, held: HeldAnswers, turns: dict[str, Prepared], reason: str) -> None:
        for turn in turns.values():
            turn.drop()
        self._count("speculation_withdrawn", held, turns, reason=reason)

    def _count(self, kind: str, held: HeldAnswers, turns: dict[str, Prepared], **data: str) -> None:
        if not self._events.wants(kind):
            return
        seconds = asyncio.get_running_loop().time() - held.begun
        for channel_id, turn in turns.items():
            self._events.emit(
                kind,
                room_id=held.event.room_id,
                channel_id=channel_id,
                event_id=held.event.id,
                seconds=seconds,
                characters=turn.characters,
                usage=dict(turn.usage),
                **data,
            )
