"""Each update that Telegram documents is read: by the library, and by us."""

from __future__ import annotations

import json
from typing import Any

import pytest

from roomkit.abc.errors import InvalidInputError
from roomkit.authoring.payload import VendorPayload
from roomkit.models import (
    AudioContent,
    ConsentContent,
    CustomContent,
    DeleteContent,
    EditContent,
    EventType,
    InboundMessage,
    LocationContent,
    MediaContent,
    RichContent,
    SystemContent,
    TextContent,
    VideoContent,
)
from roomkit.models.webhook import UnparsedPart
from roomkit_plugins.telegram import parse_telegram_webhook
from roomkit_plugins.telegram.updates import UPDATES, Reader

from .conftest import check_update
from .corpus import (
    BOT,
    CONTENTS,
    GROUP,
    INVITE,
    NEWS,
    NO_MESSAGES,
    OTHERS,
    PRIVATE,
    SERVICES,
    in_group,
    message,
)

KINDS = {
    "text": TextContent,
    "photo": MediaContent,
    "document": MediaContent,
    "voice": AudioContent,
    "audio": AudioContent,
    "video": VideoContent,
    "video_note": VideoContent,
    "animation": VideoContent,
    "sticker": MediaContent,
    "location": LocationContent,
    "venue": LocationContent,
}


def parts(**said: Any) -> list[Any]:
    """Have an update read, by the library too."""
    update = {"update_id": 712345601, **said}
    check_update(json.dumps(update).encode())
    return list(Reader("telegram", bot_id="123456").parts(VendorPayload("Telegram", update)))


def the_message(**said: Any) -> InboundMessage:
    (found,) = parts(**said)
    assert isinstance(found, InboundMessage)
    assert found.raw_payload["update_id"] == 712345601
    return found


@pytest.mark.parametrize("kind", CONTENTS)
def test_each_content_of_a_message_is_read(kind: str) -> None:
    found = the_message(message=message(**CONTENTS[kind]))
    wanted: type[object] = KINDS.get(kind, CustomContent)
    assert isinstance(found.content, wanted)
    assert (found.sender_id, found.conversation) == ("551234", None)
    assert {found.external_id, found.provider_message_id, found.idempotency_key} == {"551234:88"}
    if isinstance(found.content, CustomContent):
        assert found.content.body
        assert found.content.kind == f"telegram.{kind}"


@pytest.mark.parametrize("kind", SERVICES)
def test_what_happened_in_a_chat_is_said_and_asks_no_agent(kind: str) -> None:
    """Also what no version of the Bot API has had so far."""
    said = in_group(**SERVICES[kind])
    (found,) = Reader("telegram").parts(VendorPayload("Telegram", {"update_id": 1, "message": said}))
    assert isinstance(found, InboundMessage)
    assert isinstance(found.content, SystemContent)
    assert (found.event_type, found.content.code) == (EventType.SYSTEM, f"telegram_{kind}")
    assert found.content.body
    assert found.conversation == "-1001234"


def test_a_message_that_holds_nothing_known_is_named() -> None:
    found = the_message(message=message())
    assert isinstance(found.content, SystemContent)
    assert found.content.code == "unparsed"


@pytest.mark.parametrize("kind", OTHERS)
def test_each_other_update_of_a_chat_is_read(kind: str) -> None:
    assert all(isinstance(part, InboundMessage) for part in parts(**{kind: OTHERS[kind]}))


@pytest.mark.parametrize("kind", NO_MESSAGES)
def test_updates_about_no_chat_say_what_they_are(kind: str) -> None:
    (found,) = parts(**{kind: NO_MESSAGES[kind]})
    assert isinstance(found, UnparsedPart)
    assert found.reason
    assert found.raw[kind]


def test_an_update_of_an_unknown_kind_is_reported() -> None:
    reader = Reader("telegram")
    (found,) = reader.parts(VendorPayload("Telegram", {"update_id": 1, "hologram": {"x": 1}}))
    assert isinstance(found, UnparsedPart)
    assert "hologram" in found.reason


def test_every_kind_of_update_is_asked_for() -> None:
    """Telegram sends reactions and members only to who names them."""
    named = {"message", *OTHERS, *NO_MESSAGES}
    assert named <= set(UPDATES)


def test_an_edit_names_its_message() -> None:
    found = the_message(edited_message=OTHERS["edited_message"])
    assert found.event_type is EventType.EDIT
    assert found.content == EditContent(target_event_id="551234:88", new_content=TextContent(body="better"))
    assert found.in_reply_to == ("551234:88",)


def test_deleted_messages_of_a_business_chat_are_deleted_each() -> None:
    found = parts(deleted_business_messages=OTHERS["deleted_business_messages"])
    keys = [f"business:bc-1:551234:{number}" for number in (88, 89)]
    assert [each.content for each in found] == [DeleteContent(target_event_id=key) for key in keys]
    assert len({each.idempotency_key for each in found}) == 2


def test_a_change_of_reactions_is_what_came_and_what_went() -> None:
    found = parts(message_reaction=OTHERS["message_reaction"])
    assert [(each.metadata["emoji"], each.metadata["action"]) for each in found] == [
        ("👎", "remove"),
        ("👍", "add"),
    ]
    (same,) = parts(
        message_reaction={
            **OTHERS["message_reaction"],
            "old_reaction": [{"type": "custom_emoji", "custom_emoji_id": "5"}, {"type": "paid"}],
            "new_reaction": [{"type": "paid"}, {"type": "custom_emoji", "custom_emoji_id": "5"}],
        }
    )
    assert isinstance(same, UnparsedPart)


def test_a_channels_post_is_the_channels() -> None:
    found = the_message(channel_post=OTHERS["channel_post"])
    assert (found.sender_id, found.conversation) == (str(NEWS["id"]),) * 2


def test_who_blocks_the_bot_takes_their_consent_back() -> None:
    """And gives it again by starting it; being added to a group says nothing of a person."""
    for status, state in (("kicked", "revoked"), ("member", "granted")):
        new = {"user": BOT, "status": status, **({"until_date": 0} if status == "kicked" else {})}
        found = the_message(my_chat_member={**INVITE, "chat": PRIVATE, "new_chat_member": new})
        assert isinstance(found.content, ConsentContent)
        assert (found.content.state, found.content.address) == (state, "551234")
    added = the_message(my_chat_member=INVITE)
    assert (added.event_type, added.conversation) == (EventType.SYSTEM, "-1001234")


def test_messages_of_bots_are_reported() -> None:
    """Robots that answer each other would never end."""
    (found,) = parts(message=message(**{"from": BOT}, text="beep"))
    assert isinstance(found, UnparsedPart)
    (found,) = parts(business_message=message(text="hi", business_connection_id="b", sender_business_bot=BOT))
    assert isinstance(found, UnparsedPart)


def test_an_anonymous_administrator_writes_for_the_group() -> None:
    found = the_message(message=in_group(text="hi", sender_chat=GROUP, **{"from": BOT}))
    assert found.sender_id == "-1001234"


def test_answers_and_topics() -> None:
    """Each message of a topic names the topic's first one: that is no answer."""
    reply = the_message(message=message(text="yes", reply_to_message=message(text="tea?")))
    assert reply.in_reply_to == ("551234:88",)
    first = {**in_group(forum_topic_created={"name": "Bugs", "icon_color": 1}), "message_id": 55}
    topic = the_message(
        message=in_group(text="hi", is_topic_message=True, message_thread_id=55, reply_to_message=first)
    )
    assert (topic.in_reply_to, topic.thread_id) == ((), "-1001234:topic:55")


def test_marks_of_a_text_become_html_and_links_are_in_the_plain_text() -> None:
    """Their places count UTF-16 units."""
    text = "👋 bold and link <x>"
    entities = [
        {"offset": 3, "length": 4, "type": "bold"},
        {"offset": 12, "length": 4, "type": "text_link", "url": "https://example.org/?a=1&b=2"},
    ]
    found = the_message(message=message(text=text, entities=entities))
    assert found.content == RichContent(
        body='👋 <b>bold</b> and <a href="https://example.org/?a=1&amp;b=2">link</a> &lt;x&gt;',
        format="html",
        plain_text="👋 bold and link (https://example.org/?a=1&b=2) <x>",
    )


def test_marks_that_overlap_are_well_formed() -> None:
    entities = [
        {"offset": 0, "length": 4, "type": "bold"},
        {"offset": 2, "length": 4, "type": "italic"},
    ]
    found = the_message(message=message(text="abcdef", entities=entities))
    assert isinstance(found.content, RichContent)
    assert found.content.body == "<b>ab<i>cd</i></b><i>ef</i>"


@pytest.mark.parametrize(
    ("payload", "wrong"),
    [
        ({}, "update_id is not there"),
        ({"update_id": "x"}, "update_id is not an integer"),
        ({"update_id": 1, "message": "text"}, "message is not an object"),
        ({"update_id": 1, "message": {"text": "hi"}}, "is not there"),
        (
            {"update_id": 1, "deleted_business_messages": {"chat": PRIVATE, "message_ids": []}},
            "message_ids is not a list of ids",
        ),
    ],
)
def test_what_telegram_does_not_send_is_refused_by_name(payload: dict[str, Any], wrong: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_telegram_webhook(payload, "telegram")
    assert wrong in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"text": 7.5}, "text is not a text"),
        ({"photo": []}, "photo is not a list of sizes"),
        ({"text": "a", "entities": [{"offset": 5, "length": 9, "type": "b"}]}, "not a place in the text"),
        ({"location": {"latitude": "north"}}, "latitude is not a number"),
    ],
)
def test_a_persons_message_that_cannot_be_read_is_a_message(fields: dict[str, Any], wrong: str) -> None:
    """Which says so, and asks no agent; an edit likewise."""
    (found,) = parse_telegram_webhook({"update_id": 1, "message": in_group(**fields)}, "telegram")
    assert isinstance(found.content, SystemContent)
    assert (found.content.code, found.event_type) == ("unparsed", EventType.SYSTEM)
    assert wrong in found.content.body
    (edit,) = parse_telegram_webhook({"update_id": 1, "edited_message": in_group(**fields)}, "telegram")
    assert isinstance(edit.content, EditContent)
    assert isinstance(edit.content.new_content, SystemContent)


def test_messages_are_parsed_for_those_who_verified_them() -> None:
    found = parse_telegram_webhook({"update_id": 1, "message": message(**CONTENTS["photo"])}, "telegram")
    (photo,) = found
    assert isinstance(photo.content, MediaContent)
    assert (photo.content.caption, photo.content.size_bytes) == ("broken part", 24631)
    assert photo.content.url == "https://api.telegram.org/file/BQACAgQ"
    assert parse_telegram_webhook({"update_id": 1, "poll": NO_MESSAGES["poll"]}, "telegram") == []
