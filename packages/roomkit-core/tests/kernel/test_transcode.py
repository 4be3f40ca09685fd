"""Transcoding: what a channel cannot carry becomes what it can, and nothing said is lost on the way."""

from __future__ import annotations

import time
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.authoring.plain_text import markup_to_text
from roomkit.kernel.delivery.lengths import split_text
from roomkit.kernel.delivery.transcode import (
    DefaultContentTranscoder,
    carries,
    fit,
)
from roomkit.models import (
    AudioContent,
    ChannelBinding,
    ChannelCapabilities,
    ChannelMediaType,
    ChannelType,
    CompositeContent,
    CustomContent,
    DeleteContent,
    EditContent,
    LocationContent,
    MediaContent,
    RichContent,
    SystemContent,
    TemplateContent,
    TextContent,
    VideoContent,
    text_of,
)
from roomkit_plugins.testing.contracts.strategies import contents, examples, records

URL = "https://h/f"
DATA = "data:image/png;base64,AAAA"
TEXT_ONLY = ChannelCapabilities()
EVERYTHING = ChannelCapabilities(
    media_types=tuple(ChannelMediaType),
    supports_edit=True,
    supports_delete=True,
    supports_buttons=True,
    supports_cards=True,
    supports_quick_replies=True,
)
BUTTONS = ({"text": "Yes", "type": "reply", "payload": "y"}, {"text": "Site", "type": "url", "url": URL})
CARD = {"title": "Shoe", "description": "Red", "media_url": URL, "buttons": [{"text": "Buy", "url": URL}]}

FALLBACKS: list[tuple[str, Any, str]] = [
    ("rich", RichContent(body="**Hi** [there](https://x)"), "Hi there (https://x)"),
    ("plain text", RichContent(body="<b>Hi</b>", format="html", plain_text="Hi"), "Hi"),
    ("html", RichContent(body="<p>A &amp; B</p><p>C</p>", format="html"), "A & B\nC"),
    ("buttons", RichContent(body="Ok?", buttons=BUTTONS), f"Ok?\n1. Yes\n2. Site: {URL}"),
    ("cards", RichContent(body="Look", cards=(CARD,)), f"Look\nShoe\nRed\n{URL}\n1. Buy: {URL}"),
    ("quick replies", RichContent(body="Ok?", quick_replies=("yes", "no")), "Ok?\n- yes\n- no"),
    ("caption", MediaContent(url=URL, mime_type="image/png", caption="a cat"), f"[Media: a cat {URL}]"),
    ("file name", MediaContent(url=URL, mime_type="a/b", filename="f.pdf"), f"[Media: f.pdf {URL}]"),
    ("link", MediaContent(url=URL, mime_type="a/b"), f"[Media: {URL}]"),
    ("a file that is no link", MediaContent(url=DATA, mime_type="a/b"), "[Media: file]"),
    ("transcript", AudioContent(url=URL, transcript="hello"), "hello"),
    ("sound", AudioContent(url=URL), f"[Voice message: {URL}]"),
    ("sound that is no link", AudioContent(url=DATA), "[Voice message]"),
    ("film", VideoContent(url=URL), f"[Video: {URL}]"),
    ("place", LocationContent(latitude=1, longitude=2, label="Home"), "[Location: Home (1.0, 2.0)]"),
    ("address", LocationContent(latitude=1, longitude=2, address="Street"), "[Location: Street (1.0, 2.0)]"),
    ("spot", LocationContent(latitude=1, longitude=2), "[Location: (1.0, 2.0)]"),
    ("template", TemplateContent(template_id="t", body="Dear you"), "Dear you"),
    ("custom", CustomContent(kind="acme.ticket", body="a ticket"), "a ticket"),
    ("custom without text", CustomContent(kind="acme.ticket"), "[acme.ticket]"),
    ("template without text", TemplateContent(template_id="t"), "[Template: t]"),
    ("edit", EditContent(target_event_id="e", new_content=TextContent(body="x")), "Correction: x"),
    ("deletion", DeleteContent(target_event_id="e"), "[Message deleted]"),
    ("parts", CompositeContent(parts=(TextContent(body="a"), VideoContent(url=URL))), f"a\n[Video: {URL}]"),
]


NAMES = [name for name, _, _ in FALLBACKS]


@pytest.mark.parametrize(("content", "text"), [row[1:] for row in FALLBACKS], ids=NAMES)
def test_what_a_text_channel_gets(content: Any, text: str) -> None:
    """The words, the links, and what could be chosen."""
    assert fit(content, TEXT_ONLY) == TextContent(body=text)


@pytest.mark.parametrize("content", [row[1] for row in FALLBACKS], ids=NAMES)
def test_what_a_channel_carries_is_left_alone(content: Any) -> None:
    assert fit(content, EVERYTHING) is content


capabilities = records(ChannelCapabilities)


@examples(40)
@given(content=contents(), target=capabilities)
def test_whatever_comes_out_can_be_carried(content: Any, target: ChannelCapabilities) -> None:
    """For any content and any channel; where text is possible, something always comes out."""
    fitted = fit(content, target)

    if fitted is None:
        assert ChannelMediaType.TEXT not in target.media_types
    else:
        assert carries(target, fitted)
        assert fit(fitted, target) is fitted


@examples(40)
@given(content=contents(), target=capabilities)
def test_no_file_is_ever_put_into_a_text(content: Any, target: ChannelCapabilities) -> None:
    """A data URL is megabytes of noise."""
    fitted = fit(content, target)
    if isinstance(fitted, TextContent) and not isinstance(content, TextContent):
        assert "data:text/plain" not in fitted.body


def rich_only(**fields: Any) -> ChannelCapabilities:
    return ChannelCapabilities(media_types=(ChannelMediaType.TEXT, ChannelMediaType.RICH), **fields)


def test_formatting_is_kept_where_only_buttons_are_missing() -> None:
    content = RichContent(
        body="**Ok?**", plain_text="Ok?", buttons=BUTTONS, quick_replies=("no",), cards=(CARD,)
    )
    fitted = fit(content, rich_only())

    assert isinstance(fitted, RichContent)
    assert fitted.body.startswith("**Ok?**\n1. Yes\n")
    assert fitted.plain_text is not None
    assert fitted.plain_text.endswith("- no")
    assert "Shoe" in fitted.body
    assert not [*fitted.buttons, *fitted.cards, *fitted.quick_replies]


def test_what_is_said_inside_html_is_escaped() -> None:
    """A button's label may be a stranger's."""
    content = RichContent(body="<b>x</b>", format="html", buttons=({"text": "<script>"},))
    fitted = fit(content, rich_only())

    assert isinstance(fitted, RichContent)
    assert fitted.body == "<b>x</b><br>1. &lt;script&gt;"


def test_the_buttons_that_fit_are_kept() -> None:
    content = RichContent(body="<b>Ok?</b>", format="html", buttons=BUTTONS)
    fitted = fit(content, rich_only(supports_buttons=True, max_buttons=1))

    assert fitted == RichContent(body=f"<b>Ok?</b><br>1. Site: {URL}", format="html", buttons=BUTTONS[:1])


@pytest.mark.parametrize(
    ("limits", "rich", "kept", "said"),
    [
        ({"max_button_text_length": 3}, {"buttons": BUTTONS}, {"buttons": BUTTONS[:1]}, f"1. Site: {URL}"),
        ({"max_quick_replies": 1}, {"quick_replies": ("yes", "no")}, {"quick_replies": ("yes",)}, "- no"),
        (
            {"max_button_text_length": 2},
            {"quick_replies": ("no", "yes")},
            {"quick_replies": ("no",)},
            "- yes",
        ),
        ({"max_cards": 1}, {"cards": (CARD, {"title": "Hat"})}, {"cards": (CARD,)}, "Hat"),
        (
            {"max_button_text_length": 2},
            {"cards": ({"title": "Hat"}, CARD)},
            {"cards": ({"title": "Hat"},)},
            f"Shoe\nRed\n{URL}\n1. Buy: {URL}",
        ),
    ],
)
def test_what_is_over_a_limit_is_said_in_words(limits: Any, rich: Any, kept: Any, said: str) -> None:
    """And what is within it stays to be chosen."""
    able = {"supports_buttons": True, "supports_cards": True, "supports_quick_replies": True}
    fitted = fit(RichContent(body="Ok?", **rich), rich_only(**able, **limits))
    assert fitted == RichContent(body=f"Ok?\n{said}", **kept)


@pytest.mark.parametrize(
    ("content", "carried", "expected"),
    [
        (
            AudioContent(url=URL, transcript="hi"),
            ChannelMediaType.MEDIA,
            MediaContent(url=URL, mime_type="audio/ogg", caption="hi"),
        ),
        (VideoContent(url=URL), ChannelMediaType.MEDIA, MediaContent(url=URL, mime_type="video/mp4")),
        (
            MediaContent(url=URL, mime_type="audio/mp4"),
            ChannelMediaType.AUDIO,
            AudioContent(url=URL, mime_type="audio/mp4"),
        ),
        (
            MediaContent(url=URL, mime_type="video/webm", caption="look"),
            ChannelMediaType.VIDEO,
            CompositeContent(parts=(VideoContent(url=URL, mime_type="video/webm"), TextContent(body="look"))),
        ),
    ],
    ids=["sound as a file", "film as a file", "file as sound", "file as a film with its caption"],
)
def test_a_file_goes_as_another_kind_of_media(content: Any, carried: ChannelMediaType, expected: Any) -> None:
    """Better than a link; and no caption is lost."""
    assert fit(content, ChannelCapabilities(media_types=(ChannelMediaType.TEXT, carried))) == expected


@pytest.mark.parametrize(
    "limits", [{"max_media_size_bytes": 10}, {"supported_media_types": ("image/png",)}], ids=["size", "type"]
)
def test_a_file_the_channel_does_not_take_becomes_a_link(limits: dict[str, Any]) -> None:
    target = ChannelCapabilities(media_types=(ChannelMediaType.TEXT, ChannelMediaType.MEDIA), **limits)
    content = MediaContent(url=URL, mime_type="image/gif", size_bytes=11)

    assert fit(content, target) == TextContent(body=f"[Media: {URL}]")


def test_an_edit_stays_one_with_what_the_channel_can_show() -> None:
    """A channel that can edit cannot therefore show everything."""
    edit = EditContent(target_event_id="e", new_content=RichContent(body="**new**"))
    target = ChannelCapabilities(supports_edit=True)

    assert fit(edit, target) == EditContent(target_event_id="e", new_content=TextContent(body="new"))


def test_what_cannot_be_carried_at_all_is_none() -> None:
    silent = ChannelCapabilities(media_types=(ChannelMediaType.AUDIO,))

    assert fit(LocationContent(latitude=0, longitude=0), silent) is None
    assert fit(CompositeContent(parts=(TextContent(body="x"),)), silent) is None
    assert fit(SystemContent(body="x"), silent) == SystemContent(body="x")


def test_parts_that_cannot_be_carried_are_left_out() -> None:
    silent = ChannelCapabilities(media_types=(ChannelMediaType.AUDIO,))
    audio = AudioContent(url=URL)

    assert fit(CompositeContent(parts=(TextContent(body="x"), audio)), silent) == CompositeContent(
        parts=(audio,)
    )


async def test_the_default_transcoder_goes_by_the_targets_capabilities() -> None:
    target = ChannelBinding(channel_id="sms", room_id="r", channel_type=ChannelType.SMS)

    assert await DefaultContentTranscoder().transcode(RichContent(body="*x*"), None, target) == TextContent(
        body="x"
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
KEYS = ["text", "title", "label", "url", "phone_number", "description", "media_url", "buttons"]


@examples(40)
@given(
    buttons=st.lists(st.dictionaries(st.sampled_from(KEYS), json_values), max_size=2),
    cards=st.lists(st.dictionaries(st.sampled_from(KEYS), json_values), max_size=2),
)
def test_buttons_and_cards_may_hold_anything(buttons: Any, cards: Any) -> None:
    """They are free-form, and may come from a stranger's client."""
    content = RichContent(body="x", buttons=tuple(buttons), cards=tuple(cards))
    assert fit(content, TEXT_ONLY) is not None
    assert fit(content, rich_only()) is not None


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("# Title\n**bold** *it* ~~no~~ `code`", "Title\nbold it no code"),
        ("2 * 3 * 4 = 24", "2 * 3 * 4 = 24"),
        ("**bold and *it* too**, _snake_case_", "bold and it too, snake_case"),
        ("*not closed, and **neither", "*not closed, and **neither"),
        ("snake_case_name", "snake_case_name"),
        ("![alt](https://i) and [](https://l)", "alt (https://i) and https://l"),
        ("[not a link]", "[not a link]"),
    ],
)
def test_markdown_as_text(markdown: str, text: str) -> None:
    """Marks go, words and links stay."""
    assert markup_to_text(markdown, "markdown") == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<ul><li>x</li><li>y</li></ul>", "x\ny"),
        ("1 &lt; 2 &amp;&amp; 3", "1 < 2 && 3"),
        ("&amp;lt;", "&lt;"),
        ('<a class=x href="https://l"><b>click</b></a>', "click (https://l)"),
        ("<a href='https://l'>https://l</a> <A HREF=https://m></A>", "https://l https://m"),
        ('<a href="javascript:x()">click</a>', "click"),
        ("caf&eacute;&nbsp;&euro;", "café €"),
    ],
)
def test_html_as_text(html: str, text: str) -> None:
    """The same for tags and entities."""
    assert markup_to_text(html, "html") == text


@pytest.mark.parametrize(
    "hostile",
    ["*a ", "[", "_a ", "`a ", "<", "[a](", "**", "**a ", "__a_", "<a href='", "href=x ", "<a>", "&"],
)
@pytest.mark.parametrize("markup", ["markdown", "html"])
def test_no_text_takes_long_to_read(hostile: str, markup: str) -> None:
    """A stranger's message must not stop the loop: the time grows with the text, not its square."""
    text = "<a " + hostile * (60_000 // len(hostile))
    started = time.process_time()
    markup_to_text(text, markup)
    assert time.process_time() - started < 0.5


# -- cutting ----------------------------------------------------------------------------------

LETTERS = [*"ab.!? \n\t", "\n\n", "é", "e\u0301", "👍🏽", "👩\u200d👩\u200d👧", "日", "\u0915\u093f", "🇫🇷"]
letters = st.sampled_from(LETTERS)
long_texts = st.lists(letters, max_size=120).map("".join)


def squeezed(text: str) -> str:
    return "".join(text.split())


@examples(60)
@given(text=long_texts, most=st.integers(1, 40))
def test_pieces_are_short_enough_and_lose_nothing_but_white_space(text: str, most: int) -> None:
    """And only white space at the cuts: what lies between two words of a piece stays."""
    pieces = split_text(text, most)

    assert all(len(piece) <= most for piece in pieces)
    assert squeezed("".join(pieces)) == squeezed(text)
    place = 0
    for piece in pieces:
        at = text.index(piece, place)
        assert not text[place:at].strip()
        place = at + len(piece)
    assert not text[place:].strip()
    if text.strip():
        assert all(piece.strip() for piece in pieces)


@examples(40)
@given(text=long_texts, most=st.integers(12, 40))
def test_what_belongs_together_is_not_cut(text: str, most: int) -> None:
    """Accents, vowel signs, skin tones and families of emoji stay with what they stand on."""
    for piece in split_text(text, most):
        assert not unicodedata.category(piece[:1] or "x").startswith("M")
        assert piece[:1] not in ("\u200d", "🏽")
        assert not piece.endswith("\u200d")


@pytest.mark.parametrize(
    ("text", "most", "pieces"),
    [
        ("short", 10, ["short"]),
        ("", 10, [""]),
        ("   ", 1, ["   "[:1]]),
        ("one two three", 8, ["one two", "three"]),
        ("First. Second one.", 12, ["First.", "Second one."]),
        ("line one\nline two", 12, ["line one", "line two"]),
        ("a paragraph.\n\nAnd. One more", 18, ["a paragraph.", "And. One more"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),
        ("🇫🇷🇩🇪🇮🇹", 3, ["🇫🇷", "🇩🇪", "🇮🇹"]),
    ],
)
def test_cuts_are_made_where_a_reader_would(text: str, most: int, pieces: list[str]) -> None:
    """Paragraph, line, sentence, word; else at the limit."""
    assert split_text(text, most) == pieces


def test_a_piece_of_nothing_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="cannot split text into pieces of 0 characters"):
        split_text("x", 0)


def test_a_long_text_is_cut_in_time() -> None:
    started = time.process_time()
    pieces = split_text("word " * 60_000, 160)
    assert time.process_time() - started < 1
    assert sum(piece.count("word") for piece in pieces) == 60_000


def test_the_words_survive_the_trip_to_a_text_channel() -> None:
    """What memory and search read of the original is what the recipient reads, but for the marks."""
    for _, content, _text in FALLBACKS:
        if content.type in ("text", "audio", "template", "composite", "media"):
            fitted = fit(content, TEXT_ONLY)
            assert isinstance(fitted, TextContent)
            assert all(line in fitted.body for line in text_of(content).split("\n"))
