"""`roomkit chat`: talk from the terminal to one room with an assistant."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roomkit.kernel.kit import RoomKit
from roomkit.models.content import TextContent, text_of
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelCategory
from roomkit.models.event import RoomEvent
from roomkit.plugins import default_manager
from roomkit_plugins.cli.assistant import ASSISTANT, add_options, find_assistant
from roomkit_plugins.cli.lines import lines
from roomkit_plugins.cli.main import FAILED, OK
from roomkit_plugins.cli.stores import DEFAULT_FILE
from roomkit_plugins.cli.terminal import CommandError, Terminal, complain
from roomkit_plugins.cli.timeline import Timeline

if TYPE_CHECKING:
    from roomkit.models.framework_event import FrameworkEvent

__all__ = ["configure"]

CHANNEL, CONNECTION, MIRROR = "terminal", "this-terminal", "its-mirror"
_PACE = 0.03


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit chat`."""
    parser.description = (
        "Talks to an assistant, or to the agents of a configuration file. Reads what you type, or a pipe; "
        "into a pipe it writes the answers alone. Exit code 1 if an answer failed."
    )
    parser.add_argument("message", metavar="MESSAGE", nargs="?", help="say this one thing, and end")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help=f"build the kit from this file (default: {DEFAULT_FILE}, if there is one)",
    )
    parser.add_argument(
        "--profile", metavar="NAME", help="lay this profile over it (default: what ROOMKIT_PROFILE says)"
    )
    parser.add_argument("--agent", metavar="ID", help="talk to this agent of the file (default: to all)")
    parser.add_argument("--room", metavar="ID", default="chat", help="the room (default: chat)")
    parser.add_argument("--as", dest="person", metavar="NAME", default="you", help="who you are")
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="write one JSON object per line")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Chat until the input ends."""
    if options.config and (options.model or options.scripted):
        raise CommandError(
            "--config says which agents there are, and so do --model and --scripted",
            next_step="leave one out",
            code="wrong_usage",
        )
    if not (options.config or options.model or options.scripted) and Path(DEFAULT_FILE).is_file():
        options.config = DEFAULT_FILE
    if options.agent and not options.config:
        raise CommandError(
            f"--agent names an agent of a configuration file, and there is no {DEFAULT_FILE} here",
            next_step="add --config FILE",
            code="wrong_usage",
        )
    return asyncio.run(_run(options))


async def _run(options: argparse.Namespace) -> int:
    terminal = Terminal(as_json=options.json)
    manager = default_manager()
    websocket = await manager.aget("channel", "websocket")
    if options.config:
        kit, agents, note = await _configured(options)
    else:
        assistant = await find_assistant(manager, options, pace=_PACE if terminal.is_terminal else 0.0)
        kit, agents, note = RoomKit(plugins=manager), {ASSISTANT: assistant.describe()}, assistant.note
        kit.register_channel(assistant.channel)
    async with kit:
        kit.register_channel(websocket(CHANNEL))
        chat = Chat(kit, terminal, options)
        await chat.join(agents)
        chat.introduce(agents, note)
        await chat.converse(_one(options.message) if options.message is not None else lines())
        return chat.end()


async def _configured(options: argparse.Namespace) -> tuple[RoomKit, dict[str, dict[str, object]], str]:
    """Build the kit of a file; return it with its agents and what to say of them."""
    kit = await RoomKit.from_config(options.config, profile=options.profile)
    agents = {
        channel.channel_id: {"kind": channel.provider_name, **channel.info}
        for channel in kit.list_channels()
        if channel.category is ChannelCategory.INTELLIGENCE
    }
    if options.agent in agents:
        agents = {options.agent: agents[options.agent]}
    elif options.agent or not agents:
        there = f"; there are {', '.join(agents)}" if agents else ""
        await kit.close()
        raise CommandError(
            f"{options.config} has no agent{f' {options.agent!r}' if options.agent else ''}{there}",
            next_step=f"add a table [agents.{options.agent or ASSISTANT}] with plugin = ... to it, "
            "or talk to the script with --scripted",
            code="no_agent",
        )
    return kit, agents, f"{', '.join(agents)} of {options.config}"


async def _one(message: str) -> AsyncIterator[str]:
    yield message


class Chat:
    """One person's side of a room."""

    def __init__(self, kit: RoomKit, terminal: Terminal, options: argparse.Namespace) -> None:
        self._kit = kit
        self._terminal = terminal
        self._room = options.room
        self._person = options.person
        self._one_message = options.message is not None
        self._timeline = Timeline(terminal, {options.person: "green"})
        self._authors: dict[str, str] = {}  # bound: answers under way
        self._messages = 0
        self._failures = 0

    async def join(self, agents: dict[str, Any]) -> None:
        """Open the room, or go back into it, with the agents and this terminal."""
        kit = self._kit
        if await kit.store.get_room(self._room) is None:
            await kit.create_room(self._room)
        for channel_id in (CHANNEL, *agents):
            await kit.attach_channel(self._room, channel_id)
        kit.subscribe_events("agent_failed", self._on_failure)
        await kit.connect_websocket(
            CHANNEL,
            CONNECTION,
            self._on_event,
            stream_send_fn=self._on_frame,
            room_id=self._room,
            participant_id=self._person,
        )
        if self._terminal.as_json:
            # What one says is shown to one's other connections, in its place among the answers.
            await kit.connect_websocket(CHANNEL, MIRROR, self._on_own_event, room_id=self._room)

    def introduce(self, agents: dict[str, Any], note: str) -> None:
        """Say who is there: as JSON, or to a person at a terminal."""
        if self._terminal.as_json:
            self._timeline.record("started", room_id=self._room, people=[self._person], agents=agents)
        elif self._interactive:
            self._terminal.line(self._terminal.style(f"Room {self._room}: {note}. Ctrl-D ends.", "dim"))
        elif "a script answers" in note:
            complain(f"roomkit: {note}")

    @property
    def _interactive(self) -> bool:
        return (
            self._terminal.is_terminal
            and not self._terminal.as_json
            and not self._one_message
            and sys.stdin.isatty()
        )

    def _prompt(self) -> None:
        if self._interactive:
            self._terminal.write(self._terminal.style(f"{self._person}> ", "dim"))

    async def converse(self, said: AsyncIterator[str]) -> None:
        """Say one line after the other, each when the answers to the one before are there."""
        self._prompt()
        async for line in said:
            if line.strip():
                await self._say(line)
            self._prompt()
        if self._interactive:
            self._terminal.line()

    async def _say(self, text: str) -> None:
        self._messages += 1
        message = InboundMessage(
            channel_id=CHANNEL,
            sender_id=self._person,
            connection_id=CONNECTION,
            content=TextContent(body=text),
        )
        result = await self._kit.process_inbound(message, room_id=self._room)
        if result.blocked:
            self._failures += 1
            self._timeline.record(
                "blocked",
                event_id=result.event.id if result.event is not None else "",
                by=self._person,
                reason=result.reason,
                blocked_by=result.event.blocked_by if result.event is not None else None,
            )

    async def _on_own_event(self, connection_id: str, event: RoomEvent) -> None:
        if event.source.connection_id == CONNECTION:
            self._show(event)

    async def _on_event(self, connection_id: str, event: RoomEvent) -> None:
        if self._terminal.as_json or self._terminal.is_terminal:
            self._show(event)
        else:
            self._terminal.lines(text_of(event.content))

    async def _on_frame(self, connection_id: str, frame: Any) -> None:
        if frame.type == "stream_start":
            self._authors[frame.stream_id] = frame.source.channel_id
        elif frame.type == "stream_chunk":
            if self._terminal.as_json or self._terminal.is_terminal:
                self._timeline.chunk(frame.stream_id, self._authors[frame.stream_id], frame.delta)
            else:
                self._terminal.write(frame.delta, keep_lines=True)
        elif frame.type == "stream_end":
            del self._authors[frame.stream_id]
            if self._terminal.as_json or self._terminal.is_terminal:
                self._show(frame.event)
            else:
                self._terminal.line()
        else:
            del self._authors[frame.stream_id]
            self._timeline.broken_off(frame.stream_id)

    async def _on_failure(self, notice: FrameworkEvent) -> None:
        self._failures += 1
        fields = {
            "channel_id": notice.channel_id,
            "code": notice.data.get("code"),
            "error": notice.data.get("error"),
        }
        if self._terminal.as_json:
            self._timeline.record("failed", event_id=notice.event_id, **fields)
        else:
            complain(f"roomkit: {notice.channel_id} failed: {fields['code']} ({fields['error']})")

    def _show(self, event: RoomEvent) -> None:
        self._timeline.record(
            "event",
            event_id=event.id,
            index=event.index,
            by=event.source.participant_id or event.source.channel_id,
            channel_id=event.source.channel_id,
            event_type=str(event.type),
            text=text_of(event.content),
            finish_reason=event.generation.finish_reason if event.generation is not None else None,
        )
        self._timeline.forget(event.id)

    def end(self) -> int:
        """Say how it went; return the exit code."""
        if self._terminal.as_json:
            self._timeline.record("ended", messages=self._messages, failures=self._failures)
        return FAILED if self._failures else OK
