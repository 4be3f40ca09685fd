"""Values as their owners have them, on every store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from roomkit.abc.errors import InvalidInputError, StaleValueError
from roomkit.abc.services import Values
from roomkit.abc.store import ConversationStore
from roomkit.kernel.kit import RoomKit
from roomkit.models.channel import ChannelBinding, ChannelOutput
from roomkit.models.content import TextContent
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import HookTrigger
from roomkit.models.event import RoomEvent
from roomkit.models.hook import HookResult
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import RecordingChannel


@pytest.fixture
async def kit(store: ConversationStore) -> AsyncIterator[RoomKit]:
    kit = RoomKit(store=store, single_process=True, plugins=PluginManager(entry_points=()))
    yield kit
    await kit.close()


@pytest.fixture
def values(kit: RoomKit) -> Values:
    return kit.services.values


async def test_what_was_put_is_there_until_it_is_deleted(values: Values) -> None:
    put = await values.put("a", "b", data={"n": 1}, subject="ann", room_id="r", derived=True)
    assert (put.namespace, put.key, put.organization_id) == ("app", ("a", "b"), None)
    assert await values.get("a", "b") == put
    assert await values.get("a") is None
    assert await values.delete("a", "b")
    assert await values.get("a", "b") is None
    assert not await values.delete("a", "b")


async def test_a_revision_guards_a_put_and_a_delete(values: Values) -> None:
    first = await values.put("k", data={"n": 1}, if_revision=0)
    for wrong in (0, first.revision + 7):
        with pytest.raises(StaleValueError):
            await values.put("k", data={"n": 2}, if_revision=wrong)
    with pytest.raises(StaleValueError):
        await values.delete("k", if_revision=first.revision + 7)
    second = await values.put("k", data={"n": 2}, if_revision=first.revision)
    assert second.revision > first.revision
    assert await values.delete("k", if_revision=second.revision)


async def test_each_organization_and_namespace_has_its_own(kit: RoomKit, values: Values) -> None:
    await values.put("k", data={"of": "none"})
    await values.of("acme").put("k", data={"of": "acme"})
    assert (await values.of("acme").get("k")).data == {"of": "acme"}  # type: ignore[union-attr]
    assert (await values.of("acme").of(None).get("k")).data == {"of": "none"}  # type: ignore[union-attr]
    assert await values.of("else").get("k") is None
    assert await kit.services_of("app").values.get("k") == await values.get("k")


async def test_at_work_for_a_room_they_are_its_organizations(kit: RoomKit, values: Values) -> None:
    """In a gate and in a delivery; unless another is named."""

    class Keeping(RecordingChannel):
        async def deliver(
            self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
        ) -> ChannelOutput:
            await values.put("delivery", data={})
            return ChannelOutput.empty()

    @kit.hook(HookTrigger.BEFORE_BROADCAST)
    async def keeping(event: RoomEvent, context: RoomContext) -> HookResult:
        await values.put("gate", data={})
        await values.of(None).put("named", data={})
        return HookResult.allow()

    await kit.create_room("r1", organization_id="acme")
    for channel in (RecordingChannel("alice"), Keeping("bob")):
        kit.register_channel(channel)
        await kit.attach_channel("r1", channel.channel_id)
    said = InboundMessage(channel_id="alice", sender_id="ann", content=TextContent(body="hi"))
    await kit.process_inbound(said, room_id="r1")
    assert [each.key async for each in values.of("acme").scan()] == [("delivery",), ("gate",)]
    assert [each.key async for each in values.scan()] == [("named",)]


async def test_no_change_of_a_value_is_lost(values: Values) -> None:
    def count(data: Any) -> dict[str, Any]:
        return {"n": (data or {}).get("n", 0) + 1}

    await asyncio.gather(*(values.change("k", fn=count) for _ in range(20)))
    found = await values.get("k")
    assert found is not None
    assert found.data == {"n": 20}


async def test_a_change_keeps_what_is_not_given(values: Values) -> None:
    """And removes the value when the function returns None."""
    put = await values.put("k", data={}, expires_in=3600, subject="ann", room_id="r", derived=True)
    changed = await values.change("k", fn=lambda data: {"a": 1}, subject="bob")
    assert changed == put.replace(data={"a": 1}, subject="bob", revision=changed.revision)  # type: ignore[union-attr]
    later = await values.change("k", fn=lambda data: {**(data or {}), "b": 2}, expires_in="2d")
    assert later is not None
    assert later.expires_at is not None
    assert put.expires_at is not None
    assert later.expires_at > put.expires_at
    assert await values.change("k", fn=lambda data: None) is None
    assert await values.get("k") is None
    assert await values.change("k", fn=lambda data: None) is None


async def test_an_expired_value_counts_as_absent(kit: RoomKit, values: Values) -> None:
    """Though it is still there: for reads, scans, puts that want none, and changes."""
    store, now = kit.store, kit.clock.now()

    async def expire(*key: str) -> None:
        put = await values.put(*key, data={"n": 1})
        await store.put_value(put.replace(expires_at=now - timedelta(seconds=1)))

    for key in ("a", "b", "c"):
        await expire(key)
    assert await values.get("a") is None
    assert [each.key async for each in values.scan()] == []
    assert (await values.put("a", data={"n": 2}, if_revision=0)).data == {"n": 2}
    seen: list[Any] = []
    await values.change("b", fn=lambda data: seen.append(data) or {"n": 3})  # type: ignore[func-returns-value]
    assert set(seen) == {None}  # once more, if the store removes expired values between read and write
    changed = await values.get("b")
    assert changed is not None
    assert changed.expires_at is None
    await values.change("c", fn=lambda data: None)
    assert await store.get_value("app", ["c"]) is None


async def test_a_scan_goes_through_all_pages(values: Values) -> None:
    """By the first parts of the keys, and by subject."""
    for number in range(230):
        await values.put("x", f"{number:03}", data={}, subject=f"s{number % 2}")
    await values.put("y", data={})
    assert [each.key[1] async for each in values.scan("x")] == [f"{number:03}" for number in range(230)]
    assert len([each async for each in values.scan("x", subject="s1")]) == 115
    assert [each.key async for each in values.scan("y")] == [("y",)]


@pytest.mark.parametrize(
    ("key", "given", "why"),
    [
        (("x" * 513,), {"data": {}}, "512 bytes"),
        (("k",), {"data": {"a": "x" * 65_536}}, "65536 bytes"),
        (("k",), {"data": {"a": object()}}, "data"),
        (("k",), {"data": {}, "expires_in": -1}, "length of time"),
        (("k",), {"data": {}, "subject": "a\0b"}, "subject"),
    ],
)
async def test_what_cannot_be_kept_is_refused(values: Values, key: Any, given: Any, why: str) -> None:
    with pytest.raises(InvalidInputError, match=why):
        await values.put(*key, **given)
    assert [each async for each in values.scan()] == []


async def test_an_erasure_removes_a_persons_values_and_timers(kit: RoomKit, values: Values) -> None:
    """By their ids and addresses; and data derived from each room it redacts in."""
    from roomkit.models.timer import Timer

    await kit.create_room("r1")
    kit.register_channel(RecordingChannel("alice"))
    await kit.attach_channel("r1", "alice")
    said = InboundMessage(channel_id="alice", sender_id="ann", content=TextContent(body="my secret"))
    await kit.process_inbound(said, room_id="r1")
    await values.put("about ann", data={}, subject="ann")
    await values.put("about bob", data={}, subject="bob")
    await values.put("summary", data={"text": "my secret"}, room_id="r1", derived=True)
    await values.put("plain", data={}, room_id="r1")
    due_at = kit.clock.now() + timedelta(days=1)
    for subject in ("ann", "bob"):
        await kit.store.set_timer(Timer(id=f"app.{subject}", kind="app.call", due_at=due_at, subject=subject))
    receipt = await kit.erase_person(participant_id="ann")
    assert [each.key async for each in values.scan()] == [("about bob",), ("plain",)]
    assert (receipt.count("value"), receipt.count("timer")) == (2, 1)
    assert await kit.store.delete_timer("app.bob")
    assert not await kit.store.delete_timer("app.ann")


async def test_an_erasure_takes_a_persons_address_out_of_bindings(kit: RoomKit) -> None:
    """A binding of theirs goes; the state of another keeps data that is not about them."""
    await kit.create_room("r1")
    for name in ("alice", "ours", "theirs"):
        kit.register_channel(RecordingChannel(name))
    await kit.attach_channel("r1", "alice")
    await kit.attach_channel("r1", "theirs", address="ann", state={"conversation": "c1"})
    await kit.attach_channel("r1", "ours", state={"last": {"from": "ann"}, "page": 7})
    said = InboundMessage(channel_id="alice", sender_id="ann", content=TextContent(body="hi"))
    await kit.process_inbound(said, room_id="r1")
    export = await kit.export_room("r1")
    assert {each.channel_id: dict(each.state) for each in export.bindings if each.state} == {
        "theirs": {"conversation": "c1"},
        "ours": {"last": {"from": "ann"}, "page": 7},
    }
    await kit.erase_person(participant_id="ann")
    left = {each.channel_id: each.state for each in await kit.list_bindings("r1")}
    assert "theirs" not in left
    assert left["ours"] == {"page": 7}
