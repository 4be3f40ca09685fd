"""Connections that break, things that are no messages, and sources at work in a kit."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from roomkit import InMemoryStore, RoomKit
from roomkit.models import InboundMessage, RateLimit, SourceStatus, TextContent
from roomkit.plugins import default_manager
from roomkit.sources import SSESource, WebSocketSource
from roomkit_plugins.sources import SourceBrokenError, SourceNotConnectedError
from roomkit_plugins.testing import RecordingChannel
from roomkit_plugins.testing.contracts.source import Emitted, running

from .servers import EventServer, SocketServer, said


@pytest.fixture
async def sockets() -> AsyncIterator[SocketServer]:
    async with SocketServer() as server:
        yield server


@pytest.fixture
async def events() -> AsyncIterator[EventServer]:
    async with EventServer() as server:
        yield server


def texts(messages: list[InboundMessage]) -> list[str]:
    return [each.content.body for each in messages if isinstance(each.content, TextContent)]


# -- messages read -----------------------------------------------------------------------------


async def test_a_web_socket_is_opened_as_it_is_said(sockets: SocketServer) -> None:
    """With headers, subprotocol and origin; secrets go to the server alone."""
    headers = {"X-Team": "blue", "Authorization": SecretStr("Bearer CANARY")}
    source = WebSocketSource(
        sockets.url, "chat", headers=headers, subprotocols=["chat"], origin="https://app.example"
    )
    sockets.say(said(1), said(2).encode())
    emitted = Emitted(expected=2)
    async with running(source, emitted):
        messages = await emitted.all()
        await source.send("hello")
        assert await sockets.heard.get() == "hello"
    asked = sockets.requests[0].headers
    assert (asked["x-team"], asked["authorization"]) == ("blue", "Bearer CANARY")
    assert (asked["sec-websocket-protocol"], asked["origin"]) == ("chat", "https://app.example")
    assert texts(messages) == ["number 1", "number 2"]
    assert [each.idempotency_key for each in messages] == ["m-1", "m-2"]
    assert (messages[0].channel_id, messages[0].sender_id) == ("chat", "ann")
    assert messages[0].raw_payload["external_id"] == "m-1"


async def test_nothing_is_sent_without_a_connection() -> None:
    with pytest.raises(SourceNotConnectedError, match="there is no connection") as caught:
        await WebSocketSource("ws://127.0.0.1:9/", "chat").send("hello")
    assert isinstance(caught.value, RuntimeError)


BAD = (
    "{",
    "[]",
    "{}",
    '{"sender_id": 7}',
    '{"sender_id": "a", "text": []}',
    '{"sender_id": "a", "metadata": 1}',
)


async def test_what_is_no_message_is_counted_and_reported(sockets: SocketServer) -> None:
    """And the connection stays: what follows is taken."""
    reports: list[Any] = []
    async with RoomKit() as kit:
        kit.register_channel(RecordingChannel("chat"))
        kit.on("source_unparsed")(_collector(reports))
        sockets.say(*BAD, said(1))
        source = WebSocketSource(sockets.url, "chat")
        await kit.attach_source("chat", source)
        await _until(lambda: source._unparsed == len(BAD) and len(reports) == len(BAD))
        health = await kit.source_health("chat")
    assert health is not None
    assert health.metadata["unparsed"] == len(BAD)
    assert {report.data["source_name"] for report in reports} == {source.name}
    assert all("{" not in report.data["error"] for report in reports)


async def test_a_parser_decides_what_is_for_rooms(sockets: SocketServer, events: EventServer) -> None:
    """None is ignored and counted; what a parser raises is reported."""

    def parser(*given: Any) -> InboundMessage | None:
        if "skip" in given[-1 if len(given) == 1 else 1]:
            return None
        if "break" in given[-1 if len(given) == 1 else 1]:
            raise ZeroDivisionError
        return InboundMessage(channel_id="chat", sender_id="ann", content=TextContent(body=repr(given)))

    source = WebSocketSource(sockets.url, "chat", parser=parser)
    sockets.say("skip", "break", "go")
    emitted = Emitted()
    async with running(source, emitted):
        assert texts(await emitted.all()) == ["('go',)"]
    assert (await source.healthcheck()).metadata == {"unparsed": 1, "ignored": 1}
    await events.say_raw("data: skip\n\n", "data: break\n\n", "event: note\nid: n-3\ndata: go\ndata: on\n\n")
    stream = SSESource(events.url, "chat", parser=parser)
    emitted = Emitted()
    async with running(stream, emitted):
        (message,) = await emitted.all()
    assert texts([message]) == ["('note', 'go\\non', 'n-3')"]
    assert (message.external_id, message.idempotency_key) == ("n-3", "n-3")


async def test_an_event_without_an_id_has_not_the_one_before(events: EventServer) -> None:
    """Else it would be taken for a redelivery; events of other names are not for rooms."""
    await events.say_raw(
        'id: 1\ndata: {"sender_id": "a", "text": "one"}\n\n',
        'data: {"sender_id": "a", "text": "two"}\n\n',
        'event: presence\ndata: {"sender_id": "a", "text": "no"}\n\n',
        ": a comment\n\n",
        "id: 4\n\n",
        'event: chat\ndata: {"sender_id": "a", "text": "three", "external_id": "mine"}\n\n',
    )
    source = SSESource(events.url, "chat")
    emitted = Emitted(expected=3)
    async with running(source, emitted):
        messages = await emitted.all()
    assert texts(messages) == ["one", "two", "three"]
    assert [each.idempotency_key for each in messages] == ["1", None, "mine"]
    assert source.last_event_id == "4"
    assert (await source.healthcheck()).metadata == {"unparsed": 0, "ignored": 1}


async def test_the_url_is_in_no_log(events: EventServer, caplog: pytest.LogCaptureFixture) -> None:
    """User, password and query may be keys."""
    caplog.set_level("INFO")
    await events.say(said(1))
    url = events.url.replace("://", "://ann:CANARY@")
    emitted = Emitted()
    async with running(SSESource(url, "chat", params={"key": "CANARY"}), emitted):
        await emitted.all()
    assert "CANARY" not in caplog.text


# -- connections that break --------------------------------------------------------------------


async def test_without_reconnect_a_broken_connection_is_raised(sockets: SocketServer) -> None:
    async def drop() -> int:
        await sockets.drop()
        return 0

    source = WebSocketSource(sockets.url, "chat")
    sockets.say(said(1))
    with pytest.raises(SourceBrokenError, match="is not connected") as caught:
        await source.start(Emitted(before=drop))
    health = await source.healthcheck()
    assert (health.status, health.error) == (SourceStatus.ERROR, str(caught.value))
    assert not caught.value.is_final


async def test_a_web_socket_connects_again(sockets: SocketServer) -> None:
    """As often as it breaks, soon after one that was good."""
    source = WebSocketSource(sockets.url, "chat", reconnect=True, max_reconnect_backoff=0.01)
    emitted = Emitted(expected=3)
    async with running(source, emitted):
        for number in range(3):
            sockets.say(said(number))
            await _until(lambda number=number: len(emitted._messages) == number + 1)  # type: ignore[misc]
            if number < 2:
                await sockets.drop()
        await emitted.all()
    assert sockets.connections == 3


async def test_a_stream_goes_on_after_the_last_event(events: EventServer) -> None:
    """Nothing is lost and nothing comes twice, however often the server ends the stream."""
    await events.say(*map(said, range(6)))
    source = SSESource(events.url, "chat", reconnect=True, max_reconnect_backoff=0.01)
    emitted = Emitted(expected=6)
    events.end_after = 2
    async with running(source, emitted):
        await _until(lambda: len(emitted._messages) >= 2)
        messages = await emitted.all()
    assert texts(messages) == [f"number {number}" for number in range(6)]
    assert [each.headers.get("last-event-id") for each in events.requests] == [None, "2"]


async def test_the_server_says_how_long_to_wait(events: EventServer) -> None:
    """By `retry`, in milliseconds, up to the longest wait of ours."""
    await events.say_raw(f"retry: 20\nid: 1\ndata: {said(1)}\n\n", f"id: 2\ndata: {said(2)}\n\n")
    events.end_after = 1
    source = SSESource(events.url, "chat", reconnect=True, max_reconnect_backoff=3600)
    emitted = Emitted(expected=2)
    async with running(source, emitted):
        assert len(await emitted.all()) == 2


class Hasty(SSESource):
    """Notes how long it waits, and does not."""

    pauses: list[float]

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if len(self.pauses) == 4:
            await self.stop()


@pytest.mark.parametrize(
    ("retry", "pauses"),
    [("0", [0.1, 0.2, 0.4, 0.8]), ("-5", [0.1, 0.2, 0.4, 0.8]), ("9" * 400, [60.0] * 4)],
)
async def test_a_server_cannot_have_the_source_call_without_a_pause(
    events: EventServer, retry: str, pauses: list[float]
) -> None:
    """Nor wait longer than it may."""
    await events.say_raw(f"retry: {retry}\nid: 1\ndata: {said(1)}\n\n")
    events.end_after = 1
    source = Hasty(events.url, "chat", reconnect=True, max_reconnect_backoff=60.0)
    source.pauses = []
    emitted = Emitted()
    async with running(source, emitted):
        await emitted.all()
        events.refuse_with = 503
        await _until(lambda: source.status is SourceStatus.STOPPED)
    assert source.pauses == pytest.approx(pauses)


async def test_a_server_that_takes_a_connection_has_to_answer_in_time() -> None:
    """Not only to take it: events may be any time apart, the answer's head may not."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    source = SSESource(f"http://127.0.0.1:{port}/events", "chat", timeout=0.1)
    async with silent, asyncio.timeout(60):
        with pytest.raises(SourceBrokenError, match=r"did not answer within 0\.1 s"):
            await source.start(Emitted())


async def test_a_server_that_is_gone_without_a_word_is_found_out(events: EventServer) -> None:
    """By probes of TCP, since a stream may be silent for hours."""

    class Seen(SSESource):
        async def _receive(self, answer: Any, emit: Any) -> None:
            line = answer.extensions["network_stream"].get_extra_info("socket")
            self.is_probed = line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            await super()._receive(answer, emit)

    source = Seen(events.url, "chat")
    await events.say(said(1))
    emitted = Emitted()
    async with running(source, emitted):
        await emitted.all()
    assert source.is_probed


@pytest.mark.parametrize(
    ("status", "is_final"), [(401, True), (404, True), (302, True), (429, False), (503, False)]
)
async def test_a_refusal_that_stays_ends_the_source(events: EventServer, status: int, is_final: bool) -> None:
    """Although it reconnects; a redirect is a refusal. What may pass is raised without `reconnect` alone."""
    events.refuse_with = status
    with pytest.raises(SourceBrokenError, match=str(status)) as caught:
        await SSESource(events.url, "chat", reconnect=is_final).start(Emitted())
    assert caught.value.is_final is is_final
    url = events.url.replace("http", "ws", 1)
    with pytest.raises(SourceBrokenError, match=str(status)) as caught:
        await WebSocketSource(url, "chat", reconnect=is_final).start(Emitted())
    assert caught.value.is_final is is_final


async def test_a_server_may_end_the_stream_for_good(events: EventServer) -> None:
    events.refuse_with = 204
    source = SSESource(events.url, "chat", reconnect=True)
    await source.start(Emitted())
    assert source.status is SourceStatus.STOPPED


async def test_what_is_no_event_stream_is_said(events: EventServer) -> None:
    events.content_type = "text/html"
    await events.say(said(1))
    with pytest.raises(SourceBrokenError, match="text/event-stream"):
        await SSESource(events.url, "chat", reconnect=True).start(Emitted())


async def test_a_message_that_is_too_large_breaks_a_web_socket(sockets: SocketServer) -> None:
    """It is never cut. An event's stream goes on after it, see `test_bounded`."""
    sockets.say(json.dumps({"sender_id": "a", "text": "x" * 5000}))
    with pytest.raises(SourceBrokenError, match="is not connected"):
        await WebSocketSource(sockets.url, "chat", max_size=1000).start(Emitted())


async def test_a_source_that_waits_to_connect_stops_at_once() -> None:
    source = WebSocketSource("ws://127.0.0.1:9/", "chat", reconnect=True, max_reconnect_backoff=3600)
    async with running(source, Emitted()):
        await _until(lambda: source.status is SourceStatus.RECONNECTING)
    assert source.status is SourceStatus.STOPPED


# -- in a kit ----------------------------------------------------------------------------------


async def test_the_position_is_kept_for_the_next_worker(events: EventServer) -> None:
    """With the kit's values, after what it covers."""
    store = InMemoryStore()
    await events.say(said(0), said(1))
    for expected in (2, 3):
        kit = RoomKit(store=store)
        channel = RecordingChannel("chat")
        kit.register_channel(channel)
        source = SSESource(events.url, "chat")
        await kit.attach_source("chat", source, single=True)
        await _until(lambda: source.last_event_id == str(expected))  # noqa: B023
        await kit.detach_source("chat")
        await kit.close()
        await events.say(said(2))
    assert [each.headers.get("last-event-id") for each in events.requests] == [None, "2"]


async def test_a_limit_slows_the_source_and_drops_nothing(sockets: SocketServer) -> None:
    sockets.say(*map(said, range(4)))
    source = WebSocketSource(sockets.url, "chat", rate_limit=RateLimit(max_per_second=20, burst=1))
    emitted = Emitted(expected=4)
    started = asyncio.get_running_loop().time()
    async with running(source, emitted):
        assert len(await emitted.all()) == 4
    assert asyncio.get_running_loop().time() - started >= 3 / 20


# -- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "fields", "said"),
    [
        (WebSocketSource, {"url": "https://chat.example/"}, "wss://host/path"),
        (WebSocketSource, {"url": "wss:///"}, "wss://host/path"),
        (WebSocketSource, {"url": "wss://chat.example:0/"}, "wss://host/path"),
        (WebSocketSource, {"url": "wss://chat.example/a b"}, "wss://host/path"),
        (WebSocketSource, {"max_size": 0}, "max_size"),
        (WebSocketSource, {"headers": {"Authorization": "CANARY"}}, "SecretStr"),
        (SSESource, {"url": "ws://chat.example/?k=CANARY"}, "https://host/path"),
        (SSESource, {"timeout": 0}, "timeout"),
        (SSESource, {"max_reconnect_backoff": 0}, "max_reconnect_backoff"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    source: Callable[..., Any], fields: dict[str, Any], said: str
) -> None:
    good = "wss://chat.example/" if source is WebSocketSource else "https://chat.example/"
    with pytest.raises(ValidationError, match=said) as caught:
        source(**{"url": good, "channel_id": "chat", **fields})
    assert "CANARY" not in str(caught.value)


async def test_a_source_is_built_from_a_configuration(events: EventServer) -> None:
    table = {"url": events.url, "channel_id": "chat", "params": {"k": "v"}}
    source = await default_manager().acreate("source", "sse", table)
    await events.say(said(1))
    emitted = Emitted()
    async with running(source, emitted):
        await emitted.all()
    assert events.requests[0].query == {"k": "v"}


def _collector(reports: list[Any]) -> Any:
    async def collect(event: Any) -> None:
        reports.append(event)

    return collect


async def _until(happened: Callable[[], bool]) -> None:
    """Wait until something of another task has happened."""
    async with asyncio.timeout(20):
        while not happened():  # noqa: ASYNC110  # the server is what changes
            await asyncio.sleep(0)
