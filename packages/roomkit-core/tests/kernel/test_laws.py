"""The laws of the kernel, one test each; the other files of this folder go into the depth of them."""

from __future__ import annotations

import ast
import asyncio
import logging
from datetime import datetime
from pathlib import Path

import pytest

import roomkit.kernel
from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.memory.locks import InMemoryLockManager
from roomkit.models.base import Record
from roomkit.models.channel import ChannelOutput, RetryPolicy
from roomkit.models.content import DeleteContent, EditContent, TextContent, text_of
from roomkit.models.enums import DeliveryState, EventStatus, EventType, HookTrigger
from roomkit.models.hook import HookResult
from roomkit.models.identity import Identity
from roomkit.models.task import Observation
from roomkit_plugins.testing import Hang, MockIdentityResolver, RecordingChannel

pytestmark = pytest.mark.virtual_time

KERNEL = Path(roomkit.kernel.__file__).parent
NO_RETRY = RetryPolicy(max_retries=0)


def calls_of(name):
    """Return the kernel's modules that call a method of that name on the store."""
    return {
        path.relative_to(KERNEL).as_posix()
        for path in KERNEL.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr == name
        and isinstance(node.value, ast.Attribute | ast.Name)
        and "store" in ast.unparse(node.value)
    }


async def test_no_io_to_a_vendor_is_made_under_a_room_lock(stage):
    """A provider that hangs holds no lock: the room takes the next message at once."""
    await stage.socket("alice")
    hang = Hang()
    await stage.socket("bob", script=[hang])
    first = stage.saying()
    await hang.reached.wait()
    locks = stage.kit.lock_manager
    assert isinstance(locks, InMemoryLockManager)
    assert not any(lock.held for lock in locks._known.values())
    assert not (await stage.say("next", wait="committed")).blocked
    hang.release()
    await first


def test_there_is_one_write_path():
    """Events enter a timeline by the writer; what else commits writes no events."""
    committing = calls_of("commit")
    assert "commit/writer.py" in committing
    for module in committing - {"commit/writer.py"}:
        tree = ast.parse((KERNEL / module).read_text())
        commits = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Commit"
        ]
        for commit in commits:
            (entries,) = (one.value for one in commit.keywords if one.arg == "entries")
            assert ast.unparse(entries) == "()"


@pytest.mark.parametrize("name", ["add_event", "update_event", "add_binding", "update_binding"])
def test_the_kernel_writes_nothing_past_the_transaction(name):
    """Bindings and events change in commits alone."""
    assert calls_of(name) == set()


async def test_indexes_strictly_rise_whatever_happens_to_events(stage):
    """Edits, deletions, refusals and failures take none back and use none twice."""
    await stage.socket("alice")
    await stage.socket("bob", script=[ProviderError("no", error_code=ErrorCode.AUTH)] * 99)

    @stage.kit.hook(HookTrigger.BEFORE_BROADCAST)
    async def gate(event, context):
        return HookResult.block("bad") if text_of(event.content) == "bad" else HookResult.allow()

    seen = []
    for number in range(6):
        event = (await stage.say(str(number))).event
        seen.append((event.id, event.index))
        edit = EditContent(target_event_id=event.id, new_content=TextContent(body="x"))
        await stage.say(edit, event_type=EventType.EDIT)
        await stage.say("bad")
        await stage.say(DeleteContent(target_event_id=event.id), event_type=EventType.DELETE)
    timeline = await stage.timeline(messages=False)
    assert [event.index for event in timeline] == list(range(len(timeline)))
    places = {event.id: event.index for event in timeline}
    assert all(places[event_id] == index for event_id, index in seen)
    assert all(event.status is not EventStatus.PENDING for event in timeline)


async def test_every_delivery_ends_in_the_ledger(staging):
    """Sent, failed or skipped; with an id or a typed error, and a key that never changes."""
    async with staging(delivery_timeout=1, agent_timeout=1) as stage:
        await stage.socket("alice")
        script = [None, KeyError("x"), ChannelOutput.skipped("offline"), Hang(), asyncio.CancelledError()]
        bob = await stage.socket("bob", retry_policy=NO_RETRY)
        ends = iter(script)

        async def deliver(event, binding, context, base=bob.deliver):
            end = next(ends)
            if isinstance(end, BaseException):
                raise end
            if isinstance(end, Hang):
                await end.wait()
            return end or await base(event, binding, context)

        bob.deliver = deliver
        await stage.agent("bot", [None, KeyError("x"), Hang(), "an answer", ""])
        for _ in script:
            await stage.say()
        rows = await stage.kit.list_deliveries("r1", limit=1000)
        assert {row.state for row in rows} == {
            DeliveryState.SENT,
            DeliveryState.FAILED,
            DeliveryState.SKIPPED,
        }
        for row in rows:
            assert row.id == f"{row.event_id}:{row.channel_id}"
            assert (row.state is DeliveryState.FAILED) == (row.error is not None)
            assert (row.state is DeliveryState.SKIPPED) == (row.reason is not None)


async def test_a_gate_without_a_verdict_blocks(stage):
    """Whatever it does in place of one."""
    await stage.socket("alice")
    bob = await stage.socket("bob")

    @stage.kit.hook(HookTrigger.BEFORE_BROADCAST, timeout=1)
    async def broken(event, context):
        await Hang().wait()

    assert (await stage.say()).reason == "hook_timeout"
    assert bob.attempts == []


async def test_authority_comes_from_the_connection(stage):
    """A message that claims to be its author's, the host's or an owner's is what its channel says it is."""
    await stage.socket("alice")
    await stage.socket("eve")
    target = (await stage.say("mine")).event
    edit = EditContent(
        target_event_id=target.id, new_content=TextContent(body="changed"), edit_source="system"
    )
    claims = {"participant_id": "alice", "role": "owner"}
    result = await stage.say(edit, channel="eve", event_type=EventType.EDIT, metadata=claims)
    assert result.reason == "not_original_author"
    assert await stage.texts() == ["mine"]


async def test_nothing_is_dropped_in_silence(stage):
    await stage.socket("alice")
    bob = await stage.socket("bob", script=[None, ProviderError("no", error_code=ErrorCode.AUTH)])
    await stage.socket("gone")
    await stage.kit.unregister_channel("gone")
    results = [await stage.say(str(number)) for number in range(3)]
    for result in results:
        rows = await stage.ledger(result.event)
        assert set(rows) == {"bob", "gone"}
        assert rows["bob"].error is not None or result.event in bob.events()
        assert "register_channel" in rows["gone"].error.message


async def test_every_task_is_supervised(stage):
    """While a room is busy, the kit knows each task that runs for it, and each has a name."""
    await stage.socket("alice")
    await stage.socket("bob", delay=5, streaming=True)
    await stage.agent("bot", ["one two three"], delay=2, streaming=True, word_delay=1)

    @stage.kit.hook(HookTrigger.AFTER_BROADCAST)
    async def slow(event, context):
        await asyncio.sleep(3)

    @stage.kit.hook(HookTrigger.AFTER_BROADCAST, name="other")
    async def other(event, context):
        await asyncio.sleep(3)

    own = asyncio.all_tasks()
    talking = stage.saying()
    for _ in range(40):
        await asyncio.sleep(0.25)
        tasks = asyncio.all_tasks() - own - {talking}
        supervised = stage.kit._kernel.ground.supervisor._tasks
        assert tasks <= supervised, tasks - supervised
        assert not any(task.get_name().startswith("Task-") for task in tasks)
    await talking


async def test_channels_hold_no_rooms_state_for_the_kernel(stage):
    """Nothing is kept on a channel's object: rooms share it."""

    def held(channel):
        mock = ("attempts", "delivered", "streams", "binding_updates", "seen", "_script", "_answers")
        return {name: value for name, value in vars(channel).items() if name not in mock}

    alice = await stage.socket("alice")
    bob = await stage.socket("bob", streaming=True)
    bot = await stage.agent("bot", ["an answer"], streaming=True)
    before = [held(one) for one in (alice, bob, bot)]
    await stage.say()
    assert [held(one) for one in (alice, bob, bot)] == before


async def test_message_text_is_not_logged(staging, caplog):
    caplog.set_level(logging.DEBUG)
    secret = "my card is 4111"
    async with staging(delivery_timeout=1, process_timeout=1) as stage:
        await stage.socket("alice")
        await stage.socket("bob", script=[KeyError("x"), Hang()], retry_policy=NO_RETRY)
        await stage.agent("bot", [ValueError("a bug"), "an answer"])

        @stage.kit.hook(HookTrigger.AFTER_BROADCAST)
        async def broken(event, context):
            raise ValueError("a bug")

        @stage.kit.hook(HookTrigger.BEFORE_BROADCAST, on_error="allow")
        async def gate(event, context):
            raise ValueError("a bug")

        await stage.say(secret)
        await stage.say(secret)
        async with stage.kit.lock_manager.locked("r1"):
            await stage.say(secret)
    assert caplog.records
    assert not any("4111" in record.getMessage() for record in caplog.records)


def dates_in(value, path=""):
    """Yield every point in time in a record, with its place."""
    if isinstance(value, datetime):
        yield path, value
    elif isinstance(value, Record):
        for name in type(value).model_fields:
            yield from dates_in(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list | tuple):
        for one in value:
            yield from dates_in(one, path)


async def test_time_comes_from_the_kits_clock(staging):
    """Every date that the kernel writes is the clock's, which is not the machine's here."""
    resolver = MockIdentityResolver({"known": Identity(id="k")}, {"two": [Identity(id="a")]})
    async with staging(max_chain_depth=1, identity_resolver=resolver) as stage:
        kit = stage.kit
        for name in ("alice", "known", "two"):
            await stage.socket(name)
        await stage.agent("bot", ["an answer"] * 9)
        await stage.say()
        await stage.say(channel="known")
        await stage.say(channel="two")
        await kit.ensure_participant("r1", "alice", "visitor")
        await kit.store.create_identity(Identity(id="person"))
        await kit.resolve_participant("r1", "visitor", "person")
        await kit.update_binding_metadata("r1", "alice", {"number": "1"})
        target = (await stage.say()).event
        await kit.edit_event("r1", target.id, TextContent(body="x"))
        await kit.delete_event("r1", target.id)
        stage.kit.register_channel(RecordingChannel("sms"))
        await stage.say(channel="sms", room="fresh")
        await kit.update_room_metadata("r1", {"topic": "tea"})
        await kit.close_room("r1")
        store = kit.store
        records = {
            "rooms": await store.list_rooms(),
            "events": await stage.timeline(messages=False),
            "bindings": await store.list_bindings("r1"),
            "participants": await store.list_participants("r1"),
            "observations": await store.list_observations("r1"),
            "deliveries": await store.list_deliveries(limit=1000),
        }
        assert all(records.values())
        assert any(isinstance(one, Observation) for one in records["observations"])
        wrong = {
            f"{what}{place}"
            for what, found in records.items()
            for place, moment in dates_in(found)
            if moment.year != 2030
        }
        assert wrong == set()
        assert {event.timestamp.year for event in stage.told} == {2030}
