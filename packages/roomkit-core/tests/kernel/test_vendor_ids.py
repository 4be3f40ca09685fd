"""Edits, deletions, reactions and answers: both ways by the ids that a vendor knows messages by."""

from __future__ import annotations

from typing import Any

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError, StoreError
from roomkit.authoring.transport import TransportChannel
from roomkit.models import (
    ChannelCapabilities,
    ChannelMediaType,
    ChannelType,
    DeleteContent,
    DeliveryState,
    EditContent,
    EventType,
    MediaContent,
    TextContent,
)
from roomkit.models.content import CompositeContent, text_of
from roomkit_plugins.testing import MockSMSProvider, MockTelegramProvider

EVERYTHING = ChannelCapabilities(
    media_types=(ChannelMediaType.TEXT, ChannelMediaType.MEDIA),
    supports_edit=True,
    supports_delete=True,
    supports_reactions=True,
    supports_threading=True,
)
ANN = "551234"


class Chat:
    """A room with a person on a vendor that amends, and an operator on a web socket."""

    def __init__(self, stage: Any, provider: MockTelegramProvider) -> None:
        self.stage, self.provider = stage, provider

    async def send(self, content: Any, kind: EventType = EventType.MESSAGE, **fields: Any) -> Any:
        return await self.stage.kit.send_event("r1", "alice", content, kind, participant_id="alice", **fields)

    async def sent_id(self, event: Any) -> str:
        (row,) = await self.stage.kit.list_deliveries("r1", event_id=event.id, channel_id="chat")
        return str(row.provider_message_id)

    async def edit(self, event: Any, text: str) -> Any:
        content = EditContent(target_event_id=event.id, new_content=TextContent(body=text))
        return await self.send(content, EventType.EDIT)

    async def react(self, event: Any, emoji: str = "👍", action: str = "add") -> Any:
        return await self.stage.say(
            emoji,
            event_type=EventType.REACTION,
            parent_event_id=event.id,
            metadata={"emoji": emoji, "action": action},
        )

    async def receive(self, content: Any, number: str, **fields: Any) -> Any:
        """Have the person's vendor bring something; `number` is its id."""
        body = TextContent(body=content) if isinstance(content, str) else content
        result = await self.stage.say(
            body, channel="chat", by=ANN, room=None, external_id=number, idempotency_key=number, **fields
        )
        self.result = result
        return result.event

    async def row(self, event: Any) -> Any:
        (row,) = await self.stage.kit.list_deliveries("r1", event_id=event.id, channel_id="chat")
        return row


async def chat_of(stage: Any, capabilities: ChannelCapabilities = EVERYTHING, **options: Any) -> Chat:
    provider = MockTelegramProvider(**options)
    await stage.socket("alice", capabilities=EVERYTHING)
    channel = TransportChannel("chat", ChannelType.TELEGRAM, provider=provider, capabilities=capabilities)
    await stage.join(channel, metadata={"recipient_id": ANN})
    return Chat(stage, provider)


# -- outwards ---------------------------------------------------------------------------------------


async def test_an_edit_and_a_deletion_reach_the_message_that_was_sent(staging: Any, store: Any) -> None:
    """Over each store."""
    async with staging(store=store, single_process=True) as stage:
        chat = await chat_of(stage)
        event = await chat.send(TextContent(body="helo"))
        number = await chat.sent_id(event)

        await chat.edit(event, "hello")
        assert chat.provider.shown == {number: "hello"}
        await chat.send(DeleteContent(target_event_id=event.id), EventType.DELETE)
        assert chat.provider.shown == {}
        assert len(chat.provider.sent) == 1


@pytest.mark.virtual_time
async def test_a_reaction_reaches_what_the_person_wrote(stage: Any) -> None:
    """By the id that it came with; and is taken back."""
    chat = await chat_of(stage)
    event = await chat.receive("look", "88")

    await chat.react(event)
    assert chat.provider.reacted == {"88": ["👍"]}
    await chat.react(event, action="remove")
    assert chat.provider.reacted == {"88": []}


@pytest.mark.virtual_time
async def test_an_answer_names_the_message_that_it_answers(stage: Any) -> None:
    """Unless the host names another; only where the channel has threads."""
    chat = await chat_of(stage)
    event = await chat.receive("when?", "88")
    await chat.send(TextContent(body="now"), parent_event_id=event.id)
    await chat.send(TextContent(body="later"))

    replies = [send["hints"].reply_to for send in chat.provider.sent]
    assert replies == ["88", None]


@pytest.mark.virtual_time
async def test_a_channel_without_threads_is_not_told_what_is_answered(stage: Any) -> None:
    chat = await chat_of(stage, EVERYTHING.replace(supports_threading=False))
    event = await chat.receive("when?", "88")
    await chat.send(TextContent(body="now"), parent_event_id=event.id)
    assert chat.provider.sent[0]["hints"].reply_to is None


@pytest.mark.virtual_time
async def test_an_edit_of_what_the_vendor_never_had_is_said_in_words(stage: Any) -> None:
    """Such as of a message from before the person was there; a reaction to it is skipped."""
    await stage.socket("alice", capabilities=EVERYTHING)
    event = await stage.kit.send_event("r1", "alice", TextContent(body="helo"), participant_id="alice")
    provider = MockTelegramProvider()
    channel = TransportChannel("chat", ChannelType.TELEGRAM, provider=provider, capabilities=EVERYTHING)
    await stage.join(channel, metadata={"recipient_id": ANN})
    chat = Chat(stage, provider)

    await chat.edit(event, "hello")
    assert provider.texts == ["Correction: hello"]
    reaction = (await chat.react(event)).event
    row = await chat.row(reaction)
    assert (row.state, row.reason) == (DeliveryState.SKIPPED, "target_unknown")
    await chat.send(DeleteContent(target_event_id=event.id), EventType.DELETE)
    assert provider.texts == ["Correction: hello", "[Message deleted]"]
    assert provider.amended == []


@pytest.mark.virtual_time
async def test_a_message_in_parts_is_known_by_all_of_their_ids(stage: Any) -> None:
    chat = await chat_of(stage, EVERYTHING.replace(max_length=5))
    event = await chat.send(TextContent(body="hello world"))
    await chat.send(DeleteContent(target_event_id=event.id), EventType.DELETE)
    (deletion,) = chat.provider.amended
    assert deletion["hints"].about == tuple(await _ids(chat, event))
    assert len(deletion["hints"].about) == 2


async def _ids(chat: Chat, event: Any) -> Any:
    return (await chat.row(event)).message_ids


@pytest.mark.virtual_time
async def test_what_another_channel_sent_is_not_known_to_the_vendor(stage: Any) -> None:
    """An id of one vendor is never given to another."""
    chat = await chat_of(stage)
    sms = TransportChannel("sms", ChannelType.SMS, provider=MockSMSProvider())
    await stage.join(sms, metadata={"recipient_id": "+15550001111"})
    event = (await stage.say("hi", channel="sms", by="+15550001111", external_id="SM1")).event
    await chat.react(event)
    assert chat.provider.reacted == {next(iter(chat.provider.shown)): ["👍"]}
    assert "SM1" not in chat.provider.reacted


@pytest.mark.virtual_time
async def test_a_host_cannot_say_what_an_event_is_about(stage: Any) -> None:
    """`about` is the kit's to say."""
    chat = await chat_of(stage)
    message = await chat.stage.say("hello", extra={"telegram": {"about": ["1"]}})
    row = await chat.row(message.event)
    assert row.error is not None
    assert "unknown hint 'about'" in row.error.message


@pytest.mark.virtual_time
async def test_a_store_that_fails_for_a_while_is_asked_again(stage: Any) -> None:
    """That is no failure of the vendor's."""
    chat, store = await chat_of(stage), stage.seen_by_store
    event = await chat.send(TextContent(body="helo"))
    number, real = await chat.sent_id(event), store.get_delivery
    failures = iter([StoreError("gone"), StoreError("gone")])

    async def failing(*args: Any, **options: Any) -> Any:
        for error in failures:
            raise error
        return await real(*args, **options)

    store.get_delivery = failing
    await chat.edit(event, "hello")
    assert chat.provider.shown == {number: "hello"}
    assert len(chat.provider.attempts) == 2


# -- inwards ----------------------------------------------------------------------------------------


async def test_what_a_person_changes_at_the_vendor_is_changed_in_the_room(staging: Any, store: Any) -> None:
    """Found by the vendor's id, over each store."""
    async with staging(store=store, single_process=True) as stage:
        chat = await chat_of(stage)
        event = await chat.receive("helo", "88")
        edit = EditContent(target_event_id="88", new_content=TextContent(body="hello"))
        edited = await chat.receive(edit, "88:1", event_type=EventType.EDIT, in_reply_to=("88",))
        assert edited.content.target_event_id == event.id
        assert await stage.texts() == ["hello"]

        gone = DeleteContent(target_event_id="88")
        await chat.receive(gone, "88:2", event_type=EventType.DELETE, in_reply_to=("88",))
        (only,) = await stage.timeline()
        assert only.deleted


@pytest.mark.virtual_time
async def test_a_persons_reaction_is_about_what_was_sent_to_them(stage: Any) -> None:
    """And reaches the web sockets with the id of our event."""
    chat = await chat_of(stage)
    event = await chat.send(TextContent(body="done"))
    number = await chat.sent_id(event)
    emoji = {"emoji": "❤", "action": "add"}
    reaction = await chat.receive(
        "❤", "r1", event_type=EventType.REACTION, in_reply_to=(number,), metadata=emoji
    )
    assert (reaction.type, reaction.parent_event_id) == (EventType.REACTION, event.id)
    assert text_of(stage.kit.get_channel("alice").events()[-1].content) == "❤"


@pytest.mark.parametrize("change", [EventType.EDIT, EventType.REACTION])
async def test_what_a_person_answers_is_what_they_see(staging: Any, store: Any, change: EventType) -> None:
    """An edit and a reaction are shown at the message that they are about, under its id at the vendor."""
    async with staging(store=store, single_process=True) as stage:
        chat = await chat_of(stage)
        event = await chat.send(TextContent(body="helo"))
        number = await chat.sent_id(event)
        if change is EventType.EDIT:
            await chat.edit(event, "hello")
        else:
            await chat.react(event)
        answer = await chat.receive("yes", "a1", in_reply_to=(number,))
        assert answer.parent_event_id == event.id
        emoji = {"emoji": "❤", "action": "add"}
        like = await chat.receive(
            "❤", "a2", event_type=EventType.REACTION, in_reply_to=(number,), metadata=emoji
        )
        assert like.parent_event_id == event.id


@pytest.mark.virtual_time
async def test_an_edit_of_an_unknown_message_is_a_message(stage: Any) -> None:
    """Its words are new in the room; a deletion is refused in the open, a reaction stands for itself."""
    chat = await chat_of(stage)
    edit = EditContent(target_event_id="1", new_content=TextContent(body="hello"))
    first = await chat.receive(edit, "1:1", event_type=EventType.EDIT, in_reply_to=("1",))
    assert (first.type, text_of(first.content)) == (EventType.MESSAGE, "hello")

    gone = DeleteContent(target_event_id="1")
    await chat.receive(gone, "1:2", event_type=EventType.DELETE, in_reply_to=("1",))
    assert chat.result.reason == "target_event_not_found"
    assert stage.facts("message_refused") == [{"reason": "target_event_not_found", "external_id": "1:2"}]
    third = await chat.receive("👍", "1:3", event_type=EventType.REACTION, in_reply_to=("1",))
    assert (third.type, third.parent_event_id) == (EventType.REACTION, None)


@pytest.mark.virtual_time
async def test_a_person_does_not_change_anothers_message(stage: Any) -> None:
    """However it is named: who wrote it decides."""
    chat = await chat_of(stage)
    event = await chat.send(TextContent(body="the price is 10"))
    number = await chat.sent_id(event)
    edit = EditContent(target_event_id=number, new_content=TextContent(body="the price is 1"))
    await chat.receive(edit, "x", event_type=EventType.EDIT, in_reply_to=(number,))
    assert chat.result.reason == "not_original_author"
    assert await stage.texts() == ["the price is 10"]


# -- one part per message ---------------------------------------------------------------------------

PICTURE = MediaContent(url="https://example.com/a.png", mime_type="image/png")


@pytest.mark.virtual_time
async def test_composite_content_goes_out_part_by_part_where_the_vendor_takes_one(stage: Any) -> None:
    """Each under its own key, in one row of the ledger with all of their ids."""
    chat = await chat_of(stage, EVERYTHING.replace(supports_composite=False))
    parts = (TextContent(body="two:"), PICTURE, PICTURE)
    event = await chat.send(CompositeContent(parts=parts))
    assert [send["event"].content for send in chat.provider.sent] == list(parts)
    assert len({send["idempotency_key"] for send in chat.provider.sent}) == 3
    assert (await chat.row(event)).sent_parts == 3


@pytest.mark.virtual_time
async def test_a_failure_in_the_middle_goes_on_with_the_part_that_failed(stage: Any) -> None:
    error = ProviderError("busy", error_code=ErrorCode.RATE_LIMIT, accepted=False)
    chat = await chat_of(stage, EVERYTHING.replace(supports_composite=False), script=[None, error])
    await chat.send(CompositeContent(parts=(TextContent(body="one"), PICTURE, TextContent(body="two"))))
    sent = [send["event"].content for send in chat.provider.sent]
    assert sent == [TextContent(body="one"), PICTURE, TextContent(body="two")]
