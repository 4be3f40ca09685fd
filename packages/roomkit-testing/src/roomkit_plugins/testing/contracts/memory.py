"""The contract suite of memory providers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from roomkit import RoomKit
from roomkit.abc.memory import MemoryProvider, MemoryResult
from roomkit.models.base import new_id
from roomkit.models.context import RoomContext
from roomkit.models.enums import ChannelCategory, EventStatus
from roomkit.models.event import RoomEvent
from roomkit.models.room import Room
from roomkit_plugins.testing.contracts.base import ContractSuite, binding, event
from roomkit_plugins.testing.leaks import assert_nothing_leaks

if TYPE_CHECKING:
    from roomkit.abc.services import Services

__all__ = ["MemoryProviderContract"]


class MemoryProviderContract(ContractSuite):
    """An agent remembers what it was shown of the room it answers in, and nothing else."""

    @pytest.fixture
    def memory(self, subject: MemoryProvider) -> MemoryProvider:
        """Return the memory under test; what it asks for help does so by a mock."""
        return subject

    async def test_what_is_being_answered_is_not_history(self, memory: MemoryProvider) -> None:
        """The current event is omitted, also when the context has it."""
        view = history("room", 5)
        current = view.recent_events[-1]
        result = await memory.retrieve("room", current, view, channel_id="agent")
        assert isinstance(result, MemoryResult)
        assert current.id not in {each.id for each in result.events}

    async def test_history_is_what_the_context_shows_oldest_first(self, memory: MemoryProvider) -> None:
        view = history("room", 30)
        result = await memory.retrieve("room", said("room", 30), view, channel_id="agent")
        shown = {each.id: each for each in view.recent_events}
        assert all(shown.get(each.id) == each for each in result.events)
        indexes = [each.index for each in result.events]
        assert indexes == sorted(set(indexes))

    async def test_history_ends_with_the_newest(self, memory: MemoryProvider) -> None:
        """Whatever it leaves out, it leaves out the oldest."""
        view = history("room", 200)
        result = await memory.retrieve("room", said("room", 200), view, channel_id="agent")
        if result.events:
            assert result.events[-1].index == 199

    async def test_what_the_agent_may_not_see_does_not_come_back(self, memory: MemoryProvider) -> None:
        hidden = said("room", 3, "the secret word is heron", visibility="supervisor")
        view = history("room", 3, hidden)
        await memory.ingest("room", hidden, channel_id="supervisor")
        result = await memory.retrieve("room", said("room", 4), view, channel_id="agent")
        assert "heron" not in repr(result)

    async def test_rooms_do_not_mix(self, memory: MemoryProvider) -> None:
        """However many ask at once, each gets its own room's history."""
        rooms = [new_id() for _ in range(20)]
        views = {room_id: history(room_id, 5) for room_id in rooms}
        for room_id in rooms:
            for each in views[room_id].recent_events:
                await memory.ingest(room_id, each, channel_id="agent")
        results = await asyncio.gather(
            *(
                memory.retrieve(room_id, said(room_id, 5), views[room_id], channel_id="agent")
                for room_id in rooms
            )
        )
        for room_id, result in zip(rooms, results, strict=True):
            assert {each.room_id for each in result.events} <= {room_id}
            assert not any(other in repr(result) for other in rooms if other != room_id)

    async def test_an_empty_room_has_no_history(self, memory: MemoryProvider) -> None:
        """The first message is answered without one."""
        result = await memory.retrieve("room", said("room", 0), history("room", 0), channel_id="agent")
        assert not result.events

    async def test_forgetting_is_of_one_room(self, memory: MemoryProvider) -> None:
        """And of a room it never knew, or forgot before, too."""
        await memory.ingest("here", said("here", 0, "the secret word is heron"))
        await memory.clear("here")
        await memory.clear("here")
        result = await memory.retrieve("here", said("here", 1), history("here", 0), channel_id="agent")
        assert "heron" not in repr(result)

    async def test_it_is_bound_to_every_agent_that_has_it(self, memory: MemoryProvider) -> None:
        """Once for each, before it is asked; one that wraps another memory hands the services on."""
        services, handed = RoomKit().services, []
        inner: object = getattr(memory, "inner", None)
        if isinstance(inner, MemoryProvider):
            given = inner.bind

            def noted(services: Services) -> None:
                handed.append(services)
                given(services)

            inner.bind = noted  # type: ignore[method-assign]
        for _ in range(2):
            assert memory.bind(services) is None  # type: ignore[func-returns-value]
        assert handed == ([services, services] if isinstance(inner, MemoryProvider) else [])
        result = await memory.retrieve("room", said("room", 3), history("room", 3), channel_id="agent")
        assert isinstance(result, MemoryResult)

    async def test_nothing_leaks(self, memory: MemoryProvider) -> None:
        """Rooms that come and go leave tasks, threads and descriptors flat."""

        async def cycle() -> None:
            room_id = new_id()
            await memory.ingest(room_id, said(room_id, 0))
            await memory.retrieve(room_id, said(room_id, 1), history(room_id, 1), channel_id="agent")
            await memory.clear(room_id)

        await assert_nothing_leaks(cycle, cycles=20)


def said(room_id: str, index: int, text: str | None = None, visibility: str = "all") -> RoomEvent:
    """Build a committed event."""
    text = text or f"{room_id} {index}"
    return event(room_id, text, index=index, status=EventStatus.DELIVERED, visibility=visibility)


def history(room_id: str, length: int, *more: RoomEvent) -> RoomContext:
    """Build what an agent is shown of a room with `length` messages, and those given."""
    agent = binding(room_id, "agent", category=ChannelCategory.INTELLIGENCE)
    events = [*(said(room_id, index) for index in range(length)), *more]
    return RoomContext(Room(id=room_id), [agent], (), events, reader=agent)
