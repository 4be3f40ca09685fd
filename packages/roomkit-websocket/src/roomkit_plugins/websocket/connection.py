"""Sends frames to many connections, in order to each, so that none waits for another."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from roomkit.abc.errors import InvalidInputError
from roomkit.abc.log import get_logger
from roomkit.authoring.coroutines import at_once, may_wait
from roomkit.models.event import RoomEvent
from roomkit_plugins.websocket.frames import StreamChunk, WritesAtOnce

if TYPE_CHECKING:
    from roomkit_plugins.websocket.frames import CloseFn, Frame, SendFn, StreamSendFn

__all__ = ["Connection", "Evict", "FanOut", "Supervise"]

_log = get_logger("roomkit.websocket")
_SLICE = 50
"""Connections that one step of the loop writes to. Each step of a webhook's own may wait for one slice."""

type Supervise = Callable[[asyncio.Task[None], str], None]
"""Takes over a task that did not end at once, and waits for its end."""

type Evict = Callable[["Connection", str], None]
"""Takes a connection out of the registry, for a reason."""


class Connection:
    """One live connection, and the frames on their way to it.

    `sending` is whether a send is under way; then frames wait in `backlog`. `task` is who carries
    on with a send that did not complete at once, `timer` the deadline that ends it.
    """

    __slots__ = (
        "backlog",
        "close_fn",
        "failures",
        "follows",
        "gone",
        "id",
        "is_prompt",
        "participant_id",
        "roams",
        "rooms",
        "send_fn",
        "sending",
        "stream_send_fn",
        "task",
        "timer",
        "write_fn",
    )

    def __init__(
        self,
        connection_id: str,
        send_fn: SendFn,
        stream_send_fn: StreamSendFn | None,
        participant_id: str | None,
        *,
        close_fn: CloseFn | None = None,
        roams: bool,
    ) -> None:
        self.id = connection_id
        self.send_fn = send_fn
        self.stream_send_fn = stream_send_fn
        self.is_prompt = not may_wait(send_fn) and (stream_send_fn is None or not may_wait(stream_send_fn))
        """Whether no send can wait."""
        self.write_fn = _write_fn(send_fn, stream_send_fn)
        """Writes without waiting where it can; None for a connection that has no such function."""
        self.close_fn = close_fn
        self.participant_id = participant_id
        self.roams = roams
        """Registered without a room: it joins those its messages name."""
        self.follows = roams
        """It was never subscribed to anything, and sees the channel's room while there is only one."""
        self.rooms: set[str] = set()
        self.failures = 0
        self.backlog: deque[Frame | _Gathered] = deque()  # bound: FanOut's backlog, kept by _queue
        self.sending = False
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.gone = False

    def drop(self) -> None:
        """Send nothing more, and abort a send under way."""
        self.gone = True
        self.backlog.clear()
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel("the connection is gone")


def _write_fn(send_fn: object, stream_send_fn: object) -> Callable[[str, Frame], bool] | None:
    if isinstance(send_fn, WritesAtOnce) and (stream_send_fn is None or stream_send_fn is send_fn):
        return send_fn.write
    return None


class _Gathered:
    """The text of one stream that waits for a slow connection; it is sent as one chunk."""

    __slots__ = ("chunk", "deltas")

    def __init__(self, chunk: StreamChunk) -> None:
        self.chunk = chunk
        self.deltas = [chunk.delta]  # bound: one answer

    def joined(self) -> StreamChunk:
        if len(self.deltas) == 1:
            return self.chunk
        return StreamChunk(self.chunk.room_id, self.chunk.stream_id, "".join(self.deltas))


class _Round:
    """One frame on its way to an audience; `carrier` is the task that takes it round, while it does.

    It is taken no further than to the place `until`.
    """

    __slots__ = ("audience", "carrier", "frame", "place", "taken", "until")

    def __init__(self, audience: Sequence[Connection], frame: Frame) -> None:
        self.audience = audience
        self.frame = frame
        self.place = 0
        self.until = len(audience)
        self.taken = 0
        self.carrier: asyncio.Task[None] | None = None

    @property
    def left(self) -> int:
        """How many connections it has not been taken to."""
        return len(self.audience) - self.place


class FanOut:
    """Sends frames to audiences.

    Frames are written at once where connections can do that, and sends that never wait are called one after
    the other. From the first other one on, a frame is carried from connection to connection by one task that
    starts at once. A send that does not complete in that
    step keeps its task, gets a deadline, and the round goes on with another task: so a connection that is
    quick costs a function call, and one that is slow costs the others nothing. Later frames wait in its
    bounded backlog, in order.

    A large audience is written to in slices, and the loop runs other work in between; a room's later frames
    follow in order. Only sends that never wait are all called in one step.

    A connection is evicted as `timeout` when a send takes longer than `send_timeout` seconds, as
    `overflow` when more than `backlog` frames wait, as `failures` after `max_failures` in a row. Raises
    InvalidInputError for numbers that are not positive.
    """

    def __init__(
        self,
        supervise: Supervise,
        evict: Evict,
        *,
        send_timeout: float,
        backlog: int,
        max_failures: int,
    ) -> None:
        for name, value in (
            ("send_timeout", send_timeout),
            ("backlog", backlog),
            ("max_failures", max_failures),
        ):
            if not value > 0:
                raise InvalidInputError(f"{name} is {value!r}; give it a positive number")
        self._supervise = supervise
        self._evict = evict
        self._send_timeout = send_timeout
        self._backlog = backlog
        self._max_failures = max_failures
        self._rounds: dict[str, deque[_Round]] = {}  # bound: rooms; each: FanOut's backlog
        """By room, frames that a large audience has not all been sent, and those behind them."""
        self._carrying: asyncio.Task[None] | None = None

    def send(self, audience: Sequence[Connection], frame: Frame) -> int:
        """Send `frame` to every connection; return how many have it, or have it queued. Never waits."""
        round_ = _Round(audience, frame)
        if self._rounds and frame.room_id in self._rounds:
            return self._line_up(round_)
        if len(audience) > _SLICE and not audience[0].is_prompt:
            return self._begin(round_)
        if audience and (audience[0].write_fn is not None or audience[0].is_prompt):
            at_once(self._carry(round_, None))
        if round_.place < round_.until:
            self._carry_with_tasks(round_)
        return round_.taken

    def _begin(self, round_: _Round) -> int:
        """Send a frame to the first slice of a large audience, and queue the rest; return as `send`."""
        self._carry_slice(round_)
        self._rounds[round_.frame.room_id] = deque((round_,))  # bound: FanOut's backlog
        if self._carrying is None:
            self._carrying = asyncio.Task(self._carry_rounds())
            self._supervise(self._carrying, "send to large audiences")
        return round_.taken + round_.left

    def _line_up(self, round_: _Round) -> int:
        """Queue a frame behind those of its room; return as `send`.

        Beyond the bound the oldest one is sent now.
        """
        if not round_.left:
            return 0
        rounds = self._rounds[round_.frame.room_id]
        rounds.append(round_)
        if len(rounds) > self._backlog:
            while rounds[0].left:
                self._carry_slice(rounds[0])
            rounds.popleft()
        return round_.left

    async def _carry_rounds(self) -> None:
        try:
            while self._rounds:
                await asyncio.sleep(0)
                self._carry_next()
        finally:
            self._carrying = None
            self.finish()  # cancelled as the kit closes: those frames were taken, too

    def _carry_next(self) -> None:
        """Send the next slice of one room; the rooms take turns."""
        if not self._rounds:
            return
        room_id, rounds = next(iter(self._rounds.items()))
        self._carry_slice(rounds[0])
        if not rounds[0].left:
            rounds.popleft()
        del self._rounds[room_id]
        if rounds:
            self._rounds[room_id] = rounds

    def finish(self) -> None:
        """Send what is left of every frame now."""
        while self._rounds:
            self._carry_next()

    def _carry_slice(self, round_: _Round) -> None:
        """Take a frame to the next slice of its audience."""
        audience = round_.audience
        round_.until = min(round_.place + _SLICE, len(audience))
        first = audience[round_.place]
        if first.write_fn is not None or first.is_prompt:
            at_once(self._carry(round_, None))
        self._carry_with_tasks(round_)

    def _carry_with_tasks(self, round_: _Round) -> None:
        """Take a frame on, also to connections that may wait."""
        loop = asyncio.get_running_loop()
        while round_.place < round_.until:
            carrier: asyncio.Task[None] = asyncio.Task(self._carry_on(round_), loop=loop, eager_start=True)
            if carrier.done():
                continue
            round_.carrier = None
            self._leave(round_.audience[round_.place - 1], carrier)
            round_.taken += 1

    def _leave(self, connection: Connection, carrier: asyncio.Task[None]) -> None:
        """Let `carrier` finish with the connection it waits for, within the deadline."""
        connection.task = carrier
        if connection.timer is None:
            self._set_timer(connection)
        self._supervise(carrier, f"send to connection {connection.id}")

    async def _carry_on(self, round_: _Round) -> None:
        round_.carrier = me = asyncio.current_task()
        assert me is not None
        await self._carry(round_, me)

    async def _carry(self, round_: _Round, me: asyncio.Task[None] | None) -> None:
        """Take the frame round; without a task, as far as no send can wait."""
        audience, frame = round_.audience, round_.frame
        streamed = not isinstance(frame, RoomEvent)
        while round_.place < round_.until:
            connection = audience[round_.place]
            if connection.sending or connection.gone:
                round_.place += 1
                round_.taken += self._queue(connection, frame)
                continue
            write = connection.write_fn
            if write is not None and (wrote := self._write(connection, write, frame)) is not None:
                round_.place += 1
                round_.taken += wrote
                continue
            if me is None and not connection.is_prompt:
                return
            round_.place += 1
            connection.sending = True
            # The same as _attempt, unrolled: this is what a quick connection costs.
            try:
                if streamed:
                    await connection.stream_send_fn(connection.id, frame)  # type: ignore[misc, arg-type]  # as _attempt
                else:
                    await connection.send_fn(connection.id, frame)  # type: ignore[arg-type]  # as _attempt
            except asyncio.CancelledError as error:
                if me is not None and me.cancelling():
                    _release(connection)
                    raise
                self._failed(connection, error)
            except Exception as error:  # noqa: BLE001  # a send may raise anything: it is counted
                self._failed(connection, error)
            else:
                connection.failures = 0
                round_.taken += 1
            if connection.backlog or round_.carrier is not me:
                await self._catch_up(connection)
                if round_.carrier is not me:
                    return
            connection.sending = False

    def _write(
        self, connection: Connection, write: Callable[[str, Frame], bool], frame: Frame
    ) -> bool | None:
        """Return whether a frame was written at once; None if that would have to wait."""
        try:
            if not write(connection.id, frame):
                return None
        except Exception as error:  # noqa: BLE001  # a write may raise anything: it is counted
            self._failed(connection, error)
            return False
        connection.failures = 0
        return True

    async def _catch_up(self, connection: Connection) -> None:
        """Send the frames queued during a slow send."""
        try:
            while connection.backlog:
                frame = connection.backlog.popleft()
                self._set_timer(connection)
                await self._attempt(connection, frame.joined() if isinstance(frame, _Gathered) else frame)
        finally:
            _release(connection)

    async def _attempt(self, connection: Connection, frame: Frame) -> None:
        try:
            if isinstance(frame, RoomEvent):
                await connection.send_fn(connection.id, frame)
            else:
                assert connection.stream_send_fn is not None  # only those that stream are sent it
                await connection.stream_send_fn(connection.id, frame)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._failed(connection, error)
        except Exception as error:  # noqa: BLE001  # a send may raise anything: it is counted
            self._failed(connection, error)
        else:
            connection.failures = 0

    def _queue(self, connection: Connection, frame: Frame) -> bool:
        if connection.gone:
            return False
        backlog = connection.backlog
        if isinstance(frame, StreamChunk):
            last = backlog[-1] if backlog else None
            if isinstance(last, _Gathered) and last.chunk.stream_id == frame.stream_id:
                last.deltas.append(frame.delta)
                return True
        if len(backlog) >= self._backlog:
            self._evict(connection, "overflow")
            return False
        backlog.append(_Gathered(frame) if isinstance(frame, StreamChunk) else frame)
        return True

    def _failed(self, connection: Connection, error: BaseException) -> None:
        if connection.gone:
            return
        connection.failures += 1
        _log.info("a send to connection %s failed: %s", connection.id, type(error).__name__)
        if connection.failures >= self._max_failures:
            self._evict(connection, "failures")

    def _set_timer(self, connection: Connection) -> None:
        if connection.timer is not None:
            connection.timer.cancel()
        loop = asyncio.get_running_loop()
        connection.timer = loop.call_later(self._send_timeout, self._evict, connection, "timeout")


def _release(connection: Connection) -> None:
    """Note that nothing is being sent any more."""
    if connection.timer is not None:
        connection.timer.cancel()
        connection.timer = None
    connection.task = None
    connection.sending = False
