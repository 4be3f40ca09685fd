"""The contract of turn executors: other processes, killed and paused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

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
from roomkit_plugins.testing.served import LEASE, Served

__all__ = ["TurnProcessesContract"]


class TurnProcessesContract(TurnSuite):
    """The death of a process that serves costs no turn, or fails it with a typed error."""

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
