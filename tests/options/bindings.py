"""The options of a channel's bindings, and of running a source: what a room does with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, override

from roomkit import InboundMessage, RoomKit, TextContent
from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.abc.source import EmitCallback
from roomkit.models import ChannelCapabilities, HookResult, HookTrigger
from roomkit.plugins import PluginManager
from roomkit.plugins.config import load_config
from roomkit_plugins.sms import SMSChannel
from roomkit_plugins.testing import (
    MockSMSProvider,
    RecordingChannel,
    ScriptedIntelligence,
    ScriptedSource,
    VirtualClock,
)
from tests.options.kit import ANN, a_kit, now, say, shared_parts
from tests.options.mechanism import Change, Observe, Settings, Subject

__all__ = ["BINDINGS"]


@asynccontextmanager
async def _a_room(settings: Settings, channel: Any, *others: Any) -> AsyncIterator[RoomKit]:
    """Open a kit whose room has a channel with these settings of a table `binding`, Ann, and others."""
    table = {"plugin": "of no interest", "binding": settings}
    defaults = load_config({"channels": {channel.channel_id: table}}).bindings[channel.channel_id]
    async with RoomKit(clock=VirtualClock(), plugins=PluginManager(entry_points=())) as kit:
        kit.register_channel(channel, binding=defaults)
        for other in (RecordingChannel("ann"), *others):
            kit.register_channel(other)
        for room_id in ("r", "second"):
            await kit.create_room(room_id)
            for each in ("ann", channel.channel_id, *(other.channel_id for other in others)):
                await kit.attach_channel(room_id, each)
        yield kit


class _Timed(RecordingChannel):
    """Notes when it was asked to deliver."""

    def __init__(self) -> None:
        super().__init__("bob")
        self.moments: list[tuple[str, float]] = []  # bound: one observation

    @override
    async def deliver(self, event: Any, binding: Any, context: Any) -> Any:
        self.moments.append((event.room_id, round(now(), 3)))
        return await super().deliver(event, binding, context)


async def _talk(settings: Settings) -> object:
    """Return what each side of a conversation gets."""
    bob = RecordingChannel("bob")
    async with _a_room(settings, bob, carol := RecordingChannel("carol")) as kit:
        await say(kit, "hello")
        answer = await say(kit, "yes", "bob", sender_id="bob")
        return bob.texts(), answer.reason, carol.texts()


async def _paced(settings: Settings) -> object:
    """Return when each of two rooms gets its messages."""
    bob = _Timed()
    async with _a_room(settings, bob) as kit:
        begun = now()
        for number in range(2):
            for room_id in ("r", "second"):
                await kit.send_event(room_id, "ann", TextContent(body=f"{number}"), wait="committed")
        await asyncio.sleep(100)  # virtual time
        return sorted((room_id, round(at - begun)) for room_id, at in bob.moments)


def _failing(code: ErrorCode, times: int = 9) -> RecordingChannel:
    return RecordingChannel("bob", script=[ProviderError("away", error_code=code)] * times)


async def _retried(settings: Settings) -> object:
    async with _a_room(settings, bob := _failing(ErrorCode.TIMEOUT)) as kit:
        await say(kit)
        return len(bob.attempts)


async def _long(settings: Settings) -> object:
    bob = RecordingChannel("bob", capabilities=ChannelCapabilities(max_length=20))
    async with _a_room(settings, bob) as kit:
        await say(kit, "word " * 10)
        return bob.texts()


async def _asked_twice(settings: Settings) -> object:
    """Return which of two messages, two seconds apart, an agent of 20 seconds is shown."""
    agent = ScriptedIntelligence("agent", ["one", "two"], delay=20)
    async with _a_room(settings, agent) as kit:
        await say(kit, "first", wait="committed")
        await asyncio.sleep(2)  # virtual time
        await say(kit, "second")
        return [seen.event.content.body for seen in agent.seen], agent.cancelled


async def _streamed(settings: Settings) -> object:
    """Return the part of an answer shown before it is whole, where a gate reads answers."""
    bob = RecordingChannel("bob", streaming=True)
    agent = ScriptedIntelligence("agent", ["one two three"], streaming=True, word_delay=1)
    async with _a_room(settings, bob, agent) as kit:

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def read(event: Any, context: Any) -> HookResult:
            return HookResult.allow()

        await say(kit)
        return bob.streams, bob.texts()


async def _addressed(settings: Settings) -> object:
    carrier = MockSMSProvider()
    async with _a_room(settings, SMSChannel("sms", provider=carrier)) as kit:
        await say(kit)
        return [sent["to"] for sent in carrier.sent]


async def _undelivered(settings: Settings) -> object:
    """Return what two channels get of two messages, of which the first one cannot deliver the first."""
    bob, carol = _failing(ErrorCode.INVALID_RECIPIENT, times=1), _carol()
    async with _a_room(settings, bob, carol) as kit:
        await say(kit, "first")
        await say(kit, "second")
        return bob.texts(), carol.texts()


async def _unreported(settings: Settings) -> object:
    """Return what another channel gets of a message whose arrival no receipt reports."""
    async with _a_room(settings, RecordingChannel("bob"), carol := _carol()) as kit:
        await say(kit)
        await asyncio.sleep(100)  # virtual time
        return carol.texts()


def _carol() -> RecordingChannel:
    return RecordingChannel("carol")


_BINDING: dict[str, tuple[object, Observe, Settings]] = {
    "access": ("read_only", _talk, {}),
    "visibility": ("none", _talk, {}),
    "direction": ("inbound", _talk, {}),
    "muted": (True, _talk, {}),
    "rate_limit": ({"max_per_minute": 6, "burst": 1}, _paced, {}),
    "recipient_rate_limit": ({"max_per_minute": 6, "burst": 1}, _paced, {}),
    "retry_policy": ({"max_retries": 1}, _retried, {}),
    "length_policy": ("truncate", _long, {}),
    "double_text": ("interrupt", _asked_twice, {}),
    "fold_seconds": (5.0, _asked_twice, {"double_text": "fold"}),
    "judge_streams": (True, _streamed, {}),
    "metadata": ({"phone_number": ANN}, _addressed, {}),
    "fallback": ("carol", _undelivered, {}),
    "fallback_after": (30.0, _unreported, {"fallback": "carol"}),
}


# -- sources ---------------------------------------------------------------------------------------


class _Breaking(ScriptedSource):
    """Notes when it was started, and breaks so many times."""

    def __init__(self, times: int = 6) -> None:
        super().__init__([ConnectionError("lost")] * times)
        self.moments: list[int] = []  # bound: one observation

    @override
    async def start(self, emit: EmitCallback) -> None:
        self.moments.append(round(now()))
        await super().start(emit)


class _Flood(ScriptedSource):
    """Emits from nine people at once."""

    @override
    async def start(self, emit: EmitCallback) -> None:
        said = TextContent(body="hi")
        people = [InboundMessage(channel_id="chat", sender_id=f"{n}", content=said) for n in range(9)]
        await asyncio.gather(*map(emit, people))


class _Slow(RecordingChannel):
    """Takes a second for each message, and counts how many it has at once."""

    busy = most = 0

    @override
    async def handle_inbound(self, message: InboundMessage, context: Any) -> Any:
        self.busy += 1
        self.most = max(self.most, self.busy)
        await asyncio.sleep(1)  # virtual time
        self.busy -= 1
        return await super().handle_inbound(message, context)


async def _attach(kit: RoomKit, source: ScriptedSource, settings: Settings) -> None:
    table = {"plugin": "of no interest"}
    plan = load_config({"channels": {"chat": table}, "sources": {"chat": {**table, "run": settings}}})
    await kit.attach_source("chat", source, **plan.sources["chat"].run.model_dump())


async def _breaks(settings: Settings) -> object:
    """Return when a source that breaks is started."""
    async with a_kit({}) as kit:
        begun = round(now())
        await _attach(kit, source := _Breaking(), settings)
        await asyncio.sleep(1000)  # virtual time
        return [moment - begun for moment in source.moments]


async def _floods(settings: Settings) -> object:
    async with a_kit({}, chat := _Slow("chat")) as kit:
        await _attach(kit, _Flood(), settings)
        await asyncio.sleep(100)  # virtual time
        return chat.most


async def _on_two_workers(settings: Settings) -> object:
    """Return how many of two workers run a source."""
    parts, sources = shared_parts(), [_Breaking(times=0), _Breaking(times=0)]
    async with a_kit({}, **parts) as one, a_second(parts) as other:
        for kit, source in zip((one, other), sources, strict=True):
            await _attach(kit, source, settings)
        await asyncio.sleep(1)  # virtual time
        return sorted(len(source.moments) for source in sources)


def a_second(parts: dict[str, Any]) -> RoomKit:
    """Return another worker on the same store."""
    return RoomKit(clock=VirtualClock(), plugins=PluginManager(entry_points=()), **parts)


_RUN: dict[str, tuple[object, Observe, Settings]] = {
    "auto_restart": (False, _breaks, {}),
    "restart_delay": (1.0, _breaks, {}),
    "max_restart_delay": (12.0, _breaks, {}),
    "max_restart_attempts": (2, _breaks, {}),
    "max_concurrent_emits": (4, _floods, {}),
    "single": (True, _on_two_workers, {}),
}


BINDINGS = tuple(
    Subject(name, {option: Change(value, base, observe) for option, (value, observe, base) in table.items()})
    for name, table in (("binding", _BINDING), ("sources.run", _RUN))
)
