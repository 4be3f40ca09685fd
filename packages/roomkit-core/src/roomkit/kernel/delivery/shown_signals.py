"""Typing and read marks on their way out, to the people behind the transports of a room."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from types import NoneType
from typing import TYPE_CHECKING

from roomkit.abc.errors import ErrorCode, NoHomeError, ProviderError, StoreError
from roomkit.abc.log import get_logger
from roomkit.kernel.delivery.signal_line import SignalLine
from roomkit.kernel.flow.context import RECENT_EVENTS, RecordContext
from roomkit.kernel.runtime.scope import outside
from roomkit.models.enums import EphemeralEventType
from roomkit.models.realtime import EphemeralEvent
from roomkit.models.values import error_text
from roomkit.models.visibility import admits, narrowest

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Any

    from roomkit.abc.channel import Channel
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.delivery.breaker import Breakers
    from roomkit.kernel.delivery.pacing import Pacing
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.kernel.runtime.worker_signals import WorkerSignals
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent

__all__ = ["ShownSignals"]

_log = get_logger("roomkit.signals")
_TYPING = frozenset({EphemeralEventType.TYPING_START, EphemeralEventType.TYPING_STOP})
_SECONDS = 10.0
"""How long one call of a channel may take."""
_PAUSE = 30.0
"""Seconds without signals after a rate limit that names no time, or a failure."""
_TOPIC = "shown-signals"
_HANDED_OVER = "_handed_over"
_MOST_IDS = 50
_MOST_MARKS = 10_000

type _Place = tuple[str, str]


class ShownSignals:
    """Shows signals by the bindings that may see them, and whose channels can.

    Each binding has a line of its own: one call at a time, with the newest state. It is beside the
    deliveries, which never wait for it.
    """

    def __init__(
        self,
        *,
        store: ConversationStore,
        channels: Channels,
        supervisor: Supervisor,
        events: FrameworkEvents,
        pacing: Pacing,
        breakers: Breakers,
        clock: Clock,
        signals: WorkerSignals,
    ) -> None:
        self._store = store
        self._signals = signals
        self._channels = channels
        self._supervisor = supervisor
        self._events = events
        self._pacing = pacing
        self._breakers = breakers
        self._clock = clock
        self._closing = False
        self._lines: dict[_Place, SignalLine] = {}  # bound: the bindings that are shown something now
        self.turns: dict[_Place, tuple[SignalLine, ...]] = {}  # bound: the agents' turns under way
        """Where it is shown that an agent works, by its room and channel."""
        self._marked: dict[_Place, int] = {}  # bound: _MOST_MARKS, those marked last
        """Up to which index messages of a binding were marked as read."""
        self._paused: dict[str, float] = {}  # bound: the channels
        self.failures: dict[str, int] = {}  # bound: the channels
        """How many calls in a row failed, by channel."""

    # -- what is shown ------------------------------------------------------------------------

    async def offer(self, signal: EphemeralEvent) -> None:
        """Show a signal that was published, by the other bindings of its room; failures are logged."""
        able = self._able(signal.type)
        if not able or self._closing:
            return
        try:
            record = await self._store.load(signal.room_id)
            index = None if record is None else await self._read_index(signal, record)
        except StoreError:
            _log.warning("a signal of room %s is not shown outside", signal.room_id, exc_info=True)
            return
        is_typing = signal.type in _TYPING
        if (
            record is None
            or (is_typing and not record.status.is_open)
            or not (is_typing or index is not None)
        ):
            return
        for channel_id, binding in record.bindings.items():
            if channel_id in able and channel_id != signal.channel_id and _may_see(binding, signal):
                self._line(binding).take(signal, index)

    def begin(self, agent: ChannelBinding, event: RoomEvent, record: RoomRecord) -> None:
        """Show that an agent works, from soon until `end`, by the bindings that may see its answer."""
        visibility = narrowest(event.response_visibility or "all", agent.visibility)
        lines = [
            self._line(binding)
            for channel_id, binding in record.bindings.items()
            if channel_id in self._channels.typists
            and binding.capabilities.supports_typing
            and binding.can_read
            and admits(visibility, channel_id, binding.category)
        ]
        if lines and not self._closing:
            self.turns[event.room_id, agent.channel_id] = tuple(lines)
            for line in lines:
                line.begin(agent.channel_id)

    def end(self, room_id: str, agent_id: str) -> None:
        """Show no longer that an agent works."""
        for line in self.turns.pop((room_id, agent_id), ()):
            line.end(agent_id)

    def close(self) -> None:
        """Take nothing new; what is under way ends by itself, with the turns that it is about."""
        self._closing = True
        for line in self._lines.values():
            line.close()

    def _able(self, kind: str) -> Collection[str]:
        """Return the channels that can show a kind of signal."""
        if kind in _TYPING:
            return self._channels.typists
        return self._channels.markers if kind == EphemeralEventType.READ_RECEIPT else ()

    async def _read_index(self, signal: EphemeralEvent, record: RoomRecord) -> int | None:
        """Return up to which index of its room a read mark goes; None for no such signal or event."""
        if signal.type is not EphemeralEventType.READ_RECEIPT:
            return None
        index, event_id = signal.data.get("index"), signal.data.get("event_id")
        if isinstance(index, int):
            return index
        event = await self._store.get_event(event_id) if isinstance(event_id, str) else None
        return event.index if event is not None and event.room_id == record.room_id else None

    # -- the lines ----------------------------------------------------------------------------

    def _line(self, binding: ChannelBinding) -> SignalLine:
        place = binding.room_id, binding.channel_id
        line = self._lines.get(place)
        if line is None:
            seconds = self._channels.typists.get(binding.channel_id)
            line = self._lines[place] = SignalLine(*place, seconds, self._clock)
            name = f"signals to channel {binding.channel_id} in room {binding.room_id}"
            self._supervisor.start(self._run(line), name, outside(), eager=False)
        return line

    async def _run(self, line: SignalLine) -> None:
        """Show what comes into a line, until nothing has to be shown or ended any more."""
        try:
            while True:
                line.changed.clear()
                step = line.step(self._paused.get(line.channel_id, 0.0))
                if step is None:
                    return
                if isinstance(step, EphemeralEvent):
                    await self._show(line, step)
                    continue
                with suppress(TimeoutError):
                    async with asyncio.timeout(step):
                        await line.changed.wait()
        finally:
            del self._lines[line.room_id, line.channel_id]

    async def _show(self, line: SignalLine, signal: EphemeralEvent) -> None:
        channel = self._channels.get(line.channel_id)
        if channel is None or line.channel_id in self._channels.starts:
            line.failed(asyncio.get_running_loop().time())
            return
        read_to = line.read_to if signal.type is EphemeralEventType.READ_RECEIPT else None
        try:
            call = await self._call(line, signal, read_to, channel)
            if call is not None:
                await call()
        except NoHomeError:
            self._hand_over(line, signal, read_to)
        except Exception as error:  # noqa: BLE001  # a channel may raise anything: nothing depends on a signal
            self._failed(line, error)
        else:
            self.failures.pop(line.channel_id, None)
            if read_to is not None:
                self._note_marked((line.room_id, line.channel_id), read_to)

    async def _call(
        self, line: SignalLine, signal: EphemeralEvent, read_to: int | None, channel: Channel
    ) -> partial[Any] | None:
        """Return the call that shows a signal by a binding as it is now; None if there is none to make."""
        record = await self._store.load(line.room_id, recent=RECENT_EVENTS)
        binding = None if record is None else record.bindings.get(line.channel_id)
        if record is None or binding is None or not binding.can_read:
            return None
        recent = record.recent(RECENT_EVENTS)
        if seconds := self._seconds_paused(channel, binding, recent):
            line.failed(asyncio.get_running_loop().time() + seconds)
            line.put_back(signal)
            return None
        came = [each for each in recent if each.source.channel_id == line.channel_id and _vendor_id(each)]
        said = self._with_ids(signal, came, (line.room_id, line.channel_id), read_to)
        if said is None:
            return None
        context = RecordContext(record, reader=binding, store=self._store)
        name = f"show_signal of channel {line.channel_id}"
        return partial(self._supervisor.call, channel.show_signal(said, binding, context), name, _SECONDS)

    def _with_ids(
        self, signal: EphemeralEvent, came: Sequence[RoomEvent], place: _Place, read_to: int | None
    ) -> EphemeralEvent | None:
        """Return the signal with the vendor's ids of the messages that it is about; None without any."""
        data = {key: value for key, value in signal.data.items() if key != _HANDED_OVER}
        if came:
            data["answering"] = _vendor_id(came[-1])
        if read_to is not None:
            marked = self._marked.get(place, -1)
            read = [each for each in came if marked < each.index <= read_to]
            if not read:
                return None
            data["message_ids"] = [_vendor_id(each) for each in read[-_MOST_IDS:]]
        return signal.replace(data=data)

    # -- other workers ------------------------------------------------------------------------

    async def listen(self) -> None:
        """Show what other workers hand over, for connections that this one may have."""
        if self._signals.has_others:
            await self._signals.listen(_TOPIC, self._received)

    def _hand_over(self, line: SignalLine, signal: EphemeralEvent, read_to: int | None) -> None:
        """Let the worker show a signal that has the channel's connection; once, whether one has it or not."""
        if _HANDED_OVER not in signal.data:
            said = {"channel_id": line.channel_id, "type": signal.type, "user_id": signal.user_id}
            self._signals.announce(_TOPIC, {**said, "read_to": read_to}, line.room_id)

    async def _received(self, announced: EphemeralEvent) -> None:
        said = announced.data
        channel_id, user_id, kind = said.get("channel_id"), said.get("user_id"), said.get("type")
        read_to = said.get("read_to")
        if not (isinstance(channel_id, str) and isinstance(user_id, str) and isinstance(kind, str)):
            return
        if channel_id not in self._able(kind) or type(read_to) is not (NoneType if kind in _TYPING else int):
            return
        if self._closing:
            return
        binding = await self._store.get_binding(announced.room_id, channel_id)
        signal = EphemeralEvent(
            room_id=announced.room_id,
            type=EphemeralEventType(kind),
            user_id=user_id,
            data={_HANDED_OVER: True},
            timestamp=announced.timestamp,
        )
        if binding is not None and _may_see(binding, signal):
            self._line(binding).take(signal, read_to)

    def _note_marked(self, place: _Place, index: int) -> None:
        self._marked[place] = max(index, self._marked.pop(place, -1))
        if len(self._marked) > _MOST_MARKS:
            del self._marked[next(iter(self._marked))]

    # -- what holds them up -------------------------------------------------------------------

    def _seconds_paused(
        self, channel: Channel, binding: ChannelBinding, recent: Sequence[RoomEvent]
    ) -> float:
        """Return for how long the channel's vendor is to be left alone, as deliveries leave it."""
        breaker = self._breakers.get((binding.channel_id, channel.provider_name))
        if breaker is not None and not breaker.is_closed:
            return max(breaker.retry_after, 1.0)
        if not self._pacing.lines or not recent:
            return 0.0
        return self._pacing.seconds_paused(channel, binding, recent[-1])

    def _failed(self, line: SignalLine, error: Exception) -> None:
        """Pause a line, or with a rate limit its channel; log the first failure of several in a row."""
        count = self.failures[line.channel_id] = self.failures.get(line.channel_id, 0) + 1
        seconds, until = _PAUSE, asyncio.get_running_loop().time()
        if isinstance(error, ProviderError):
            seconds = error.retry_after or _PAUSE
            if error.error_code is ErrorCode.RATE_LIMIT:
                self._paused[line.channel_id] = until + seconds
        line.failed(until + seconds)
        if count == 1:
            _log.warning("channel %s does not show signals: %s", line.channel_id, error_text(error))
            self._events.emit(
                "signal_not_shown", room_id=line.room_id, channel_id=line.channel_id, error=error_text(error)
            )


def _may_see(binding: ChannelBinding, signal: EphemeralEvent) -> bool:
    """Whether a signal is shown to the person of a binding."""
    capabilities = binding.capabilities
    is_able = capabilities.supports_typing if signal.type in _TYPING else capabilities.supports_read_receipts
    return is_able and binding.can_read and admits(signal.visibility, binding.channel_id, binding.category)


def _vendor_id(event: RoomEvent) -> str | None:
    """Return the vendor's id of a message that came in."""
    return event.source.external_id or event.source.provider_message_id
