"""The contract of turn executors: close."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, override

import pytest

from roomkit.abc.errors import CloseError, ErrorCode
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


class _Unclosable(ScriptedModel):
    """A provider that cannot be closed."""

    def __init__(self, why: str) -> None:
        super().__init__(says(*PIECES))
        self._why = why

    @override
    async def close(self) -> None:
        raise ConnectionError(self._why)


class TurnClosingContract(TurnSuite):
    """A closing executor completes, returns or fails its turns."""

    async def test_a_closed_executor_is_not_asked(self, asker: Any, agent: str) -> None:
        await asker.close()
        assert (await failure(read(asker, agent))).error_code is ErrorCode.CONNECTION

    async def test_the_last_user_closes_the_executor(self, asker: Any, server: Any, agent: str) -> None:
        """Two kits of one process may have agents of one name; one of them may go first."""
        users = (ScriptedModel(says(*PIECES)), ScriptedModel(says(*PIECES)))
        async with serving(server, {agent: ScriptedModel(says(*PIECES))}):
            for user in (*users, users[0]):
                asker.attach(user)
            await asker.detach(users[0])
            await asker.detach(users[0])
            assert await read(asker, agent) == [*PIECES]
            await asker.detach(users[1])
            assert (await failure(read(asker, agent))).error_code is ErrorCode.CONNECTION

    async def test_serving_raises_what_its_providers_raise_when_they_close(
        self, asker: Any, server: Any, agent: str
    ) -> None:
        agents = {f"{agent}-{each}": _Unclosable(f"not {each}") for each in ("a", "b")}
        async with asyncio.timeout(PATIENCE):
            task = asyncio.ensure_future(server.serve(agents))
            assert await read(asker, f"{agent}-a") == [*PIECES]
            await server.close()
            with pytest.raises(CloseError) as caught:
                await task
        assert [str(error) for error in caught.value.exceptions] == ["not a", "not b"]

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
