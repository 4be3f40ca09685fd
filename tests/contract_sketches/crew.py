"""Agents that hand a conversation over, and delegate errands to rooms of their own."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from roomkit import (
    ChannelBinding,
    ChannelCategory,
    ChannelOutput,
    ChannelType,
    EventSource,
    HookExecution,
    HookResult,
    HookTrigger,
    InboundMessage,
    Park,
    Room,
    RoomAlreadyExistsError,
    RoomContext,
    RoomEvent,
    RoomKit,
    TextContent,
    Timer,
    text_of,
)
from roomkit.abc import Channel
from roomkit.abc.services import Services
from roomkit.plugins import Registry, hookimpl

HERE = "tests.contract_sketches.crew"
NAME = "crew"
HAND_OVER = "-> "
"""An agent that says this and another's name hands the conversation over."""


class CrewChannel(Channel):
    """The plugin's own voice in rooms: errands, their results, and that one is overdue."""

    channel_type = ChannelType("crew")

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        return self.event_of(message, context)

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        return ChannelOutput.skipped("only_speaks")


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the methods."""
    registry.add_method("assemble", f"{HERE}:assemble")
    registry.add_method("delegate", f"{HERE}:delegate")
    registry.add_method("approval", f"{HERE}:approval")


@hookimpl
def roomkit_configure(kit: RoomKit, services: Services) -> None:
    """Add the router, the reporter and the timer, for rooms with a crew alone."""
    kit.register_channel(CrewChannel(NAME))
    services.timers.on("overdue", partial(_overdue, services))

    @kit.hook(HookTrigger.BEFORE_BROADCAST, streams="whole", when=_has_crew)
    async def route(event: RoomEvent, context: RoomContext) -> HookResult:
        return _routed(event, context.room.state[NAME], context)

    @kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC, when=_is_errand)
    async def report(event: RoomEvent, context: RoomContext) -> None:
        if event.source.channel_type is ChannelType.AI and event.addressed_to == ():
            await _report(services, event, context.room.state[NAME])

    @kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC)
    async def decide(event: RoomEvent, context: RoomContext) -> None:
        said_yes = text_of(event.content).strip().lower().startswith("yes")
        for turn, call in await services.turns.asked(event):
            result = "approved" if said_yes else "refused"
            await services.turns.resume(turn.room_id, turn.turn_id, {call.call_id: result})


async def assemble(kit: RoomKit, room_id: str, *agents: str) -> None:
    """Give a room its agents; the first one is asked first."""
    for channel_id in (NAME, *agents):
        await kit.attach_channel(room_id, channel_id)
    state = {"agents": list(agents), "active": agents[0]}
    await kit.services_of(NAME).rooms.change_state(room_id, lambda _: state)


async def delegate(
    kit: RoomKit, room_id: str, agent: str, errand: str, *, within: timedelta, key: str | None = None
) -> str:
    """Have an agent do an errand in a room of its own; the result comes back to this room.

    Return the errand's room. A `key` makes it one errand however often it is asked for.
    """
    services, child = kit.services_of(NAME), f"errand-{key or uuid4()}"
    due = kit.clock.now() + within
    await services.timers.set("overdue", due, id=child, room_id=room_id, data={"errand": errand})
    with suppress(RoomAlreadyExistsError):  # asked for again after a crash
        await kit.create_room(child, {"parent": room_id})
    await assemble(kit, child, agent)
    await services.rooms.change_state(child, lambda state: {**(state or {}), "parent": room_id})
    await services.rooms.post(child, _said(child, errand, key=child, to=(agent,)), channel_id=NAME)
    return child


async def approval(kit: RoomKit, room_id: str, question: str, *, asked: str, within: timedelta) -> Park:
    """Ask a person in a room of theirs; a tool returns the result, and its turn waits for the answer."""
    request = await kit.services_of(NAME).rooms.post(room_id, TextContent(body=question), channel_id=NAME)
    return Park("approval", within, asked=asked, request=request.id)


def _has_crew(room: Room) -> bool:
    return NAME in room.state


def _is_errand(room: Room) -> bool:
    return "parent" in room.state.get(NAME, {})


def _routed(event: RoomEvent, state: Mapping[str, Any], context: RoomContext) -> HookResult:
    """Say who is asked: after an agent's words no one, unless it hands over."""
    if event.source.channel_id == NAME:
        return HookResult.allow()
    if event.source.channel_id not in state["agents"]:
        return HookResult.modify(event.replace(addressed_to=(state["active"],)))
    words = text_of(event.content)
    if not words.startswith(HAND_OVER):
        return HookResult.modify(event.replace(addressed_to=()))
    to = words.removeprefix(HAND_OVER)
    if to not in state["agents"]:
        return HookResult.block(f"there is no agent {to}")
    handed = event.replace(addressed_to=(to,), visibility="intelligence", response_visibility="all")
    return HookResult.modify(handed, state={NAME: {**state, "active": to}})


async def _report(services: Services, event: RoomEvent, state: Mapping[str, Any]) -> None:
    """Take the result of an errand to the room that it came from, once."""
    parent = await services.rooms.read_room(state["parent"])
    result = _said(parent.id, text_of(event.content), key=f"result:{event.id}", to=_active(parent))
    await services.rooms.post(parent.id, result, channel_id=NAME)
    await services.timers.cancel(event.room_id)


async def _overdue(services: Services, timer: Timer) -> datetime | None:
    assert timer.room_id is not None
    room = await services.rooms.read_room(timer.room_id)
    words = f"no result yet: {timer.data['errand']}"
    await services.rooms.post(
        room.id, _said(room.id, words, key=f"overdue:{timer.id}", to=_active(room)), channel_id=NAME
    )
    return None


def _active(room: Room) -> tuple[str, ...]:
    return (room.state[NAME]["active"],)


def _said(room_id: str, words: str, *, key: str, to: tuple[str, ...]) -> RoomEvent:
    return RoomEvent(
        room_id=room_id,
        source=EventSource(channel_id=NAME, channel_type=ChannelType("crew")),
        content=TextContent(body=words),
        addressed_to=to,
        visibility="intelligence",
        response_visibility="all",
        idempotency_key=key,
    )


class Agent(Channel):
    """An intelligence in small: `think` is given the kit's room and the words, and returns the answer."""

    category = ChannelCategory.INTELLIGENCE
    channel_type = ChannelType.AI

    def __init__(self, channel_id: str, think: Any, *, streaming: bool = False) -> None:
        super().__init__(channel_id)
        self._think = think
        self._streaming = streaming
        self.asked: list[str] = []  # bound: a test

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        return self.event_of(message, context)

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        return ChannelOutput.empty()

    async def on_event(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        words = text_of(event.content)
        self.asked.append(words)
        answer = await self._think(event.room_id, words)
        if answer is None:
            return ChannelOutput.empty()
        if self._streaming:
            return ChannelOutput(responded=True, response_stream=self._pieces(answer))
        source = EventSource(channel_id=self.channel_id, channel_type=self.channel_type)
        said = RoomEvent(room_id=event.room_id, source=source, content=TextContent(body=answer))
        return ChannelOutput(responded=True, response_events=(said,))

    async def _pieces(self, answer: str) -> Any:
        for word in answer.split(" "):
            yield word if answer.startswith(word) else f" {word}"
