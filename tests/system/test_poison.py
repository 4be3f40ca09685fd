"""One bad value stays alone: over each store, what one room's message or one vendor says harms no other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from pydantic import ValidationError

from roomkit import RoomKit
from roomkit.abc.errors import ErrorCode, InvalidInputError, ProviderError, RoomKitError
from roomkit.abc.store import ConversationStore
from roomkit.memory.store import InMemoryStore
from roomkit.models.channel import ChannelBinding, ChannelOutput
from roomkit.models.content import TextContent, text_of
from roomkit.models.context import RoomContext
from roomkit.models.delivery import Delivery, DeliveryStatus, InboundMessage, InboundResult, ProviderResult
from roomkit.models.enums import (
    ChannelCategory,
    ChannelType,
    DeliveryState,
    HookExecution,
    HookTrigger,
    ReceiptState,
)
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.framework_event import FrameworkEvent
from roomkit.models.hook import HookResult
from roomkit.models.room import RoomTimers
from roomkit.plugins import PluginManager
from roomkit_plugins.postgres import PostgresStore
from roomkit_plugins.sqlite import SQLiteStore
from roomkit_plugins.testing import RecordingChannel
from roomkit_plugins.websocket import WebSocketChannel
from roomkit_plugins.websocket.serve import SocketRequest, room_in_path

PLUGINS = PluginManager(entry_points=())
PLUGINS.scan()

type Opener = Callable[[], ConversationStore]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Return what opens the same data again: a restart of the process."""
    if request.param == "postgres":
        dsn = request.getfixturevalue("postgres_store_dsn")
        return lambda: PostgresStore(dsn)
    if request.param == "sqlite":
        return lambda: SQLiteStore(str(tmp_path / "rooms.db"))
    memory = InMemoryStore()
    return lambda: memory


class Carrier(RecordingChannel):
    """A vendor that counts its calls by room, and gives the scripted answer."""

    def __init__(self, answer: Callable[[RoomEvent], object] | None = None) -> None:
        super().__init__("sms")
        self.calls: Counter[str] = Counter()
        self.free = asyncio.Event()
        self.free.set()
        self.called = asyncio.Event()
        self._answer = answer

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        self.calls[binding.room_id] += 1
        if binding.room_id == "victim":
            self.called.set()
            await self.free.wait()
        said = None if self._answer is None else self._answer(event)
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, ChannelOutput) else ChannelOutput.empty()


async def opened(store: ConversationStore, carrier: Carrier, *room_ids: str) -> RoomKit:
    kit = RoomKit(store=store, plugins=PLUGINS, single_process=True, lease_seconds=60)
    kit.register_channel(RecordingChannel("web"))
    kit.register_channel(carrier)
    for room_id in room_ids:
        await kit.create_room(room_id)
        await kit.attach_channel(room_id, "web")
        await kit.attach_channel(room_id, "sms")
    return kit


def message(text: str = "hello", **changes: Any) -> InboundMessage:
    """Make a message whose `changes` have gone past the door, as by a plugin that trusts its vendor."""
    plain = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body=text))
    return plain.replace(**changes)


async def say(kit: RoomKit, room_id: str, given: InboundMessage | None = None) -> InboundResult:
    async with asyncio.timeout(30):
        return await kit.process_inbound(given or message(), room_id=room_id)


POISON: dict[str, dict[str, Any]] = {
    "text": {"content": TextContent(body="x").replace(body="\ud83d")},
    "sender": {"sender_id": "a\0"},
    "sender with half a character": {"sender_id": "a\ud83d"},
    "key": {"idempotency_key": "\0"},
    "key with half a character": {"idempotency_key": "\ud83d"},
    "external id": {"external_id": "\ud83d"},
    "visibility": {"visibility": "all\0"},
    "connection": {"connection_id": "\ud83d"},
    "parent": {"parent_event_id": "a\0"},
    "number": {"metadata": {"n": 10**4300}},
}


async def test_poison_in_one_room_costs_no_other_its_delivery(open_store: Opener) -> None:
    """A carrier that is being called is called once, whatever is refused elsewhere; errors are typed."""
    carrier = Carrier()
    kit = await opened(open_store(), carrier, "victim", "evil")
    try:
        carrier.free.clear()
        paying = asyncio.create_task(say(kit, "victim", message("pay 5 EUR")))
        await carrier.called.wait()
        for changes in (*POISON.values(), *POISON.values()):
            try:
                await say(kit, "evil", message(**changes))
            except (RoomKitError, ValidationError):
                continue
        carrier.free.set()
        result = await paying
        assert {each.state for each in result.delivery_results.values()} == {DeliveryState.SENT}
        assert carrier.calls["victim"] == 1
        after = await say(kit, "evil", message("and now?"))
        assert after.event is not None
        assert after.delivery_results["sms"].success
    finally:
        await kit.close()


async def test_rooms_that_are_read_together_fail_apart(open_store: Opener) -> None:
    """Twenty good messages go through beside one whose key no store can hold."""
    rooms = [f"r{number}" for number in range(21)]
    kit = await opened(open_store(), Carrier(), *rooms)
    try:
        said = await asyncio.gather(
            *(
                say(kit, room_id, message(idempotency_key="\0" if room_id == "r20" else room_id))
                for room_id in rooms
            ),
            return_exceptions=True,
        )
        assert [each for each in said[:20] if isinstance(each, BaseException)] == []
        assert not isinstance(said[20], BaseException) or isinstance(said[20], RoomKitError)
    finally:
        await kit.close()


VENDOR_IDS = {"NUL": "\0", "half a character": "\ud83d", "long": "x" * 5_000}


@pytest.mark.parametrize("past_the_door", [False, True], ids=["through the door", "past the door"])
@pytest.mark.parametrize("vendor_id", VENDOR_IDS.values(), ids=VENDOR_IDS)
async def test_a_vendors_id_harms_no_other_outcome(
    open_store: Opener, vendor_id: str, past_the_door: bool
) -> None:
    """Each delivery is recorded as sent, and nothing is sent again after a restart."""

    def answer(event: RoomEvent) -> ChannelOutput:
        given = vendor_id if event.room_id == "evil" else event.id
        result = ProviderResult(success=True, provider_message_id="id")
        if past_the_door:
            result = result.replace(provider_message_id=given)
        else:
            result = ProviderResult(success=True, provider_message_id=given)
        return ChannelOutput(provider_result=result)

    carrier = Carrier(answer)
    kit = await opened(open_store(), carrier, "evil", "good")
    for room_id in ("evil", "good", "evil", "good", "good"):
        result = await say(kit, room_id)
        assert result.delivery_results["sms"].success
    await kit.close()
    assert carrier.calls == {"evil": 2, "good": 3}
    again = Carrier(answer)
    kit = await opened(open_store(), again)
    try:
        await say(kit, "good")
        rows = [*await kit.list_deliveries("evil"), *await kit.list_deliveries("good")]
        assert Counter(row.state for row in rows) == {DeliveryState.SENT: 6}
        assert again.calls == {"good": 1}
    finally:
        await kit.close()


VENDORS_JSON = {
    "half a character": {"said": ["\ud83d"]},
    "half a key": {"\ud83d": 1},
    "NUL": {"a\0": "\0"},
    "huge number": {"n": 10**4300},
    "NaN": {"cost": float("nan")},
}


@pytest.mark.parametrize("given", VENDORS_JSON.values(), ids=VENDORS_JSON)
async def test_a_vendors_json_harms_neither_message_nor_delivery_nor_receipt(
    open_store: Opener, given: dict[str, Any]
) -> None:
    carrier = Carrier(
        lambda event: ChannelOutput(
            provider_result=ProviderResult(success=True, provider_message_id=event.id, metadata=given)
        )
    )
    kit = await opened(open_store(), carrier, "r")
    plain = InboundMessage(
        channel_id="web", sender_id="ann", content=TextContent(body="x"), raw_payload=given
    )
    try:
        result = await say(kit, "r", plain)
        assert result.event is not None
        assert result.delivery_results["sms"].state is DeliveryState.SENT
        status = DeliveryStatus(channel_id="sms", message_id=result.event.id, status="delivered", raw=given)
        await kit.process_delivery_status(status)
    finally:
        await kit.close()
    kit = await opened(open_store(), Carrier())
    try:
        event = await kit.store.get_event(result.event.id)
        assert event is not None
        assert event.source.raw_payload == plain.raw_payload == status.raw
        (row,) = [row for row in await kit.list_deliveries("r") if row.channel_id == "sms"]
        assert (row.state, row.receipt) == (DeliveryState.SENT, ReceiptState.DELIVERED)
    finally:
        await kit.close()


class _Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


FAILURES: dict[str, object] = {
    "half a character": RuntimeError("no such file: a\udcff.txt"),
    "NUL": RuntimeError("a\0b"),
    "no text": _Silent(),
    "5 MB": RuntimeError("x" * 5_000_000),
    "provider's text": ProviderError("\ud83d", error_code=ErrorCode.INVALID_REQUEST),
    "provider's code": ProviderError("x", error_code=ErrorCode.INVALID_REQUEST, vendor_code="\ud83d"),
    "provider's types": ProviderError("x", error_code=ErrorCode.INVALID_REQUEST, vendor_code=5),  # type: ignore[arg-type]
    "refusal": ChannelOutput(provider_result=ProviderResult(success=False, error="\ud83d\0")),
    "refusal past the door": ChannelOutput(
        provider_result=ProviderResult(success=False).replace(error="\ud83d\0")
    ),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_recording_a_failure_cannot_fail(open_store: Opener, failure: object) -> None:
    """Whatever a channel raises, the wait ends, the row says that it failed, and observers hear of it."""
    kit = await opened(open_store(), Carrier(lambda event: failure), "r")
    told: list[FrameworkEvent] = []

    @kit.on("delivery_failed")
    async def hear(event: FrameworkEvent) -> None:
        told.append(event)

    try:
        result = await say(kit, "r")
        assert result.delivery_results["sms"].state is DeliveryState.FAILED
        await kit.process_inbound(message("another"), room_id="r")  # whose commit takes the outcome along
        rows = [row for row in await kit.list_deliveries("r") if row.channel_id == "sms"]
        assert [_told(row) for row in rows] == [DeliveryState.FAILED] * 2
    finally:
        await kit.close()
    assert len(told) == 2


def _told(row: Delivery) -> DeliveryState:
    assert row.error is not None
    assert len(row.error.message.encode()) < 20_000
    return row.state


@pytest.mark.parametrize("reason", ["\ud83d", "\0", "x" * 100_000])
async def test_a_skip_can_be_recorded_whatever_its_reason(open_store: Opener, reason: str) -> None:
    """The reason is a channel's own word."""
    kit = await opened(open_store(), Carrier(lambda event: ChannelOutput.skipped(reason)), "r")
    try:
        assert (await say(kit, "r")).delivery_results["sms"].state is DeliveryState.SKIPPED
        await say(kit, "r")
    finally:
        await kit.close()


@pytest.mark.parametrize("reason", ["\ud83d", "a\0b"])
async def test_a_block_can_be_recorded_whatever_its_reason(open_store: Opener, reason: str) -> None:
    """The reason is a hook's own word, and may quote the message."""
    kit = await opened(open_store(), Carrier(), "r")

    @kit.hook(HookTrigger.BEFORE_BROADCAST)
    async def refuse(event: RoomEvent, context: RoomContext) -> HookResult:
        return HookResult.block(reason)

    try:
        result = await say(kit, "r")
        assert result.blocked
        assert result.event is not None
        assert result.event.block_reason == reason.replace("\ud83d", "\ufffd").replace("\0", "\ufffd")
    finally:
        await kit.close()


async def test_a_write_whose_result_is_not_understood_fails_alone(
    open_store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller gets the error and does not wait; those that were written together with it are answered."""
    store = open_store()
    caches = [each for name in ("_records", "_rooms") if hasattr(each := getattr(store, name, None), "apply")]
    kit = RoomKit(store=store, plugins=PLUGINS, single_process=True)
    try:
        for room_id in ("good", "evil"):
            await kit.create_room(room_id)

        def refuse(room_id: str, change: object) -> None:
            if room_id == "evil":
                raise OverflowError("date value out of range")

        for cache in caches:
            monkeypatch.setattr(type(cache), "apply", lambda _self, room_id, change: refuse(room_id, change))
        async with asyncio.timeout(30):
            writes = (kit.update_room_metadata(each, {"a": 1}) for each in ("good", "evil", "good"))
            done = await asyncio.gather(*writes, return_exceptions=True)
        assert [isinstance(each, OverflowError) for each in done] == [False, bool(caches), False]
    finally:
        monkeypatch.undo()
        await kit.close()


@pytest.mark.parametrize("zone", [14, -12])
async def test_a_time_that_no_calendar_has_in_utc_is_refused(open_store: Opener, zone: int) -> None:
    kit = await opened(open_store(), Carrier(), "r")
    end = datetime.min if zone > 0 else datetime.max
    timers = RoomTimers(
        closed_after_seconds=60, last_activity_at=end.replace(tzinfo=timezone(timedelta(hours=zone)))
    )
    try:
        with pytest.raises(InvalidInputError, match="no calendar has in UTC"):
            await kit.set_room_timers("r", timers)
        assert not (await say(kit, "r")).blocked
    finally:
        await kit.close()


UNSTORABLE: dict[str, Any] = {
    "half a character": {"metadata_updates": {"k": "\ud83d"}},
    "a time": {"metadata_updates": {"k": datetime(2026, 1, 1, tzinfo=UTC)}},
    "no number": {"metadata_updates": {"k": float("nan")}},
    "a list": {"metadata_updates": ["k"]},
    "a dict for a task": {"tasks": [{"title": "call back"}]},
    "one task": {"tasks": 7},
    "text for an observation": {"observations": ["angry"]},
}


class Clumsy(RecordingChannel):
    """An agent that leaves behind what no store can hold."""

    channel_type = ChannelType.AI
    category = ChannelCategory.INTELLIGENCE

    def __init__(self, left: dict[str, Any], *, streams: bool) -> None:
        super().__init__("agent")
        self._left = left
        self._streams = streams

    async def on_event(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        if self._streams:
            return ChannelOutput(responded=True, response_stream=_words(), **self._left)
        source = EventSource(channel_id="agent", channel_type=ChannelType.AI)
        answer = RoomEvent(room_id=event.room_id, source=source, content=TextContent(body="Done."))
        return ChannelOutput(responded=True, response_events=[answer], **self._left)


async def _words() -> AsyncIterator[str]:
    yield "Done."


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
async def test_what_an_agent_leaves_behind_harms_no_other_room(open_store: Opener, streams: bool) -> None:
    """Its words are kept, its turn has failed with a typed error, and a delivery elsewhere is made once."""
    carrier = Carrier()
    kit = await opened(open_store(), carrier, "victim", "evil")
    try:
        carrier.free.clear()
        paying = asyncio.create_task(say(kit, "victim", message("pay 5 EUR")))
        await carrier.called.wait()
        for left in UNSTORABLE.values():
            kit.register_channel(Clumsy(left, streams=streams))
            await kit.attach_channel("evil", "agent")
            result = await say(kit, "evil")
            assert isinstance(result.error, InvalidInputError), left
            assert result.delivery_results["agent"].state is DeliveryState.FAILED
            await kit.detach_channel("evil", "agent")
            await kit.unregister_channel("agent")
        carrier.free.set()
        assert (await paying).delivery_results["sms"].success
        assert carrier.calls["victim"] == 1
        said = [text_of(each.content) for each in await kit.get_timeline("evil", limit=100)]
        assert said.count("Done.") == len(UNSTORABLE)
    finally:
        await kit.close()


@pytest.mark.parametrize("field", ["tasks", "observations", "injected_events"])
async def test_a_gate_that_leaves_behind_what_cannot_be_stored_has_failed(
    open_store: Opener, field: str
) -> None:
    """It blocks, as with an answer of another type, and a delivery elsewhere is made once."""
    carrier = Carrier()
    kit = await opened(open_store(), carrier, "victim", "evil")
    try:
        carrier.free.clear()
        paying = asyncio.create_task(say(kit, "victim", message("pay 5 EUR")))
        await carrier.called.wait()
        for wrong in (["x"], [{"title": "x"}], 7):

            async def leave(_event: RoomEvent, _context: RoomContext, wrong: object = wrong) -> HookResult:
                return HookResult("allow", **{field: wrong})

            kit.add_room_hook("evil", HookTrigger.BEFORE_BROADCAST, HookExecution.SYNC, leave, name="leave")
            result = await say(kit, "evil")
            assert (result.blocked, result.reason) == (True, "hook_failed")
            kit.remove_room_hook("evil", "leave")
        carrier.free.set()
        assert (await paying).delivery_results["sms"].success
        assert carrier.calls["victim"] == 1
    finally:
        await kit.close()


ADDRESSES = [
    b"/rooms/%00",
    b"/rooms/a%00b",
    b"/rooms/%ed%a0%bd",
    b"/rooms/%ff",
    b"/rooms/" + 6_000 * b"x",
    b"/rooms/%F3%BF%BF%BE%F4%8F%BF%BE",
    b"/rooms/",
    b"/rooms/r?participant=%00",
    b"/rooms/r?participant=%ed%a0%bd",
    b"/rooms/r?participant=a&after=%ed%a0%bd",
]


def _halves_in_path(request: SocketRequest) -> str | None:
    """Return the room of a path as a program may decode it: with halves of characters."""
    return unquote(request.path.removeprefix("/rooms/"), errors="surrogateescape")


@pytest.mark.parametrize("room_of", [room_in_path, _halves_in_path])
async def test_a_client_of_a_room_that_cannot_be_is_refused(
    open_store: Opener,
    caplog: pytest.LogCaptureFixture,
    room_of: Callable[[SocketRequest], str | None],
) -> None:
    """By a status of 4xx and without a traceback, and the server goes on."""
    kit = RoomKit(store=open_store(), plugins=PLUGINS, single_process=True)
    channel = WebSocketChannel("ws")
    kit.register_channel(channel)
    await kit.create_room("r")
    await kit.attach_channel("r", "ws")
    try:
        async with channel.serve(kit, room_of=room_of) as server:
            answers = {target: await status_of(server.port, target) for target in ADDRESSES}
            assert await status_of(server.port, b"/rooms/r?participant=ann") == 101
        assert {target: status for target, status in answers.items() if not 400 <= status < 500} == {}
        assert [record for record in caplog.records if record.exc_info] == []
    finally:
        await kit.close()


async def status_of(port: int, target: bytes) -> int:
    """Return how a server answers a client that asks for a web socket at `target`, byte by byte."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET " + target + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n")
    writer.write(b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")
    writer.write(b"Sec-WebSocket-Version: 13\r\n\r\n")
    async with asyncio.timeout(20):
        line = await reader.readline()
    writer.close()
    return int(line.split()[1])
