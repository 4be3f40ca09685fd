"""The contract of turn executors: cancellation, deadlines and limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from roomkit.abc.errors import ErrorCode, InvalidInputError
from roomkit.models.ai import (
    StreamDone,
    StreamEvent,
    StreamTextDelta,
)
from roomkit.models.generation import AIContext
from roomkit_plugins.testing.contracts.turns.scripts import (
    PATIENCE,
    PIECES,
    ScriptedModel,
    asking,
    failure,
    read,
    says,
    serving,
    waits,
)
from roomkit_plugins.testing.contracts.turns.suite import TurnSuite
from roomkit_plugins.testing.polling import until
from roomkit_plugins.testing.served import LEASE

__all__ = ["TurnBoundsContract"]


class TurnBoundsContract(TurnSuite):
    """A turn ends with its caller, at its deadline and within the limits of the queue."""

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
                await asyncio.sleep(1.5 * LEASE)  # an executor that goes on would send in this time
            assert sent < 1000
            for _ in range(before + 1):
                await anext(stream)
            assert sent > before
            await stream.aclose()
            await model.is_ended.wait()

    async def test_a_turn_that_no_process_claims_fails(self, made: Callable[..., Any], agent: str) -> None:
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
