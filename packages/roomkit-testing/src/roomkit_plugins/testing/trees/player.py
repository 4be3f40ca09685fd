"""Carries out commands on a kit, from outside and from inside of its hooks and turns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from roomkit.abc.channel import Channel
from roomkit.abc.errors import RoomAlreadyExistsError, RoomKitError, RoomNotFoundError
from roomkit.models.channel import ChannelBinding, ChannelOutput
from roomkit.models.content import DeleteContent, EditContent, EventContent, TextContent
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import Access, DeleteType, EventType, HookTrigger
from roomkit.models.event import RoomEvent
from roomkit.models.hook import HookResult
from roomkit.models.room import RoomTimers
from roomkit_plugins.testing.history import Sending
from roomkit_plugins.testing.mocks.channels import ScriptedIntelligence
from roomkit_plugins.testing.trees.commands import (
    AGENT,
    CARRIER,
    PEOPLE,
    TALKERS,
    CommandOutcome,
    Inside,
    Kind,
    TreeCommand,
)

if TYPE_CHECKING:
    from roomkit import RoomKit

__all__ = ["VETO", "Player", "TreeAgent", "answer_to", "command_of", "watch"]

VETO = "vetoed"
_KEY = "tree"
_AT_ONCE = 1e-6
_PAUSE = 0.002
"""Seconds between two words of an answer that streams: long enough for something to happen."""


def command_of(event: RoomEvent) -> TreeCommand | None:
    """Return the command that an event was made by."""
    values = event.metadata.get(_KEY)
    return TreeCommand.of_json(values) if isinstance(values, Mapping) else None


def answer_to(label: str) -> str:
    """Return what the agent answers."""
    return f"re: {label}"


class Player:
    """Runs commands on one kit, and reports each one's result, nested ones included.

    The channels are registered by the caller, who may have an agent of its own: it runs `inside(event,
    "turn")`. Give `recipient` what the binding of the channel under test needs to know.
    """

    def __init__(
        self,
        kit: RoomKit,
        report: Callable[[CommandOutcome], None],
        recipient: Mapping[str, Any] | None = None,
    ) -> None:
        self._kit = kit
        self._report = report
        self._recipient = recipient or {}
        kit.hook(HookTrigger.BEFORE_BROADCAST, name="trees: gate")(self._judge)
        kit.hook(HookTrigger.AFTER_BROADCAST, name="trees: observer")(self._observe)

    async def perform(self, command: TreeCommand) -> CommandOutcome:
        """Run a command; return, and report, its result."""
        try:
            outcome = await _ACTS[command.kind](self, command)
        except RoomKitError as error:
            outcome = CommandOutcome(command.label, reason=type(error).__name__, done=False)
        except Exception as error:  # noqa: BLE001  # whatever it is, the verdict names it as wrong
            outcome = CommandOutcome(command.label, reason=f"raised {error!r}", done=False)
        self._report(outcome)
        return outcome

    async def inside(self, event: RoomEvent, place: Inside) -> None:
        """Run the commands nested in an event."""
        command = command_of(event)
        for child in () if command is None else command.children:
            if child.inside == place:
                await self.perform(child)

    async def _judge(self, event: RoomEvent, _context: RoomContext) -> HookResult:
        await self.inside(event, "gate")
        command = command_of(event)
        return HookResult.block(VETO) if command is not None and command.vetoed else HookResult.allow()

    async def _observe(self, event: RoomEvent, _context: RoomContext) -> None:
        await self.inside(event, "observer")

    # -- commands -------------------------------------------------------------------------

    async def _open(self, command: TreeCommand) -> CommandOutcome:
        room_id = command.room_id()
        with suppress(RoomAlreadyExistsError):  # a repetition
            await self._kit.create_room(room_id)
        for channel_id in (*TALKERS, CARRIER, AGENT):
            await self._attach_to(room_id, channel_id)
        for person in PEOPLE:
            await self._kit.ensure_participant(room_id, TALKERS[0], person)
        return CommandOutcome(command.label)

    async def _attach_to(self, room_id: str, channel_id: str) -> ChannelBinding:
        metadata = self._recipient if channel_id == CARRIER else {}
        return await self._kit.attach_channel(room_id, channel_id, metadata=metadata)

    async def _say(self, command: TreeCommand) -> CommandOutcome:
        return await self._take(command, TextContent(body=command.label), EventType.MESSAGE)

    async def _edit(self, command: TreeCommand) -> CommandOutcome:
        target = await self._target(command)
        if target is None:
            return CommandOutcome(command.label, done=False)
        new = TextContent(body=command.label)
        content = EditContent(target_event_id=target.id, new_content=new)
        return await self._take(command, content, EventType.EDIT)

    async def _erase(self, command: TreeCommand) -> CommandOutcome:
        target = await self._target(command)
        if target is None:
            return CommandOutcome(command.label, done=False)
        content = DeleteContent(
            target_event_id=target.id, delete_type=DeleteType.SENDER, reason=command.label
        )
        return await self._take(command, content, EventType.DELETE)

    async def _take(self, command: TreeCommand, content: EventContent, kind: EventType) -> CommandOutcome:
        message = InboundMessage(
            channel_id=command.channel,
            sender_id=command.person,
            content=content,
            event_type=kind,
            idempotency_key=command.label,
            metadata={_KEY: command.as_json()},
        )
        result, *repeated = await asyncio.gather(
            *(
                self._kit.process_inbound(
                    message,
                    room_id=command.room_id(),
                    wait="settled" if command.settled else "committed",
                    make_room=False,
                )
                for _ in range(1 + command.again)
            )
        )
        for other in repeated:
            if result.event is None:  # a right may have been given back between the two
                result = other
        stored = None if result.event is None else result.event.id
        return CommandOutcome(command.label, stored, result.reason or "", done=not result.blocked)

    async def _send(self, command: TreeCommand) -> CommandOutcome:
        event = await self._kit.send_event(
            command.room_id(),
            command.channel,
            TextContent(body=command.label),
            metadata={_KEY: command.as_json()},
            idempotency_key=command.label,
            wait="settled" if command.settled else "committed",
        )
        return CommandOutcome(
            command.label, event.id, event.block_reason or "", done=event.block_reason is None
        )

    async def _target(self, command: TreeCommand) -> RoomEvent | None:
        try:
            timeline = await self._kit.get_timeline(command.room_id(command.elsewhere), limit=1000)
        except RoomNotFoundError:
            if command.elsewhere:
                return None
            raise
        messages = [event for event in timeline if event.type is EventType.MESSAGE]
        return messages[command.target % len(messages)] if messages else None

    async def _host_edit(self, command: TreeCommand) -> CommandOutcome:
        target = await self._target(command)
        if target is None:
            return CommandOutcome(command.label, done=False)
        event = await self._kit.edit_event(command.room_id(), target.id, TextContent(body=command.label))
        return CommandOutcome(command.label, event.id)

    async def _host_erase(self, command: TreeCommand) -> CommandOutcome:
        target = await self._target(command)
        if target is None:
            return CommandOutcome(command.label, done=False)
        event = await self._kit.delete_event(command.room_id(), target.id, command.label)
        return CommandOutcome(command.label, event.id)

    async def _mute(self, command: TreeCommand) -> CommandOutcome:
        await self._kit.mute(command.room_id(), command.channel)
        return CommandOutcome(command.label)

    async def _unmute(self, command: TreeCommand) -> CommandOutcome:
        await self._kit.unmute(command.room_id(), command.channel)
        return CommandOutcome(command.label)

    async def _access(self, command: TreeCommand) -> CommandOutcome:
        await self._kit.set_access(command.room_id(), command.channel, Access(command.value))
        return CommandOutcome(command.label)

    async def _visibility(self, command: TreeCommand) -> CommandOutcome:
        await self._kit.set_visibility(command.room_id(), command.channel, command.value)
        return CommandOutcome(command.label)

    async def _attach(self, command: TreeCommand) -> CommandOutcome:
        await self._attach_to(command.room_id(), command.channel)
        return CommandOutcome(command.label)

    async def _detach(self, command: TreeCommand) -> CommandOutcome:
        return CommandOutcome(
            command.label, done=await self._kit.detach_channel(command.room_id(), command.channel)
        )

    async def _ban(self, command: TreeCommand) -> CommandOutcome:
        await self._kit.remove_participant(command.room_id(), command.person, banned=True)
        return CommandOutcome(command.label)

    async def _idle(self, command: TreeCommand) -> CommandOutcome:
        """Let the room's time run out: it is idle at once."""
        timers = RoomTimers(inactive_after_seconds=_AT_ONCE)
        if command.value == "closed":
            timers = RoomTimers(closed_after_seconds=_AT_ONCE)
        await self._kit.set_room_timers(command.room_id(), timers)
        room = await self._kit.check_room_timers(command.room_id())
        if room.status.is_open:  # a closed room takes no timers
            await self._kit.set_room_timers(command.room_id(), RoomTimers())
        return CommandOutcome(command.label, done=room.status == command.value)

    async def _close(self, command: TreeCommand) -> CommandOutcome:
        await self._kit.close_room(command.room_id())
        return CommandOutcome(command.label)

    async def _delete(self, command: TreeCommand) -> CommandOutcome:
        return CommandOutcome(command.label, done=await self._kit.delete_room(command.room_id()))


_ACTS: Mapping[Kind, Callable[[Player, TreeCommand], Awaitable[CommandOutcome]]] = {
    "open": Player._open,
    "say": Player._say,
    "send": Player._send,
    "edit": Player._edit,
    "erase": Player._erase,
    "host_edit": Player._host_edit,
    "host_erase": Player._host_erase,
    "mute": Player._mute,
    "unmute": Player._unmute,
    "access": Player._access,
    "visibility": Player._visibility,
    "attach": Player._attach,
    "detach": Player._detach,
    "ban": Player._ban,
    "idle": Player._idle,
    "close": Player._close,
    "delete": Player._delete,
}


class TreeAgent(ScriptedIntelligence):
    """An agent that does what trees want done inside of its turns, and answers where they say so."""

    player: Player
    """The maker of the agent sets it: a player needs a kit, and a kit its channels."""

    def __init__(self, channel_id: str = AGENT, *, streaming: bool = False) -> None:
        super().__init__(channel_id, iter(lambda: _answer, None), streaming=streaming, word_delay=_PAUSE)

    async def on_event(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Act, then answer."""
        await self.player.inside(event, "turn")
        return await super().on_event(event, binding, context)


def _answer(event: RoomEvent, _context: RoomContext) -> str | None:
    command = command_of(event)
    return answer_to(command.label) if command is not None and command.answered else None


def watch(channel: Channel, sendings: MutableMapping[str, list[Sending]]) -> Channel:
    """Have a channel note what it is asked to deliver, by room and in order; return it."""
    deliver = channel.deliver

    async def noted(event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        key = "" if context.delivery is None else context.delivery.id
        sendings.setdefault(event.room_id, []).append(Sending(channel.channel_id, event.id, key))
        return await deliver(event, binding, context)

    setattr(channel, "deliver", noted)  # noqa: B010  # of this object alone, whatever its class
    return channel
