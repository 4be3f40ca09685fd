"""The contract of turn executors: close."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from roomkit.abc.errors import ErrorCode
from roomkit.models.ai import (
    StreamDone,
    StreamTextDelta,
)
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

__all__ = ["TurnClosingContract"]


class TurnClosingContract(TurnSuite):
    """A closing executor completes, returns or fails its turns."""

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
        """Another process answers it; an answer that has begun fails, and is not repeated."""
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
                stream = made().stream(agent, asking())
                await anext(stream)
                await server.close()
                found = await failure(anext(stream)) if model.asked else None
                await stream.aclose()
        assert found is None or found.error_code is ErrorCode.CONNECTION
        assert not (model.asked and other.asked)
