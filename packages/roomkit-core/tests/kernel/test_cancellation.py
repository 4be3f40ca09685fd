"""A call that is cancelled, at any instant, leaves the kit as before it or as after it."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.store import InMemoryStore
from roomkit.models.content import TextContent, text_of
from roomkit.models.enums import DeliveryState, HookTrigger
from roomkit.models.hook import HookResult
from roomkit.models.identity import Identity
from roomkit_plugins.testing import MockIdentityResolver, RecordingChannel, cancel_at_every_await

pytestmark = pytest.mark.virtual_time


class SuspendingStore(InMemoryStore):
    """A store that really waits, before and after each thing it does."""


def _suspending(name):
    async def method(self, *args, **kwargs):
        await asyncio.sleep(0.001)
        result = await getattr(InMemoryStore, name)(self, *args, **kwargs)
        await asyncio.sleep(0.001)
        return result

    return method


for _name in (
    "load",
    "commit",
    "create_room",
    "find_event_by_key",
    "find_sender_room_ids",
    "find_room_ids_by_channel",
    "get_event",
    "get_room",
    "get_binding",
    "record_deliveries",
):
    setattr(SuspendingStore, _name, _suspending(_name))


@pytest.fixture
async def stage(staging):
    """Return a stage where every step suspends: store, resolver, gate, channel, agent."""
    resolver = MockIdentityResolver({"alice": Identity(id="alice")}, delay=0.001)
    async with staging(store=SuspendingStore(), identity_resolver=resolver) as made:
        await made.socket("alice")
        made.bob = await made.socket("bob", delay=0.001)
        await made.agent("bot", ["an answer"] * 1000, delay=0.001)

        @made.kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def gate(event, context):
            await asyncio.sleep(0.001)
            return HookResult.allow()

        @made.kit.hook(HookTrigger.AFTER_BROADCAST)
        async def observer(event, context):
            await asyncio.sleep(0.001)

        yield made


async def consistent(stage, cancellation):
    """Assert that nothing is held, and that all committed events were delivered and recorded."""
    await stage.idle()
    assert not any(stage.leftovers().values()), stage.leftovers()
    assert all(task.cancelling() == 0 for task in asyncio.all_tasks() if task is asyncio.current_task())
    rows = await InMemoryStore.list_deliveries(stage.kit.store, limit=100_000)
    assert {row.state for row in rows} <= {DeliveryState.SENT}, cancellation
    assert stage.bob.texts("r1") == await stage.texts(), cancellation


@pytest.mark.parametrize("wait", ["settled", "committed"])
@pytest.mark.parametrize("room", ["r1", None, "fresh"])
async def test_process_inbound(stage, room, wait):
    """Absent or complete: never half a message, and never a lock, task or lane left over."""
    rooms = iter(range(10_000))

    async def call():
        if room == "fresh":
            return await stage.say("hi", room=f"fresh-{next(rooms)}", wait=wait)
        key = f"key {next(rooms)}"
        return await stage.say("hi", room=room, wait=wait, by="alice", idempotency_key=key)

    async def check(cancellation):
        await consistent(stage, cancellation)

    assert await cancel_at_every_await(call, check) > 10
    assert (await stage.say("after")).delivery_results["bob"].success


async def test_send_event(stage):
    """As for a message from outside."""

    async def call():
        return await stage.kit.send_event("r1", "alice", TextContent(body="hi"))

    async def check(cancellation):
        await consistent(stage, cancellation)

    assert await cancel_at_every_await(call, check) > 5


@pytest.mark.parametrize("change", ["attach", "detach", "mute", "close", "ensure", "delete"])
async def test_changes_of_a_room(stage, change):
    """A change is made or not made; the room works as before."""
    stage.kit.register_channel(RecordingChannel("late"))
    rooms = iter(range(10_000))

    async def call():
        kit = stage.kit
        if change == "attach":
            return await kit.attach_channel("r1", "late")
        if change == "detach":
            return await kit.detach_channel("r1", "late")
        if change == "mute":
            return await kit.mute("r1", "bot")
        if change == "ensure":
            return await kit.ensure_participant("r1", "alice", f"p{next(rooms)}")
        room_id = f"room {next(rooms)}"
        await kit.create_room(room_id)
        await kit.attach_channel(room_id, "bob")
        return await (kit.close_room(room_id) if change == "close" else kit.delete_room(room_id))

    async def check(cancellation):
        if change == "detach":
            await stage.kit.attach_channel("r1", "late")
        await consistent(stage, cancellation)

    assert await cancel_at_every_await(call, check) > 3
    assert (await stage.say("after")).delivery_results["bob"].success


async def test_close(bare_stage):
    """A closing whose caller no longer waits still closes everything."""
    made = []

    async def call():
        stage = bare_stage()
        made.append(stage)
        await stage.open()
        await stage.socket("alice")
        stage.bob = await stage.socket("bob", delay=1)
        await stage.say(wait="committed")
        await stage.kit.close()

    async def check(cancellation):
        stage = made[-1]
        await stage.kit.close()
        channel = stage.kit.get_channel("bob")
        assert channel is None or channel.closed
        assert len(stage.kit._kernel.ground.supervisor) == 0

    assert await cancel_at_every_await(call, check) >= 1


async def test_waiting_for_a_lock_leaves_the_queue_in_order(stage):
    """Who gives up waiting for the room lets the others pass."""
    assert isinstance(stage.kit.lock_manager, InMemoryLockManager)
    async with stage.kit.lock_manager.locked("r1"):
        tasks = [stage.saying(str(number)) for number in range(5)]
        await asyncio.sleep(0.1)
        tasks[1].cancel()
        tasks[3].cancel()
        await asyncio.sleep(0.1)
    await asyncio.wait(tasks)
    texts = [text_of(event.content) for event in await stage.timeline()]
    assert [text for text in texts if text.isdigit()] == ["0", "2", "4"]
