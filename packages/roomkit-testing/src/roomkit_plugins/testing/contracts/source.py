"""The contract suite of event-driven sources."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest

from roomkit.abc.source import EmitCallback, SourceProvider
from roomkit.models.delivery import InboundMessage, InboundResult
from roomkit.models.enums import SourceStatus
from roomkit_plugins.testing.contracts.base import ContractSuite, close, make, unsaid
from roomkit_plugins.testing.leaks import assert_nothing_leaks
from roomkit_plugins.testing.polling import until

__all__ = ["SourceProviderContract"]

PATIENCE = 30.0


class SourceProviderContract(ContractSuite):
    """A source emits messages in order, and can be stopped and started again.

    A subclass implements `bring`: how the outside gives the source something to say. It says in `redelivers`
    whether the outside delivers unacknowledged messages again, as a queue or an offset does; then it also
    implements `unacknowledged`.
    """

    @abstractmethod
    async def bring(self, source: SourceProvider, number: int) -> None:
        """Let the outside say `number` things to the source, which is running or about to."""

    @property
    def redelivers(self) -> bool:
        """Whether the outside delivers unacknowledged messages again at the next start."""
        raise unsaid(self, "redelivers", "whether unacknowledged messages are delivered again")

    async def unacknowledged(self, source: SourceProvider) -> int:
        """Return how many messages the outside would deliver again now."""
        raise unsaid(self, "unacknowledged", "how many messages the outside would deliver again")

    async def _has_acknowledged(self, source: SourceProvider) -> bool:
        return await self.unacknowledged(source) == 0

    @pytest.fixture
    def source(self, subject: SourceProvider) -> SourceProvider:
        """Return the source under test."""
        return subject

    async def test_it_has_a_name_without_credentials(self, source: SourceProvider) -> None:
        assert source.name
        assert not any(secret in source.name for secret in self.secrets)

    async def test_it_is_stopped_until_it_is_started(self, source: SourceProvider) -> None:
        """And says so; a source that never ran is healthy nonetheless."""
        health = await source.healthcheck()
        assert source.status == health.status == SourceStatus.STOPPED
        assert (health.messages_received, health.error) == (0, None)

    async def test_what_comes_is_emitted_in_order(self, source: SourceProvider) -> None:
        """Each message is whole: a sender, a channel, a content."""
        emitted = Emitted(expected=5)
        async with running(source, emitted):
            await self.bring(source, 5)
            messages = await emitted.all()
        assert len(messages) == 5
        assert all(each.sender_id and each.channel_id for each in messages)

    async def test_it_is_connected_while_it_runs(self, source: SourceProvider) -> None:
        emitted = Emitted(expected=2)
        async with running(source, emitted):
            await self.bring(source, 2)
            await emitted.all()
            health = await source.healthcheck()
            assert source.status == health.status == SourceStatus.CONNECTED
            assert health.messages_received == 2
            assert health.connected_at is not None
            assert health.last_message_at is not None
        assert (await source.healthcheck()).status is SourceStatus.STOPPED

    async def test_a_refused_message_does_not_end_it(self, source: SourceProvider) -> None:
        emitted = Emitted(expected=3, result=InboundResult(blocked=True, reason="refused"))
        async with running(source, emitted):
            await self.bring(source, 3)
            await emitted.all()

    async def test_it_waits_for_the_kit(self, source: SourceProvider) -> None:
        """Awaiting `emit` is the back-pressure: no more than one message is under way."""
        emitted = Emitted(expected=3, slow=True)
        async with running(source, emitted):
            await self.bring(source, 3)
            await emitted.all()
        assert emitted.most_at_once == 1

    async def test_what_is_stored_is_acknowledged(self, source: SourceProvider) -> None:
        """Once, and not before `emit` has returned."""
        if not self.redelivers:
            pytest.skip("the outside gives nothing again")
        emitted = Emitted(expected=3, before=lambda: self.unacknowledged(source))
        async with running(source, emitted):
            await self.bring(source, 3)
            await emitted.all()
            await until(partial(self._has_acknowledged, source), PATIENCE)  # after the last `emit` returned
        assert emitted.counts == [3, 2, 1]
        assert await self.unacknowledged(source) == 0

    async def test_what_is_not_stored_comes_again(self, source: SourceProvider) -> None:
        """Also what the source was emitting when it was cancelled."""
        if not self.redelivers:
            pytest.skip("the outside gives nothing again")
        refused = InboundResult(blocked=True, reason="process_timeout")
        emitted = Emitted(expected=1, result=refused)
        async with running(source, emitted):
            await self.bring(source, 1)
            first = await emitted.all()
        assert await self.unacknowledged(source) == 1
        emitted = Emitted(hangs=True)
        task = asyncio.create_task(source.start(emitted))
        await emitted.all()
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE)
        assert await self.unacknowledged(source) == 1
        emitted = Emitted()
        async with running(source, emitted):
            again = await emitted.all()
            await until(partial(self._has_acknowledged, source), PATIENCE)
        assert again[0].idempotency_key == first[0].idempotency_key
        assert again[0].idempotency_key
        assert await self.unacknowledged(source) == 0

    async def test_stop_makes_start_return(self, source: SourceProvider) -> None:
        """Soon, without an error, however often it is stopped."""
        emitted = Emitted()
        async with running(source, emitted):
            await self.bring(source, 1)
            await emitted.all()
        await source.stop()

    async def test_stopping_what_never_ran_is_no_error(self, source: SourceProvider) -> None:
        """And does not keep it from being started afterwards."""
        await source.stop()
        emitted = Emitted()
        async with running(source, emitted):
            await self.bring(source, 1)
            await emitted.all()

    async def test_it_can_be_started_again(self, source: SourceProvider) -> None:
        """After it was stopped, as often as one likes."""
        for _ in range(3):
            emitted = Emitted()
            async with running(source, emitted):
                await self.bring(source, 1)
                await emitted.all()

    async def test_it_can_be_started_again_after_a_cancellation(self, source: SourceProvider) -> None:
        task = asyncio.create_task(source.start(Emitted()))
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE)
        assert task.done()
        emitted = Emitted()
        async with running(source, emitted):
            await self.bring(source, 1)
            await emitted.all()

    async def test_nothing_leaks(
        self, factory: Callable[[], SourceProvider | Awaitable[SourceProvider]]
    ) -> None:
        """Sources that run and stop leave tasks, threads and descriptors flat."""

        async def cycle() -> None:
            source, emitted = await make(factory), Emitted()
            async with running(source, emitted):
                await self.bring(source, 1)
                await emitted.all()
            await close(source)

        await assert_nothing_leaks(cycle, cycles=10)


class Emitted:
    """Takes what a source emits; `before` counts something before each message is taken."""

    def __init__(
        self,
        *,
        expected: int = 1,
        result: InboundResult | None = None,
        slow: bool = False,
        hangs: bool = False,
        before: Callable[[], Awaitable[int]] | None = None,
    ) -> None:
        self.most_at_once = 0
        self.counts: list[int] = []  # bound: the life of a test
        self._messages: list[InboundMessage] = []
        self._expected = expected
        self._result = result or InboundResult()
        self._slow = slow
        self._hangs = hangs
        self._before = before
        self._at_once = 0
        self._enough = asyncio.Event()

    async def __call__(self, emitted: object) -> InboundResult:
        if not isinstance(emitted, InboundMessage):
            return self._result
        if self._before is not None:
            self.counts.append(await self._before())
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        if self._slow:
            for _ in range(3):
                await asyncio.sleep(0)
        self._at_once -= 1
        self._messages.append(emitted)
        if len(self._messages) >= self._expected:
            self._enough.set()
        if self._hangs:
            await asyncio.Event().wait()
        return self._result

    async def all(self) -> list[InboundMessage]:
        """Wait for the expected number of messages, and return them."""
        async with asyncio.timeout(PATIENCE):
            await self._enough.wait()
        return self._messages


@asynccontextmanager
async def running(source: SourceProvider, emit: EmitCallback) -> AsyncIterator[None]:
    """Run a source, and stop it at the end; what it raises is raised."""
    task = asyncio.create_task(source.start(emit))
    try:
        yield
    finally:
        await source.stop()
        async with asyncio.timeout(PATIENCE):
            await task
