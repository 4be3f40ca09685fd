"""Two kits on one store, each with locks of its own, as when a lock is lost: no change of state is lost.

What guards is the room's version in the store, so all of this runs on every store.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from roomkit.abc.errors import StaleRoomError
from roomkit.abc.store import ConversationStore
from roomkit.kernel.kit import RoomKit
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.store import InMemoryStore
from roomkit.models.base import Json
from roomkit.models.channel import ChannelBinding, ChannelOutput
from roomkit.models.content import TextContent, text_of
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import HookTrigger
from roomkit.models.event import RoomEvent
from roomkit.models.hook import HookResult
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import RecordingChannel

_INTERLEAVINGS = int(os.environ.get("ROOMKIT_INTERLEAVINGS", "200"))
"""How many random changes two workers make at once; `nox -s kill` sets more."""


def counted(state: Json | None) -> Json:
    """Count one more."""
    return {"n": (state or {}).get("n", 0) + 1}


@pytest.fixture
async def kits(store: ConversationStore) -> AsyncIterator[Sequence[RoomKit]]:
    """Return two kits with a room that the channel `alice` is attached to."""
    plugins = PluginManager(entry_points=())
    handle: Any = store
    other = store if isinstance(store, InMemoryStore) else type(handle)(handle.config)
    async with AsyncExitStack() as stack:
        kits = [
            RoomKit(store=each, lock_manager=InMemoryLockManager(), single_process=True, plugins=plugins)
            for each in (store, other)
        ]
        for kit in kits:
            kit.register_channel(RecordingChannel("alice"))
            stack.push_async_callback(kit.close)
        await kits[0].create_room("r1")
        await kits[0].attach_channel("r1", "alice")
        yield kits


def message(text: str) -> InboundMessage:
    return InboundMessage(channel_id="alice", sender_id="ann", content=TextContent(body=text))


async def test_no_change_by_a_function_is_lost(kits: Sequence[RoomKit]) -> None:
    await asyncio.gather(*(kit.change_state("r1", "app", counted) for kit in [*kits] * 20))
    assert (await kits[0].get_room("r1")).state == {"app": {"n": 40}}


@pytest.mark.parametrize("by", ["function", "value"])
async def test_no_change_by_a_gate_is_lost(kits: Sequence[RoomKit], by: str) -> None:
    """A function is applied again, a value is decided again."""
    for kit in kits:

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def counting(event: RoomEvent, context: RoomContext) -> HookResult:
            change = counted if by == "function" else counted(context.room.state.get("app"))
            return HookResult.allow(state={"app": change})

    for number in range(15):
        sent = [kit.process_inbound(message(f"{number}"), room_id="r1") for kit in kits]
        results = await asyncio.gather(*sent)
        assert not any(result.blocked for result in results)
    assert (await kits[1].get_room("r1")).state == {"app": {"n": 30}}


class Learning(RecordingChannel):
    """Learns from each message, and from each delivery."""

    def binding_state(self, message: InboundMessage) -> Mapping[str, Any]:
        return message.metadata

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        return ChannelOutput(binding_state={f"sent {text_of(event.content)}": 1})


async def test_random_changes_of_every_kind_lose_nothing(kits: Sequence[RoomKit]) -> None:
    """State by functions and by gates, binding state by all three ways, and values, at once on one room."""
    chance = random.Random(_INTERLEAVINGS)
    expected: set[str] = set()
    for kit in kits:
        kit.register_channel(Learning("learning"))
        kit.hook(HookTrigger.BEFORE_BROADCAST)(_counting)
    await kits[0].attach_channel("r1", "learning")

    async def by_function(kit: RoomKit, name: str) -> None:
        await kit.change_state("r1", name, counted)

    async def by_gate(kit: RoomKit, name: str) -> None:
        said = message(name).replace(channel_id=chance.choice(["alice", "learning"]), metadata={name: 1})
        result = await kit.process_inbound(said, room_id="r1")
        assert result.event is not None
        if said.channel_id == "alice":
            expected.add(f"sent {name}")
        else:
            expected.add(name)

    async def by_change_of_binding(kit: RoomKit, name: str) -> None:
        def change(binding: ChannelBinding) -> ChannelBinding:
            return binding.replace(state={**binding.state, name: counted(binding.state.get(name))})

        await kit.services.rooms.change_binding("r1", change, channel_id="learning")

    kinds = (by_function, by_gate, by_change_of_binding)
    ways = {by_function: "f{}", by_gate: "g{}", by_change_of_binding: "b{}"}
    done: Counter[str] = Counter()
    for _ in range(_INTERLEAVINGS // 10):
        works = [(chance.choice(kinds), chance.choice(kits), chance.randrange(3)) for _ in range(10)]
        named = [(work, kit, ways[work].format(number)) for work, kit, number in works]
        outcomes = await asyncio.gather(
            *(work(kit, name) for work, kit, name in named), return_exceptions=True
        )
        for (_, _, name), outcome in zip(named, outcomes, strict=True):
            if outcome is None:
                done[name] += 1
            elif not isinstance(outcome, StaleRoomError):  # which says that nothing was stored
                raise outcome
    assert sum(done.values()) > _INTERLEAVINGS / 2
    room = await kits[0].get_room("r1")
    binding = await kits[1].get_binding("r1", "learning")
    found = {name: each["n"] for name, each in room.state.items()}
    assert found == {name: count for name, count in done.items() if name[0] in "fg"}
    for name, count in done.items():
        if name[0] == "b":
            assert binding.state[name] == {"n": count}
    assert {name for name, each in binding.state.items() if each == 1} == expected


async def _counting(event: RoomEvent, context: RoomContext) -> HookResult:
    name = text_of(event.content)
    if int(event.id[0], 16) % 2:
        return HookResult.allow(state={name: counted})
    return HookResult.allow(state={name: counted(context.room.state.get(name))})
