"""The bounds and times of executors with a queue, on whichever server has the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, override

from roomkit.authoring.turns.queue import QueuedTurn
from roomkit.authoring.turns.wire import agent_key
from roomkit.models.ai import AIMessage
from roomkit.models.base import new_id
from roomkit.models.generation import AIContext, AIResponse
from roomkit_plugins.testing import MockAIProvider
from tests.options.mechanism import Change, Observe, Settings
from tests.options.servers import LONG, SHORT, still, until

__all__ = ["turn_changes"]

type Pair = Callable[[Settings], AbstractAsyncContextManager[tuple[Any, Any]]]
"""Opens an executor with settings, and another of the same queue with the default ones."""

_CONTEXT = AIContext(messages=[AIMessage(role="user", content="x" * 3000)])


def turn_changes(pair: Pair) -> dict[str, Change]:
    """Return a change of each of `TurnOptions`, observed on a queue."""
    unserved: Settings = {"claim_seconds": LONG, "turn_seconds": LONG}
    return {
        "lease_seconds": Change(0.2, {"lease_seconds": LONG}, _claimed_after_silence(pair)),
        "claim_seconds": Change(SHORT, unserved, _asked(pair, "claim_seconds")),
        "turn_seconds": Change(SHORT, unserved, _asked(pair, "turn_seconds")),
        "max_attempts": Change(1, {**unserved, "lease_seconds": 0.3}, _died_once(pair)),
        "max_waiting": Change(1, observe=_two_put(pair)),
        "max_request_bytes": Change(1000, {**unserved, "claim_seconds": SHORT}, _refused(pair)),
        "drain_seconds": Change(0.05, {"drain_seconds": LONG}, _closed_while_it_serves(pair)),
    }


def _asked(pair: Pair, option: str) -> Observe:
    """Return an observation of a turn that no process takes."""

    async def observe(settings: Settings) -> object:
        async with pair(settings) as (executor, _):
            return await still(executor.generate(new_id(), _CONTEXT), acts=settings[option] < LONG)

    return observe


def _refused(pair: Pair) -> Observe:
    """Return an observation of what becomes of a long request."""

    async def observe(settings: Settings) -> object:
        async with pair(settings) as (executor, _):
            try:
                await executor.generate(new_id(), _CONTEXT)
            except Exception as error:  # noqa: BLE001  # the observation
                return str(getattr(error, "error_code", error))
        return "answered"

    return observe


def _two_put(pair: Pair) -> Observe:
    async def observe(settings: Settings) -> object:
        async with pair(settings) as (executor, _):
            agent = new_id()
            return [await executor.queue.put(QueuedTurn(new_id(), agent, "{}")) for _ in range(2)]

    return observe


def _claimed_after_silence(pair: Pair) -> Observe:
    """Return an observation of whether another process gets a turn whose process is silent."""

    async def observe(settings: Settings) -> object:
        async with pair(settings) as (executor, other):
            agent = new_id()
            await other.queue.put(QueuedTurn(new_id(), agent, "{}"))
            assert await executor.queue.claim([agent], 1)
            claimed = _claiming(other, agent)
            return await still(claimed, acts=settings["lease_seconds"] < LONG)

    return observe


async def _claiming(executor: Any, agent: str) -> None:
    while not await executor.queue.claim([agent], 1):  # noqa: ASYNC110  # it sets no event
        await asyncio.sleep(0.01)  # other processes


def _died_once(pair: Pair) -> Observe:
    """Return an observation of a turn whose process died."""

    async def observe(settings: Settings) -> object:
        async with pair(settings) as (executor, _):
            agent = new_id()
            asked = asyncio.ensure_future(executor.generate(agent, _CONTEXT))
            await _claiming(executor, agent_key(agent))
            return await still(asked, acts="max_attempts" in settings)

    return observe


class _Stuck(MockAIProvider):
    """Answers once it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.may_end = asyncio.Event()

    @override
    async def generate(self, context: AIContext) -> AIResponse:
        self.asked.set()
        await self.may_end.wait()
        return await super().generate(context)


def _closed_while_it_serves(pair: Pair) -> Observe:
    """Return an observation of whether an executor waits for a turn that it runs."""

    async def observe(settings: Settings) -> object:
        provider, agent = _Stuck(), new_id()
        async with pair(settings) as (executor, other):
            tasks = [
                asyncio.ensure_future(executor.serve({agent: provider})),
                asyncio.ensure_future(other.generate(agent, _CONTEXT)),
            ]
            async with asyncio.timeout(LONG):
                await provider.asked.wait()
            tasks.append(closing := asyncio.ensure_future(executor.close()))
            seen = await until(closing.done, LONG if settings["drain_seconds"] < LONG else SHORT)
            provider.may_end.set()
            await asyncio.wait((closing,), timeout=LONG)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return seen

    return observe
