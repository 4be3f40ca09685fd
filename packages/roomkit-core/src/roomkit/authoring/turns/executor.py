"""A turn executor over a queue: what all that span processes have in common."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Self, override

from roomkit.abc.errors import CloseError, ErrorCode, ProviderError, RoomKitError
from roomkit.abc.executor import QuarantinedTurn, TurnExecutor
from roomkit.abc.log import get_logger
from roomkit.authoring.turns.queue import QueuedTurn, TurnOptions, TurnQueue, TurnReading
from roomkit.authoring.turns.serving import WINDOW, TurnServer, quarantined
from roomkit.authoring.turns.tracing import TurnSpan
from roomkit.authoring.turns.wire import (
    MalformedTurnError,
    TurnFrame,
    TurnRequest,
    agent_key,
    as_asked,
    decode_frame,
    encode_request,
)
from roomkit.models.ai import StreamDone
from roomkit.models.base import new_id
from roomkit.models.generation import AIResponse
from roomkit.models.telemetry import Attr, SpanKind
from roomkit.models.values import error_text, message_of

if TYPE_CHECKING:
    from roomkit.abc.ai import AIProvider
    from roomkit.abc.telemetry import TelemetryProvider
    from roomkit.models.ai import StreamEvent
    from roomkit.models.generation import AIContext

__all__ = ["QueueTurnExecutor"]

logger = get_logger("roomkit.turns")

_PROVIDER = "executor"
_ENDING = 5.0
"""Seconds for the turns that run here to be handed back, after `drain_seconds`."""


class QueueTurnExecutor(TurnExecutor):
    """Sends requests through a `TurnQueue`, and serves those of others.

    `counters` has, for this process: of requests `asked`, `answered`, `failed`, `closed` (by the reader),
    `lost` (their process, in mid-answer) and `poisoned`; of turns served `claimed`, `completed`, `cancelled`,
    `fenced`, `released` and `interrupted` (by `close()`), `quarantined` (not readable), `abandoned` (the
    provider did not end) and `queue_failures`.
    """

    def __init__(self, queue: TurnQueue) -> None:
        self._queue = queue
        self._readers: dict[str, _Reader] = {}  # bound: the requests under way
        self._servers: dict[TurnServer, asyncio.Task[object]] = {}  # bound: the calls of serve()
        self._counters: Counter[str] = Counter()
        self._keeping: asyncio.Task[None] | None = None
        self._is_closed = False
        queue.heard = self._heard

    @property
    def options(self) -> TurnOptions:
        """The bounds and times."""
        return self._queue.options

    @property
    def queue(self) -> TurnQueue:
        """The queue, for tests and tools; turns are asked by `generate` and `stream`."""
        return self._queue

    @property
    @override
    def counters(self) -> Mapping[str, int]:
        return dict(self._counters)

    @override
    async def open(self) -> Self:
        await self._queue.open()
        return self

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    # -- asking -------------------------------------------------------------------------------

    @override
    async def generate(self, agent: str, context: AIContext) -> AIResponse:
        found: AIResponse | None = None
        async with aclosing(self._answer(TurnRequest(agent, True, context))) as pieces:
            async for piece in pieces:
                found = piece if isinstance(piece, AIResponse) else found
        if found is None:
            raise _unreadable(agent, "it has no response")
        found.parsed = as_asked(context.response_schema, found.parsed, agent)
        return found

    @override
    async def stream(self, agent: str, context: AIContext) -> AsyncGenerator[StreamEvent]:
        async with aclosing(self._answer(TurnRequest(agent, False, context))) as pieces:
            async for piece in pieces:
                if isinstance(piece, AIResponse):
                    raise _unreadable(agent, "it has a whole response in a stream")
                if isinstance(piece, StreamDone) and context.response_schema:
                    piece = replace(piece, parsed=as_asked(context.response_schema, piece.parsed, agent))
                yield piece

    async def _answer(self, request: TurnRequest) -> AsyncGenerator[StreamEvent | AIResponse]:
        """Yield what a process answers. Raises ProviderError, and removes the turn in any case."""
        reader, how = _Reader(self._queue, request, self._telemetry), "failed"
        self._readers[reader.turn_id] = reader
        self._counters["asked"] += 1
        try:
            await self._put(reader.turn_id, request)
            async for frame in reader.frames():
                for piece in frame.pieces:
                    if isinstance(piece, ProviderError):
                        raise piece
                    yield piece
            how = "answered"
        except (GeneratorExit, asyncio.CancelledError):
            how = "closed"
            raise
        except _EndedError as ended:
            how = ended.how
            await self._report(reader, ended)
            raise ended.error from ended.__cause__
        finally:
            self._counters[how] += 1
            del self._readers[reader.turn_id]
            self._queue.drop(reader.turn_id)
            reader.waiting.end(how)
            self._measure(reader)

    async def _put(self, turn_id: str, request: TurnRequest) -> None:
        if self._is_closed:
            raise _failure(request.agent, "the executor is closed: make a new one", ErrorCode.CONNECTION)
        try:
            body = encode_request(request)
        except MalformedTurnError as error:
            raise _failure(request.agent, str(error), ErrorCode.INVALID_REQUEST) from error
        if len(body) > self.options.max_request_bytes:
            why = (
                f"it is {len(body)} bytes as JSON, and {self.options.max_request_bytes} are allowed; show "
                "fewer events or smaller pictures, or raise max_request_bytes"
            )
            raise _failure(request.agent, why, ErrorCode.TOO_LONG)
        if self._keeping is None:
            keeping = self._keep()
            self._keeping = asyncio.create_task(keeping, name="kept turns")  # supervised: close() ends it
        try:
            await self._queue.open()
            accepted = await self._queue.put(QueuedTurn(turn_id, agent_key(request.agent), body))
        except RoomKitError as error:
            raise _unreachable(request.agent, error) from error
        if not accepted:
            why = f"{self.options.max_waiting} turns of it wait: start more executor processes"
            raise _failure(request.agent, why, ErrorCode.OVERLOADED)

    def _measure(self, reader: _Reader) -> None:
        """Record how long the turn waited for a process."""
        telemetry = self._telemetry
        if telemetry is None or reader.waited is None or not telemetry.enabled:
            return
        about = {Attr.CHANNEL_ID: reader.agent}
        telemetry.record_metric("roomkit.turn.wait_ms", reader.waited * 1000, unit="ms", attributes=about)

    @property
    def _telemetry(self) -> TelemetryProvider | None:
        return None if self._services is None else self._services.telemetry

    async def _report(self, reader: _Reader, ended: _EndedError) -> None:
        logger.warning("%s", message_of(ended.error))
        if self._services is not None:
            kind = "turn_quarantined" if ended.how == "poisoned" else "turn_executor_lost"
            self._services.report(kind, channel_id=reader.agent, turn_id=reader.turn_id)
        if ended.how == "poisoned":
            note = quarantined(reader.turn_id, reader.agent, ended.attempts, str(ended.error))
            with suppress(RoomKitError):
                await self._queue.quarantine(note)

    async def _keep(self) -> None:
        """Keep the turns wanted whose readers are slow: what they have read waits to be shown."""
        while True:
            await asyncio.sleep(self.options.lease_seconds / 3)
            if self._readers:
                with suppress(RoomKitError):  # it is tried again; a lost turn shows when it is read
                    await self._queue.keep(tuple(self._readers))

    # -- serving ------------------------------------------------------------------------------

    @override
    async def serve(
        self,
        agents: Mapping[str, AIProvider],
        *,
        limit: int = 8,
        telemetry: TelemetryProvider | None = None,
    ) -> None:
        server = TurnServer(self._queue, agents, limit, self._counters, telemetry or self._telemetry)
        async with _closing(agents):
            try:
                await self.open()
                for provider in agents.values():
                    await provider.start()
                task = asyncio.current_task()
                assert task is not None
                self._servers[server] = task
                if not self._is_closed:
                    await server.serve()
            finally:
                self._servers.pop(server, None)

    def _heard(self, name: str) -> None:
        if name:
            if (reader := self._readers.get(name)) is not None:
                reader.news.set()
        else:
            for reader in self._readers.values():
                reader.news.set()
        for server in self._servers:
            server.heard(name)

    @override
    async def quarantined(self) -> Sequence[QuarantinedTurn]:
        await self.open()
        return await self._queue.quarantined()

    @override
    async def close(self) -> None:
        self._is_closed = True
        for server in self._servers:
            server.stop()
        serving = {task for task in self._servers.values() if task is not asyncio.current_task()}
        if serving:
            _, late = await asyncio.wait(serving, timeout=self.options.drain_seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=_ENDING)
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.wait([keeping])
        await self._queue.close()


@asynccontextmanager
async def _closing(agents: Mapping[str, AIProvider]) -> AsyncGenerator[None]:
    """Close the providers at the end, and raise or log all that they raise then."""
    is_failing = True
    try:
        yield
        is_failing = False
    finally:
        closing = (provider.close() for provider in agents.values())
        ends = await asyncio.gather(*closing, return_exceptions=True)
        failed = {agent: end for agent, end in zip(agents, ends, strict=True) if isinstance(end, Exception)}
        for agent, error in failed.items():
            logger.warning(
                "The provider of %r, which was served, did not close: %s", agent, error_text(error)
            )
    if failed and not is_failing:
        raise CloseError(f"the providers of {', '.join(failed)} did not close", [*failed.values()])


class _EndedError(Exception):
    """A request that no process answers any more: `lost` in the middle, or `poisoned`."""

    def __init__(self, how: str, error: ProviderError, attempts: int) -> None:
        self.how = how
        self.error = error
        self.attempts = attempts


class _Reader:
    """One request under way: its frames in order, and whether a process still works on it."""

    def __init__(self, queue: TurnQueue, request: TurnRequest, telemetry: TelemetryProvider | None) -> None:
        self.turn_id = new_id()
        self.agent = request.agent
        about, place = {Attr.TURN_ID: self.turn_id}, request.context.trace_parent
        self.waiting = TurnSpan(telemetry, SpanKind.TURN_WAIT, place, agent=request.agent, attributes=about)
        self.news = asyncio.Event()
        self._queue = queue
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._ends = self._began + queue.options.turn_seconds
        self._unheld_since: float | None = self._began
        self.waited: float | None = None
        self._taken = 0
        self._has_to_wake = False

    async def frames(self) -> AsyncGenerator[TurnFrame]:
        """Yield the frames of the answer. Raises ProviderError, or _EndedError."""
        while True:
            self.news.clear()
            reading = await self._reading()
            if self.waited is None and reading.attempts:
                self.waited = self._loop.time() - self._began
                self.waiting.end()
            self._has_to_wake = reading.total - self._taken >= WINDOW // 2
            for number, text in reading.frames:
                frame = self._frame(number, text)
                yield frame
                if frame.last:
                    return
            if not reading.frames:
                self._judge(reading)
                await self._wait()

    async def _reading(self) -> TurnReading:
        try:
            found = await self._queue.read(self.turn_id, self._taken, limit=WINDOW, wake=self._has_to_wake)
        except RoomKitError as error:
            raise _unreachable(self.agent, error) from error
        if found is None:
            self._check_deadline()  # a turn whose time is over may be removed before its reader looks
            why = "the queue has lost it: its service was restarted, or it was removed"
            raise _failure(self.agent, why, ErrorCode.CONNECTION)
        return found

    def _frame(self, number: int, text: str) -> TurnFrame:
        if number != self._taken + 1:
            raise _unreadable(self.agent, f"frame {number} follows frame {self._taken}")
        self._taken = number
        try:
            return decode_frame(text)
        except MalformedTurnError as error:
            raise _unreadable(self.agent, str(error)) from error

    def _check_deadline(self) -> None:
        if self._loop.time() >= self._ends:
            why = f"it was not answered within turn_seconds, {self._queue.options.turn_seconds:g} s"
            raise _failure(self.agent, why, ErrorCode.TIMEOUT)

    def _judge(self, reading: TurnReading) -> None:
        self._check_deadline()
        now, options = self._loop.time(), self._queue.options
        if reading.is_held:
            self._unheld_since = None
            return
        if reading.total > self._taken:
            return  # a frame that was added while we read
        if reading.total:
            why = "its executor process was lost in the middle of the answer"
            raise _EndedError("lost", _failure(self.agent, why, ErrorCode.CONNECTION), reading.attempts)
        if reading.attempts >= options.max_attempts:
            why = f"it is quarantined: {reading.attempts} executor processes died of it or were paused"
            error = _failure(self.agent, why, ErrorCode.SERVER, retryable=False)
            raise _EndedError("poisoned", error, reading.attempts)
        self._unheld_since = now if self._unheld_since is None else self._unheld_since
        if now - self._unheld_since >= options.claim_seconds:
            why = (
                f"no process took it within claim_seconds, {options.claim_seconds:g} s; see that one serves "
                "this agent, or start more"
            )
            raise _failure(self.agent, why, ErrorCode.OVERLOADED)

    async def _wait(self) -> None:
        """Wait for news; until the next look at most."""
        options, now = self._queue.options, self._loop.time()
        due = [now + options.lease_seconds / 3, self._ends]
        if self._unheld_since is not None:
            due.append(self._unheld_since + options.claim_seconds)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(min(due)):
                await self.news.wait()


def _failure(agent: str, why: str, code: ErrorCode, *, retryable: bool | None = None) -> ProviderError:
    return ProviderError(
        f"the turn of agent {agent!r} could not be executed: {why}",
        error_code=code,
        retryable=retryable,
        provider=_PROVIDER,
    )


def _unreadable(agent: str, why: str) -> ProviderError:
    return _failure(agent, f"its answer cannot be read: {why}", ErrorCode.BAD_RESPONSE)


def _unreachable(agent: str, error: RoomKitError) -> ProviderError:
    return _failure(agent, f"the queue cannot be reached: {message_of(error)}", ErrorCode.CONNECTION)
