"""Rooms that meet, over each store: a story from beginning to end, and many moves at random."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest

from roomkit.authoring.transport import TransportChannel
from roomkit.models import ChannelType, HookTrigger, RoomContext, RoomStatus, Task, TextContent
from roomkit.models.base import utcnow
from roomkit.models.content import text_of
from roomkit_plugins.testing import MockEmailProvider, RecordingChannel, ScriptedIntelligence
from roomkit_plugins.testing.contracts.base import event
from roomkit_plugins.testing.contracts.store.base import commit

MAIL = "ann@example.com"


def mail() -> TransportChannel:
    return TransportChannel("mail", ChannelType.EMAIL, provider=MockEmailProvider(name="smtp"))


async def texted(stage: Any, room_id: str, to: str, channel: str = "sms", **options: Any) -> str:
    """Open a room that writes first; return the vendor's id of the message."""
    await stage.open(room_id, **options)
    await stage.kit.attach_channel(room_id, channel, metadata={"recipient_id": to})
    event = await stage.kit.send_event(room_id, "system", TextContent(body=f"hello {to}"))
    (row,) = await stage.kit.list_deliveries(room_id, event_id=event.id)
    return str(row.provider_message_id)


async def answered(stage: Any, room_id: str, channel: TransportChannel, text: str = "answer") -> str:
    """Say something in a room; return the address that the channel's provider sent it to."""
    await stage.kit.send_event(room_id, "system", TextContent(body=text))
    sent = channel.provider.sent[-1]
    assert text_of(sent["event"].content) == text
    return str(sent["to"])


async def test_a_call_and_a_mail_become_one_conversation(staging: Any, store: Any) -> None:
    """Both are answered at their own addresses; a reply to a mail of before lands in the merged room."""
    async with staging(store=store, single_process=True) as stage:
        letters = mail()
        stage.kit.register_channel(letters)
        phone = await stage.socket("phone")
        sent = await texted(stage, "letters", MAIL, "mail")
        reply = await stage.say("my order?", channel="mail", by=MAIL, room=None, external_id="<a1>")
        await stage.say("hello, it is me", channel="phone", by="+1")
        seen = stage.observe(HookTrigger.ON_ROOMS_MERGED)

        room = await stage.kit.merge_rooms("letters", "r1", participant_id="operator")

        assert (room.id, room.merged_from, room.status) == ("r1", ("letters",), RoomStatus.ACTIVE)
        assert await answered(stage, "r1", letters) == MAIL
        assert text_of(phone.delivered[-1].event.content) == "answer"
        again = await stage.say("thanks", channel="mail", by=MAIL, room=None, in_reply_to=(sent,))
        further = await stage.say("one more", channel="mail", by=MAIL, room=None, in_reply_to=("<a1>",))
        by_name = await stage.say("by name", channel="mail", by=MAIL, room="letters")
        named = await stage.say("named", channel="mail", by=MAIL, room=None, room_id="letters")
        for result in (again, further, by_name, named):
            assert (result.reason, result.event.room_id) == (None, "r1")
        assert again.event.parent_event_id is not None
        assert further.event.parent_event_id == reply.event.id
        (noted,) = seen
        assert (noted.source.participant_id, noted.content.data["source"]) == ("operator", "letters")


@pytest.mark.parametrize("count", [3, 60], ids=["all", "a page"])
async def test_agents_read_a_merged_room_in_the_order_of_time(staging: Any, store: Any, count: int) -> None:
    """Whatever the indexes, they read the newest by time, also beyond the entries in memory."""
    async with staging(store=store, single_process=True) as stage:
        await stage.open("other")
        await stage.socket("alice")
        start = utcnow() - timedelta(hours=1)
        said: list[str] = []
        for minute, room_id in enumerate(("other", "r1", "other", "r1")):
            words = [f"{minute} {number}" for number in range(count)]
            at = start + timedelta(minutes=minute)
            await commit(store, room_id, *(event(room_id, text) for text in words), at=at)
            said += words
        await stage.kit.merge_rooms("other", "r1")
        contexts: list[RoomContext] = []
        await stage.join(ScriptedIntelligence("ai", [lambda event, context: contexts.append(context)]))
        await stage.say("now")

        said.append("now")
        (context,) = contexts
        for events, wanted in ((context.recent_events, 50), (await context.history(2 * count), 2 * count)):
            assert [text_of(each.content) for each in events] == said[-wanted:]


async def test_random_merges_and_splits_lose_and_duplicate_nothing(staging: Any, store: Any) -> None:
    """No event, delivery, participant, value or task; and every old id leads to its room."""
    dice = random.Random(3)
    async with staging(store=store, single_process=True) as stage:
        kit, values = stage.kit, stage.kit.services.values
        stage.kit.register_channel(RecordingChannel("web"))
        said: dict[str, str] = {}
        names: list[str] = []
        lives = ["r1"]
        for number in range(24):
            what = dice.random()
            if what < 0.5 or len(lives) < 2:
                room_id = lives[0] if number == 0 else f"room{number}"
                if number:
                    await stage.open(room_id)
                    lives.append(room_id)
                names.append(room_id)
                await kit.attach_channel(room_id, "web")
                for _ in range(dice.randint(1, 3)):
                    event = (await stage.say("x", channel="web", by=f"p{number}", room=room_id)).event
                    said[event.id] = f"p{number}"
                await values.put(f"v{number}", data={}, room_id=room_id)
                await kit.add_task(Task(id=f"t{number}", room_id=room_id, title="t"))
            elif what < 0.8:
                source, into = dice.sample(lives, 2)
                await kit.merge_rooms(source, into)
                lives.remove(source)
            else:
                source = dice.choice(lives)
                messages = await stage.timeline(source)
                if messages:
                    chosen = [each.id for each in dice.sample(messages, dice.randint(1, len(messages)))]
                    lives.append((await kit.split_room(source, event_ids=chosen)).id)
        found = [each for room_id in lives for each in await stage.timeline(room_id)]
        assert {each.id: each.source.participant_id for each in found} == said
        assert len(found) == len(said)
        rows = [row for room_id in lives for row in await kit.list_deliveries(room_id, limit=1000)]
        assert len(rows) == len({row.id for row in rows})
        assert {row.event_id for row in rows} <= set(said)
        people = {each.id for room_id in lives for each in await kit.list_participants(room_id)}
        assert people == set(said.values())
        tasks = [each.id for room_id in lives for each in await kit.list_tasks(room_id)]
        assert len(tasks) == len(set(tasks)) == len(names)
        for room_id in names:
            assert (await kit.get_room(room_id)).id in lives
        for each in [value async for value in values.scan()]:
            assert each.room_id in lives
