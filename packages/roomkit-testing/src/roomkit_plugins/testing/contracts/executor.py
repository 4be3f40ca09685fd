"""The contract suite of turn executors."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, override

import pytest
from pydantic import BaseModel, field_validator

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import ErrorCode, InvalidInputError, ProviderError
from roomkit.abc.executor import TurnExecutor
from roomkit.authoring.turns.executor import QueueTurnExecutor
from roomkit.authoring.turns.queue import ClaimState, QueuedTurn, TurnClaim, TurnQueue
from roomkit.authoring.turns.wire import TurnRequest, agent_key, encode_frame, encode_piece, encode_request
from roomkit.models.ai import (
    AIImagePart,
    AIMessage,
    AITextPart,
    AIThinkingPart,
    AITool,
    AIToolCall,
    AIToolCallPart,
    AIToolResultPart,
    StreamDone,
    StreamEvent,
    StreamTextDelta,
    StreamThinkingDelta,
    StreamToolCall,
)
from roomkit.models.base import new_id
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.enums import ChannelMediaType
from roomkit.models.generation import AIContext, AIResponse
from roomkit.models.task import Observation, Task
from roomkit_plugins.testing.contracts.base import ContractSuite
from roomkit_plugins.testing.served import LEASE, Served

__all__ = ["ScriptedModel", "TurnExecutorContract"]

PATIENCE = 20.0
PIECES: Sequence[StreamEvent] = (
    StreamThinkingDelta("Let me see"),
    StreamThinkingDelta("", signature="sig=="),
    StreamThinkingDelta("", redacted_data="opaque"),
    StreamTextDelta("The "),
    StreamTextDelta("answer"),
    StreamToolCall("1", "look_up", {"q": ["a", {"b": None}]}, {"opaque": "x"}),
    StreamToolCall("2", "look_up", {"raw": "{"}, {}, "no JSON object"),
    StreamDone("tool_calls", {"input_tokens": 3, "output_tokens": 2**40}, {"finish_reason": "tool_use"}),
)
TEXTS = ("", "\x00", "naïve 日本 🙂", "\ud83d", "\ude42", "\n\r\u2028", '"\\', "x" * 50_000)

_SCHEMA: Mapping[str, Any] = {"type": "object", "properties": {"topic": {"type": "string"}}}


class Ticket(BaseModel):
    """An answer's shape."""

    topic: str
    lines: list[dict[str, int]]

    @field_validator("topic")
    @classmethod
    def is_no_secret(cls, value: str) -> str:
        """Refuse one word, as no JSON Schema does."""
        if value == "secret":
            raise ValueError
        return value


type Script = Callable[[AIContext], AsyncGenerator[StreamEvent]]


class ScriptedModel(AIProvider):
    """Streams what a function yields; `asked` has the contexts, `ended` how many calls are over."""

    def __init__(self, script: Script, *, whole: AIResponse | None = None, has_shapes: bool = False) -> None:
        self.has_shapes = has_shapes
        self.asked: list[AIContext] = []  # bound: a test
        self.running = 0
        self.most_running = 0
        self.ended = 0
        self.is_asked = asyncio.Event()
        self.is_ended = asyncio.Event()
        self._script = script
        self._whole = whole

    @property
    @override
    def model_name(self) -> str:
        return "scripted"

    @property
    @override
    def supports_structured_streaming(self) -> bool:
        return True

    @property
    @override
    def supports_response_schema(self) -> bool:
        return self.has_shapes

    @override
    async def generate(self, context: AIContext) -> AIResponse:
        async for _ in self.generate_structured_stream(context):
            pass
        return self._whole or AIResponse(content="")

    @override
    async def generate_structured_stream(self, context: AIContext) -> AsyncGenerator[StreamEvent]:
        self.asked.append(context)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.is_asked.set()
        try:
            async with aclosing(self._script(context)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            self.running -= 1
            self.ended += 1
            self.is_ended.set()


def says(*pieces: StreamEvent) -> Script:
    """Return a script that yields these pieces."""

    async def script(_: AIContext) -> AsyncGenerator[StreamEvent]:
        for piece in pieces:
            yield piece

    return script


def waits(gate: asyncio.Event, *first: StreamEvent) -> Script:
    """Return a script that yields some pieces, and the end after an event."""

    async def script(_: AIContext) -> AsyncGenerator[StreamEvent]:
        for piece in first:
            yield piece
        await gate.wait()
        yield StreamDone("stop")

    return script


def fails(error: Exception, *first: StreamEvent) -> Script:
    """Return a script that raises after some pieces."""

    async def script(_: AIContext) -> AsyncGenerator[StreamEvent]:
        for piece in first:
            yield piece
        raise error

    return script


class TurnExecutorContract(ContractSuite):
    """Requests and answers, leases, cancelling and close, over two executors of one queue.

    `factory` makes executors that share a queue, and takes the fields of `TurnOptions` as keywords.
    """

    @property
    def location(self) -> tuple[str, str, Mapping[str, Any]] | None:
        """How another process makes such an executor: class and config as references, and settings."""
        return None

    async def break_connections(self, executor: TurnExecutor) -> bool:
        """End the connections to the queue's service from outside; False if there are none."""
        return False

    @pytest.fixture
    async def made(self, factory: Callable[..., Any]) -> AsyncIterator[Callable[..., Any]]:
        """Make executors, closed after the test."""
        executors: list[Any] = []

        def make(**options: Any) -> Any:
            executors.append(factory(**options))
            return executors[-1]

        yield make
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(each.close() for each in executors))

    @pytest.fixture
    def asker(self, made: Callable[..., Any]) -> Any:
        """Return the executor that asks."""
        return made()

    @pytest.fixture
    def server(self, made: Callable[..., Any]) -> Any:
        """Return the executor that serves, of the same queue."""
        return made()

    @pytest.fixture
    def agent(self) -> str:
        """Return a name of the test's own."""
        return f"agent-{new_id()}"

    # -- requests and answers -----------------------------------------------------------------

    async def test_a_stream_arrives_in_order(self, asker: Any, server: Any, agent: str) -> None:
        async with serving(server, {agent: ScriptedModel(says(*PIECES))}):
            assert await read(asker, agent) == [*PIECES]

    async def test_a_whole_answer_keeps_its_fields(self, asker: Any, server: Any, agent: str) -> None:
        response = AIResponse(
            content="Done",
            thinking="Hm",
            thinking_signature="sig",
            thinking_parts=[AIThinkingPart(thinking="Hm", signature="sig")],
            finish_reason="stop",
            usage={"input_tokens": 1},
            metadata={"request_id": "r"},
            tasks=[Task(id="t", room_id="room", title="call back")],
            observations=[Observation(id="o", room_id="room", channel_id="bot", content="is angry")],
            tool_calls=[AIToolCall(id="1", name="look_up", arguments={"a": [1]})],
        )
        async with serving(server, {agent: ScriptedModel(says(), whole=response)}):
            async with asyncio.timeout(PATIENCE):
                assert await asker.generate(agent, asking()) == response

    async def test_every_field_of_a_request_arrives(self, asker: Any, server: Any, agent: str) -> None:
        parts = (
            AITextPart(text="look"),
            AIImagePart(url="data:image/png;base64,AAAA", mime_type="image/png"),
            AIThinkingPart(thinking="", redacted_data="opaque"),
            AIToolCallPart(
                id="1", name="t", arguments={"n": {"m": [1.5, None, True]}}, metadata={"sig": "x"}
            ),
        )
        context = AIContext(
            messages=[
                AIMessage(role="user", content="hi", name="Ann", metadata={"k": 1}),
                AIMessage(role="assistant", content=parts),
                AIMessage(
                    role="tool",
                    content=(AIToolResultPart(tool_call_id="1", name="t", result="r", is_error=True),),
                ),
            ],
            system_prompt="Be brief.",
            temperature=0.25,
            max_tokens=7,
            thinking_budget=1,
            reasoning_effort="low",
            stop=("END",),
            tools=[AITool(name="t", description="d", parameters={"type": "object"})],
            tool_choice="auto",
            target_capabilities=ChannelCapabilities(max_length=160),
            target_media_types=(ChannelMediaType.TEXT,),
            metadata={"cache": {"ttl": 5}},
        )
        model = ScriptedModel(says(*PIECES))
        async with serving(server, {agent: model}):
            await read(asker, agent, context)
        assert model.asked == [context]

    async def test_an_answer_of_a_shape_arrives(self, asker: Any, server: Any, agent: str) -> None:
        """A provider is asked by a JSON Schema; the caller gets an instance of its model, or JSON."""
        parsed = {"topic": "invoice", "lines": [{"n": 1}]}
        response = AIResponse(content="{}", finish_reason="stop", parsed=parsed)
        model = ScriptedModel(says(StreamDone("stop", parsed=parsed)), whole=response, has_shapes=True)
        async with serving(server, {agent: model}), asyncio.timeout(PATIENCE):
            for schema, expected in ((Ticket, Ticket.model_validate(parsed)), (_SCHEMA, parsed)):
                context = AIContext(messages=asking().messages, response_schema=schema)
                assert (await asker.generate(agent, context)).parsed == expected
                assert await read(asker, agent, context) == [StreamDone("stop", parsed=expected)]
        asked = [context.response_schema for context in model.asked]
        assert asked == [Ticket.model_json_schema()] * 2 + [_SCHEMA] * 2

    async def test_a_value_that_the_model_refuses_fails_the_turn(
        self, asker: Any, server: Any, agent: str
    ) -> None:
        """What its validators say, which no JSON Schema has, holds too; the error quotes no value."""
        parsed = {"topic": "secret", "lines": []}
        model = ScriptedModel(
            says(StreamDone("stop", parsed=parsed)),
            whole=AIResponse(content="{}", parsed=parsed),
            has_shapes=True,
        )
        context = AIContext(messages=asking().messages, response_schema=Ticket)
        async with serving(server, {agent: model}), asyncio.timeout(PATIENCE):
            for asked in (asker.generate(agent, context), read(asker, agent, context)):
                with pytest.raises(
                    ProviderError, match=r"response_schema Ticket: topic \(value_error\)"
                ) as caught:
                    await asked
                assert caught.value.error_code is ErrorCode.BAD_RESPONSE
                assert "secret" not in str(caught.value)

    async def test_a_provider_without_shapes_is_not_asked_for_one(
        self, asker: Any, server: Any, agent: str
    ) -> None:
        """Though the room's worker says that it has them."""
        model = ScriptedModel(says(*PIECES))
        context = AIContext(messages=asking().messages, response_schema=_SCHEMA)
        async with serving(server, {agent: model}), asyncio.timeout(PATIENCE):
            for asked in (asker.generate(agent, context), read(asker, agent, context)):
                with pytest.raises(ProviderError, match="does not support a response_schema") as caught:
                    await asked
                assert caught.value.error_code is ErrorCode.INVALID_REQUEST
        assert model.asked == []

    async def test_any_text_arrives(self, asker: Any, server: Any) -> None:
        """NUL, halves of a character, long ones; in answers, requests and names of agents."""
        names = [f"{new_id()}{text[:20]}" for text in TEXTS]
        model = ScriptedModel(says(*map(StreamTextDelta, TEXTS), StreamDone("stop")))
        async with serving(server, dict.fromkeys(names, model)):
            for name in names:
                pieces = await read(asker, name, asking("\x00日本 🙂"))
                assert [piece.text for piece in pieces[:-1]] == [*TEXTS]
        assert {context.messages[0].content for context in model.asked} == {"\x00日本 🙂"}

    @pytest.mark.parametrize("whole", [False, True])
    async def test_a_providers_error_arrives_with_its_fields(
        self, asker: Any, server: Any, agent: str, whole: bool
    ) -> None:
        error = ProviderError(
            "too many requests",
            error_code=ErrorCode.RATE_LIMIT,
            retry_after=7.5,
            provider="acme",
            status_code=429,
            vendor_code="slow_down",
            request_id="req-1",
        )
        async with serving(server, {agent: ScriptedModel(fails(error))}):
            found = await failure(asker.generate(agent, asking()) if whole else read(asker, agent))
        assert (str(found), vars(found)) == (str(error), vars(error))

    async def test_another_error_names_its_class_and_is_not_retried(
        self, asker: Any, server: Any, agent: str
    ) -> None:
        async with serving(server, {agent: ScriptedModel(fails(ZeroDivisionError("oh")))}):
            found = await failure(read(asker, agent))
        assert "ZeroDivisionError: oh" in str(found)
        assert not found.retryable

    async def test_an_error_follows_the_text_before_it(self, asker: Any, server: Any, agent: str) -> None:
        model = ScriptedModel(fails(ProviderError("cut"), StreamTextDelta("Half")))
        pieces: list[StreamEvent] = []
        async with serving(server, {agent: model}):
            found = await failure(collect(asker, agent, pieces))
        assert (pieces, str(found)) == ([StreamTextDelta("Half")], "cut")
        assert len(model.asked) == 1

    async def test_what_is_no_piece_fails_the_turn(self, asker: Any, server: Any, agent: str) -> None:
        nonsense: Any = "text"
        async with serving(server, {agent: ScriptedModel(says(StreamTextDelta("A"), nonsense))}):
            assert "yield stream events" in str(await failure(read(asker, agent)))

    async def test_hundreds_of_pieces_arrive_in_order(self, asker: Any, server: Any, agent: str) -> None:
        """More than a reader takes at once, and more than waits for it."""
        pieces = [StreamTextDelta(f"{number} {'x' * 2000}") for number in range(1000)]
        async with serving(server, {agent: ScriptedModel(says(*pieces, StreamDone("stop")))}):
            assert await read(asker, agent) == [*pieces, StreamDone("stop")]

    # -- cancelling and bounds ----------------------------------------------------------------

    async def test_closing_the_stream_cancels_the_provider(self, asker: Any, server: Any, agent: str) -> None:
        model = ScriptedModel(waits(asyncio.Event(), StreamTextDelta("Well")))
        async with serving(server, {agent: model}):
            async with asyncio.timeout(PATIENCE):
                stream = asker.stream(agent, asking())
                assert await anext(stream) == StreamTextDelta("Well")
                await stream.aclose()
                await model.is_ended.wait()
                await until(lambda: server.counters.get("cancelled"))

    async def test_cancelling_the_call_cancels_the_provider(
        self, asker: Any, server: Any, agent: str
    ) -> None:
        model = ScriptedModel(waits(asyncio.Event()))
        async with serving(server, {agent: model}), asyncio.timeout(PATIENCE):
            call = asyncio.ensure_future(asker.generate(agent, asking()))
            await model.is_asked.wait()
            call.cancel()
            await model.is_ended.wait()

    async def test_a_slow_reader_stops_the_provider(self, made: Callable[..., Any], agent: str) -> None:
        """It does not read on and on; and the turn outlives its lease in that time."""
        asker, server = made(lease_seconds=2 * LEASE), made(lease_seconds=2 * LEASE)
        sent = 0

        async def endless(_: AIContext) -> AsyncGenerator[StreamEvent]:
            nonlocal sent
            while (
                sent < 2_000
            ):  # without an end it would fill the memory of an executor that does not stop it
                sent += 1
                yield StreamTextDelta("x" * 10_000)
            await asyncio.Event().wait()

        model = ScriptedModel(endless)
        async with serving(server, {agent: model}), asyncio.timeout(PATIENCE):
            stream = asker.stream(agent, asking())
            await anext(stream)
            before = -1
            while sent != before:
                before = sent
                await asyncio.sleep(1.5 * LEASE)  # what is not sent in this time is not sent
            assert sent < 1000
            for _ in range(before + 1):
                await anext(stream)
            assert sent > before
            await stream.aclose()
            await model.is_ended.wait()

    async def test_nobody_serves_in_time(self, made: Callable[..., Any], agent: str) -> None:
        """It fails so that a fallback is asked."""
        found = await failure(read(made(claim_seconds=0.2), agent))
        assert (found.error_code, found.retryable) == (ErrorCode.OVERLOADED, True)
        assert "no process took it" in str(found)

    async def test_a_turn_waits_for_a_server(self, asker: Any, server: Any, agent: str) -> None:
        async with asyncio.timeout(PATIENCE):
            call = asyncio.ensure_future(read(asker, agent))
            await until(lambda: asker.counters.get("asked"))
            async with serving(server, {agent: ScriptedModel(says(*PIECES))}):
                assert await call == [*PIECES]

    async def test_turns_of_other_agents_are_left(self, made: Callable[..., Any], agent: str) -> None:
        model = ScriptedModel(says(*PIECES))
        async with serving(made(), {agent: model}):
            found = await failure(read(made(claim_seconds=0.2), f"{agent}x"))
        assert found.error_code is ErrorCode.OVERLOADED
        assert not model.asked

    async def test_a_turn_ends_at_its_deadline(self, made: Callable[..., Any], agent: str) -> None:
        model = ScriptedModel(waits(asyncio.Event()))
        async with serving(made(), {agent: model}), asyncio.timeout(PATIENCE):
            found = await failure(read(made(turn_seconds=0.4), agent))
            assert found.error_code is ErrorCode.TIMEOUT
            if model.asked:  # on a busy machine the deadline may be first
                await model.is_ended.wait()

    async def test_too_many_waiting_turns_are_refused(self, made: Callable[..., Any], agent: str) -> None:
        asker = made(max_waiting=2)
        calls = [asyncio.ensure_future(failure(read(asker, agent))) for _ in range(3)]
        done, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE)
        assert {call.result().error_code for call in done} == {ErrorCode.OVERLOADED}
        assert len(waiting) == 2
        for call in waiting:
            call.cancel()
        await asyncio.wait(waiting)

    async def test_an_oversized_request_is_refused(self, made: Callable[..., Any], agent: str) -> None:
        found = await failure(read(made(max_request_bytes=1000), agent, asking("x" * 1000)))
        assert (found.error_code, found.retryable) == (ErrorCode.TOO_LONG, False)

    async def test_an_oversized_piece_fails_the_turn(self, asker: Any, server: Any, agent: str) -> None:
        async with serving(server, {agent: ScriptedModel(says(StreamTextDelta("x" * 5_000_000)))}):
            assert (await failure(read(asker, agent))).error_code is ErrorCode.TOO_LONG

    async def test_a_limit_bounds_what_runs_at_once(self, asker: Any, server: Any, agent: str) -> None:
        full = asyncio.Event()

        async def full_house(_: AIContext) -> AsyncGenerator[StreamEvent]:
            if model.running == 3:
                full.set()
            await full.wait()
            yield StreamDone("stop")

        model = ScriptedModel(full_house)
        async with serving(server, {agent: model}, limit=3):
            await asyncio.gather(*(read(asker, agent) for _ in range(12)))
        assert model.most_running == 3

    async def test_two_servers_share_turns_and_run_none_twice(
        self, made: Callable[..., Any], agent: str
    ) -> None:
        both = asyncio.Event()

        async def together(_: AIContext) -> AsyncGenerator[StreamEvent]:
            if all(model.asked for model in models):
                both.set()
            await both.wait()
            yield StreamDone("stop")

        models = [ScriptedModel(together), ScriptedModel(together)]
        asker, questions = made(), [f"question {number}" for number in range(40)]
        async with serving(made(), {agent: models[0]}, limit=2), serving(made(), {agent: models[1]}, limit=2):
            await asyncio.gather(*(read(asker, agent, asking(question)) for question in questions))
        asked = [str(context.messages[0].content) for model in models for context in model.asked]
        assert sorted(asked) == sorted(questions)
        assert all(model.asked for model in models)

    @pytest.mark.parametrize("wrong", [{"agents": {}}, {"limit": 0}])
    async def test_serving_nothing_is_refused(self, server: Any, agent: str, wrong: Any) -> None:
        with pytest.raises(InvalidInputError, match=r"cannot serve \d agents with limit=\d"):
            await server.serve(**{"agents": {agent: ScriptedModel(says())}, **wrong})

    # -- closing ------------------------------------------------------------------------------

    async def test_a_closed_executor_is_not_asked(self, asker: Any, agent: str) -> None:
        await asker.close()
        assert (await failure(read(asker, agent))).error_code is ErrorCode.CONNECTION

    async def test_close_lets_running_turns_end(self, made: Callable[..., Any], agent: str) -> None:
        gate, server = asyncio.Event(), made(drain_seconds=PATIENCE)
        model = ScriptedModel(waits(gate, StreamTextDelta("Slow")))
        async with serving(server, {agent: model}), asyncio.timeout(PATIENCE):
            call = asyncio.ensure_future(read(made(), agent))
            await model.is_asked.wait()
            closing = asyncio.ensure_future(server.close())
            await asyncio.sleep(0)
            gate.set()
            await closing
            assert await call == [StreamTextDelta("Slow"), StreamDone("stop")]

    async def test_close_hands_back_what_has_said_nothing(self, made: Callable[..., Any], agent: str) -> None:
        """Another process answers it; what has begun fails, and is not said again."""
        server, gate = made(drain_seconds=0.0), asyncio.Event()
        silent = ScriptedModel(waits(gate))
        other = ScriptedModel(says(*PIECES))
        async with asyncio.timeout(PATIENCE):
            async with serving(server, {agent: silent}):
                call = asyncio.ensure_future(read(made(), agent))
                await silent.is_asked.wait()
                await server.close()
            async with serving(made(), {agent: other}):
                assert await call == [*PIECES]

    async def test_close_fails_what_has_begun(self, made: Callable[..., Any], agent: str) -> None:
        server = made(drain_seconds=0.0)
        model = ScriptedModel(waits(asyncio.Event(), StreamTextDelta("Half")))
        other = ScriptedModel(says(*PIECES))
        async with serving(server, {agent: model}), serving(made(), {agent: other}, limit=1):
            async with asyncio.timeout(PATIENCE):
                stream, _busy = await self.begun(made(), agent, (model, other))
                await server.close()
                found = await failure(anext(stream)) if model.asked else None
                await stream.aclose()
        assert found is None or found.error_code is ErrorCode.CONNECTION
        assert not (model.asked and other.asked)

    async def begun(self, asker: Any, agent: str, models: Sequence[ScriptedModel]) -> tuple[Any, Any]:
        """Return a stream whose first piece was read."""
        stream = asker.stream(agent, asking())
        return stream, await anext(stream)

    # -- leases -------------------------------------------------------------------------------

    def queue(self, executor: TurnExecutor) -> TurnQueue:
        """Return the executor's queue, for what only a queue can show."""
        if not isinstance(executor, QueueTurnExecutor):
            pytest.skip("it has no queue")
        return executor.queue

    async def put(self, executor: Any, agent: str, body: str | None = None) -> str:
        """Queue a turn without a reader; return its id."""
        queue, turn_id = self.queue(executor), new_id()
        await queue.open()
        body = encode_request(TurnRequest(agent, False, asking())) if body is None else body
        assert await queue.put(QueuedTurn(turn_id, agent_key(agent), body))
        return turn_id

    async def claimed(self, executor: Any, agent: str) -> TurnClaim:
        """Claim a turn, once it can be had."""
        queue = self.queue(executor)
        await queue.open()
        claims: Sequence[TurnClaim] = ()

        async def found() -> bool:
            nonlocal claims
            claims = await queue.claim([agent_key(agent)], 1)
            return bool(claims)

        await until(found)
        return claims[0]

    async def test_a_turn_without_a_frame_is_claimed_again(
        self, made: Callable[..., Any], agent: str
    ) -> None:
        """Once its lease is over; then the former holder is fenced off."""
        asker, one, two = made(), made(lease_seconds=LEASE), made()
        turn_id = await self.put(asker, agent)
        begun = asyncio.get_running_loop().time()
        first = await self.claimed(one, agent)
        early = await self.queue(two).claim([agent_key(agent)], 1)
        if early:  # right only on a machine that is so busy that the lease is over
            assert asyncio.get_running_loop().time() - begun >= LEASE
        second = early[0] if early else await self.claimed(two, agent)
        assert (first.id, second.id) == (turn_id, turn_id)
        assert second.token > first.token
        frame = encode_frame([encode_piece(StreamTextDelta("late"))], last=False)
        assert (await self.queue(one).append(first, 1, frame)).state is ClaimState.FENCED
        assert (await self.queue(one).renew(first)).state is ClaimState.FENCED
        assert (await self.queue(two).append(second, 1, frame)).state is ClaimState.HELD

    async def test_a_turn_with_a_frame_is_not_claimed_again(
        self, made: Callable[..., Any], agent: str
    ) -> None:
        """Its reader gets the text, and then an error: nothing is said twice."""
        asker, one, two = made(lease_seconds=LEASE), made(lease_seconds=LEASE), made()
        pieces: list[StreamEvent] = []
        call = asyncio.ensure_future(failure(collect(asker, agent, pieces)))
        claim = await self.claimed(one, agent)
        frame = encode_frame([encode_piece(StreamTextDelta("Half"))], last=False)
        await self.queue(one).append(claim, 1, frame)
        async with asyncio.timeout(PATIENCE):
            found = await call
        assert pieces == [StreamTextDelta("Half")]
        assert "lost in the middle of the answer" in str(found)
        assert not await self.queue(two).claim([agent_key(agent)], 1)
        assert (await self.queue(one).renew(claim)).state is ClaimState.DROPPED

    async def test_a_turn_that_ends_its_processes_is_quarantined(
        self, made: Callable[..., Any], agent: str
    ) -> None:
        asker = made(lease_seconds=LEASE, max_attempts=2)
        call = asyncio.ensure_future(failure(read(asker, agent)))
        for _ in range(2):
            claim = await self.claimed(made(lease_seconds=LEASE, max_attempts=2), agent)
        async with asyncio.timeout(PATIENCE):
            found = await call
        assert (found.error_code, found.retryable) == (ErrorCode.SERVER, False)
        kept = [turn for turn in await asker.quarantined() if turn.turn_id == claim.id]
        assert [(turn.agent, turn.attempts) for turn in kept] == [(agent, 2)]

    @pytest.mark.parametrize(
        "body",
        ["", "null", "{", "[" * 10_000, '{"version":2}', '{"version":1,"agent":"x","whole":1,"context":{}}'],
        ids=["empty", "null", "cut", "deep", "newer", "mistyped"],
    )
    async def test_what_is_no_turn_is_quarantined(
        self, asker: Any, server: Any, agent: str, body: str
    ) -> None:
        """And the turns after it are answered."""
        async with serving(server, {agent: ScriptedModel(says(*PIECES))}):
            turn_id = await self.put(asker, agent, body)
            assert await read(asker, agent) == [*PIECES]

            async def noted() -> bool:
                return turn_id in {turn.turn_id for turn in await asker.quarantined()}

            await until(noted)
        assert server.counters["quarantined"] == 1

    @pytest.mark.parametrize("frame", ["", "[]", '{"version":1,"items":[{"type":"x"}],"last":true}'])
    async def test_what_is_no_frame_fails_the_turn(
        self, made: Callable[..., Any], agent: str, frame: str
    ) -> None:
        asker, server = made(), made()
        call = asyncio.ensure_future(failure(read(asker, agent)))
        claim = await self.claimed(server, agent)
        await self.queue(server).append(claim, 1, frame)
        async with asyncio.timeout(PATIENCE):
            assert (await call).error_code is ErrorCode.BAD_RESPONSE

    async def test_a_frame_that_is_sent_twice_is_there_once(
        self, made: Callable[..., Any], agent: str
    ) -> None:
        """As after a connection that broke before the answer came."""
        asker, server = made(), made()
        call = asyncio.ensure_future(read(asker, agent))
        claim = await self.claimed(server, agent)
        pieces: Sequence[StreamEvent] = (StreamTextDelta("Once"), StreamDone("stop"))
        for number, piece in enumerate(pieces, 1):
            frame = encode_frame([encode_piece(piece)], last=number == 2)
            standings = [
                await self.queue(server).append(claim, number, frame) for _ in range(1 + (number == 1))
            ]
            assert {standing.state for standing in standings} == {ClaimState.HELD}
        async with asyncio.timeout(PATIENCE):
            assert await call == [*pieces]

    async def test_frames_of_a_turn_that_is_given_up_are_refused(
        self, made: Callable[..., Any], agent: str
    ) -> None:
        """Its reader has not asked for a lease: its process is gone."""
        asker, server = made(lease_seconds=LEASE), made()
        loop, model = asyncio.get_running_loop(), ScriptedModel(waits(asyncio.Event()))
        async with serving(made(lease_seconds=LEASE), {agent: model}):
            await self.put(asker, agent)
            begun = loop.time()
            # On a busy machine the reader's lease may be over before the turn is claimed.
            await until(lambda: model.ended or (not model.asked and loop.time() - begun > 3 * LEASE))
        assert not await self.queue(server).claim([agent_key(agent)], 1)

    async def test_a_slow_provider_keeps_its_lease(self, made: Callable[..., Any], agent: str) -> None:
        """And is asked once, however long it thinks."""
        gate = asyncio.Event()
        models = [ScriptedModel(waits(gate)), ScriptedModel(waits(gate))]
        short = {"lease_seconds": 3 * LEASE}
        async with serving(made(**short), {agent: models[0]}), serving(made(**short), {agent: models[1]}):
            async with asyncio.timeout(PATIENCE):
                call = asyncio.ensure_future(read(made(**short), agent))
                await asyncio.sleep(5 * LEASE)  # longer than the lease
                gate.set()
                assert await call == [StreamDone("stop")]
        assert sum(len(model.asked) for model in models) == 1

    async def test_broken_connections_are_mended(self, asker: Any, server: Any, agent: str) -> None:
        """A turn under way goes on, nothing lost and nothing twice."""
        gate = asyncio.Event()
        model = ScriptedModel(waits(gate, StreamTextDelta("Half")))
        async with serving(server, {agent: model}), asyncio.timeout(PATIENCE):
            stream = asker.stream(agent, asking())
            assert await anext(stream) == StreamTextDelta("Half")
            if not await self.break_connections(asker):
                pytest.skip("nothing to break")
            gate.set()
            assert [piece async for piece in stream] == [StreamDone("stop")]
        assert len(model.asked) == 1

    # -- other processes ----------------------------------------------------------------------

    @pytest.fixture
    async def served(self, agent: str) -> AsyncIterator[Callable[[str], Coroutine[Any, Any, Served]]]:
        """Start processes that serve the agent by a named script, ended after the test."""
        if self.location is None:
            pytest.skip("no other process reaches it")
        processes: list[Served] = []

        async def start(script: str) -> Served:
            assert self.location is not None
            processes.append(await Served.start(*self.location, agent, script))
            return processes[-1]

        yield start
        for process in processes:
            await process.end()

    async def test_a_killed_process_is_replaced(
        self, made: Callable[..., Any], agent: str, served: Any
    ) -> None:
        """Killed before it said anything: another one answers, and nothing is said twice."""
        process = await served("silent")
        asker = made(lease_seconds=LEASE)
        call = asyncio.ensure_future(read(asker, agent))
        async with asyncio.timeout(PATIENCE):
            await process.asked()
            process.kill()
            async with serving(made(lease_seconds=LEASE), {agent: ScriptedModel(says(*PIECES))}):
                assert await call == [*PIECES]

    async def test_a_process_killed_in_mid_answer_fails_the_turn(
        self, made: Callable[..., Any], agent: str, served: Any
    ) -> None:
        process = await served("half")
        model = ScriptedModel(says(*PIECES))
        async with asyncio.timeout(PATIENCE):
            stream = made(lease_seconds=LEASE).stream(agent, asking())
            assert await anext(stream) == StreamTextDelta("Half")
            process.kill()
            async with serving(made(lease_seconds=LEASE), {agent: model}):
                found = await failure(anext(stream))
        assert found.error_code is ErrorCode.CONNECTION
        assert not model.asked

    async def test_a_paused_process_is_fenced_off(
        self, made: Callable[..., Any], agent: str, served: Any
    ) -> None:
        """What it says after its lease is not seen; the one that took over is."""
        process = await served("later")
        call = asyncio.ensure_future(read(made(lease_seconds=LEASE), agent))
        async with asyncio.timeout(PATIENCE):
            await process.asked()
            process.pause()
            gate = asyncio.Event()
            model = ScriptedModel(waits(gate))
            async with serving(made(lease_seconds=LEASE), {agent: model}):
                await model.is_asked.wait()
                process.resume()
                await process.ended()
                gate.set()
                assert await call == [StreamDone("stop")]


async def until(condition: Callable[[], object]) -> None:
    """Wait for what sets no event of ours: the other side's steps, or a lease that runs out."""
    async with asyncio.timeout(PATIENCE):
        while True:
            held = condition()
            if await held if inspect.isawaitable(held) else held:
                return
            await asyncio.sleep(0.01)


def asking(text: str = "Hello") -> AIContext:
    """Return a request."""
    return AIContext(messages=[AIMessage(role="user", content=text)])


async def collect(
    executor: Any, agent: str, pieces: list[StreamEvent], context: AIContext | None = None
) -> None:
    """Read an answer into a list."""
    async with asyncio.timeout(PATIENCE), aclosing(executor.stream(agent, context or asking())) as stream:
        async for piece in stream:
            pieces.append(piece)  # noqa: PERF401  # what came before an error counts


async def read(executor: Any, agent: str, context: AIContext | None = None) -> list[Any]:
    """Return an answer's pieces."""
    pieces: list[StreamEvent] = []
    await collect(executor, agent, pieces, context)
    return pieces


async def failure(work: Any) -> ProviderError:
    """Return the error that work ends in."""
    with pytest.raises(ProviderError) as caught:
        await work
    return caught.value


@asynccontextmanager
async def serving(executor: Any, agents: dict[str, Any], *, limit: int = 8) -> AsyncIterator[None]:
    """Serve agents while the block runs."""
    task = asyncio.ensure_future(executor.serve(agents, limit=limit))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE)
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error
