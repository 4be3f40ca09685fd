"""What the kit lends to a channel: gates, observers, reports, tasks, traces; and the end of it all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomkit.abc.errors import CloseError
from roomkit.models import ChannelType, HookResult, HookTrigger, ProtocolTrace, ToolUse
from roomkit_plugins.testing import RecordingChannel

pytestmark = pytest.mark.virtual_time
USE = ToolUse(room_id="r1", channel_id="bot", call_id="c1", name="look", arguments={"at": "x"})
TOOL, TRACE = HookTrigger.BEFORE_TOOL_USE, HookTrigger.ON_PROTOCOL_TRACE


def gate(stage: Any, verdict: Any, **options: Any) -> list[Any]:
    seen: list[Any] = []

    async def gatekeeper(payload: Any, context: Any) -> Any:
        seen.append((payload, context.room.id))
        if isinstance(verdict, Exception):
            raise verdict
        return verdict(payload) if callable(verdict) else verdict

    stage.kit.hook(TOOL, **options)(gatekeeper)
    return seen


async def ask(stage: Any, room_id: str = "r1") -> Any:
    services = stage.kit.get_channel("bot").services
    return await services.turns.run_gate(TOOL, USE, room_id=room_id)


async def test_without_a_gate_everything_goes(stage: Any) -> None:
    await stage.agent("bot")
    outcome = await ask(stage)
    assert (outcome.allowed, outcome.payload) == (True, USE)
    assert outcome.payload is USE


async def test_gates_see_and_change_the_payload(stage: Any) -> None:
    """Each sees what the one before made of it."""
    await stage.agent("bot")
    gate(stage, lambda use: HookResult.modify(use.replace(arguments={"at": "y"})))
    seen = gate(stage, HookResult.allow())
    outcome = await ask(stage)

    assert outcome.payload.arguments == {"at": "y"}
    assert seen == [(outcome.payload, "r1")]


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (HookResult.block("not that"), "not that"),
        (ValueError("lost"), "hook_failed"),
        ("yes", "hook_failed"),
        (HookResult.modify("another kind"), "hook_failed"),
    ],
    ids=["a block", "an exception", "no verdict", "another payload"],
)
async def test_a_gate_that_does_not_say_yes_stops_it(stage: Any, verdict: Any, reason: str) -> None:
    await stage.agent("bot")
    gate(stage, verdict)
    outcome = await ask(stage)

    assert (outcome.allowed, outcome.reason, outcome.blocked_by) == (False, reason, "gatekeeper")


async def test_a_gate_that_is_late_stops_it(stage: Any) -> None:
    async def slow(payload: Any, context: Any) -> HookResult:
        await asyncio.sleep(60)
        return HookResult.allow()

    await stage.agent("bot")
    stage.kit.hook(TOOL, timeout=3)(slow)

    assert (await ask(stage)).reason == "hook_timeout"
    assert asyncio.get_running_loop().time() == 3


async def test_filters_go_by_the_channel_that_asks(stage: Any) -> None:
    """A gate for sockets is not asked about an agent's tools."""
    await stage.agent("bot")
    seen = gate(stage, HookResult.block("no"), channel_types={ChannelType.WEBSOCKET})

    assert (await ask(stage)).allowed
    assert seen == []


async def test_a_room_that_is_gone_permits_nothing(stage: Any) -> None:
    """Its gates can no longer be asked in its context."""
    await stage.agent("bot")
    gate(stage, HookResult.allow())

    assert (await ask(stage, "r9")).reason == "room_not_found"


async def test_observers_are_shown_what_a_channel_has_to_show(stage: Any) -> None:
    """Their failures are reported, and do not reach the channel."""
    await stage.agent("bot")
    seen = stage.observe(HookTrigger.ON_TOOL_CALL)

    async def broken(payload: Any, context: Any) -> None:
        raise ValueError("no")

    stage.kit.hook(HookTrigger.ON_TOOL_CALL)(broken)
    services = stage.kit.get_channel("bot").services
    await services.turns.observe(HookTrigger.ON_TOOL_CALL, USE, room_id="r1")
    await services.turns.observe(HookTrigger.ON_TOOL_CALL, USE, room_id="r9")

    assert seen == [USE]
    assert stage.facts("hook_error")[0]["hook"] == "broken"


async def test_services_say_whose_channel_they_are_of(stage: Any) -> None:
    """A part has its channel's: a provider behind several tells them apart."""
    await stage.agent("bot")
    services = stage.kit.get_channel("bot").services
    assert (services.channel_id, services.for_part(object()).channel_id) == ("bot", "bot")
    assert stage.kit.services.channel_id is None


async def test_a_channel_reports_and_spawns_as_the_kit_does(stage: Any) -> None:
    """Its events are framework events, its tasks are supervised, and the clock is the kit's."""
    await stage.agent("bot")
    services = stage.kit.get_channel("bot").services
    services.report("acme_rang", room_id="r1", channel_id="bot", times=3)

    async def fails() -> None:
        await asyncio.sleep(5)
        raise ValueError("no")

    services.tasks.spawn(fails(), name="ringing")
    await stage.idle()

    assert stage.facts("acme_rang") == [{"times": 3}]
    assert stage.facts("background_error") == [{"task": "ringing", "error": "ValueError: no"}]
    assert services.clock is stage.kit.clock
    assert (services.realtime, services.telemetry) == (stage.kit.realtime, stage.kit.telemetry)


def trace(room_id: str | None = "r1") -> ProtocolTrace:
    return ProtocolTrace(
        channel_id="sms", direction="inbound", protocol="http", summary="POST", room_id=room_id
    )


async def test_a_trace_reaches_its_observers(stage: Any) -> None:
    """Of the room it is about; one without a room, or without observers, costs nothing."""
    await stage.socket("sms")
    services = stage.kit.get_channel("sms").services
    services.trace(trace())
    seen = stage.observe(TRACE)
    services.trace(trace(None))
    services.trace(traced := trace())
    await stage.idle()

    assert seen == [traced]


async def test_closing_takes_every_step_and_reports_all_failures_together(bare_stage: Any) -> None:
    """A channel that fails or hangs does not keep the store open."""

    class Failing(RecordingChannel):
        async def close(self) -> None:
            raise ValueError("no")

    class Hanging(RecordingChannel):
        async def close(self) -> None:
            await asyncio.sleep(1000)

    stage = bare_stage(close_timeout=4)
    last = RecordingChannel("last")
    for channel in (Failing("failing"), Hanging("hanging"), last):
        stage.kit.register_channel(channel)
    with pytest.raises(CloseError) as raised:
        await stage.kit.close()

    failing, hanging = raised.value.exceptions
    assert failing.__notes__ == ["while closing: channel failing"]
    assert str(hanging) == "channel hanging did not end within the rest of 4 s"
    assert last.closed
    assert asyncio.get_running_loop().time() <= 5
    await stage.kit.close()


async def test_a_closing_step_that_ignores_its_cancellation_is_left_behind(bare_stage: Any) -> None:
    """The kit closes in its time, whatever a channel does."""

    class Stubborn(RecordingChannel):
        async def close(self) -> None:
            for _ in range(50):
                try:
                    await asyncio.sleep(100)
                except asyncio.CancelledError:
                    continue

    stage = bare_stage(close_timeout=4)
    stage.kit.register_channel(Stubborn("stubborn"))
    with pytest.raises(CloseError) as raised:
        await stage.kit.close()

    assert "channel stubborn did not end" in str(raised.value.exceptions[0])
    assert asyncio.get_running_loop().time() <= 6
