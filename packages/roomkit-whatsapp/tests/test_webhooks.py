"""WhatsApp's webhooks: the documented bodies by kind, with invented people; and malformed ones."""

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
    ConsentContent,
    ConsentState,
    CustomContent,
    DeleteContent,
    DeliveryStatus,
    EditContent,
    EventType,
    InboundMessage,
    LocationContent,
    MediaContent,
    SystemContent,
    TextContent,
    VideoContent,
)
from roomkit.models.webhook import UnparsedPart
from roomkit_plugins.whatsapp.webhooks import Account, read_webhook

NUMBER, OURS = "106540352242922", "14375550999"
ANN, ANN_ID = "14165550123", "CA.13491208655302741918"
ACCOUNT = Account(NUMBER, "https://graph.facebook.com/v25.0")
CONTACT = {"profile": {"name": "Ann Example"}, "wa_id": ANN, "user_id": ANN_ID}


def envelope(field: str, value: dict[str, Any], waba: str = "102290129340398") -> dict[str, Any]:
    entry = {"id": waba, "changes": [{"field": field, "value": value}]}
    return {"object": "whatsapp_business_account", "entry": [entry]}


def change(field: str = "messages", **fields: Any) -> dict[str, Any]:
    about = {"display_phone_number": OURS, "phone_number_id": NUMBER}
    return envelope(
        field, {"messaging_product": "whatsapp", "metadata": about, "contacts": [CONTACT], **fields}
    )


def said(kind: str, content: Any = None, **fields: Any) -> dict[str, Any]:
    message = {"from": ANN, "id": "wamid.1", "timestamp": "1795359845", "type": kind}
    return {**message, **({} if content is None else {kind: content}), **fields}


def read(payload: object, account: Account = ACCOUNT) -> Sequence[Any]:
    return read_webhook(payload, "whatsapp", account)


def the_message(kind: str, content: Any = None, **fields: Any) -> InboundMessage:
    (found,) = read(change(messages=[said(kind, content, **fields)]))
    assert isinstance(found, InboundMessage)
    return found


def url(identity: str) -> str:
    return f"https://graph.facebook.com/v25.0/{identity}?phone_number_id={NUMBER}"


def test_a_message_has_its_sender_by_every_name() -> None:
    """The user id is the sender, and stays when the number is hidden."""
    message = the_message("text", {"body": "Hello"})
    assert (message.sender_id, message.content) == (ANN_ID, TextContent(body="Hello"))
    assert (message.external_id, message.idempotency_key, message.provider_message_id) == ("wamid.1",) * 3
    assert message.extra == {
        "user_id": ANN_ID,
        "wa_id": f"+{ANN}",
        "phone_number_id": NUMBER,
        "to": OURS,
    }
    assert message.metadata == {"sender_name": "Ann Example"}
    assert json.loads(message.model_dump_json())["raw_payload"] == {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": OURS, "phone_number_id": NUMBER},
        "contacts": [CONTACT],
        "messages": [said("text", {"body": "Hello"})],
    }


@pytest.mark.parametrize(
    ("contact", "fields", "sender"),
    [
        ({"wa_id": ANN}, {}, f"+{ANN}"),
        ({"user_id": ANN_ID, "profile": {"username": "ann"}}, {"from": None, "from_user_id": ANN_ID}, ANN_ID),
        ({"user_id": ANN_ID}, {"from": ""}, ANN_ID),
        ({"wa_id": "14165550124", "user_id": "CA.9"}, {}, f"+{ANN}"),
    ],
)
def test_a_sender_may_have_a_number_a_user_id_or_both(
    contact: dict[str, Any], fields: dict[str, Any], sender: str
) -> None:
    """Another person's contact is not the sender's."""
    (found,) = read(change(contacts=[contact], messages=[said("text", {"body": "x"}, **fields)]))
    assert found.sender_id == sender


def test_a_message_of_a_group_is_of_its_conversation() -> None:
    assert the_message("text", {"body": "x"}, group_id="Y2Fw").conversation == "Y2Fw"


def test_an_answer_names_what_it_quotes_and_a_forward_says_so() -> None:
    message = the_message("text", {"body": "x"}, context={"from": OURS, "id": "wamid.0", "forwarded": True})
    assert (message.in_reply_to, message.metadata["forwarded"]) == (("wamid.0",), True)


IMAGE = {"id": "77", "mime_type": "image/jpeg", "sha256": "x", "caption": "the meter"}
PLACE = {"latitude": 52.5, "longitude": 13.4, "name": "Berlin", "address": "Mitte"}
ITEMS = [{"product_retailer_id": "SKU-1", "quantity": 2, "item_price": 9.5, "currency": "CAD"}]
PEOPLE = [
    {"name": {"formatted_name": "Ben Example"}, "phones": [{"phone": "+1 416-555-0124", "wa_id": "1"}]},
    {"name": {"formatted_name": "Eve"}},
]
FLOW = {"name": "flow", "body": "Sent", "response_json": '{"flow_token": "t", "seats": "4"}'}
CORPUS: list[tuple[str, Any, Any]] = [
    ("text", {"body": "Hi"}, TextContent(body="Hi")),
    ("image", IMAGE, MediaContent(url=url("77"), mime_type="image/jpeg", caption="the meter")),
    ("sticker", {"id": "7", "mime_type": "image/webp"}, MediaContent(url=url("7"), mime_type="image/webp")),
    (
        "document",
        {"id": "7", "mime_type": "application/pdf", "filename": "a.pdf"},
        MediaContent(url=url("7"), mime_type="application/pdf", filename="a.pdf"),
    ),
    (
        "audio",
        {"id": "7", "mime_type": "audio/ogg; codecs=opus", "voice": True},
        AudioContent(url=url("7"), mime_type="audio/ogg; codecs=opus"),
    ),
    ("video", {"id": "7", "mime_type": "video/mp4"}, VideoContent(url=url("7"))),
    (
        "video",
        {"id": "7", "mime_type": "video/mp4", "caption": "look"},
        CompositeContent(parts=(TextContent(body="look"), VideoContent(url=url("7")))),
    ),
    ("location", PLACE, LocationContent(latitude=52.5, longitude=13.4, label="Berlin", address="Mitte")),
    (
        "contacts",
        PEOPLE,
        CustomContent(
            kind="whatsapp.contacts", body="Ben Example: +1 416-555-0124\nEve", data={"contacts": PEOPLE}
        ),
    ),
    (
        "order",
        {"catalog_id": "1", "text": "please", "product_items": ITEMS},
        CustomContent(
            kind="whatsapp.order",
            body="please\n2 x SKU-1 at 9.5 CAD",
            data={"catalog_id": "1", "text": "please", "product_items": ITEMS},
        ),
    ),
    (
        "interactive",
        {"type": "nfm_reply", "nfm_reply": FLOW},
        CustomContent(
            kind="whatsapp.flow_reply",
            body="Sent",
            data={"name": "flow", "response": {"flow_token": "t", "seats": "4"}},
        ),
    ),
    ("request_welcome", None, CustomContent(kind="whatsapp.request_welcome", body="opened the conversation")),
]


@pytest.mark.parametrize(
    ("kind", "content", "expected"), CORPUS, ids=[f"{at}-{each[0]}" for at, each in enumerate(CORPUS)]
)
def test_each_kind_of_message_is_read(kind: str, content: Any, expected: Any) -> None:
    message = the_message(kind, content)
    assert (message.event_type, message.content) == (EventType.MESSAGE, expected)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("button", {"text": "Track", "payload": "track:42"}),
        ("interactive", {"type": "button_reply", "button_reply": {"id": "track:42", "title": "Track"}}),
        (
            "interactive",
            {"type": "list_reply", "list_reply": {"id": "track:42", "title": "Track", "description": "d"}},
        ),
    ],
)
def test_a_tap_is_the_label_with_the_payload_of_its_button(kind: str, content: Any) -> None:
    message = the_message(kind, content, context={"from": OURS, "id": "wamid.0"})
    assert (message.content, message.metadata["postback"]) == (TextContent(body="Track"), "track:42")
    assert message.in_reply_to == ("wamid.0",)


@pytest.mark.parametrize(
    ("kind", "content", "fields", "reason"),
    [
        (
            "unsupported",
            None,
            {"errors": [{"code": 131051, "title": "Unsupported type"}]},
            "Unsupported type",
        ),
        ("poll", {"name": "Pizza?"}, {}, None),
        ("image", {"mime_type": "image/png"}, {}, "image.id is not there"),
        ("location", {"latitude": "here"}, {}, "latitude is not a number"),
        ("interactive", {"type": "call_permission_reply"}, {}, None),
        ("interactive", {"type": "nfm_reply", "nfm_reply": {"response_json": "{"}}, {}, "is not JSON"),
        ("text", "Hi", {}, "text is not an object"),
    ],
)
def test_what_cannot_be_read_is_a_message_that_says_so(
    kind: str, content: Any, fields: dict[str, Any], reason: str | None
) -> None:
    """A person's message never vanishes, and is whole in its payload."""
    found = the_message(kind, content, **fields).content
    assert isinstance(found, CustomContent)
    assert found.kind == "whatsapp.unsupported"
    assert found.body.startswith("[Unsupported message: ")
    assert reason is None or reason in str(found.data["reason"])


# -- what is about another message --------------------------------------------------------------


@pytest.mark.parametrize(("emoji", "action"), [("👍", "add"), ("", "remove"), (None, "remove")])
def test_a_reaction_names_its_message(emoji: str | None, action: str) -> None:
    about = {"message_id": "wamid.0", **({} if emoji is None else {"emoji": emoji})}
    message = the_message("reaction", about)
    assert (message.event_type, message.content) == (EventType.REACTION, TextContent(body=emoji or ""))
    assert message.in_reply_to == ("wamid.0",)
    assert (message.metadata["emoji"], message.metadata["action"]) == (emoji or "", action)


def test_an_edit_has_the_new_content() -> None:
    new = {"type": "text", "text": {"body": "eight"}, "context": {"id": "wamid.0"}}
    message = the_message("edit", {"original_message_id": "wamid.0", "message": new})
    assert message.event_type is EventType.EDIT
    assert message.content == EditContent(target_event_id="wamid.0", new_content=TextContent(body="eight"))
    assert message.in_reply_to == ("wamid.0",)


def test_a_revocation_is_a_deletion() -> None:
    message = the_message("revoke", {"original_message_id": "wamid.0"})
    assert (message.event_type, message.content) == (
        EventType.DELETE,
        DeleteContent(target_event_id="wamid.0"),
    )
    assert message.in_reply_to == ("wamid.0",)


@pytest.mark.parametrize("kind", ["reaction", "edit", "revoke", "system"])
def test_an_act_that_names_no_message_is_reported(kind: str) -> None:
    (found,) = read(change(messages=[said(kind, {})]))
    assert isinstance(found, UnparsedPart)
    assert found.reason.startswith("a message that cannot be read")
    assert found.raw["messages"][0]["type"] == kind


def test_a_new_number_is_known_with_the_old_one() -> None:
    """A note of it in the room; the provider binds the room to the new address."""
    about = {
        "body": "User Ann changed from 14165550123 to 14165550199",
        "type": "user_changed_number",
        "wa_id": "14165550199",
        "user_id": "CA.2",
        "previous_user_id": ANN_ID,
    }
    value = change(messages=[said("system", about)])
    del value["entry"][0]["changes"][0]["value"]["contacts"]
    (message,) = read(value)
    assert (message.event_type, message.sender_id) == (EventType.SYSTEM, ANN_ID)
    assert isinstance(message.content, SystemContent)
    assert message.content.code == "whatsapp.user_changed_number"
    assert (message.extra["moved_to"], message.extra["new_wa_id"]) == ("CA.2", "+14165550199")


# -- receipts -----------------------------------------------------------------------------------


def test_a_status_has_its_error_and_its_time() -> None:
    error = {"code": 131047, "title": "Re-engagement message", "error_data": {"details": "24 hours"}}
    item = {"id": "wamid.9", "status": "failed", "timestamp": "1795359850", "recipient_id": ANN}
    (found,) = read(change(statuses=[{**item, "recipient_user_id": ANN_ID, "errors": [error]}]))
    assert isinstance(found, DeliveryStatus)
    assert (found.provider, found.message_id, found.status) == ("cloud", "wamid.9", "failed")
    assert (found.error_code, found.error_message) == ("graph_131047", "Re-engagement message: 24 hours")
    assert found.timestamp == datetime(2026, 11, 22, 15, 4, 10, tzinfo=UTC)
    assert (found.recipient, found.sender) == (ANN_ID, OURS)


@pytest.mark.parametrize("moment", ["", "now", "9" * 30])
def test_a_time_that_is_none_is_left_out(moment: str) -> None:
    (found,) = read(change(statuses=[{"id": "wamid.9", "status": "read", "timestamp": moment}]))
    assert found.timestamp is None


# -- what is about no message -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "state"), [("stop", ConsentState.REVOKED), ("resume", ConsentState.GRANTED)]
)
def test_a_preference_is_consent_to_marketing(value: str, state: ConsentState) -> None:
    item = {"wa_id": ANN, "detail": "d", "category": "marketing_messages", "value": value}
    (found,) = read(change("user_preferences", user_preferences=[{**item, "timestamp": 1795359850}]))
    assert found.event_type is EventType.CONSENT
    assert isinstance(found.content, ConsentContent)
    assert (found.content.address, found.content.purpose, found.content.state) == (ANN_ID, "marketing", state)
    assert found.content.at == datetime(2026, 11, 22, 15, 4, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "body", "sender"),
    [
        ({"event": "connect", "direction": "USER_INITIATED"}, "Call by WhatsApp: connect", ANN_ID),
        (
            {"event": "terminate", "direction": "USER_INITIATED", "duration": 42, "status": "COMPLETED"},
            "Call by WhatsApp: ended after 42 s",
            ANN_ID,
        ),
        (
            {"event": "connect", "direction": "BUSINESS_INITIATED", "from": OURS, "to": ANN},
            "Call to WhatsApp: connect",
            ANN_ID,
        ),
    ],
)
def test_a_call_reaches_the_timeline_without_its_session(
    fields: dict[str, Any], body: str, sender: str
) -> None:
    call = {"id": "wacid.1", "from": ANN, "to": OURS, "session": {"sdp_type": "offer", "sdp": "v=0"}}
    (found,) = read(change("calls", calls=[{**call, **fields}]))
    assert (found.event_type, found.sender_id, found.content.body) == (EventType.SYSTEM, sender, body)
    assert found.idempotency_key == f"wacid.1:{fields['event']}"
    assert "v=0" not in found.content.model_dump_json()
    assert found.raw_payload["calls"][0]["session"]["sdp"] == "v=0"


TEMPLATE = {
    "event": "REJECTED",
    "message_template_id": 594425479261596,
    "message_template_name": "order_update",
    "message_template_language": "en_US",
    "reason": "INVALID_FORMAT",
}
NOTICES: list[tuple[str, dict[str, Any], str]] = [
    ("message_template_status_update", TEMPLATE, "order_update, en_US, REJECTED, INVALID_FORMAT"),
    (
        "message_template_quality_update",
        {"message_template_name": "order_update", "new_quality_score": "RED"},
        "order_update, RED",
    ),
    ("message_template_components_update", {"message_template_name": "order_update"}, "order_update"),
    ("template_category_update", {"message_template_name": "order_update"}, "order_update"),
    ("account_update", {"event": "DISABLED_UPDATE"}, "DISABLED_UPDATE"),
    ("account_alerts", {"alert_info": {"alert_severity": "CRITICAL"}}, "account_alerts"),
    ("account_review_update", {"decision": "APPROVED"}, "account_review_update"),
    ("business_capability_update", {"max_daily_conversation_per_phone": 1000}, "business_capability_update"),
    ("phone_number_quality_update", {"event": "DOWNGRADE"}, "DOWNGRADE"),
    ("phone_number_name_update", {"decision": "APPROVED"}, "phone_number_name_update"),
    ("security", {"event": "PIN_CHANGED"}, "PIN_CHANGED"),
    ("flows", {"event": "FLOW_STATUS_CHANGE"}, "FLOW_STATUS_CHANGE"),
    ("smb_message_echoes", {"message_echoes": [{"id": "wamid.1"}]}, "smb_message_echoes"),
    ("history", {"history": []}, "history"),
    ("tomorrow", {}, "tomorrow"),
]


@pytest.mark.parametrize(("field", "value", "reason"), NOTICES, ids=[each[0] for each in NOTICES])
def test_a_notice_on_the_account_is_reported_whole(field: str, value: dict[str, Any], reason: str) -> None:
    (found,) = read(envelope(field, value))
    assert isinstance(found, UnparsedPart)
    assert reason in found.reason
    assert found.raw == {"field": field, "value": value}


def test_an_error_of_whatsapp_is_reported() -> None:
    (found,) = read(change(errors=[{"code": 130429, "title": "Rate limit hit"}]))
    assert isinstance(found, UnparsedPart)
    assert found.reason == "an error of WhatsApp: Rate limit hit"


def test_what_is_for_another_number_or_account_is_reported() -> None:
    other = change(messages=[said("text", {"body": "x"})])
    (found,) = read(other, Account("1", "https://graph.facebook.com/v25.0"))
    assert isinstance(found, UnparsedPart)
    assert f"messages of another number, {NUMBER}" in found.reason
    (found,) = read(other, Account(NUMBER, "https://graph.facebook.com/v25.0", "9"))
    assert found.reason == "a change of another account, 102290129340398"


def test_one_request_has_many_parts_in_order_and_one_bad_one_costs_no_other() -> None:
    messages = [said("text", {"body": "1"}), {"type": "text"}, said("text", {"body": "2"}, id="wamid.2")]
    statuses = [{"id": "wamid.9", "status": "sent"}, {"status": "sent"}]
    first = change(messages=messages, statuses=statuses)
    first["entry"] += change("calls", calls=[{"id": "c", "event": "connect", "from": ANN}, {"id": "c"}])[
        "entry"
    ]
    kinds = [type(each).__name__ for each in read(first)]
    assert kinds == [
        "InboundMessage",
        "UnparsedPart",
        "InboundMessage",
        "DeliveryStatus",
        "UnparsedPart",
        "InboundMessage",
        "UnparsedPart",
    ]


ODD = st.sampled_from([None, "", 0, -1, 1.5, True, [], {}, [None], "x" * 5000, "\x00", {"id": 5}])


@st.composite
def mangled(draw: st.DrawFn) -> Any:
    """Return a webhook with something else in one of its places, at any depth."""
    kind, content, _ = draw(st.sampled_from(CORPUS))
    acts = {"reaction": {"message_id": "wamid.0"}, "revoke": {"original_message_id": "wamid.0"}}
    other = draw(st.sampled_from([*acts, "system"]))
    whole = change(
        messages=[said(kind, content), said(other, acts.get(other, {"type": "user_changed_number"}))],
        statuses=[{"id": "wamid.9", "status": "failed", "errors": [{"code": 1, "title": "t"}]}],
        errors=[{"title": "t"}],
    )
    payload = json.loads(json.dumps(whole))  # what is in the corpus stays as it is
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
        found = read(payload)
    except ValueError:
        return
    assert all(type(each)(**dict(each)) == each for each in found if isinstance(each, InboundMessage))


@pytest.mark.parametrize(
    "payload",
    [{}, [], None, {"object": "page"}, {"object": "whatsapp_business_account", "entry": {}}],
    ids=json.dumps,
)
def test_what_is_no_webhook_of_whatsapp_is_refused(payload: object) -> None:
    with pytest.raises(ValueError, match="cannot be one of WhatsApp"):
        read(payload)
