"""Hooks carry the name of the plugin that registered them, and run in the rooms they are for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.abc.errors import HookRegistrationError
from roomkit.models import HookResult, HookTrigger, TextContent, ToolUse
from roomkit.plugins import PluginManager, hookimpl
from roomkit_plugins.testing import RecordingChannel, VirtualClock

pytestmark = pytest.mark.virtual_time
GATE, AFTER = HookTrigger.BEFORE_BROADCAST, HookTrigger.AFTER_BROADCAST


async def refuse(event: Any, context: Any) -> HookResult:
    return HookResult.block("not here")


class _EntryPoint:
    def __init__(self, name: str, plugin: object) -> None:
        self.name = name
        self.value = f"{name}.plugin"
        self._plugin = plugin

    def load(self) -> object:
        return self._plugin


class Configuring:
    @hookimpl
    def roomkit_configure(self, kit: RoomKit) -> None:
        kit.hook(GATE)(refuse)


class Starting:
    @hookimpl
    def roomkit_startup(self, kit: RoomKit) -> Awaitable[None]:
        async def begin() -> None:
            await asyncio.sleep(0)
            kit.hook(GATE)(refuse)

        return begin()


async def opened(kit: RoomKit, *room_ids: str) -> None:
    kit.register_channel(RecordingChannel("ws"))
    for room_id in room_ids:
        await kit.create_room(room_id, {"tier": room_id})
        await kit.attach_channel(room_id, "ws")


async def say(kit: RoomKit, room_id: str = "r1") -> Any:
    return await kit.send_event(room_id, "ws", TextContent(body="hello"))


@pytest.mark.parametrize("plugin", [Configuring, Starting])
async def test_a_hook_is_named_after_its_plugin(plugin: type) -> None:
    """However late in its start it registers it; the program's own hooks keep their names."""
    manager = PluginManager(entry_points=[_EntryPoint("acme", plugin()), _EntryPoint("other", plugin())])
    async with RoomKit(plugins=manager, clock=VirtualClock()) as kit:
        await opened(kit, "r1")
        kit.hook(GATE, priority=5)(refuse)
        assert (await say(kit)).blocked_by == "acme.refuse"
        assert kit.remove_hook("acme.refuse")
        assert (await say(kit)).blocked_by == "other.refuse"
        assert kit.remove_hook("refuse")
        assert not kit.remove_hook("refuse")
        assert (await say(kit)).blocked_by == "other.refuse"


@pytest.fixture
async def kit() -> Any:
    async with RoomKit(plugins=PluginManager(entry_points=()), clock=VirtualClock()) as made:
        await opened(made, "r1", "r2")
        yield made


async def test_a_hook_runs_only_in_the_rooms_it_is_for(kit: RoomKit) -> None:
    """Gates and observers; others of the trigger run everywhere."""
    seen: list[tuple[str, str]] = []

    async def here(event: Any, context: Any) -> None:
        seen.append(("here", context.room_id))

    async def everywhere(event: Any, context: Any) -> None:
        seen.append(("everywhere", context.room_id))

    kit.hook(GATE, when=lambda room: room.metadata["tier"] == "r1")(refuse)
    kit.hook(AFTER, when=lambda room: room.metadata["tier"] == "r2")(here)
    kit.hook(AFTER)(everywhere)
    assert (await say(kit, "r1")).blocked_by == "refuse"
    assert (await say(kit, "r2")).blocked_by is None
    await kit.update_room_metadata("r1", {"tier": "free"})
    assert (await say(kit, "r1")).blocked_by is None
    assert sorted(seen) == [("everywhere", "r1"), ("everywhere", "r2"), ("here", "r2")]


async def test_a_when_that_fails_blocks_as_a_gate_that_fails(kit: RoomKit) -> None:
    """Unless failures are let through; an observer's failure is reported, and it does not run."""
    failed: list[Any] = []

    @kit.on("hook_error")
    async def keep(event: Any) -> None:
        failed.append((event.data["hook"], event.data["trigger"]))

    def broken(room: Any) -> bool:
        raise KeyError("no such state")

    async def never(event: Any, context: Any) -> HookResult:
        raise AssertionError("it ran")

    kit.hook(AFTER, when=broken)(never)
    kit.hook(GATE, when=broken, on_error="allow")(never)
    assert (await say(kit)).blocked_by is None
    kit.hook(GATE, when=broken, name="strict")(never)
    event = await say(kit)
    await asyncio.sleep(1)
    assert (event.blocked_by, event.block_reason) == ("strict", "hook_failed")
    assert failed == [("never", GATE), ("never", AFTER), ("never", GATE), ("strict", GATE)]


async def test_a_hook_with_a_when_does_not_run_without_a_room(kit: RoomKit) -> None:
    async def gate(payload: Any, context: Any) -> HookResult:
        return HookResult.block("no")

    use = ToolUse(room_id="r1", channel_id="ws", call_id="c1", name="look", arguments={})
    kit.hook(HookTrigger.BEFORE_TOOL_USE, when=lambda room: True)(gate)
    assert (await kit.services.turns.run_gate(HookTrigger.BEFORE_TOOL_USE, use, room_id=None)).allowed
    assert not (await kit.services.turns.run_gate(HookTrigger.BEFORE_TOOL_USE, use, room_id="r1")).allowed


@pytest.mark.parametrize("when", ["tier", refuse], ids=["text", "a coroutine function"])
async def test_what_cannot_say_when_is_refused(kit: RoomKit, when: Any) -> None:
    with pytest.raises(HookRegistrationError, match="plain function of a room"):
        kit.hook(GATE, when=when)(refuse)
