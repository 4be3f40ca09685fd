"""Messenger's webhooks: the documented events by kind, with invented people; and malformed ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomkit.models import (
    AudioContent,
    CompositeContent,
    CustomContent,
    DeliveryStatus,
    EditContent,
    EventType,
    InboundMessage,
    LocationContent,
    MediaContent,
    ReceiptWatermark,
    TextContent,
    VideoContent,
    text_of,
)
from roomkit.models.webhook import UnparsedPart
from roomkit_plugins.messenger import parse_messenger_webhook
from roomkit_plugins.messenger.webhooks import read_webhook

PAGE, ANN = "104233445566778", "7012345678901234"
WHEN = 1795359849000
URL = "https://scontent.example.net/i.jpg?oh=1"


def happened(**said: Any) -> dict[str, Any]:
    return {"sender": {"id": ANN}, "recipient": {"id": PAGE}, "timestamp": WHEN, **said}


def envelope(*events: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"object": "page", "entry": [{"id": PAGE, "time": WHEN, "messaging": list(events), **fields}]}


def read(*events: dict[str, Any], page: str | None = None) -> Sequence[Any]:
    return read_webhook(envelope(*events), "messenger", page)


def the_message(**said: Any) -> InboundMessage:
    (found,) = read(happened(message={"mid": "m_1", **said}))
    assert isinstance(found, InboundMessage)
    return found


def attached(kind: str, **payload: Any) -> Any:
    return the_message(attachments=[{"type": kind, "payload": payload}]).content


def test_a_message_has_its_sender_and_its_id() -> None:
    message = the_message(text="Hello", reply_to={"mid": "m_0"})
    assert (message.sender_id, message.content) == (ANN, TextContent(body="Hello"))
    assert (message.external_id, message.idempotency_key, message.in_reply_to) == ("m_1", "m_1", ("m_0",))
    assert message.extra == {"page_id": PAGE}
    assert json.loads(message.model_dump_json())["raw_payload"]["message"]["text"] == "Hello"


def test_a_tap_is_the_label_with_its_payload() -> None:
    message = the_message(text="Track", quick_reply={"payload": "TRACK"})
    assert (message.content, message.metadata) == (TextContent(body="Track"), {"postback": "TRACK"})
    said = {"mid": "m_2", "title": "Start", "payload": "GO", "referral": {"ref": "ad-1"}}
    (message,) = read(happened(postback=said))
    assert (message.content, message.metadata) == (
        TextContent(body="Start"),
        {"postback": "GO", "referral": {"ref": "ad-1"}},
    )
    (message,) = read(happened(postback={"payload": "GO"}))
    assert (message.content.body, message.idempotency_key) == ("GO", f"postback:{ANN}:{WHEN}")


@pytest.mark.parametrize(
    ("kind", "payload", "expected"),
    [
        ("image", {"url": URL}, MediaContent(url=URL, mime_type="image/jpeg")),
        ("sticker", {"url": URL, "sticker_id": 1}, MediaContent(url=URL, mime_type="image/jpeg")),
        (
            "audio",
            {"url": "https://x.example/a"},
            AudioContent(url="https://x.example/a", mime_type="audio/mp4"),
        ),
        ("video", {"url": "https://x.example/v.mp4"}, VideoContent(url="https://x.example/v.mp4")),
        (
            "file",
            {"url": "https://x.example/a.pdf?x=1"},
            MediaContent(url="https://x.example/a.pdf?x=1", mime_type="application/pdf", filename="a.pdf"),
        ),
        (
            "location",
            {"coordinates": {"lat": 52.5, "long": 13.4}},
            LocationContent(latitude=52.5, longitude=13.4),
        ),
        (
            "fallback",
            {"url": "https://x.example/", "title": "A page"},
            TextContent(body="A page\nhttps://x.example/"),
        ),
        ("reel", {"url": "https://x.example/r"}, TextContent(body="https://x.example/r")),
    ],
)
def test_each_kind_of_attachment_is_read(kind: str, payload: dict[str, Any], expected: Any) -> None:
    assert attached(kind, **payload) == expected


def test_text_and_attachments_are_one_message() -> None:
    picture = {"type": "image", "payload": {"url": URL}}
    message = the_message(text="Look", attachments=[picture, picture])
    assert isinstance(message.content, CompositeContent)
    assert [part.type for part in message.content.parts] == ["text", "media", "media"]


@pytest.mark.parametrize(
    ("kind", "payload"), [("template", {"template_type": "generic"}), ("image", {}), ("location", {})]
)
def test_what_cannot_be_read_is_a_message_that_says_so(kind: str, payload: dict[str, Any]) -> None:
    assert attached(kind, **payload) == CustomContent(
        kind="messenger.unsupported", body=f"[Unsupported message: {kind}]", data={"type": kind}
    )
    assert the_message().content == CustomContent(
        kind="messenger.unsupported", body="[Unsupported message: message]", data={"type": "message"}
    )


def test_an_edit_and_a_reaction_name_their_message() -> None:
    (edit,) = read(happened(message_edit={"mid": "m_1", "text": "eight", "num_edit": 2}))
    assert edit.content == EditContent(target_event_id="m_1", new_content=TextContent(body="eight"))
    assert (edit.event_type, edit.in_reply_to) == (EventType.EDIT, ("m_1",))
    assert edit.idempotency_key == "edit:m_1:2"
    (put,) = read(happened(reaction={"mid": "m_1", "action": "react", "emoji": "❤️", "reaction": "love"}))
    assert (put.event_type, put.content.body, put.in_reply_to) == (EventType.REACTION, "❤️", ("m_1",))
    assert put.metadata == {"emoji": "❤️", "action": "add"}
    (taken,) = read(happened(reaction={"mid": "m_1", "action": "unreact", "reaction": "love"}))
    assert (taken.content.body, taken.metadata["action"]) == ("", "remove")


def test_receipts_are_by_id_or_by_time() -> None:
    """A watermark is of everything before it."""
    at = datetime.fromtimestamp(WHEN / 1000, UTC)
    first, second = read(happened(delivery={"mids": ["m_1", "m_2"], "watermark": WHEN}))
    assert isinstance(first, DeliveryStatus)
    assert (first.provider, first.message_id, first.status, first.timestamp) == (
        "facebook",
        "m_1",
        "delivered",
        at,
    )
    assert second.message_id == "m_2"
    for said, status in (
        ({"delivery": {"watermark": WHEN}}, "delivered"),
        ({"read": {"watermark": WHEN}}, "read"),
    ):
        (mark,) = read(happened(**said))
        assert isinstance(mark, ReceiptWatermark)
        assert (mark.recipient, mark.status, mark.at) == (ANN, status, at)


@pytest.mark.parametrize(
    ("said", "code", "body"),
    [
        (
            {"referral": {"ref": "menu", "source": "SHORTLINK", "type": "OPEN_THREAD"}},
            "messenger.referral",
            "menu",
        ),
        (
            {"optin": {"type": "notification_messages", "payload": "p"}},
            "messenger.optin",
            "notification_messages",
        ),
    ],
)
def test_an_arrival_is_in_the_timeline(said: dict[str, Any], code: str, body: str) -> None:
    (found,) = read(happened(**said))
    assert (found.event_type, found.content.code) == (EventType.SYSTEM, code)
    assert body in found.content.body


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (
            happened(message={"mid": "m_9", "text": "ours", "is_echo": True, "app_id": 1}),
            "an echo of what the page sent",
        ),
        (
            happened(pass_thread_control={"new_owner_app_id": "1"}),
            "an event of Messenger: pass_thread_control",
        ),
        (happened(account_linking={"status": "linked"}), "an event of Messenger: account_linking"),
        (happened(policy_enforcement={"action": "block"}), "policy_enforcement"),
        (happened(), "an event of Messenger: nothing"),
        (happened(message={"text": "no id"}), "a message that cannot be read"),
        (happened(message="text"), "a message that cannot be read"),
        (happened(read={}), "a read that cannot be read"),
        (happened(read={"watermark": 10**30}), "a read that cannot be read"),
        ({"message": {"mid": "m_1", "text": "from no one"}}, "a message that cannot be read"),
    ],
)
def test_what_is_about_no_message_is_reported_whole(event: dict[str, Any], reason: str) -> None:
    (found,) = read(event)
    assert isinstance(found, UnparsedPart)
    assert reason in found.reason
    assert found.raw == event


def test_another_page_standby_and_notices_are_reported() -> None:
    (found,) = read(happened(message={"mid": "m_1", "text": "x"}), page="1")
    assert found.reason == f"an event of another page, {PAGE}"
    waiting = {"standby": [happened(message={"mid": "m_1"})], "changes": [{"field": "feed", "value": {}}]}
    parts: Sequence[Any] = read_webhook(envelope(**waiting), "messenger")
    assert [each.reason for each in parts] == [
        "another app has the conversation (standby)",
        "a notice on the page: feed",
    ]


def test_one_bad_event_costs_no_other() -> None:
    found = read(
        happened(message={"mid": "m_1", "text": "1"}),
        happened(message={}),
        happened(message={"mid": "m_2", "text": "2"}),
    )
    assert [type(each).__name__ for each in found] == ["InboundMessage", "UnparsedPart", "InboundMessage"]


def test_the_parser_returns_what_people_say() -> None:
    payload = envelope(happened(message={"mid": "m_1", "text": "1"}), happened(read={"watermark": WHEN}))
    assert [text_of(each.content) for each in parse_messenger_webhook(payload, "messenger")] == ["1"]


EVENTS = (
    happened(
        message={"mid": "m_1", "text": "1", "attachments": [{"type": "image", "payload": {"url": URL}}]}
    ),
    happened(
        message={"mid": "m_1", "text": "1", "quick_reply": {"payload": "p"}, "reply_to": {"mid": "m_0"}}
    ),
    happened(postback={"mid": "m_2", "title": "t", "payload": "p", "referral": {"ref": "r"}}),
    happened(message_edit={"mid": "m_1", "text": "2", "num_edit": 1}),
    happened(reaction={"mid": "m_1", "action": "react", "emoji": "x"}),
    happened(delivery={"mids": ["m_1"], "watermark": WHEN}),
    happened(read={"watermark": WHEN}),
    happened(optin={"type": "t"}),
)
ODD = st.sampled_from([None, "", 0, -1, 1.5, True, [], {}, [None], "x" * 5000, "\x00", {"id": 5}])


@st.composite
def mangled(draw: st.DrawFn) -> Any:
    """Return a webhook with something else in one of its places, at any depth."""
    payload = json.loads(json.dumps(envelope(draw(st.sampled_from(EVENTS)), EVENTS[0])))
    place: Any = payload
    while True:
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not (isinstance(place[key], dict | list) and place[key]) or draw(st.integers(0, 9)) == 0:
            place[key] = draw(ODD)
            return payload
        place = place[key]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(mangled())
def test_a_mangled_webhook_is_refused_or_its_parts_are(payload: Any) -> None:
    """Never with another error, and each part that is taken can be stored."""
    try:
        found = read_webhook(payload, "messenger")
    except ValueError:
        return
    assert all(type(each)(**dict(each)) == each for each in found if isinstance(each, InboundMessage))


@pytest.mark.parametrize(
    "payload", [{}, [], None, {"object": "instagram"}, {"object": "page", "entry": 1}], ids=json.dumps
)
def test_what_is_no_webhook_of_messenger_is_refused(payload: Any) -> None:
    with pytest.raises(ValueError, match="cannot be one of Messenger"):
        read_webhook(payload, "messenger")
