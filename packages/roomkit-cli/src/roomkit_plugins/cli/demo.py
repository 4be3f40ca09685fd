"""`roomkit demo`: a room on this machine, two people on real web sockets, and an assistant."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from websockets.exceptions import ConnectionClosed

from roomkit.kernel.kit import RoomKit
from roomkit.models.content import TextContent, text_of
from roomkit.models.enums import EventType, HookTrigger
from roomkit.models.hook import HookResult
from roomkit.plugins import default_manager
from roomkit_plugins.cli.assistant import ASSISTANT, Assistant, add_options, find_assistant
from roomkit_plugins.cli.lines import lines
from roomkit_plugins.cli.main import FAILED, OK
from roomkit_plugins.cli.person import DemoPerson
from roomkit_plugins.cli.terminal import CommandError, Terminal
from roomkit_plugins.cli.timeline import Timeline

if TYPE_CHECKING:
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent
    from roomkit.models.framework_event import FrameworkEvent

__all__ = ["configure"]

ROOM, CHANNEL, GATE = "demo", "web", "mask-card-numbers"
PEOPLE = ("alice", "bob")
_STYLES = {"alice": "green", "bob": "cyan", ASSISTANT: "blue"}
_PATIENCE = 5.0
"""Seconds in which a delivery reaches a socket of this machine."""
_PACE = 0.03
_LONGEST_FRAME = 1 << 20
"""Bytes; the longest line there can be fits."""
_HELP = """\
  text                 say it as {speaker}
  bob: text            say it as bob (or alice)
  /as bob [text]       go on as bob, or say one thing as bob
  /help  /quit"""


class SocketServer(Protocol):
    """What the demo needs of the web-socket plugin's server."""

    def url(self, room_id: str, participant_id: str | None = None) -> str:
        """Where a person connects to."""

    async def start(self) -> None:
        """Listen."""

    async def close(self) -> None:
        """Stop."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit demo`."""
    parser.description = (
        "Starts a room with two people on real web sockets and an assistant. Reads what you type, or a "
        "pipe, and shows what happens: who said what, which hook acted, where it was delivered. "
        "Exit code 1 if the assistant failed to answer."
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "What you can type:\n" + _HELP.format(speaker=PEOPLE[0])
    add_options(parser)
    parser.add_argument("--port", type=_port, default=0, help="listen on this port (default: a free one)")
    parser.add_argument("--json", action="store_true", help="write one JSON object per line")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the demo until the input ends."""
    return asyncio.run(_run(options))


async def _run(options: argparse.Namespace) -> int:
    terminal = Terminal(as_json=options.json)
    try:
        async with _open(options, terminal) as demo:
            demo.introduce()
            await demo.converse()
            return demo.end()
    except BaseExceptionGroup as group:  # a task group's: its first error is the reason
        raise group.exceptions[0] from None


@asynccontextmanager
async def _open(options: argparse.Namespace, terminal: Terminal) -> AsyncIterator[Demo]:
    """Build everything, and take it down again in the reverse order, whatever happens."""
    manager = default_manager()
    channel = (await manager.aget("channel", "websocket"))(CHANNEL)
    assistant = await find_assistant(manager, options, pace=_PACE if terminal.is_terminal else 0.0)
    async with RoomKit(plugins=manager) as kit:
        kit.register_channel(channel)
        kit.register_channel(assistant.channel)
        await kit.create_room(ROOM)
        await kit.attach_channel(ROOM, CHANNEL)
        await kit.attach_channel(ROOM, ASSISTANT)
        server: SocketServer = channel.serve(kit, port=options.port, max_frame_bytes=_LONGEST_FRAME)
        try:
            await server.start()
        except OSError as error:
            raise CommandError(
                f"port {options.port} cannot be had: {error.strerror or error}",
                next_step="leave --port out, and a free one is chosen",
                code="port_unavailable",
            ) from error
        room = await kit.get_room(ROOM)
        demo = Demo(kit, server, assistant, terminal, since=room.latest_index)
        try:
            async with asyncio.TaskGroup() as listeners:
                for person in demo.people.values():
                    await person.connect(server.url(ROOM, person.name))
                    listeners.create_task(person.listen(), name=f"socket of {person.name}")
                try:
                    yield demo
                finally:
                    for person in demo.people.values():
                        await person.close()
        finally:
            await server.close()


class Demo:
    """The room, and its display."""

    def __init__(
        self, kit: RoomKit, server: SocketServer, assistant: Assistant, terminal: Terminal, since: int
    ) -> None:
        self._kit = kit
        self._server = server
        self._assistant = assistant
        self._terminal = terminal
        self._timeline = Timeline(terminal, _STYLES)
        self.people = {name: DemoPerson(name, self._on_frame) for name in PEOPLE}
        self._speaker = PEOPLE[0]
        self._messages = 0
        self._failures = 0
        self._checked = since
        self._processed: set[str] = set()  # bound: events under way
        self._seen: set[tuple[str, str]] = set()  # bound: events under way
        self._changed = asyncio.Event()
        self._watch()

    # -- display ------------------------------------------------------------------------

    def _watch(self) -> None:
        kit = self._kit
        kit.hook(HookTrigger.BEFORE_BROADCAST, name=GATE, channel_ids={CHANNEL})(self._mask)
        for kind in ("delivery_succeeded", "delivery_skipped", "delivery_failed"):
            kit.subscribe_events(kind, self._on_delivery)
        kit.subscribe_events("event_processed", self._on_processed)
        kit.subscribe_events("event_blocked", self._on_blocked)
        kit.subscribe_events("agent_failed", self._on_failure)

    async def _mask(self, event: RoomEvent, context: RoomContext) -> HookResult:
        """Mask card numbers: the sample gate."""
        started = asyncio.get_running_loop().time()
        masked = mask_card_numbers(text_of(event.content))
        if not isinstance(event.content, TextContent) or masked == event.content.body:
            return HookResult.allow()
        result = HookResult.modify(event.replace(content=event.content.replace(body=masked)))
        duration = (asyncio.get_running_loop().time() - started) * 1000
        self._timeline.detail(
            "hook", event.id, hook=GATE, action=result.action, duration_ms=round(duration, 3)
        )
        return result

    async def _on_delivery(self, notice: FrameworkEvent) -> None:
        duration = notice.data.get("duration_ms")
        self._timeline.detail(
            "delivery",
            notice.event_id or "",
            channel_id=notice.channel_id,
            state={"succeeded": "sent"}.get(notice.type.removeprefix("delivery_"), notice.type[9:]),
            duration_ms=None if duration is None else round(duration, 3),
            reason=notice.data.get("reason"),
            code=notice.data.get("code"),
            error=notice.data.get("error"),
        )

    async def _on_processed(self, notice: FrameworkEvent) -> None:
        self._processed.add(notice.event_id or "")
        self._changed.set()

    async def _on_blocked(self, notice: FrameworkEvent) -> None:
        event = await self._kit.store.get_event(notice.event_id or "")
        self._timeline.record(
            "blocked",
            event_id=notice.event_id,
            by=_author(event) if event is not None else "",
            reason=notice.data.get("reason"),
            blocked_by=notice.data.get("blocked_by"),
        )

    async def _on_failure(self, notice: FrameworkEvent) -> None:
        self._failures += 1
        self._timeline.detail(
            "failed",
            notice.event_id or "",
            channel_id=notice.channel_id,
            code=notice.data.get("code"),
            error=notice.data.get("error"),
        )

    async def _on_frame(self, person: DemoPerson, frame: dict[str, Any]) -> None:
        """Show the frames of a socket: pieces of answers once, events when they are first seen."""
        kind = frame["type"]
        if kind == "stream_chunk" and person.name == PEOPLE[0]:
            self._timeline.chunk(frame["stream_id"], ASSISTANT, frame["delta"])
        elif kind == "stream_error":
            self._timeline.broken_off(frame["stream_id"])
        elif kind in ("event", "stream_end"):
            await self._on_event(person, frame["event"]["id"])

    async def _on_event(self, person: DemoPerson, event_id: str) -> None:
        now = self._kit.clock.now()
        event = await self._kit.store.get_event(event_id)
        if event is not None:
            if person.name == next(name for name in PEOPLE if name != event.source.participant_id):
                self._show(event)
            after = (now - event.created_at).total_seconds() * 1000
            self._timeline.detail("seen", event_id, by=person.name, after_ms=round(after, 3))
        self._seen.add((event_id, person.name))
        self._changed.set()

    def _show(self, event: RoomEvent) -> None:
        self._timeline.record(
            "event",
            event_id=event.id,
            index=event.index,
            by=_author(event),
            channel_id=event.source.channel_id,
            event_type=str(event.type),
            text=text_of(event.content),
            finish_reason=event.generation.finish_reason if event.generation is not None else None,
        )

    # -- what happens -------------------------------------------------------------------------

    def introduce(self) -> None:
        """Print the room's address and its parts."""
        url = self._server.url(ROOM)
        if self._terminal.as_json:
            self._timeline.record(
                "started",
                room_id=ROOM,
                url=url,
                people=list(PEOPLE),
                gate=GATE,
                assistant=self._assistant.describe(),
            )
            return
        line = self._terminal.line
        line(self._terminal.style(f"A room is open at {url}", "bold"))
        line(f"  people     {' and '.join(PEOPLE)}, each on a web socket")
        line(f"  assistant  {self._assistant.note}")
        line(f"  gate       {GATE}; try: my card is 4111 1111 1111 1111")
        if self._interactive:
            line(f"You are {self._speaker}. Type a message; `bob: hello` speaks as bob; /help; Ctrl-D ends.")
        line()

    @property
    def _interactive(self) -> bool:
        return self._terminal.is_terminal and not self._terminal.as_json and sys.stdin.isatty()

    def _prompt(self) -> None:
        if self._interactive:
            self._terminal.write(self._terminal.style(f"{self._speaker}> ", "dim"))

    async def converse(self) -> None:
        """Take the input line by line; the next is taken when all that follows from one has happened."""
        self._prompt()
        async for line in lines():
            if line.strip() and not await self._take(line.strip()):
                return
            self._prompt()
        if self._interactive:
            self._terminal.line()

    async def _take(self, line: str) -> bool:
        """Do what a line says; False when it is the last."""
        if line in ("/quit", "/exit"):
            return False
        if line == "/help":
            self._terminal.lines(_HELP.format(speaker=self._speaker))
            return True
        if line.startswith("/as ") or line == "/as":
            _, name, text = [*line.split(maxsplit=2), "", ""][:3]
            if name not in self.people:
                self._wrong(line, f"no participant is called {name!r} here; there are {' and '.join(PEOPLE)}")
            elif text:
                await self._say(name, text)
            else:
                self._speaker = name
            return True
        if re.match(r"/[a-z]+\b", line):
            self._wrong(line, "unknown command; /help lists them")
            return True
        name, colon, text = line.partition(":")
        if colon and name in self.people and text.strip():
            await self._say(name, text.strip())
        else:
            await self._say(self._speaker, line)
        return True

    def _wrong(self, line: str, message: str) -> None:
        self._timeline.record("wrong", text=line, message=message)

    async def _say(self, name: str, text: str) -> None:
        self._messages += 1
        try:
            answer = await self.people[name].say(text)
        except (ConnectionError, ConnectionClosed) as error:
            raise CommandError(
                f"the connection of {name} is closed: {error}",
                next_step="run it again with --verbose",
                code="connection_closed",
            ) from error
        if answer["type"] == "ack":
            event = await self._kit.store.get_event(answer["event_id"])
            assert event is not None  # it was acknowledged
            self._show(event)
        elif answer["code"] != "blocked":
            self._wrong(text, f"{answer['message']} ({answer['code']}): {answer['next_step']}")
        await self._settle()

    async def _settle(self) -> None:
        """Wait until every event so far was delivered, answered, and seen by whom it was for."""
        settled: list[str] = []  # bound: what followed from one message
        while page := await self._kit.get_timeline(ROOM, limit=100, after_index=self._checked):
            for event in page:
                while event.id not in self._processed:
                    self._changed.clear()
                    await self._changed.wait()
                await self._until_seen(event)
                self._processed.discard(event.id)
                self._seen -= {(event.id, name) for name in PEOPLE}
                settled.append(event.id)
                self._checked = event.index
        for event_id in settled:
            self._timeline.forget(event_id)

    async def _until_seen(self, event: RoomEvent) -> None:
        if event.type is not EventType.MESSAGE or event.visibility != "all" or event.blocked_by:
            return
        missing = {(event.id, name) for name in PEOPLE if name != event.source.participant_id}
        try:
            async with asyncio.timeout(_PATIENCE):
                while missing - self._seen:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            raise CommandError(
                f"event {event.index} did not come out of every socket within {_PATIENCE:.0f} s",
                next_step="run it again with --verbose",
                code="not_seen",
            ) from error

    def end(self) -> int:
        """Say how it went; return the exit code."""
        if self._terminal.as_json:
            self._timeline.record("ended", messages=self._messages, failures=self._failures)
        return FAILED if self._failures else OK


def mask_card_numbers(text: str) -> str:
    """Return `text` with all but the last four digits of what looks like a payment card's number masked.

    Thirteen to nineteen digits that pass Luhn's check (ISO/IEC 7812-1, annex B), however grouped.
    """
    return re.sub(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)", lambda found: _masked(found[0]), text)


def _masked(number: str) -> str:
    digits = [int(mark) for mark in number if mark.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    if (sum(doubled) + sum(digits[-1::-2])) % 10:
        return number
    left, masked = len(digits) - 4, ""
    for mark in number:
        masked += "*" if mark.isdigit() and left > 0 else mark
        left -= mark.isdigit()
    return masked


def _author(event: RoomEvent) -> str:
    return event.source.participant_id or event.source.channel_id


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65_535:
        raise argparse.ArgumentTypeError(f"{port} is not a port; use 0 to 65535")
    return port
