"""What Messenger is sent: texts, files, buttons, cards, templates; and the errors it answers with."""

from __future__ import annotations

import json
import socket
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from pydantic import ValidationError

from roomkit.abc import ErrorCode, ProviderError
from roomkit.abc.probe import SupportsProbe
from roomkit.models import (
    AudioContent,
    CompositeContent,
    CustomContent,
    LocationContent,
    MediaContent,
    MessengerHints,
    RichContent,
    TemplateContent,
    TextContent,
    VideoContent,
)
from roomkit.models.enums import EventType
from roomkit_plugins.messenger import FacebookMessengerProvider, MessengerConfig
from roomkit_plugins.testing.contracts.base import event
from roomkit_plugins.testing.simulators import MessengerMessage, MessengerSimulator

ANN = "7012345678901234"
PNG = "https://files.example.org/a.png"


@pytest.fixture
async def provider(
    messenger: MessengerSimulator, configure: Callable[..., MessengerConfig]
) -> AsyncIterator[FacebookMessengerProvider]:
    """Return a provider whose page may write at any time."""
    messenger.has_window = False
    made = FacebookMessengerProvider(configure())
    yield made
    await made.close()


@pytest.fixture
def send(messenger: MessengerSimulator, provider: FacebookMessengerProvider) -> Callable[..., Any]:
    """Return a function that sends a content, and returns the last message that Messenger took."""

    async def send(content: Any = "hello", **options: Any) -> MessengerMessage:
        content = TextContent(body=content) if isinstance(content, str) else content
        await provider.send(event("room", content=content), ANN, **options)
        return messenger.messages[-1]

    return send


async def test_a_message_has_its_type_its_tag_and_what_it_answers(
    messenger: MessengerSimulator, send: Callable[..., Any]
) -> None:
    await send()
    message = await send(hints=MessengerHints(tag="HUMAN_AGENT", reply_to="m_1"))
    assert (message.tag, message.answered) == ("HUMAN_AGENT", "m_1")
    kinds = [each.json()["messaging_type"] for each in messenger.requests]
    assert kinds == ["RESPONSE", "MESSAGE_TAG"]
    assert {each.path for each in messenger.requests} == {f"/v25.0/{messenger.page_id}/messages"}


async def test_the_token_is_in_no_url(messenger: MessengerSimulator, send: Callable[..., Any]) -> None:
    await send()
    (request,) = messenger.requests
    assert messenger.page_access_token not in json.dumps([request.path, dict(request.query)])
    assert request.query.keys() == {"appsecret_proof"}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (MediaContent(url=PNG, mime_type="image/png"), "image"),
        (MediaContent(url=PNG, mime_type="application/pdf"), "file"),
        (AudioContent(url=PNG), "audio"),
        (VideoContent(url=PNG), "video"),
    ],
)
async def test_a_file_is_an_attachment(send: Callable[..., Any], content: Any, kind: str) -> None:
    attachment = (await send(content)).content["attachment"]
    assert attachment == {"type": kind, "payload": {"url": PNG, "is_reusable": True}}


async def test_a_file_of_ours_is_uploaded_once_and_again_when_it_is_gone(
    messenger: MessengerSimulator, send: Callable[..., Any]
) -> None:
    url = f"data:image/png;base64,{b64encode(b'png').decode()}"
    picture = MediaContent(url=url, mime_type="image/png")
    for _ in range(2):
        message = await send(picture)
    assert message.content["attachment"]["payload"] == {"attachment_id": next(iter(messenger.uploads))}
    assert len(messenger.uploads) == 1
    messenger.expire_files()
    with pytest.raises(ProviderError) as caught:
        await send(picture)
    assert caught.value.error_code is ErrorCode.NOT_FOUND
    await send(picture)
    assert len(messenger.uploads) == 1


async def test_a_place_is_said_with_a_map(send: Callable[..., Any]) -> None:
    message = await send(LocationContent(latitude=52.5, longitude=13.4, label="Berlin"))
    assert message.text.startswith("[Location: Berlin (52.5, 13.4)]\nhttps://")
    assert (await send(CustomContent(kind="acme.ticket", body="Ticket 7"))).text == "Ticket 7"


# -- buttons and cards --------------------------------------------------------------------------

LINK = {"type": "url", "text": "Track", "url": "https://example.org/42"}
CALL = {"type": "call", "text": "Call us", "phone_number": "+14375550999"}
REPLY = {"type": "reply", "text": "Thanks", "payload": "thx"}


async def test_buttons_and_quick_replies_go_together(send: Callable[..., Any]) -> None:
    """The text is plain: Messenger shows no marks."""
    rich = RichContent(body="**On its way**", buttons=(LINK, CALL, REPLY), quick_replies=("Later",))
    message = await send(rich)
    payload = message.content["attachment"]["payload"]
    assert (payload["template_type"], payload["text"]) == ("button", "On its way")
    assert [each["type"] for each in payload["buttons"]] == ["web_url", "phone_number", "postback"]
    assert message.options == {"Thanks": "thx", "Later": "Later"}
    message = await send(RichContent(body="Which?", quick_replies=("A", "B")))
    assert (message.text, message.options) == ("Which?", {"A": "A", "B": "B"})


async def test_cards_come_after_their_text(
    messenger: MessengerSimulator, provider: FacebookMessengerProvider
) -> None:
    """As two messages of the vendor's, whose ids the result has."""
    card = {"title": "A", "description": "of sorts", "media_url": PNG, "buttons": [REPLY]}
    rich = RichContent(body="Choose:", cards=(card,), quick_replies=("None",))
    result = await provider.send(event("room", content=rich), ANN)
    text, cards = messenger.messages
    assert (result.provider_message_id, result.parts) == (text.id, (text.id, cards.id))
    assert (text.text, "quick_replies" in text.content) == ("Choose:", False)
    (element,) = cards.content["attachment"]["payload"]["elements"]
    assert (element["title"], element["subtitle"], element["image_url"]) == ("A", "of sorts", PNG)
    assert cards.options == {"Thanks": "thx", "None": "None"}


async def test_a_card_without_room_is_said_in_words(send: Callable[..., Any]) -> None:
    for card in ({"title": "A" * 81, "description": "x"}, {"title": "A"}, {"description": "x"}):
        message = await send(RichContent(body="Choose:", cards=(card,)))
        assert message.text.startswith("Choose:\n")
        assert str(card.get("title", "x")) in message.text


async def test_a_failure_after_the_text_leaves_the_fate_open(
    messenger: MessengerSimulator, provider: FacebookMessengerProvider
) -> None:
    """So that the text is not sent twice."""
    rich = RichContent(body="Choose:", cards=({"title": "A", "description": "x"},))
    messenger.play(None)
    messenger.fail(503)
    with pytest.raises(ProviderError, match="the text before the cards was sent") as caught:
        await provider.send(event("room", content=rich), ANN)
    assert caught.value.accepted is None


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (RichContent(body="x", buttons=(REPLY,) * 4), ErrorCode.UNSUPPORTED_CONTENT),
        (RichContent(body="x", buttons=({"text": "A" * 21},)), ErrorCode.UNSUPPORTED_CONTENT),
        (
            RichContent(body="x", buttons=({"text": "A", "payload": "p" * 1001},)),
            ErrorCode.UNSUPPORTED_CONTENT,
        ),
        (RichContent(body="x", buttons=({"text": "A", "url": "data:,1"},)), ErrorCode.UNSUPPORTED_CONTENT),
        (RichContent(body="x", quick_replies=tuple("ABCDEFGHIJKLMN")), ErrorCode.UNSUPPORTED_CONTENT),
        (RichContent(body="x" * 641, buttons=(REPLY,)), ErrorCode.TOO_LONG),
        (RichContent(body="x" * 2001), ErrorCode.TOO_LONG),
        (TextContent(body="x" * 2001), ErrorCode.TOO_LONG),
        (RichContent(body="", buttons=(REPLY,)), ErrorCode.INVALID_REQUEST),
        (RichContent(body=" "), ErrorCode.INVALID_REQUEST),
        (TextContent(body=" "), ErrorCode.INVALID_REQUEST),
        (MediaContent(url=PNG, mime_type="image/png", caption="c"), ErrorCode.UNSUPPORTED_CONTENT),
        (
            CompositeContent(parts=(TextContent(body="x"), MediaContent(url=PNG, mime_type="image/png"))),
            ErrorCode.UNSUPPORTED_CONTENT,
        ),
        (TemplateContent(template_id="generic", parameters={"payload": "["}), ErrorCode.INVALID_REQUEST),
        (TemplateContent(template_id="update", parameters={"2": "x"}), ErrorCode.UNSUPPORTED_CONTENT),
        (TemplateContent(template_id="update", parameters={"name": "x"}), ErrorCode.UNSUPPORTED_CONTENT),
    ],
)
async def test_what_messenger_would_refuse_is_not_sent(
    messenger: MessengerSimulator, send: Callable[..., Any], content: Any, code: ErrorCode
) -> None:
    with pytest.raises(ProviderError) as caught:
        await send(content)
    assert (caught.value.error_code, caught.value.accepted) == (code, False)
    assert messenger.requests == []


# -- templates, marks, errors -------------------------------------------------------------------


async def test_a_template_is_an_approved_one_or_one_of_messengers(
    messenger: MessengerSimulator, send: Callable[..., Any]
) -> None:
    message = await send(
        TemplateContent(template_id="order_update", language="en-US", parameters={"2": "42", "1": "Ann"})
    )
    template = message.content["template"]
    assert (template["name"], template["language"]) == ("order_update", {"code": "en_US"})
    assert [each["text"] for each in template["components"][0]["parameters"]] == ["Ann", "42"]
    assert messenger.requests[-1].json()["messaging_type"] == "UTILITY"
    payload = json.dumps({"elements": [{"media_type": "image", "attachment_id": "1"}]})
    message = await send(TemplateContent(template_id="media", parameters={"payload": payload}))
    assert message.content["attachment"]["payload"]["template_type"] == "media"


async def test_typing_and_read_marks_are_shown(
    messenger: MessengerSimulator, provider: FacebookMessengerProvider
) -> None:
    await provider.show_typing(ANN, True, answering=None)
    await provider.show_typing(ANN, False, answering="m_1")
    await provider.mark_read(ANN, ["m_1"])
    assert messenger.actions == [(ANN, "typing_on"), (ANN, "typing_off"), (ANN, "mark_seen")]


async def test_a_reaction_without_its_message_is_refused(
    messenger: MessengerSimulator, provider: FacebookMessengerProvider
) -> None:
    with pytest.raises(ProviderError, match="no message to react to"):
        await provider.send(event("room", "👍", type=EventType.REACTION), ANN)
    assert messenger.requests == []


async def test_a_closed_window_is_named(messenger: MessengerSimulator, send: Callable[..., Any]) -> None:
    messenger.has_window = True
    with pytest.raises(ProviderError) as caught:
        await send()
    assert (caught.value.error_code, caught.value.vendor_code) == (ErrorCode.WINDOW_CLOSED, "graph_10")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (551, ErrorCode.INVALID_RECIPIENT),
        (10, ErrorCode.PERMISSION),
        (613, ErrorCode.RATE_LIMIT),
        (1200, ErrorCode.OVERLOADED),
        (190, ErrorCode.AUTH),
    ],
)
async def test_a_refusal_is_classified_by_its_code(
    messenger: MessengerSimulator, send: Callable[..., Any], code: int, expected: ErrorCode
) -> None:
    messenger.fail(400, code)
    with pytest.raises(ProviderError) as caught:
        await send()
    assert (caught.value.error_code, caught.value.vendor_code) == (expected, f"graph_{code}")


# -- probe and settings -------------------------------------------------------------------------


@pytest.fixture
def ask(configure: Callable[..., MessengerConfig]) -> Callable[..., Any]:
    """Return a function that probes with these settings."""

    async def probe(**fields: Any) -> str:
        provider = FacebookMessengerProvider(configure(**fields))
        assert isinstance(provider, SupportsProbe)
        try:
            return await provider.probe()
        finally:
            await provider.close()

    return probe


async def test_the_page_is_asked_for_and_nothing_is_sent(
    messenger: MessengerSimulator, ask: Callable[..., Any]
) -> None:
    assert await ask() == f"page ACME can send by {messenger.origin}"
    assert await ask(page_id=None, verify_token=None) == (
        f"page ACME can send by {messenger.origin}; without verify_token no webhook is taken"
    )
    assert [each.path for each in messenger.requests] == [f"/v25.0/{messenger.page_id}", "/v25.0/me"]


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"page_access_token": "EAAwrong", "app_secret": None}, ErrorCode.AUTH, "generate it in the app"),
        ({"page_id": "1"}, ErrorCode.NOT_FOUND, "may not use page 1"),
    ],
)
async def test_a_probe_that_fails_says_what_to_do(
    ask: Callable[..., Any], fields: dict[str, Any], code: ErrorCode, said: str
) -> None:
    with pytest.raises(ProviderError, match=said) as caught:
        await ask(**fields)
    assert caught.value.error_code is code
    assert "EAAwrong" not in str(caught.value)


async def test_a_host_that_does_not_answer_is_named(ask: Callable[..., Any]) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        with pytest.raises(ProviderError, match=f"check that base_url, {url}"):
            await ask(base_url=url)


@pytest.mark.parametrize(
    "fields",
    [{"page_access_token": ""}, {"page_id": "acme"}, {"api_version": "25"}, {"app_secret": " "}],
    ids=str,
)
def test_a_setting_that_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(fields))):
        MessengerConfig(**{"page_access_token": "t", **fields})
