"""The executor's side of a queue of turns: claim, ask the provider, send the answer's frames."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import ErrorCode, InvalidInputError, ProviderError, RoomKitError
from roomkit.abc.executor import QuarantinedTurn
from roomkit.abc.log import get_logger
from roomkit.authoring.turns.queue import ClaimStanding, ClaimState, TurnClaim, TurnQueue
from roomkit.authoring.turns.tracing import TurnSpan, span_error
from roomkit.authoring.turns.wire import (
    MalformedTurnError,
    TurnPiece,
    TurnRequest,
    agent_key,
    decode_request,
    encode_frame,
    encode_piece,
)
from roomkit.models.ai import StreamDone, StreamTextDelta
from roomkit.models.base import utcnow
from roomkit.models.generation import OwnCalls
from roomkit.models.telemetry import Attr, SpanKind
from roomkit.models.values import message_of

if TYPE_CHECKING:
    from roomkit.abc.ai import AIProvider
    from roomkit.abc.telemetry import TelemetryProvider
    from roomkit.models.ai import StreamEvent

__all__ = ["TurnServer", "quarantined"]

logger = get_logger("roomkit.turns")

FRAME_CHARS = 64_000
"""A frame is closed beyond; a single piece may be longer."""
MAX_PIECE_CHARS = 4_000_000
WINDOW = 16
"""Frames that a reader may be behind before the provider has to wait."""
_RETRY = 1.0
"""Seconds after which a queue that cannot be reached is asked again."""
_UNWIND = 5.0
"""Seconds that a provider's call may take to end when it is cancelled."""


def quarantined(turn_id: str, agent: str, attempts: int, reason: str) -> QuarantinedTurn:
    """Return the note of a turn; the queue sets the time."""
    return QuarantinedTurn(turn_id=turn_id, agent=agent, attempts=attempts, reason=reason, at=utcnow())


class TurnServer:
    """Answers the turns of some agents, at most `limit` at once."""

    def __init__(
        self,
        queue: TurnQueue,
        agents: Mapping[str, AIProvider],
        limit: int,
        counters: Counter[str],
        telemetry: TelemetryProvider | None = None,
    ) -> None:
        if not agents or limit < 1:
            raise InvalidInputError(
                f"cannot serve {len(agents)} agents with limit={limit}: name one, and a limit from 1 on"
            )
        self._queue = queue
        self._agents = {agent_key(name): name for name in agents}
        self._providers = dict(agents)
        self._limit = limit
        self._counters = counters
        self._telemetry = telemetry
        self._news = asyncio.Event()
        self._stopping = asyncio.Event()
        self._runs: dict[str, _Run] = {}  # bound: limit
        self._is_cut_off = False

    def heard(self, name: str) -> None:
        """Look for new turns, or whether a running one is still wanted."""
        if not name or name in self._agents:
            self._news.set()
        for run in tuple(self._runs.values()) if not name else filter(None, (self._runs.get(name),)):
            run.look()

    def stop(self) -> None:
        """Claim no more turns; `serve` returns once those that run have ended."""
        self._stopping.set()
        self._news.set()

    async def serve(self) -> None:
        """Claim turns and run them until `stop`."""
        await self._queue.listen(tuple(self._agents))
        async with asyncio.TaskGroup() as group:
            while not self._stopping.is_set():
                self._news.clear()
                claims = await self._claimed()
                for claim in claims or ():
                    run = self._runs[claim.id] = _Run(self, self._queue, claim)
                    group.create_task(self._run(run), name=f"turn {claim.id}")
                if not claims:
                    await _news(self._news, _RETRY if claims is None else self._pulse)

    @property
    def _pulse(self) -> float:
        return self._queue.options.lease_seconds / 3

    async def _claimed(self) -> Sequence[TurnClaim] | None:
        """Return new claims; None while the queue cannot be reached."""
        free = self._limit - len(self._runs)
        if free <= 0:
            return ()
        try:
            claims = await self._queue.claim(tuple(self._agents), free)
        except RoomKitError as error:
            if not self._is_cut_off:
                logger.warning("Turns cannot be claimed; it is tried again: %s", message_of(error))
            self._is_cut_off = True
            self.count("queue_failures")
            return None
        if self._is_cut_off:
            self._is_cut_off = False
            logger.info("Turns can be claimed again")
        # One of ours whose lease ran out may come back while its former run unwinds.
        return [claim for claim in claims if claim.id not in self._runs]

    async def _run(self, run: _Run) -> None:
        self.count("claimed")
        try:
            self.count(await run.answer())
        except RoomKitError as error:
            self.count("queue_failures")
            logger.warning("The answer of turn %s could not be sent: %s", run.claim.id, message_of(error))
        except Exception:  # what one turn suffers, no other does
            self.count("queue_failures")
            logger.exception("Turn %s could not be run", run.claim.id)
        finally:
            del self._runs[run.claim.id]
            self._news.set()

    def count(self, what: str) -> None:
        """Count what became of a turn."""
        self._counters[what] += 1

    def provider(self, request: TurnRequest) -> AIProvider:
        """Return the provider of the agent that a request names. Raises MalformedTurnError for another's."""
        provider = self._providers.get(request.agent)
        if provider is None:
            raise MalformedTurnError("its agent is not served here")
        return provider

    def span(self, claim: TurnClaim, request: TurnRequest, provider: AIProvider) -> TurnSpan:
        """Open the span of a turn, where its request is in the trace."""
        about = {Attr.TURN_ID: claim.id, Attr.PROVIDER: provider.name, Attr.MODEL: provider.model_name}
        place = request.context.trace_parent
        return TurnSpan(self._telemetry, SpanKind.TURN_SERVE, place, agent=request.agent, attributes=about)


class _Run:
    """One claimed turn: a task that asks the provider, and the frames of its answer."""

    def __init__(self, server: TurnServer, queue: TurnQueue, claim: TurnClaim) -> None:
        self.claim = claim
        self._server = server
        self._queue = queue
        self._outbox = _Outbox()
        self._number = 0
        self._taken = 0
        self._news = self._outbox.news
        self._has_to_look = False
        self._ended = False
        self._failed: str | None = None

    def look(self) -> None:
        """See whether the turn is still ours."""
        self._has_to_look = True
        self._news.set()

    async def answer(self) -> str:
        """Run the turn; return what to count it as."""
        try:
            request = decode_request(self.claim.body)
            provider = self._server.provider(request)
        except MalformedTurnError as error:
            return await self._refuse(error)
        span = self._server.span(self.claim, request, provider)
        work = self._ask(provider, request, span)
        asking = asyncio.create_task(work, name=f"asking {self.claim.id}")  # supervised: ended below
        how = "lost"
        try:
            how = await self._forward()
            return how
        finally:
            asking.cancel()
            _, late = await asyncio.wait([asking], timeout=_UNWIND)
            if late:
                self._server.count("abandoned")
                logger.warning("%s did not end when turn %s was cancelled", provider.name, self.claim.id)
            if not self._ended:
                how = await self._hand_back()
            span.end(self._failed if how == "completed" else how, {Attr.TURN_OUTCOME: how})

    async def _refuse(self, error: MalformedTurnError) -> str:
        logger.warning("Turn %s is quarantined: %s", self.claim.id, error)
        await self._queue.quarantine(quarantined(self.claim.id, "", 1, str(error)))
        refusal = ProviderError(
            f"the turn was quarantined: {error}", error_code=ErrorCode.SERVER, retryable=False
        )
        await self._queue.append(self.claim, 1, _last(refusal))
        return "quarantined"

    async def _ask(self, provider: AIProvider, request: TurnRequest, span: TurnSpan) -> None:
        request.context.trace_parent = span.trace_parent
        try:
            with span.active():
                await self._fill(provider, request)
            self._outbox.finish()
        except Exception as error:  # noqa: BLE001  # whatever a provider raises is the answer's end
            self._failed = span_error(error)
            self._outbox.finish(error)

    async def _fill(self, provider: AIProvider, request: TurnRequest) -> None:
        _check_shape(provider, request)
        if provider.runs_tools:
            request.context.own_calls = _NoOwnCalls(request.agent)
        if request.whole:
            await self._outbox.put(await provider.generate(request.context))
            return
        async with aclosing(_pieces(provider, request)) as pieces:
            async for piece in pieces:
                await self._outbox.put(piece)

    def _can_send(self) -> bool:
        return self._outbox.is_filled and self._number - self._taken < WINDOW

    async def _forward(self) -> str:
        pulse, last = self._queue.options.lease_seconds / 3, False
        while True:
            if self._can_send():
                frame, last = self._outbox.take()
                self._number += 1
                standing = await self._queue.append(self.claim, self._number, frame)
            else:
                await self._idle(pulse)
                if self._can_send() and not self._has_to_look:
                    continue
                standing = await self._queue.renew(self.claim)
            self._has_to_look = False
            if (end := self._judged(standing, last)) is not None:
                return end

    async def _idle(self, seconds: float) -> None:
        """Wait for something to do, at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (self._can_send() or self._has_to_look):
                    self._news.clear()
                    await self._news.wait()

    def _judged(self, standing: ClaimStanding, last: bool) -> str | None:
        self._taken = standing.taken
        if standing.state is ClaimState.HELD and not last:
            return None
        self._ended = True
        if standing.state is ClaimState.HELD:
            return "completed"
        return "fenced" if standing.state is ClaimState.FENCED else "cancelled"

    async def _hand_back(self) -> str:
        """Give the turn to another process, or fail it where its answer has begun: this one stops.

        Return what to count it as, `lost` if the queue cannot be reached.
        """
        with suppress(RoomKitError, TimeoutError):
            async with asyncio.timeout(_UNWIND):
                if not self._number:
                    await self._queue.release(self.claim)
                    self._server.count("released")
                    return "released"
                failure = ProviderError(
                    "the executor process stopped in the middle of the answer",
                    error_code=ErrorCode.CONNECTION,
                )
                await self._queue.append(self.claim, self._number + 1, _last(failure))
                self._server.count("interrupted")
                return "interrupted"
        return "lost"


class _NoOwnCalls(OwnCalls):
    """Refuses a provider's own calls: the gates that would judge them are in the room's worker."""

    def __init__(self, agent: str) -> None:
        self._agent = agent

    async def run(
        self,
        call_id: str,
        name: str,
        arguments: Mapping[str, Any],
        work: Callable[[dict[str, Any]], Awaitable[object]],
    ) -> object:
        """Say why."""
        logger.warning(
            "the provider of %r may not call its own tool %r here: the gates of its room are in another "
            "process; ask it without an executor, or give the tool to the agent in the room",
            self._agent,
            name,
        )
        return json.dumps({"error": f"the tool {name!r} cannot be checked here and was not run"})


class _Outbox:
    """The pieces that wait to be sent, as JSON; the provider waits while they are many."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self._room = asyncio.Event()
        self._pieces: list[str] = []  # bound: FRAME_CHARS and one piece
        self._chars = 0
        self._is_finished = False

    @property
    def is_filled(self) -> bool:
        """Whether there is a frame to send."""
        return bool(self._pieces) or self._is_finished

    async def put(self, piece: TurnPiece) -> None:
        """Add a piece. Raises ProviderError for one that is too long, MalformedTurnError for no piece."""
        text = encode_piece(piece)
        if len(text) > MAX_PIECE_CHARS:
            raise ProviderError(
                f"a piece of the answer has {len(text)} characters as JSON, and {MAX_PIECE_CHARS} can be "
                "sent: let the provider yield smaller ones",
                error_code=ErrorCode.TOO_LONG,
            )
        while self._chars and self._chars + len(text) > FRAME_CHARS:
            self._room.clear()
            await self._room.wait()
        self._pieces.append(text)
        self._chars += len(text)
        self.news.set()

    def finish(self, error: Exception | None = None) -> None:
        """End the answer, in an error if it failed."""
        if error is not None:
            self._pieces.append(encode_piece(error))
        self._is_finished = True
        self.news.set()

    def take(self) -> tuple[str, bool]:
        """Return the next frame, and whether it is the last."""
        frame = encode_frame(self._pieces, last=self._is_finished)
        self._pieces.clear()
        self._chars = 0
        self._room.set()
        return frame, self._is_finished


def _last(error: ProviderError) -> str:
    """Return the frame that ends an answer in an error."""
    return encode_frame([encode_piece(error)], last=True)


async def _news(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event; return whether it came in time."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


def _check_shape(provider: AIProvider, request: TurnRequest) -> None:
    """Raise ProviderError, INVALID_REQUEST, if an answer of a shape is asked of a provider that has none."""
    if request.context.response_schema and not provider.supports_response_schema:
        raise ProviderError(
            f"the provider {provider.name!r} that serves {request.agent!r} does not support a "
            "response_schema: leave it out of the agent, or serve another provider",
            error_code=ErrorCode.INVALID_REQUEST,
            retryable=False,
            provider=provider.name,
        )


async def _pieces(provider: AIProvider, request: TurnRequest) -> AsyncGenerator[StreamEvent]:
    """Ask a provider for a stream, as it can."""
    context = request.context
    if provider.supports_streaming and not provider.supports_structured_streaming and not context.tools:
        async for text in provider.generate_stream(context):
            yield StreamTextDelta(text)
        yield StreamDone()
        return
    async for piece in provider.generate_structured_stream(context):
        yield piece
