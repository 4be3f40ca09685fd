"""What goes out: marks, keyboards, files, errors, and a token that shows nowhere."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from telegram import Bot
from telegram.error import BadRequest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models import (
    AudioContent,
    CompositeContent,
    CustomContent,
    DeleteContent,
    EditContent,
    LocationContent,
    MediaContent,
    RichContent,
    TelegramHints,
    TemplateContent,
    TextContent,
    VideoContent,
)
from roomkit_plugins.telegram import TelegramBotProvider, TelegramConfig, TelegramSourceConfig
from roomkit_plugins.telegram.entities import formatted, marks_of, plain_with_links, utf16_length
from roomkit_plugins.telegram.markup import telegram_html, words_shown
from roomkit_plugins.telegram.outgoing import call_of
from roomkit_plugins.testing.contracts.base import event
from roomkit_plugins.testing.simulators import Failure, TelegramSimulator
from roomkit_plugins.testing.simulators.telegram_requests import BotRefused, shown_text

ANN = "123456789"


@pytest.fixture
async def provider(configure: Callable[..., TelegramConfig]) -> AsyncIterator[TelegramBotProvider]:
    """Return a provider of the simulator's bot."""
    provider = TelegramBotProvider(configure())
    yield provider
    await provider.close()


async def send(provider: Any, content: Any, to: str = ANN, **options: Any) -> Any:
    content = TextContent(body=content) if isinstance(content, str) else content
    return await provider.send(event("room", content=content), to, **options)


# -- marks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "html"),
    [
        ("**bold** *it* ~~gone~~ `a<b`", "<b>bold</b> <i>it</i> <s>gone</s> <code>a&lt;b</code>"),
        ("# Title\n\ntext", "<b>Title</b>\n\ntext"),
        ("- one\n- two", "• one\n• two"),
        ("3. one\n4. two", "3. one\n4. two"),
        ("> wise\n> words", "<blockquote>wise\nwords</blockquote>"),
        ("```py\nx = 1 < 2\n```", '<pre><code class="language-py">x = 1 &lt; 2</code></pre>'),
        ("[site](https://example.org/?a=1&b=2)", '<a href="https://example.org/?a=1&amp;b=2">site</a>'),
        ("[mail](mailto:a@example.org)", "mail (a@example.org)"),
        ("**bold `code` bold**", "<b>bold </b><code>code</code><b> bold</b>"),
        ("a\n\n---\n\nb", "a\n\n———\n\nb"),
        ("1 < 2 & 3", "1 &lt; 2 &amp; 3"),
        ("| a | b |\n|---|---|\n| 1 | 22 |", "<pre>a | b\n--+---\n1 | 22</pre>"),
    ],
)
def test_markdown_is_written_in_telegrams_tags(body: str, html: str) -> None:
    assert telegram_html(body, "markdown").text == html
    shown_text(html, "HTML", most=4096)


_PIECES = st.sampled_from(
    ["**", "*", "_", "~~", "`", "```\n", "> ", "- ", "1. ", "# ", "\n\n", "\n", "[a](https://x.org)", "<b>",
     "</b>", "&lt;", "&", "<", "word ", "👋 ", "|", "![p](https://x.org/p.png)", "> > ", "    "]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(_PIECES, max_size=25).map("".join))
def test_whatever_an_agent_writes_is_markup_that_telegram_takes(body: str) -> None:
    """Tags are closed in order, code holds no other mark, and no word is lost."""
    html = telegram_html(body, "markdown")
    if words_shown(html.text).strip():
        shown = shown_text(html.text, "HTML", most=100_000)
        assert shown.count("word") == body.count("word")


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.sampled_from("ab<&👋 \n"), min_size=1, max_size=20),
    st.lists(
        st.tuples(
            st.integers(0, 20), st.integers(1, 20), st.sampled_from(["bold", "italic", "code", "text_link"])
        ),
        max_size=5,
    ),
)
def test_marks_that_come_are_html_with_the_same_words(text: str, marks: list[tuple[int, int, str]]) -> None:
    """Wherever they lie, overlap or end."""
    length = utf16_length(text)
    entities = [
        {"offset": start, "length": size, "type": kind, "url": "https://x.org"}
        for start, size, kind in marks
        if start + size <= length
    ]
    from roomkit.authoring.payload import VendorPayload

    found = marks_of(text, [VendorPayload("Telegram", each) for each in entities])
    html = formatted(text, found)
    if html is not None and "\ufffd" not in html:
        from roomkit_plugins.wire.markup.elements import element_of

        assert _words(element_of(html)) == text
    assert plain_with_links(text, found).replace(" (https://x.org)", "").replace("\ufffd", "") is not None


def _words(element: Any) -> str:
    return element if isinstance(element, str) else "".join(map(_words, element.children))


async def test_marks_that_telegram_refuses_are_left_out(
    telegram: TelegramSimulator, provider: TelegramBotProvider
) -> None:
    """The words arrive all the same, with their buttons."""
    body = {"ok": False, "error_code": 400, "description": "Bad Request: can't parse entities: unlucky"}
    telegram.play(Failure(400, body))
    buttons = ({"text": "Yes", "type": "reply", "payload": "y"},)
    await send(provider, RichContent(body="**hello** <you>", buttons=buttons))
    (sent,) = telegram.messages
    assert (sent.text, "parse_mode" in sent.fields) == ("hello <you>", False)
    assert [button["text"] for button in sent.buttons] == ["Yes"]


# -- keyboards and cards --------------------------------------------------------------------------


async def test_buttons_links_and_numbers(telegram: TelegramSimulator, provider: TelegramBotProvider) -> None:
    """Telegram has no button that calls: the number is a line."""
    content = RichContent(
        body="Choose",
        buttons=(
            {"text": "Yes", "type": "reply", "payload": "y"},
            {"text": "Site", "type": "url", "url": "https://example.org"},
            {"text": "Call us", "type": "call", "phone_number": "+14165550123"},
        ),
        quick_replies=("Later",),
        cards=(
            {"title": "A <card>", "description": "of sorts", "buttons": [{"text": "Buy", "payload": "b"}]},
        ),
    )
    await send(provider, content)
    (sent,) = telegram.messages
    assert sent.text == "Choose\nA <card>\nof sorts\nCall us: +14165550123"
    assert [button["text"] for button in sent.buttons] == ["Yes", "Site", "Buy", "Later"]
    assert sent.buttons[1]["url"] == "https://example.org"


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (RichContent(body="x", buttons=({"text": "B", "payload": "ü" * 33},)), "invalid_request", "66 bytes"),
        (RichContent(body="x", buttons=({"text": "", "payload": "b"},)), "invalid_request", "no text"),
        (RichContent(body="x", buttons=({"text": "b", "type": "url"},)), "invalid_request", "no url"),
        (TextContent(body="x" * 4097), "too_long", "4097 UTF-16"),
        (TextContent(body="👋" * 2049), "too_long", "4098 UTF-16"),
        (
            MediaContent(url="https://x.org/a.png", mime_type="image/png", caption="x" * 1025),
            "too_long",
            "1025",
        ),
        (
            MediaContent(url="data:image/png;base64,%%%", mime_type="image/png"),
            "unsupported_content",
            "bytes",
        ),
        (CompositeContent(parts=(TextContent(body="a"),)), "unsupported_content", "composite"),
        (TemplateContent(template_id="t"), "unsupported_content", "template"),
        (EditContent(target_event_id="e", new_content=TextContent(body="x")), "unsupported_content", "no id"),
        (DeleteContent(target_event_id="e"), "unsupported_content", "no id"),
    ],
)
async def test_what_telegram_does_not_take_is_refused_before_it_is_sent(
    telegram: TelegramSimulator, provider: TelegramBotProvider, content: Any, code: str, said: str
) -> None:
    with pytest.raises(ProviderError, match=said) as caught:
        await send(provider, content)
    assert (str(caught.value.error_code), caught.value.accepted) == (code, False)
    assert telegram.requests == []


# -- files and options ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "method"),
    [
        (MediaContent(url="https://x.org/a", mime_type="image/jpeg"), "send_photo"),
        (MediaContent(url="https://x.org/a", mime_type="image/gif"), "send_animation"),
        (MediaContent(url="https://x.org/a", mime_type="image/svg+xml"), "send_document"),
        (MediaContent(url="https://x.org/a", mime_type="audio/mpeg"), "send_audio"),
        (MediaContent(url="https://x.org/a", mime_type="application/pdf"), "send_document"),
        (AudioContent(url="https://x.org/a"), "send_voice"),
        (AudioContent(url="https://x.org/a", mime_type="audio/mpeg"), "send_audio"),
        (AudioContent(url="https://x.org/a", mime_type="audio/wav"), "send_document"),
        (VideoContent(url="https://x.org/a"), "send_video"),
        (VideoContent(url="https://x.org/a", mime_type="video/webm"), "send_document"),
        (LocationContent(latitude=1, longitude=2), "send_location"),
        (LocationContent(latitude=1, longitude=2, address="Main Street 1"), "send_venue"),
        (TemplateContent(template_id="t", body="Hello"), "send_message"),
    ],
)
def test_each_type_of_file_has_its_method(content: Any, method: str) -> None:
    assert call_of(content).method == method


async def test_bytes_are_uploaded_under_their_name(
    telegram: TelegramSimulator, provider: TelegramBotProvider
) -> None:
    url = "data:application/pdf;base64,aGVsbG8="
    await send(provider, MediaContent(url=url, mime_type="application/pdf", filename="plan.pdf"))
    await send(provider, AudioContent(url="data:audio/ogg;base64,aGVsbG8=", duration_seconds=2.6))
    (plan, voice) = telegram.messages
    assert (plan.file.filename, plan.file.data) == ("plan.pdf", b"hello")  # type: ignore[union-attr]
    assert (voice.method, voice.fields["duration"]) == ("sendVoice", "3")


async def test_an_edit_of_a_caption_finds_it(
    telegram: TelegramSimulator, provider: TelegramBotProvider
) -> None:
    """And one that changes nothing is no failure."""
    picture = MediaContent(url="https://x.org/a.png", mime_type="image/png", caption="befor")
    result = await send(provider, picture)
    hints = TelegramHints(about=(result.provider_message_id,))
    edit = EditContent(target_event_id="e", new_content=RichContent(body="*before*"))
    for _ in range(2):
        assert (await send(provider, edit, hints=hints)).success
    assert telegram.messages[0].text == "before"
    location = EditContent(target_event_id="e", new_content=LocationContent(latitude=1, longitude=2))
    with pytest.raises(ProviderError, match="text or a caption"):
        await send(provider, location, hints=hints)


async def test_several_messages_are_deleted_at_once(
    telegram: TelegramSimulator, provider: TelegramBotProvider
) -> None:
    """A message that was divided."""
    ids = [(await send(provider, text)).provider_message_id for text in ("one", "two")]
    await send(provider, DeleteContent(target_event_id="e"), hints=TelegramHints(about=tuple(ids)))
    assert all(each.is_deleted for each in telegram.messages)


async def test_a_message_may_be_silent(telegram: TelegramSimulator, provider: TelegramBotProvider) -> None:
    await send(provider, "psst", hints=TelegramHints(silent=True))
    await send(provider, "loud")
    assert [each.fields.get("disable_notification") for each in telegram.messages] == ["true", None]


async def test_typing_is_shown(telegram: TelegramSimulator, provider: TelegramBotProvider) -> None:
    """Telegram ends it by itself after five seconds."""
    await provider.show_typing(ANN, True, answering=None)
    await provider.show_typing(ANN, False, answering=None)
    assert [each["action"] for each in telegram.actions] == ["typing"]


@pytest.mark.parametrize("to", ["ann", "@", "business:b:ann", "1e5", "--1", "1" * 20])
async def test_what_is_no_chat_is_no_recipient(
    telegram: TelegramSimulator, provider: TelegramBotProvider, to: str
) -> None:
    with pytest.raises(ProviderError) as caught:
        await send(provider, "hello", to)
    assert caught.value.error_code is ErrorCode.INVALID_RECIPIENT
    assert telegram.requests == []


@pytest.mark.parametrize(
    ("kind", "data", "method"),
    [
        ("poll", {"question": "When?", "options": [{"text": "8"}, "9"]}, "sendPoll"),
        ("contact", {"phone_number": "+14165550123", "first_name": "Ben", "last_name": "B"}, "sendContact"),
        ("dice", {"emoji": "🎲"}, "sendDice"),
    ],
)
async def test_polls_contacts_and_dice_go_out_as_they_come_in(
    telegram: TelegramSimulator, provider: TelegramBotProvider, kind: str, data: dict[str, Any], method: str
) -> None:
    """With what is missing named."""
    result = await send(provider, CustomContent(kind=f"telegram.{kind}", body="x", data=data))
    assert result.provider_message_id
    assert telegram.messages[0].method == method
    with pytest.raises(ProviderError, match=r"has no|0 options"):
        await send(provider, CustomContent(kind=f"telegram.{kind}", body="x"))


async def test_custom_content_of_others_is_its_words(
    telegram: TelegramSimulator, provider: TelegramBotProvider
) -> None:
    await send(provider, CustomContent(kind="acme.ticket", body="Ticket 7"))
    assert telegram.messages[0].text == "Ticket 7"


async def test_the_library_as_it_is_talks_to_the_simulator(telegram: TelegramSimulator) -> None:
    """It is no mirror of our requests: the vendor's own client reads what it answers."""
    base = f"{telegram.origin}/bot"
    async with Bot(telegram.bot_token, base_url=base, base_file_url=f"{telegram.origin}/file/bot") as bot:
        assert (await bot.get_me()).username == telegram.username
        sent = await bot.send_message(int(ANN), "<b>hi</b> &amp; bye", parse_mode="HTML")
        assert (sent.text, sent.chat.id) == ("hi & bye", int(ANN))
        await bot.send_document(int(ANN), b"hello", filename="a.txt", caption="see")
        assert telegram.messages[-1].file.data == b"hello"  # type: ignore[union-attr]
        kept = telegram.keep_file("document", b"bytes")
        assert await (await bot.get_file(kept["file_id"])).download_as_bytearray() == b"bytes"
        with pytest.raises(BadRequest, match="parse entities"):
            await bot.send_message(int(ANN), "<b>hi", parse_mode="HTML")
        await telegram.person("Ann", int(ANN)).write("hello")
        (update,) = await bot.get_updates()
        assert update.message is not None
        assert update.message.text == "hello"


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "description", "code", "retryable"),
    [
        (400, "Bad Request: chat not found", "invalid_recipient", False),
        (400, "Bad Request: message is too long", "too_long", False),
        (400, "Bad Request: wrong type of the web page content", "unsupported_content", False),
        (400, "Bad Request: not enough rights to send text messages to the chat", "permission", False),
        (400, "Bad Request: something new", "invalid_request", False),
        (401, "Unauthorized", "auth", False),
        (403, "Forbidden: bot was blocked by the user", "opted_out", False),
        (403, "Forbidden: user is deactivated", "invalid_recipient", False),
        (403, "Forbidden: bot was kicked from the supergroup chat", "invalid_recipient", False),
        (403, "Forbidden: bot can't initiate conversation with a user", "invalid_recipient", False),
        (404, "Not Found", "auth", False),
        (429, "Too Many Requests: retry after 9", "rate_limit", True),
        (502, "Bad Gateway", "server", True),
    ],
)
async def test_refusals_are_classified_by_what_telegram_says(
    telegram: TelegramSimulator,
    provider: TelegramBotProvider,
    status: int,
    description: str,
    code: str,
    retryable: bool,
) -> None:
    parameters = {"parameters": {"retry_after": 9}} if status == 429 else {}
    body = {"ok": False, "error_code": status, "description": description, **parameters}
    telegram.play(Failure(status, body))
    with pytest.raises(ProviderError) as caught:
        await send(provider, "hello")
    error = caught.value
    assert (str(error.error_code), error.retryable, error.accepted) == (code, retryable, False)
    assert (error.vendor_code, error.retry_after) == (f"telegram_{status}", 9.0 if status == 429 else None)
    assert description in str(error)


@pytest.mark.parametrize(
    ("body", "accepted"),
    [
        ({"ok": False, "error_code": 400, "description": "no"}, False),
        ({}, None),
        ({"ok": True}, None),
        ({"ok": True, "result": {}}, None),
        ({"ok": True, "result": True}, None),
    ],
)
async def test_an_answer_of_200_is_not_trusted_by_its_status(
    telegram: TelegramSimulator, provider: TelegramBotProvider, body: Any, accepted: bool | None
) -> None:
    telegram.play(Failure(200, body))
    with pytest.raises(ProviderError) as caught:
        await send(provider, "hello")
    assert caught.value.accepted is accepted


async def test_the_token_shows_nowhere(
    telegram: TelegramSimulator, configure: Callable[..., TelegramConfig], caplog: pytest.LogCaptureFixture
) -> None:
    """It is in every URL: not in logs of any level, errors, their causes, or settings."""
    caplog.set_level(logging.DEBUG)
    config = configure()
    provider = TelegramBotProvider(config)
    shown = [repr(config), str(config)]
    await send(provider, "hello")
    await provider.probe()
    body = {"ok": False, "error_code": 400, "description": f"bad {telegram.bot_token}"}
    for fault in (Failure(400, body), Failure(500, "nonsense"), Failure(404, {})):
        telegram.play(fault)
        with pytest.raises(ProviderError) as caught:
            await send(provider, "hello")
        error: BaseException | None = caught.value
        while error is not None:
            shown.append(f"{error!r} {error} {vars(error)}")
            error = error.__cause__ or error.__context__
    await telegram.close()
    with pytest.raises(ProviderError) as caught:
        await send(provider, "hello")
    error = caught.value
    while error is not None:
        shown.append(f"{error!r} {error}")
        error = error.__cause__ or error.__context__
    await provider.close()
    shown += [record.getMessage() for record in caplog.records]
    secret = telegram.bot_token.partition(":")[2]
    assert [each for each in shown if secret in each] == []


async def test_the_probe_names_the_bot_and_sends_nothing(
    telegram: TelegramSimulator, configure: Callable[..., TelegramConfig]
) -> None:
    provider = TelegramBotProvider(configure())
    assert f"@{telegram.username} is accepted by {telegram.origin}" in await provider.probe()
    await provider.close()
    assert telegram.messages == []
    wrong = TelegramBotProvider(configure(bot_token="123456:another"))
    with pytest.raises(ProviderError, match="BotFather"):
        await wrong.probe()
    await wrong.close()
    away = TelegramBotProvider(configure(base_url="http://127.0.0.1:9"))
    with pytest.raises(ProviderError, match="can be reached from here"):
        await away.probe()
    await away.close()


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, "BotFather"),
        ({"bot_token": "no token"}, "BotFather"),
        ({"bot_token": "1:abc", "webhook_secret": "with spaces"}, "256 characters"),
        ({"bot_token": "1:abc", "base_url": "http://example.org"}, "https"),
        ({"bot_token": "1:abc", "groups": "some"}, "groups"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], wrong: str
) -> None:
    monkeypatch.delenv("TELEGRAM_BOT_TOKEN", raising=False)
    with pytest.raises(ValidationError, match=wrong) as caught:
        TelegramConfig(**fields)
    assert "no token" not in str(caught.value)


def test_the_token_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "42:abcdef")
    assert TelegramConfig().bot_id == TelegramSourceConfig(channel_id="c").bot_id == "42"


def test_the_simulator_is_as_strict_as_telegram() -> None:
    """Of what it refuses, a part: else the tests above would prove nothing."""
    for text in ("<b>open", "<b><i>x</b></i>", "a < b", "<h1>x</h1>", "&nbsp;", "<code><b>x</b></code>"):
        with pytest.raises(BotRefused, match="can't parse entities"):
            shown_text(text, "HTML", most=4096)
    with pytest.raises(BotRefused, match="too long"):
        shown_text("👋" * 2049, None, most=4096)
    assert json.loads('{"ok": true}')["ok"]
