"""Sources: started, restarted with a growing pause, and never broken by a message."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from roomkit.abc.errors import (
    CloseError,
    InvalidInputError,
    SourceAlreadyAttachedError,
    SourceNotFoundError,
    StoreBusyError,
    StoreClosedError,
    StoreError,
    StoreUnavailableError,
)
from roomkit.abc.source import EmitCallback
from roomkit.memory.store import InMemoryStore
from roomkit.models import (
    ChannelOutput,
    DeliveryStatus,
    EphemeralEvent,
    EphemeralEventType,
    EventType,
    InboundMessage,
    InboundResult,
    ProviderResult,
    RateLimit,
    ReceiptState,
    SourceStatus,
    TextContent,
)
from roomkit_plugins.testing import Hang, RecordingChannel, ScriptedIntelligence, ScriptedSource

pytestmark = pytest.mark.virtual_time


def message(text: str = "hello", channel: str = "chat", **fields: Any) -> InboundMessage:
    return InboundMessage(channel_id=channel, sender_id="bob", content=TextContent(body=text), **fields)


def now() -> float:
    return asyncio.get_running_loop().time()


class Clocked(ScriptedSource):
    """A source that notes when it was started, and that may stop badly."""

    def __init__(self, *script: Any, stops: Any = None) -> None:
        super().__init__(script)
        self.moments: list[float] = []
        self._stops = stops

    async def start(self, emit: EmitCallback) -> None:
        self.moments.append(now())
        await super().start(emit)

    async def stop(self) -> None:
        if isinstance(self._stops, Hang):
            await self._stops.wait()
        elif isinstance(self._stops, Exception):
            raise self._stops
        await super().stop()


def broken(times: int) -> list[Exception]:
    return [ConnectionError(f"lost {number}") for number in range(times)]


async def test_messages_come_in_as_any_other(stage: Any) -> None:
    """Through the one path; the source reads what became of each."""
    stage.kit.register_channel(RecordingChannel("chat"))
    source = ScriptedSource([message("one"), message("two")])
    await stage.kit.attach_source("chat", source)
    await asyncio.sleep(1)

    assert [result.blocked for result in source.results] == [False, False]
    room_id = source.results[0].event.room_id  # type: ignore[union-attr]
    assert await stage.texts(room_id) == ["one", "two"]
    health = await stage.kit.source_health("chat")
    assert (health.status, health.messages_received) == (SourceStatus.CONNECTED, 2)
    assert stage.kit.list_sources() == {"chat": SourceStatus.CONNECTED}
    await stage.kit.detach_source("chat")
    assert stage.facts("source_attached") == stage.facts("source_detached") == [{"source_name": "scripted"}]


async def test_a_channel_has_one_source(stage: Any) -> None:
    """The error names the one it has."""
    await stage.kit.attach_source("chat", ScriptedSource(name="first"))

    with pytest.raises(
        SourceAlreadyAttachedError, match="'chat' has the source 'first' already: detach_source"
    ):
        await stage.kit.attach_source("chat", ScriptedSource())
    await stage.kit.detach_source("chat")
    with pytest.raises(SourceNotFoundError, match="'chat' has no source: attach_source first"):
        await stage.kit.detach_source("chat")
    assert await stage.kit.source_health("chat") is None


async def test_a_source_that_breaks_is_started_again_later_and_later(stage: Any) -> None:
    source = Clocked(*broken(5))
    await stage.kit.attach_source("chat", source, restart_delay=5, max_restart_delay=20)
    await asyncio.sleep(100)

    assert source.moments == [0, 5, 15, 35, 55, 75]
    assert [fact["attempt"] for fact in stage.facts("source_error")] == [1, 2, 3, 4, 5]
    assert stage.facts("source_error")[0]["error"] == "ConnectionError: lost 0"
    assert source.status is SourceStatus.CONNECTED
    await stage.kit.detach_source("chat")


async def test_a_source_that_brought_messages_begins_anew(stage: Any) -> None:
    """One break a day is not a growing trouble: neither the pause nor the count goes on."""
    stage.kit.register_channel(RecordingChannel("chat"))
    source = Clocked(*broken(3), message(), *broken(2))
    await stage.kit.attach_source("chat", source, restart_delay=5, max_restart_attempts=4)
    await asyncio.sleep(100)

    assert source.moments == [0, 5, 15, 35, 40, 50]
    assert [fact["attempt"] for fact in stage.facts("source_error")] == [1, 2, 3, 1, 2]
    await stage.kit.detach_source("chat")


@pytest.mark.parametrize(
    ("options", "starts"), [({"max_restart_attempts": 3}, 3), ({"auto_restart": False}, 1)], ids=str
)
async def test_a_source_is_given_up_in_the_end(stage: Any, options: dict[str, Any], starts: int) -> None:
    source = ScriptedSource(broken(9))
    await stage.kit.attach_source("chat", source, restart_delay=1, **options)
    await asyncio.sleep(1000)

    assert source.starts == starts
    last = f"ConnectionError: lost {starts - 1}"
    assert stage.facts("source_exhausted") == [
        {"source_name": "scripted", "attempts": starts, "last_error": last}
    ]
    assert stage.kit.list_sources() == {"chat": SourceStatus.ERROR}
    assert (await stage.kit.source_health("chat")).error == last
    await stage.kit.detach_source("chat")


async def test_a_source_that_ends_by_itself_is_forgotten(stage: Any) -> None:
    class Finite(ScriptedSource):
        async def start(self, emit: EmitCallback) -> None:
            await emit(message())

    stage.kit.register_channel(RecordingChannel("chat"))
    await stage.kit.attach_source("chat", Finite())
    await stage.idle()

    assert stage.kinds().count("source_ended") == 1
    assert stage.kit.list_sources() == {}
    await stage.kit.attach_source("chat", ScriptedSource())
    await stage.kit.detach_source("chat")


async def test_no_message_ever_breaks_a_source(stage: Any) -> None:
    class Picky(RecordingChannel):
        async def handle_inbound(self, message: Any, context: Any) -> Any:
            raise RuntimeError("cannot read this")

    stage.kit.register_channel(RecordingChannel("chat"))
    stage.kit.register_channel(Picky("picky"))
    edit = message(event_type=EventType.EDIT)
    source = ScriptedSource([message(channel="unknown"), message(channel="picky"), edit, message("fine")])
    await stage.kit.attach_source("chat", source)
    await asyncio.sleep(1)

    assert [result.reason for result in source.results] == [
        "channel_not_registered",
        "internal_error",
        "content_type_mismatch",
        None,
    ]
    assert [type(result.error).__name__ for result in source.results[:2]] == [
        "ChannelNotRegisteredError",
        "ForeignCodeError",
    ]
    assert source.starts == 1
    await stage.kit.detach_source("chat")


async def test_only_so_many_messages_are_under_way_at_once(stage: Any) -> None:
    """Waiting for `emit` is the source's back-pressure."""
    busy = most = 0

    class Slow(RecordingChannel):
        async def handle_inbound(self, message: Any, context: Any) -> Any:
            nonlocal busy, most
            busy += 1
            most = max(most, busy)
            await asyncio.sleep(1)
            busy -= 1
            return await super().handle_inbound(message, context)

    class Flood(ScriptedSource):
        async def start(self, emit: EmitCallback) -> None:
            await asyncio.gather(*(emit(message(str(n)).replace(sender_id=str(n))) for n in range(9)))

    stage.kit.register_channel(Slow("chat"))
    await stage.kit.attach_source("chat", Flood(), max_concurrent_emits=3)
    await stage.idle()
    assert (most, now()) == (3, 3)

    await stage.kit.attach_source("chat", Flood(), max_concurrent_emits=None)
    await stage.idle()
    assert (most, now()) == (9, 4)


async def test_a_source_that_waits_to_be_restarted_can_be_detached(stage: Any) -> None:
    """At once, and it is not started again."""
    source = ScriptedSource(broken(9))
    await stage.kit.attach_source("chat", source, restart_delay=300)
    await asyncio.sleep(1)
    await stage.kit.detach_source("chat")
    await asyncio.sleep(1000)

    assert source.starts == 1


async def test_a_stop_that_hangs_is_not_waited_for_for_ever(
    stage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The source's task is cancelled all the same."""
    hang = Hang()
    source = Clocked(stops=hang)
    await stage.kit.attach_source("chat", source)
    await stage.kit.detach_source("chat")

    assert now() == 10
    assert "source scripted did not stop within 10" in caplog.text
    assert source.status is SourceStatus.STOPPED
    assert stage.kit.list_sources() == {}


async def test_a_stop_that_fails_reaches_who_asked(stage: Any) -> None:
    await stage.kit.attach_source("chat", Clocked(stops=ValueError("no")))

    with pytest.raises(ValueError, match="no"):
        await stage.kit.detach_source("chat")
    assert stage.kit.list_sources() == {}


async def test_closing_the_kit_stops_all_sources_within_its_time(bare_stage: Any) -> None:
    stage = await bare_stage(close_timeout=5).open()
    good = ScriptedSource()
    await stage.kit.attach_source("good", good)
    for number in range(5):
        await stage.kit.attach_source(f"hanging {number}", Clocked(stops=Hang()))
    await stage.kit.attach_source("failing", Clocked(stops=ValueError("no")))

    with pytest.raises(CloseError) as raised:
        await stage.kit.close()

    assert now() <= 5.5
    assert good.status is SourceStatus.STOPPED
    assert sorted(type(error).__name__ for error in raised.value.exceptions) == ["TimeoutError"] * 5 + [
        "ValueError"
    ]
    assert stage.kit.list_sources() == {}


async def test_a_stop_that_ignores_its_cancellation_does_not_hold_up_the_close(bare_stage: Any) -> None:
    class Stubborn(ScriptedSource):
        async def stop(self) -> None:
            for _ in range(100):
                try:
                    await asyncio.sleep(100)
                except asyncio.CancelledError:
                    continue

    stage = await bare_stage(close_timeout=5).open()
    await stage.kit.attach_source("chat", Stubborn())
    with pytest.raises(CloseError, match="the kit closed"):
        await stage.kit.close()
    assert now() <= 6


class Deaf(ScriptedSource):
    """A source that ignores its cancellation, and emits on demand."""

    def __init__(self, *, last_words: bool = True) -> None:
        super().__init__(())
        self.last_words = last_words
        self.released = asyncio.Event()

    async def start(self, emit: EmitCallback) -> None:
        self.emit = emit
        while not self.released.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.released.wait()

    async def stop(self) -> None:
        if self.last_words:
            self.last = await self.emit(message("last words"))


@pytest.mark.parametrize("way", ["detach_source", "unregister_channel"])
async def test_a_source_that_does_not_end_is_no_longer_listened_to(stage: Any, way: str) -> None:
    """What it says while it stops is taken in, if its channel is; afterwards all is refused and counted."""
    stage.kit.register_channel(RecordingChannel("chat"))
    source = Deaf()
    await stage.kit.attach_source("chat", source)
    await getattr(stage.kit, way)("chat")
    if way == "unregister_channel":
        assert source.last.reason == "channel_not_registered"
        stage.kit.register_channel(RecordingChannel("chat"))
    else:
        assert not source.last.blocked
    results = [await source.emit(message(text)) for text in ("one", "two")]

    assert [result.reason for result in results] == ["source_detached"] * 2
    assert stage.facts("source_message_refused") == [
        {"source_name": "scripted", "refused": number} for number in (1, 2)
    ]
    assert stage.kit.list_sources() == {}
    source.released.set()
    await asyncio.sleep(1)


async def test_a_message_that_waits_for_its_turn_when_its_source_is_detached_is_refused(stage: Any) -> None:
    hang = Hang()

    class Slow(RecordingChannel):
        async def handle_inbound(self, message: Any, context: Any) -> Any:
            await hang.wait()
            return await super().handle_inbound(message, context)

    stage.kit.register_channel(Slow("chat"))
    source = Deaf(last_words=False)
    await stage.kit.attach_source("chat", source, max_concurrent_emits=1)
    emits = [asyncio.ensure_future(source.emit(message(text))) for text in ("one", "two")]
    await asyncio.sleep(1)
    await stage.kit.detach_source("chat")
    hang.release()
    assert [(await emit).reason for emit in emits] == [None, "source_detached"]
    source.released.set()


class Concurrent(ScriptedSource):
    """A source that emits all at once, and notes when each was taken in."""

    def __init__(self, *parts: Any) -> None:
        super().__init__()
        self.parts = parts
        self.taken: list[tuple[str, float]] = []

    async def start(self, emit: EmitCallback) -> None:
        async def hand(part: Any) -> None:
            result: Any = await emit(part)
            self.results.append(result)
            self.taken.append((part.content.body, now()))

        await asyncio.gather(*(hand(part) for part in self.parts))


class SlowAgent(ScriptedIntelligence):
    """An agent whose turn lasts a second."""

    def __init__(self) -> None:
        super().__init__("bot", ["done"] * 20, delay=1)


async def test_a_message_is_taken_in_at_its_commit(stage: Any) -> None:
    """Five chats with an agent wait neither for their own answers nor for each other's."""
    await stage.join(SlowAgent())
    await stage.join(RecordingChannel("chat"))
    source = Concurrent(*(message(str(n)).replace(sender_id=str(n), room_id="r1") for n in range(5)))
    await stage.kit.attach_source("chat", source)
    await stage.idle()
    assert [moment for _, moment in source.taken] == [0] * 5
    assert all(result.stored for result in source.results)  # type: ignore[union-attr]
    assert now() >= 5


async def test_the_messages_of_one_sender_keep_their_order_and_others_run_beside(stage: Any) -> None:
    """With slow parsing: the first message of bob is parsed for two seconds, each of alice's for one."""

    class Slow(RecordingChannel):
        async def handle_inbound(self, message: Any, context: Any) -> Any:
            await asyncio.sleep(2 if message.content.body == "b0" else 1)
            return await super().handle_inbound(message, context)

    await stage.join(Slow("chat"))
    bobs = [message(f"b{number}", room_id="r1") for number in range(3)]
    alices = [message(f"a{number}", room_id="r1").replace(sender_id="alice") for number in range(3)]
    source = Concurrent(*(each for pair in zip(bobs, alices, strict=True) for each in pair))
    await stage.kit.attach_source("chat", source, max_concurrent_emits=2)
    await stage.idle()
    texts = await stage.texts()
    assert [text for text in texts if text[0] == "b"] == ["b0", "b1", "b2"]
    assert [text for text in texts if text[0] == "a"] == ["a0", "a1", "a2"]
    assert dict(source.taken) == {"a0": 1, "b0": 2, "a1": 2, "b1": 3, "a2": 3, "b2": 4}


async def test_receipts_and_signals_come_in_by_a_source(stage: Any) -> None:
    """Of the source's own channel, where they name none."""

    class Sends(RecordingChannel):
        provider_name = "acme"

        async def deliver(self, event: Any, binding: Any, context: Any) -> ChannelOutput:
            return ChannelOutput(provider_result=ProviderResult(success=True, provider_message_id="m1"))

    await stage.join(Sends("chat"))
    await stage.socket("alice")
    await stage.say()
    seen: list[Any] = []

    async def see(event: EphemeralEvent) -> None:
        seen.append((event.user_id, event.channel_id))

    await stage.kit.subscribe_room("r1", see)
    receipt = DeliveryStatus(provider="acme", message_id="m1", status="read")
    typing = EphemeralEvent(room_id="r1", type=EphemeralEventType.TYPING_START, user_id="bob")
    foreign = typing.replace(channel_id="alice")
    source = ScriptedSource([receipt, receipt.replace(message_id="m9"), typing, foreign])
    await stage.kit.attach_source("chat", source)
    await asyncio.sleep(1)
    known, unknown, shown, refused = source.results
    assert (known.receipt, unknown, shown) == (ReceiptState.READ, None, None)  # type: ignore[union-attr]
    assert refused.reason == "invalid_input"  # type: ignore[union-attr]
    assert seen == [("bob", "chat")]
    await stage.kit.detach_source("chat")


class Failing(InMemoryStore):
    """A store that fails to commit bob's messages so many times."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self.errors = list(errors)

    async def commit(self, commit: Any) -> Any:
        by_bob = commit.entries and commit.entries[0].event.source.participant_id == "bob"
        if by_bob and self.errors:
            raise self.errors.pop(0)
        return await super().commit(commit)


async def test_what_the_store_cannot_keep_is_retried_with_back_pressure(staging: Any) -> None:
    """At growing intervals; the sender's next message waits, another's does not."""
    errors = (StoreUnavailableError("away"), StoreBusyError("busy"), StoreError("failed"))
    async with staging(store=Failing(*errors)) as stage:
        await stage.join(RecordingChannel("chat"))
        first, second = message("one", room_id="r1"), message("two", room_id="r1")
        other = message("other", room_id="r1").replace(sender_id="alice")
        source = Concurrent(first, second, other)
        await stage.kit.attach_source("chat", source)
        await asyncio.sleep(60)
        assert await stage.texts() == ["other", "one", "two"]
        taken = dict(source.taken)
        assert (taken["one"], taken["two"]) == (3.5, 3.5)
        assert taken["other"] < taken["one"]
        waits = stage.facts("source_waits")
        assert {wait["reason"] for wait in waits} == {"store_unavailable", "store_busy", "store_error"}
        assert all(result.stored for result in source.results)  # type: ignore[union-attr]


async def test_a_source_beyond_its_limit_waits(staging: Any) -> None:
    async with staging(inbound_rate_limit=RateLimit(max_per_minute=1)) as stage:
        await stage.join(RecordingChannel("chat"))
        source = Concurrent(message("one", room_id="r1"), message("two", room_id="r1"))
        await stage.kit.attach_source("chat", source)
        await stage.idle_or(100)
        assert [text for text, _ in source.taken] == ["one", "two"]
        assert source.taken[1][1] == pytest.approx(60, abs=1)


async def test_a_source_that_is_detached_while_it_waits_may_not_acknowledge(staging: Any) -> None:
    async with staging(store=Failing(*[StoreUnavailableError("away")] * 99)) as stage:
        await stage.join(RecordingChannel("chat"))
        source = Deaf(last_words=False)
        await stage.kit.attach_source("chat", source)
        emit = asyncio.ensure_future(source.emit(message(room_id="r1")))
        await asyncio.sleep(1)
        await stage.kit.detach_source("chat")
        result: Any = await emit
        source.released.set()
        assert (result.reason, result.stored) == ("store_unavailable", False)
        assert (await source.emit(message())).reason == "source_detached"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("result", "stored"),
    [
        (InboundResult(), True),
        (InboundResult(blocked=True, reason="room_closed"), True),
        (InboundResult(blocked=True, reason="invalid_input", error=InvalidInputError("x")), True),
        (InboundResult(blocked=True, reason="process_timeout"), False),
        (InboundResult(blocked=True, reason="rate_limited", retry_after=1.0), False),
        (InboundResult(blocked=True, reason="internal_error", error=KeyError("x")), False),
        (InboundResult(blocked=True, reason="store_closed", error=StoreClosedError("x")), False),
    ],
)
async def test_a_result_says_whether_the_message_may_be_acknowledged(
    result: InboundResult, stored: bool
) -> None:
    assert result.stored is stored
