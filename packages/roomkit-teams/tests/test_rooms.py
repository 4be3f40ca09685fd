"""Conversations of a bot and people, in rooms, by both SDKs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from roomkit import HookResult, RoomKit
from roomkit.memory.store import InMemoryStore
from roomkit.models import (
    DeleteContent,
    DeliveryState,
    EditContent,
    EventType,
    ReceiptState,
    RichContent,
    TextContent,
    text_of,
)
from roomkit_plugins.teams import TeamsChannel, TeamsConfig
from roomkit_plugins.testing.polling import until
from roomkit_plugins.testing.simulators import TeamsSimulator


@pytest.fixture
async def kit(
    teams: TeamsSimulator, configure: Callable[..., TeamsConfig], kind: Any
) -> AsyncIterator[RoomKit]:
    async with RoomKit() as kit:
        kit.register_channel(TeamsChannel("teams", provider=kind(configure())))
        teams.connect(lambda request: kit.process_webhook(request, "teams", wait="settled"))
        yield kit


async def the_room(kit: RoomKit) -> str:
    (room,) = await kit.store.list_rooms()
    return room.id


async def say(kit: RoomKit, content: Any, kind: EventType = EventType.MESSAGE, **fields: Any) -> Any:
    content = TextContent(body=content) if isinstance(content, str) else content
    return await kit.send_event(await the_room(kit), "system", content, kind, **fields)


async def messages(kit: RoomKit) -> list[str]:
    events = await kit.get_timeline(await the_room(kit))
    return [text_of(each.content) for each in events if each.type is EventType.MESSAGE and not each.deleted]


async def test_a_conversation_goes_both_ways(kit: RoomKit, teams: TeamsSimulator) -> None:
    """With answers, edits and deletions, reactions and read marks; duplicates count once."""
    ann, teams.duplicating = teams.person("Ann"), True
    await ann.write("Is it redy?")
    first = teams.webhooks[0].request.json()["id"]
    await ann.edit(first, "Is it ready?")
    answer = await say(kit, "It is.")
    (sent,) = teams.messages
    await ann.react(sent.id, "heart")
    reaction = (await kit.get_timeline(await the_room(kit)))[-1]
    assert (reaction.type, reaction.parent_event_id) == (EventType.REACTION, answer.id)
    await ann.read(sent.id)
    (row,) = await kit.list_deliveries(answer.room_id, event_id=answer.id)
    assert row.receipt is ReceiptState.READ
    await say(
        kit, EditContent(target_event_id=answer.id, new_content=TextContent(body="Yes.")), EventType.EDIT
    )
    assert (sent.text, sent.edits) == ("Yes.", ["It is."])
    await say(kit, DeleteContent(target_event_id=answer.id), EventType.DELETE)
    assert sent.text is None
    await ann.delete(first)
    assert await messages(kit) == []
    assert len(teams.messages) == 1


async def test_each_conversation_is_a_room_of_its_own(kit: RoomKit, teams: TeamsSimulator) -> None:
    """A person's chat, a group's, a channel's thread; answers go where the question was."""
    thread = "19:general@thread.tacv2;messageid=17"
    await teams.person("Ann").write("Hello")
    for name in ("Ann", "Ben"):
        await teams.person(name, conversation_id="19:group@thread.v2", kind="groupChat").mention("Hi")
    await teams.person("Ben", conversation_id=thread, kind="channel").mention("News?")
    rooms = await kit.store.list_rooms()
    assert len(rooms) == 3
    for room in rooms:
        await kit.send_event(room.id, "system", TextContent(body="Yes"))
    assert {each.conversation_id for each in teams.messages} == {"a:ann", "19:group@thread.v2", thread}


async def test_what_is_pressed_says_its_words_and_its_payload(kit: RoomKit, teams: TeamsSimulator) -> None:
    ann = teams.person("Ann")
    await ann.write("Well?")
    await say(kit, RichContent(body="Which?", buttons=[{"text": "Tonight", "payload": "t"}]))
    await ann.press("Tonight")
    pressed = (await kit.get_timeline(await the_room(kit)))[-1].content
    assert (text_of(pressed), pressed.data) == ("Tonight", {"payload": "t"})


async def test_the_app_answers_an_invoke(kit: RoomKit, teams: TeamsSimulator) -> None:
    ann = teams.person("Ann")

    @kit.hook("on_invoke")
    async def answer(invoke: Any, _context: Any) -> HookResult:
        return HookResult.modify(invoke.answered({"task": {"type": "message", "value": "Done"}}))

    outcome: Any = await ann.send("invoke", name="task/fetch", value={})
    assert outcome.status == 200
    assert outcome.answer.body == '{"task": {"type": "message", "value": "Done"}}'


async def test_an_invoke_that_no_one_answers_is_not_implemented(kit: RoomKit, teams: TeamsSimulator) -> None:
    outcome: Any = await teams.person("Ann").send("invoke", name="task/fetch", value={})
    assert outcome.status == 501


async def test_typing_is_shown_both_ways(kit: RoomKit, teams: TeamsSimulator) -> None:
    ann = teams.person("Ann")
    await ann.write("hello")
    seen: list[Any] = []

    async def see(event: Any) -> None:
        seen.append(event)

    await kit.subscribe_room(await the_room(kit), see)
    await ann.send("typing")
    await until(lambda: seen)
    await kit.publish_typing(await the_room(kit), "ben")
    await until(lambda: ann.has_seen_typing)


async def test_a_conversation_is_known_after_a_restart_and_on_another_worker(
    teams: TeamsSimulator, configure: Callable[..., TeamsConfig], kind: Any
) -> None:
    """Its reference is kept with the kit's data, until the bot is removed."""
    store = InMemoryStore()
    async with RoomKit(store=store) as kit:
        kit.register_channel(TeamsChannel("teams", provider=kind(configure())))
        teams.connect(lambda request: kit.process_webhook(request, "teams"))
        await teams.person("Ann").write("hello")
    async with RoomKit(store=store) as kit:
        kit.register_channel(TeamsChannel("teams", provider=kind(configure())))
        await say(kit, "Good morning")
        assert teams.person("Ann").texts == ["Good morning"]
        teams.connect(lambda request: kit.process_webhook(request, "teams"))
        bot = {"id": teams.bot_id}
        await teams.person("Ann").send("conversationUpdate", membersRemoved=[bot])
        event = await say(kit, "Anyone?")
        (row,) = await kit.list_deliveries(event.room_id, event_id=event.id)
        assert row.state is DeliveryState.FAILED
        assert row.error is not None
        assert row.error.code == "invalid_recipient"
