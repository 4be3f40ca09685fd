"""The contract suite of tool providers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import pytest

from roomkit.abc.tools import ToolOffer, ToolProvider
from roomkit.models.base import new_id
from roomkit.models.room import Room
from roomkit_plugins.testing.contracts.base import PATIENCE, ContractSuite, close, make
from roomkit_plugins.testing.leaks import assert_nothing_leaks

__all__ = ["ToolProviderContract"]


class ToolProviderContract(ContractSuite):
    """What it offers can be offered by any agent, in any room, at any time.

    The factory's providers have at least one tool to offer in a new room.
    """

    @pytest.fixture
    async def provider(self, subject: ToolProvider) -> ToolProvider:
        """Return the provider under test, started."""
        await subject.start()
        return subject

    async def test_it_offers_tools_that_any_model_can_be_shown(self, provider: ToolProvider) -> None:
        """Names are unique, parameters are a JSON Schema of type object, each has a handler."""
        offer = await offered(provider)
        assert offer.tools
        names = [each.definition.name for each in offer.tools]
        assert len(names) == len(set(names))
        for each in offer.tools:
            schema = json.loads(json.dumps(each.definition.parameters))
            assert schema.get("type", "object") == "object"
            assert callable(each.handler)
            assert each.timeout is None or each.timeout > 0

    async def test_what_it_withholds_says_how_to_get_it(self, provider: ToolProvider) -> None:
        """And it does not withhold the tools that its own offer is changed by."""
        offer = await offered(provider)
        assert all(way.strip() for way in offer.withheld.values())
        changing = [each.definition.name for each in offer.tools if each.changes_offer or each.exempt]
        withheld = [name for name in changing if any(fnmatchcase(name, glob) for glob in offer.withheld)]
        assert not [name for name in withheld if not any(fnmatchcase(name, glob) for glob in offer.granted)]

    async def test_rooms_do_not_mix(self, provider: ToolProvider) -> None:
        """However many ask at once, nothing of one room is in what another gets."""
        rooms = [f"room-{new_id()}" for _ in range(20)]
        offers = await asyncio.gather(*(provider.offer(Room(id=room_id)) for room_id in rooms))
        for room_id, offer in zip(rooms, offers, strict=True):
            shown = repr([(each.definition, offer.instructions, offer.withheld) for each in offer.tools])
            assert not any(other in shown for other in rooms if other != room_id)
            assert _names(offer) == _names(offers[0])

    async def test_an_offer_is_the_same_until_something_changes(self, provider: ToolProvider) -> None:
        room = Room(id="room")
        first, second = await provider.offer(room), await provider.offer(room)
        assert [each.definition for each in first.tools] == [each.definition for each in second.tools]
        assert (first.instructions, first.withheld) == (second.instructions, second.withheld)

    async def test_a_cancelled_turn_does_not_spoil_the_next(self, provider: ToolProvider) -> None:
        """A turn may be interrupted while it waits for an offer."""
        waiting = asyncio.ensure_future(provider.offer(Room(id="room")))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting], timeout=PATIENCE)
        assert (await offered(provider)).tools

    async def test_it_works_unstarted_and_after_closing(self, factory: Callable[[], Any]) -> None:
        """Agents share a provider: one of them may be removed, and another come without a start."""
        provider = await make(factory)
        try:
            assert (await offered(provider)).tools
            await provider.close()
            assert (await offered(provider)).tools
        finally:
            await close(provider)

    async def test_it_may_be_started_by_every_agent(self, provider: ToolProvider) -> None:
        await asyncio.gather(provider.start(), provider.start())
        assert (await offered(provider)).tools

    async def test_nothing_leaks(self, factory: Callable[[], Any]) -> None:
        """Providers that come and go leave tasks, threads and descriptors flat."""

        async def cycle() -> None:
            provider = await make(factory)
            await provider.start()
            await provider.offer(Room(id=new_id()))
            await close(provider)

        await assert_nothing_leaks(cycle, cycles=5)


async def offered(provider: ToolProvider) -> ToolOffer:
    """Return what a new room is offered."""
    async with asyncio.timeout(PATIENCE):
        return await provider.offer(Room(id=new_id()))


def _names(offer: ToolOffer) -> list[str]:
    return [each.definition.name for each in offer.tools]
