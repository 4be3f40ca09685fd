"""What channels and providers promise of their life with a kit: bound, started, closed."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from roomkit.kernel.kit import RoomKit
from roomkit.plugins import PluginManager
from roomkit_plugins.testing.cancellation import Cancellation, cancel_at_every_await
from roomkit_plugins.testing.contracts.base import PATIENCE, ContractSuite, close, make
from roomkit_plugins.testing.leaks import assert_nothing_leaks
from roomkit_plugins.testing.mocks.channels import RecordingChannel

__all__ = ["LifeContract", "ProviderLifeContract"]

type Factory = Callable[[], Any | Awaitable[Any]]


class LifeContract(ContractSuite):
    """Tests of `bind`, `start` and `close`, with the services of a real kit."""

    @abstractmethod
    def lend(self, kit: RoomKit, part: Any) -> None:
        """Have the part bound to services of the kit, as registration does; it may run without a loop."""

    @asynccontextmanager
    async def lent(self, factory: Factory) -> AsyncIterator[Any]:
        """Make a part and bind it; close it and its kit at the end."""
        part = await make(factory)
        kit = RoomKit(plugins=PluginManager(entry_points=()))
        self.lend(kit, part)
        try:
            yield part
        finally:
            await close(part)
            await kit.close()

    async def test_it_is_bound_before_any_loop_runs(self, factory: Factory) -> None:
        """By plain code at start-up: what needs the loop begins in `start`."""
        part = await make(factory)
        kit = RoomKit(plugins=PluginManager(entry_points=()))
        await asyncio.to_thread(self.lend, kit, part)
        assert part.services is not None
        async with asyncio.timeout(PATIENCE):
            await part.start()
            await close(part)
            await kit.close()

    async def test_a_cancelled_start_can_be_closed(self, factory: Factory) -> None:
        """At whatever await it is cancelled: `close` ends, and nothing is left."""

        async def cycle() -> None:
            async with self.lent(factory) as part:

                async def check(cancellation: Cancellation) -> None:
                    async with asyncio.timeout(PATIENCE):
                        await close(part)

                await cancel_at_every_await(part.start, check)

        await assert_nothing_leaks(cycle, cycles=2, warm_up=1)

    async def test_what_starts_and_closes_leaks_nothing(self, factory: Factory) -> None:
        """Tasks that it begins end with it, whether it was used or not."""

        async def cycle() -> None:
            async with self.lent(factory) as part:
                await part.start()

        await assert_nothing_leaks(cycle, cycles=3, warm_up=1)


class ProviderLifeContract(LifeContract):
    """The same tests for the provider behind a channel."""

    def lend(self, kit: RoomKit, part: Any) -> None:
        """Bind the provider as a channel does that it is behind."""
        channel = RecordingChannel("carrier")
        kit.register_channel(channel)
        assert channel.services is not None
        part.bind(channel.services.for_part(part))
