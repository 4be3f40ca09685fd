"""RoomContext: what foreign code is shown of a room."""

from __future__ import annotations

from typing import Any

import pytest

from roomkit.models import (
    ChannelBinding,
    ChannelCategory,
    ChannelType,
    EventSource,
    EventStatus,
    Participant,
    Room,
    RoomContext,
    RoomEvent,
    TextContent,
)
from roomkit.models.visibility import sees


def binding(channel_id: str, **fields: Any) -> ChannelBinding:
    return ChannelBinding(
        **{"channel_id": channel_id, "room_id": "r", "channel_type": ChannelType.SMS, **fields}
    )


def said(body: str, visibility: str = "all") -> RoomEvent:
    return RoomEvent(
        room_id="r",
        source=EventSource(channel_id="sms", channel_type=ChannelType.SMS),
        content=TextContent(body=body),
        visibility=visibility,
    )


EVENTS = (said("for all"), said("for transports", "transport"), said("for agents", "intelligence"))
AGENT = binding("bot", channel_type=ChannelType.AI, category=ChannelCategory.INTELLIGENCE)


def test_each_part_is_asked_for_once_and_only_when_wanted() -> None:
    asked: list[str] = []

    def give(what: str, value: Any) -> Any:
        asked.append(what)
        return value

    context = RoomContext(
        lambda: give("room", Room(id="r")),
        lambda: give("bindings", [AGENT]),
        lambda: give("participants", []),
        lambda: give("events", list(EVENTS)),
    )
    assert asked == []
    for _ in range(2):
        assert context.room.id == "r"
        assert context.bindings == (AGENT,)
        assert context.participants == ()
        assert context.recent_events == EVENTS
    assert asked == ["room", "bindings", "participants", "events"]


@pytest.mark.parametrize(
    "form",
    [tuple, list, lambda events: lambda: list(events), lambda events: lambda: events],
    ids=["tuple", "list", "a function to a list", "a function to a tuple"],
)
def test_a_reader_is_shown_only_what_it_may_see(form: Any) -> None:
    context = RoomContext(Room(id="r"), recent_events=form(EVENTS), reader=AGENT)

    assert [event.visibility for event in context.recent_events] == ["all", "intelligence"]
    assert [event.visibility for event in context.recent_events] == ["all", "intelligence"]


def test_what_a_reader_said_and_was_blocked_is_no_history_of_it() -> None:
    """A channel sees its own blocked events, but not among the recent ones."""
    own = EVENTS[0].source.replace(channel_id=AGENT.channel_id)
    blocked = EVENTS[0].replace(source=own, status=EventStatus.BLOCKED)
    context = RoomContext(Room(id="r"), recent_events=[blocked, EVENTS[0]], reader=AGENT)

    assert sees(AGENT, blocked)
    assert context.recent_events == (EVENTS[0],)


def test_without_a_reader_everything_is_shown() -> None:
    """To hooks, which are the program's own."""
    assert RoomContext(Room(id="r"), recent_events=EVENTS).recent_events == EVENTS


def test_channels_and_people_are_found() -> None:
    """By id and by type; None for who is not there."""
    sms, bob = binding("sms"), Participant(id="bob", room_id="r", channel_id="sms")
    context = RoomContext(Room(id="r"), [sms, AGENT], [bob])

    assert context.get_binding("sms") is sms
    assert context.get_binding("fax") is None
    assert context.other_channels("sms") == [AGENT]
    assert context.channels_by_type(ChannelType.AI) == [AGENT]
    assert context.get_participant("bob") is bob
    assert context.get_participant(None) is None
    assert repr(context) == "<RoomContext room='r'>"


async def test_a_context_without_a_store_searches_what_it_shows() -> None:
    """As a store would: the most words first, of equal ones the newest, and only what the reader may see."""
    texts = ["blue lamp", "a lamp", "Lamp, blue", "tea"]
    events = [said(text).replace(index=index) for index, text in enumerate(texts)]
    hidden = said("blue lamp", "staff").replace(index=4)
    context = RoomContext(Room(id="r"), [AGENT], (), [*events, hidden], reader=AGENT)
    assert await context.search("BLUE lamp") == [events[2], events[0], events[1]]
    assert await context.search("blue lamp", 1) == [events[2]]
    assert await context.search("blue lamp", 0) == []
    assert await context.search("?") == []
