"""Protocol traces: what a channel shows of its vendor's protocol, and to which observers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomkit.models.enums import HookExecution, HookTrigger
from roomkit.models.trace import ProtocolTrace
from roomkit_plugins.testing import RecordingChannel

pytestmark = pytest.mark.virtual_time

TRACE = HookTrigger.ON_PROTOCOL_TRACE


def trace(**fields: Any) -> ProtocolTrace:
    return ProtocolTrace(
        **{"channel_id": "sip", "direction": "inbound", "protocol": "sip", "summary": "INVITE", **fields}
    )


class Calls(RecordingChannel):
    """A channel that knows the room of each call."""

    def __init__(self) -> None:
        super().__init__("sip")
        self.rooms = {"call-1": "r1"}

    def resolve_trace_room(self, session_id: str) -> str | None:
        return self.rooms.get(session_id)


async def test_a_trace_is_shown_with_the_room_of_its_session(stage: Any) -> None:
    """Its own room comes first; one of no room is dropped."""
    channel, seen = await stage.join(Calls()), stage.observe(TRACE)
    channel.emit_trace(trace(session_id="call-1"))
    channel.emit_trace(trace(room_id="r1", session_id="call-2"))
    channel.emit_trace(trace(session_id="call-2"))
    channel.emit_trace(trace())
    await stage.idle()
    assert [(each.room_id, each.session_id) for each in seen] == [("r1", "call-1"), ("r1", "call-2")]


async def test_traces_are_enabled_while_they_have_an_observer(stage: Any) -> None:
    """A hook for all rooms, one for one room, or a callback of the channel."""
    channel = await stage.join(Calls())
    assert not channel.trace_enabled

    async def own(_trace: object, _context: object) -> None: ...

    stage.kit.add_room_hook("r1", TRACE, HookExecution.ASYNC, own, name="own")
    assert channel.trace_enabled
    stage.kit.remove_room_hook("r1", "own")
    assert not channel.trace_enabled
    channel.on_trace(lambda _trace: None)
    assert channel.trace_enabled
    assert not RecordingChannel("unregistered").trace_enabled


async def test_a_channels_own_observers_choose_protocols(stage: Any) -> None:
    """Functions and coroutine functions; one that fails is logged and stops no other."""
    channel = await stage.join(Calls())
    everything: list[str] = []
    only_rtp: list[str] = []

    def broken(_trace: ProtocolTrace) -> None:
        raise ValueError("no")

    async def later(seen: ProtocolTrace) -> None:
        await asyncio.sleep(1)
        only_rtp.append(seen.summary)

    channel.on_trace(broken)
    channel.on_trace(lambda seen: everything.append(seen.summary))
    channel.on_trace(later, protocols=["rtp"])
    for protocol in ("sip", "rtp"):
        channel.emit_trace(trace(protocol=protocol, summary=protocol))
    await stage.idle()
    assert (everything, only_rtp) == (["sip", "rtp"], ["rtp"])


async def test_a_coroutine_observer_of_a_channel_without_a_kit_is_not_called_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """There is nothing that would run it."""
    channel = Calls()

    async def observer(_trace: ProtocolTrace) -> None: ...

    channel.on_trace(observer)
    channel.emit_trace(trace())
    assert "channel sip is not registered" in caplog.text


async def test_traces_that_come_before_their_room_are_shown_when_it_is_there(stage: Any) -> None:
    """The newest hundred of each, once a channel is attached."""
    channel = Calls()
    stage.kit.register_channel(channel)
    seen = stage.observe(TRACE)
    for number in range(120):
        channel.emit_trace(trace(room_id="later", summary=str(number)))
    await stage.idle()
    assert seen == []
    await stage.kit.create_room("later")
    await stage.kit.attach_channel("later", "sip")
    await stage.idle()
    assert [each.summary for each in seen] == [str(number) for number in range(20, 120)]


async def test_traces_of_rooms_that_never_come_are_bounded(stage: Any) -> None:
    channel = Calls()
    stage.kit.register_channel(channel)
    stage.observe(TRACE)
    for number in range(150):
        channel.emit_trace(trace(room_id=f"never-{number}"))
    await stage.idle()
    assert len(stage.kit._kernel.entry.traces._early) == 100
