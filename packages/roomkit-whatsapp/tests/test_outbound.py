"""What WhatsApp is sent: recipients, texts, files, buttons, templates; and the errors it answers with."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from roomkit.abc import ErrorCode, ProviderError
from roomkit.models import (
    AudioContent,
    CompositeContent,
    CustomContent,
    DeleteContent,
    EditContent,
    LocationContent,
    MediaContent,
    RichContent,
    TemplateContent,
    TextContent,
    VideoContent,
    WhatsAppHints,
)
from roomkit.models.enums import EventType
from roomkit_plugins.testing.contracts.base import event
from roomkit_plugins.testing.simulators import WhatsAppMessage, WhatsAppSimulator
from roomkit_plugins.whatsapp import WhatsAppCloudConfig, WhatsAppCloudProvider

ANN = "+14165550123"
PNG = "https://files.example.org/a.png"
DATA = b"\x89PNG\r\n\x1a\n" + bytes(20)

pytestmark = pytest.mark.usefixtures("anyone_may_be_written_to")


@pytest.fixture
async def provider(
    configure: Callable[..., WhatsAppCloudConfig],
) -> AsyncIterator[Callable[..., WhatsAppCloudProvider]]:
    """Return a function that makes a provider, with settings in the place of the usual ones."""
    made: list[WhatsAppCloudProvider] = []

    def make(**fields: Any) -> WhatsAppCloudProvider:
        made.append(WhatsAppCloudProvider(configure(**fields)))
        return made[-1]

    yield make
    for each in made:
        await each.close()


@pytest.fixture
def send(whatsapp: WhatsAppSimulator, provider: Callable[..., WhatsAppCloudProvider]) -> Callable[..., Any]:
    """Return a function that sends a content, and returns the message that WhatsApp took."""
    one = provider()

    async def send(content: Any = "hello", to: str = ANN, **options: Any) -> WhatsAppMessage:
        content = TextContent(body=content) if isinstance(content, str) else content
        await one.send(event("room", content=content), to, **options)
        return whatsapp.messages[-1]

    return send


# -- who it is for ------------------------------------------------------------------------------


async def test_a_message_goes_to_a_number_a_user_id_or_a_group(
    whatsapp: WhatsAppSimulator, send: Callable[..., Any]
) -> None:
    """Each in its own field."""
    ann = whatsapp.phone(ANN)
    for to in (ANN, ann.user_id, "Y2FwaV9ncm91cDoxNzA1"):
        await send(to=to)
    asked = [each.json() for each in whatsapp.requests]
    assert [(each["recipient_type"], each.get("to"), each.get("recipient")) for each in asked] == [
        ("individual", ANN, None),
        ("individual", None, ann.user_id),
        ("group", "Y2FwaV9ncm91cDoxNzA1", None),
    ]
    assert len(ann.texts) == 2


async def test_an_answer_quotes_and_the_receipts_repeat_our_key(send: Callable[..., Any]) -> None:
    message = await send(hints=WhatsAppHints(reply_to="wamid.X"), idempotency_key="e1:whatsapp")
    assert (message.quoted, message.reference) == ("wamid.X", "e1:whatsapp")
    assert (await send(idempotency_key="k" * 513)).reference == ""


async def test_the_result_has_every_id_of_the_recipient(
    whatsapp: WhatsAppSimulator, provider: Callable[..., WhatsAppCloudProvider]
) -> None:
    result = await provider().send(event("room", "hello"), ANN)
    ann = whatsapp.phone(ANN)
    assert result.metadata == {"wa_id": ann.wa_id, "user_id": ann.user_id}


# -- texts and places ---------------------------------------------------------------------------


async def test_a_link_has_a_preview(whatsapp: WhatsAppSimulator, send: Callable[..., Any]) -> None:
    await send("see https://example.org/a")
    await send("see")
    previews = [each.json()["text"].get("preview_url") for each in whatsapp.requests]
    assert previews == [True, None]


async def test_a_place_has_its_name_and_address(send: Callable[..., Any]) -> None:
    place = LocationContent(latitude=52.5, longitude=13.4, label="Berlin", address="Mitte")
    assert (await send(place)).content == {
        "latitude": 52.5,
        "longitude": 13.4,
        "name": "Berlin",
        "address": "Mitte",
    }


async def test_what_the_api_has_besides_is_sent_as_it_is(send: Callable[..., Any]) -> None:
    """Contacts, and interactive messages that no other channel has, such as a flow; other plugins' words."""
    contact = {"name": {"formatted_name": "Ben", "first_name": "Ben"}, "phones": [{"phone": "+1 416"}]}
    message = await send(CustomContent(kind="whatsapp.contacts", data={"contacts": [contact]}))
    assert (message.type, message.content) == ("contacts", [contact])
    parameters = {"flow_message_version": "3", "flow_id": "1", "flow_cta": "Book"}
    flow = {
        "type": "flow",
        "body": {"text": "Book a table"},
        "action": {"name": "flow", "parameters": parameters},
    }
    message = await send(CustomContent(kind="whatsapp.interactive", data=flow))
    assert message.content == flow
    assert (await send(CustomContent(kind="acme.ticket", body="Ticket 7"))).text == "Ticket 7"


# -- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (MediaContent(url=PNG, mime_type="image/png", caption="c"), "image", {"caption": "c"}),
        (MediaContent(url=PNG, mime_type="image/webp"), "sticker", {}),
        (MediaContent(url=PNG, mime_type="image/webp", caption="c"), "document", {"caption": "c"}),
        (MediaContent(url=PNG, mime_type="image/gif", filename="a.gif"), "document", {"filename": "a.gif"}),
        (
            MediaContent(url=PNG, mime_type="application/pdf", filename="a.pdf", caption="c"),
            "document",
            {"filename": "a.pdf", "caption": "c"},
        ),
        (MediaContent(url=PNG, mime_type="audio/mpeg"), "audio", {}),
        (MediaContent(url=PNG, mime_type="audio/mpeg", caption="c"), "document", {"caption": "c"}),
        (AudioContent(url=PNG, mime_type="audio/ogg; codecs=opus"), "audio", {"voice": True}),
        (AudioContent(url=PNG, mime_type="audio/mpeg"), "audio", {}),
        (VideoContent(url=PNG), "video", {}),
        (VideoContent(url=PNG, mime_type="video/webm"), "document", {}),
        (
            CompositeContent(parts=(TextContent(body="Look:"), VideoContent(url=PNG))),
            "video",
            {"caption": "Look:"},
        ),
    ],
)
async def test_a_file_goes_out_as_what_whatsapp_shows(
    send: Callable[..., Any], content: Any, kind: str, said: dict[str, Any]
) -> None:
    """With its words; what it has no form for is a document."""
    message = await send(content)
    assert (message.type, message.content) == (kind, {"link": PNG, **said})


async def test_a_file_of_ours_is_uploaded_once_and_sent_by_its_id(
    whatsapp: WhatsAppSimulator, provider: Callable[..., WhatsAppCloudProvider]
) -> None:
    """Equal files are one upload; another name is another."""
    url = f"data:image/png;base64,{b64encode(DATA).decode()}"
    one = provider()
    for filename in ("a.png", "a.png", "b.png"):
        picture = MediaContent(url=url, mime_type="image/png", filename=filename)
        await one.send(event("room", content=picture), ANN)
    assert [each.path.rpartition("/")[2] for each in whatsapp.requests] == [
        "media",
        "messages",
        "messages",
        "media",
        "messages",
    ]
    ids = [message.content["id"] for message in whatsapp.messages]
    assert (ids[0] == ids[1], ids[1] == ids[2], len(whatsapp.uploads)) == (True, False, 2)


async def test_an_upload_that_whatsapp_forgot_is_made_again(
    whatsapp: WhatsAppSimulator, provider: Callable[..., WhatsAppCloudProvider]
) -> None:
    """For the next message: the failed one is not retried by the provider."""
    picture = event("room", content=MediaContent(url="data:image/png,1", mime_type="image/png"))
    one = provider()
    await one.send(picture, ANN)
    whatsapp.expire_files()
    with pytest.raises(ProviderError) as caught:
        await one.send(picture, ANN)
    assert caught.value.error_code is ErrorCode.NOT_FOUND
    assert (await one.send(picture, ANN)).success
    assert len(whatsapp.uploads) == 1


async def test_a_file_of_ours_is_refused_where_uploads_are_off(
    whatsapp: WhatsAppSimulator, provider: Callable[..., WhatsAppCloudProvider]
) -> None:
    picture = MediaContent(url="data:image/png,1", mime_type="image/png")
    with pytest.raises(ProviderError, match="without an http") as caught:
        await provider(auto_upload=False).send(event("room", content=picture), ANN)
    assert caught.value.error_code is ErrorCode.UNSUPPORTED_CONTENT
    assert whatsapp.requests == []


async def test_a_file_that_cannot_be_read_is_refused(send: Callable[..., Any]) -> None:
    with pytest.raises(ProviderError, match="give it as RFC 2397 says"):
        await send(MediaContent(url="data:image/png;base64,?", mime_type="image/png"))


async def test_several_parts_are_not_one_message(
    whatsapp: WhatsAppSimulator, send: Callable[..., Any]
) -> None:
    """The kernel sends each as a message; a provider that is given them all the same sends none."""
    picture = MediaContent(url=PNG, mime_type="image/png")
    place = LocationContent(latitude=1, longitude=1)
    for parts in ((picture, picture), (picture, place)):
        with pytest.raises(ProviderError, match="send each as a message"):
            await send(CompositeContent(parts=parts))
    assert whatsapp.messages == []


# -- buttons ------------------------------------------------------------------------------------


def buttons(*labels: str) -> tuple[dict[str, str], ...]:
    return tuple({"type": "reply", "text": label, "payload": f"p-{label}"} for label in labels)


async def test_up_to_three_replies_are_buttons_and_up_to_ten_a_list(send: Callable[..., Any]) -> None:
    message = await send(RichContent(body="**Which?**", buttons=buttons("A", "B"), quick_replies=("C",)))
    assert message.content == {
        "type": "button",
        "body": {"text": "*Which?*"},
        "action": {
            "buttons": [
                {"type": "reply", "reply": {"id": "p-A", "title": "A"}},
                {"type": "reply", "reply": {"id": "p-B", "title": "B"}},
                {"type": "reply", "reply": {"id": "C", "title": "C"}},
            ]
        },
    }
    message = await send(RichContent(body="Which?", buttons=buttons(*"ABCDEFGHIJ")))
    assert message.content["type"] == "list"
    assert list(message.options.items())[:2] == [("A", "p-A"), ("B", "p-B")]
    assert len(message.options) == 10


async def test_an_option_that_comes_twice_is_shown_once_or_said_in_words(send: Callable[..., Any]) -> None:
    """WhatsApp asks for labels and ids of their own; the same reply as a button and as text is one option."""
    given = (
        {"text": "Yes", "payload": "y"},
        {"text": "No", "payload": "n"},
        {"text": "Nope", "payload": "n"},
    )
    message = await send(RichContent(body="Well?", buttons=given, quick_replies=("Yes", "Later", "Later")))
    assert message.options == {"Yes": "y", "No": "n", "Later": "Later"}
    assert message.text == "Well?\n- Nope\n- Yes"


async def test_what_has_no_room_is_said_in_words(send: Callable[..., Any]) -> None:
    """Options over ten, a question for the place beside replies, and all of them where the text is full."""
    ask = {"type": "location_request", "text": "Where are you?"}
    message = await send(RichContent(body="x", buttons=(*buttons(*"ABCDEFGHIJ"), ask), quick_replies=("K",)))
    assert (message.text, len(message.options)) == ("x\nWhere are you?\n- K", 10)
    call = {"type": "call", "text": "Call us", "phone_number": "+14375550999"}
    message = await send(RichContent(body="x" * 1020, buttons=(*buttons("A"), call)))
    assert message.type == "text"
    assert message.text == f"{'x' * 1020}\n1. A\n2. Call us: +14375550999"


async def test_a_link_alone_is_a_button_and_beside_replies_a_line(send: Callable[..., Any]) -> None:
    link = {"type": "url", "text": "Track", "url": "https://example.org/42"}
    message = await send(RichContent(body="On its way", buttons=(link,)))
    assert message.content["action"]["parameters"] == {
        "display_text": "Track",
        "url": "https://example.org/42",
    }
    message = await send(RichContent(body="On its way", buttons=(link, *buttons("Thanks"))))
    assert (message.text, list(message.options)) == (
        "On its way\nTrack: https://example.org/42",
        ["Thanks"],
    )
    message = await send(RichContent(body="On its way", buttons=(link, link)))
    assert message.type == "text"
    assert message.text.count("Track: https://example.org/42") == 2


async def test_a_place_is_asked_for_and_a_call_is_a_line(send: Callable[..., Any]) -> None:
    ask = {"type": "location_request", "text": "Where are you?"}
    call = {"type": "call", "text": "Call us", "phone_number": "+14375550999"}
    message = await send(RichContent(body="Where?", buttons=(ask, call)))
    assert message.content == {
        "type": "location_request_message",
        "body": {"text": "Where?\nCall us: +14375550999"},
        "action": {"name": "send_location"},
    }


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (RichContent(body="x", buttons=buttons("A" * 21)), ErrorCode.UNSUPPORTED_CONTENT),
        (RichContent(body="x", buttons=buttons("")), ErrorCode.UNSUPPORTED_CONTENT),
        (
            RichContent(body="x", buttons=({"text": "A", "payload": "p" * 257},)),
            ErrorCode.UNSUPPORTED_CONTENT,
        ),
        (
            RichContent(body="x", buttons=(*buttons(*"BCD"), {"text": "A", "payload": "p" * 201})),
            ErrorCode.UNSUPPORTED_CONTENT,
        ),
        (RichContent(body="x" * 1025, buttons=buttons("A")), ErrorCode.TOO_LONG),
        (RichContent(body="x" * 4097), ErrorCode.TOO_LONG),
        (TextContent(body="x" * 4097), ErrorCode.TOO_LONG),
        (RichContent(body="", buttons=buttons("A")), ErrorCode.INVALID_REQUEST),
        (RichContent(body=" "), ErrorCode.INVALID_REQUEST),
        (CustomContent(kind="whatsapp.contacts"), ErrorCode.INVALID_REQUEST),
        (CustomContent(kind="whatsapp.interactive"), ErrorCode.INVALID_REQUEST),
        (
            EditContent(target_event_id="e", new_content=TextContent(body="x")),
            ErrorCode.UNSUPPORTED_CONTENT,
        ),
        (DeleteContent(target_event_id="e"), ErrorCode.UNSUPPORTED_CONTENT),
    ],
)
async def test_what_whatsapp_would_refuse_is_not_sent(
    whatsapp: WhatsAppSimulator, send: Callable[..., Any], content: Any, code: ErrorCode
) -> None:
    with pytest.raises(ProviderError) as caught:
        await send(content)
    assert (caught.value.error_code, caught.value.accepted) == (code, False)
    assert whatsapp.requests == []


# -- templates ----------------------------------------------------------------------------------


async def parameters(whatsapp: WhatsAppSimulator, send: Callable[..., Any], **given: str) -> Any:
    bodies = [name for name in given if "." not in name]
    whatsapp.templates["order_update"] = len(bodies)
    template = TemplateContent(template_id="order_update", language="en-US", parameters=given)
    message = await send(template)
    assert message.content["language"] == {"code": "en_US"}
    return message.content.get("components")


async def test_parameters_go_by_position_or_by_name(
    whatsapp: WhatsAppSimulator, send: Callable[..., Any]
) -> None:
    found = await parameters(
        whatsapp, send, **{"2": "b", "1": "a", "10": "j"} | {str(n): "x" for n in range(3, 10)}
    )
    assert [each["text"] for each in found[0]["parameters"]] == ["a", "b", *"x" * 7, "j"]
    found = await parameters(whatsapp, send, name="Ann", order="42")
    assert found == [
        {
            "type": "body",
            "parameters": [
                {"type": "text", "parameter_name": "name", "text": "Ann"},
                {"type": "text", "parameter_name": "order", "text": "42"},
            ],
        }
    ]
    assert await parameters(whatsapp, send) is None


async def test_the_header_and_the_buttons_have_parameters_too(
    whatsapp: WhatsAppSimulator, send: Callable[..., Any]
) -> None:
    given = {
        "header.document": "https://files.example.org/a.pdf",
        "header.filename": "a.pdf",
        "button.0": "orders/42",
        "button.1.payload": "stop",
        "button.2.code": "SAVE",
        "button.3.flow": "t",
        "1": "Ann",
    }
    header, body, *rest = await parameters(whatsapp, send, **given)
    assert header["parameters"] == [
        {"type": "document", "document": {"link": "https://files.example.org/a.pdf", "filename": "a.pdf"}}
    ]
    assert body["parameters"] == [{"type": "text", "text": "Ann"}]
    assert [(each["sub_type"], each["index"]) for each in rest] == [
        ("url", "0"),
        ("quick_reply", "1"),
        ("copy_code", "2"),
        ("flow", "3"),
    ]
    assert rest[3]["parameters"] == [{"type": "action", "action": {"flow_token": "t"}}]
    header, *_ = await parameters(whatsapp, send, **{"header.1": "Hi"})
    assert header == {"type": "header", "parameters": [{"type": "text", "text": "Hi"}]}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"1": "a", "name": "b"}, "'name' has no place: a template has parameters by position or by name"),
        ({"2": "a"}, "'2' has no place: positions begin with 1"),
        ({"0": "a"}, "'0' has no place: positions begin with 1"),
        ({"footer.1": "a"}, "'footer.1' has no place: name a component"),
        ({"header.": "a"}, "'header.' has no place"),
        ({"button.x": "a"}, "'button.x' has no place: write button.0"),
        ({"header.image": PNG, "header.1": "a"}, "'header.1' has no place: a header with image"),
        ({"header.image": PNG, "header.filename": "a"}, "'header.filename' has no place"),
        ({"header.image": "data:,1"}, "without an http"),
    ],
)
async def test_a_parameter_without_a_place_is_named(
    whatsapp: WhatsAppSimulator, send: Callable[..., Any], given: dict[str, str], said: str
) -> None:
    with pytest.raises(ProviderError, match=said):
        await send(TemplateContent(template_id="order_update", parameters=given))
    assert whatsapp.requests == []


async def test_a_template_that_is_not_there_or_differs_is_refused(send: Callable[..., Any]) -> None:
    for name, code in (("absent", "graph_132001"), ("welcome", "graph_132000")):
        with pytest.raises(ProviderError) as caught:
            await send(TemplateContent(template_id=name))
        assert caught.value.vendor_code == code
        assert caught.value.error_code is ErrorCode.INVALID_REQUEST


# -- reactions, marks, errors -------------------------------------------------------------------


async def test_a_reaction_without_its_message_is_refused(
    whatsapp: WhatsAppSimulator, provider: Callable[..., WhatsAppCloudProvider]
) -> None:
    with pytest.raises(ProviderError, match="no message to react to"):
        await provider().send(event("room", "👍", type=EventType.REACTION), ANN)
    assert whatsapp.requests == []


async def test_typing_is_shown_in_answer_to_a_message_and_marks_it_read(
    whatsapp: WhatsAppSimulator, provider: Callable[..., WhatsAppCloudProvider]
) -> None:
    """Without one there is nothing to show it by, and it ends by itself."""
    whatsapp.connect(_take)
    one = provider()
    for text in ("one", "two"):
        await whatsapp.phone(ANN).write(text)
    first, second = whatsapp.inbound
    await one.show_typing(ANN, True, answering=None)
    await one.show_typing(ANN, False, answering=first)
    await one.show_typing(ANN, True, answering=first)
    await one.mark_read(ANN, [first, second])
    await one.mark_read(ANN, [])
    assert [(each.message_id, each.is_typing) for each in whatsapp.acknowledged] == [
        (first, True),
        (second, False),
    ]


async def _take(request: Any) -> Any:
    return None


@pytest.mark.parametrize(
    ("status", "code", "expected", "retryable", "wait"),
    [
        (400, 131047, ErrorCode.WINDOW_CLOSED, False, None),
        (400, 131026, ErrorCode.INVALID_RECIPIENT, False, None),
        (400, 131050, ErrorCode.OPTED_OUT, False, None),
        (400, 131056, ErrorCode.RECIPIENT_RATE_LIMIT, True, 6.0),
        (429, 130429, ErrorCode.RATE_LIMIT, True, None),
        (400, 131042, ErrorCode.QUOTA, False, None),
        (403, 131031, ErrorCode.PERMISSION, False, None),
        (500, 131000, ErrorCode.SERVER, True, None),
        (400, 132015, ErrorCode.INVALID_REQUEST, False, None),
        (401, 190, ErrorCode.AUTH, False, None),
    ],
)
async def test_a_refusal_is_classified_by_its_code(
    whatsapp: WhatsAppSimulator,
    send: Callable[..., Any],
    status: int,
    code: int,
    expected: ErrorCode,
    retryable: bool,
    wait: float | None,
) -> None:
    whatsapp.fail(status, code)
    with pytest.raises(ProviderError) as caught:
        await send()
    error = caught.value
    assert (error.error_code, error.retryable, error.retry_after) == (expected, retryable, wait)
    assert error.vendor_code == f"graph_{code}"


async def test_the_token_is_in_no_url(whatsapp: WhatsAppSimulator, send: Callable[..., Any]) -> None:
    await send()
    (request,) = whatsapp.requests
    assert whatsapp.access_token not in json.dumps([request.path, dict(request.query)])
    assert request.query.keys() == {"appsecret_proof"}
