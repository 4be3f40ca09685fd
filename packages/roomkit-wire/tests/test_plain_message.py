"""The text and the files of a content, for carriers of both."""

from __future__ import annotations

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models import (
    AudioContent,
    CompositeContent,
    EventContent,
    LocationContent,
    MediaContent,
    SystemContent,
    TextContent,
    VideoContent,
)
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.plain_message import PlainMessage, parts_of, plain_message, text_and_files

ORIGIN = Origin("acme", "Acme")
URL = "https://files.example.org/a"
PICTURE = MediaContent(url=URL, mime_type="image/png", caption="the menu")
VIDEO = VideoContent(url=f"{URL}.mp4")


def test_texts_are_lines_and_files_urls_in_their_order() -> None:
    inner = CompositeContent(parts=(PICTURE, VideoContent(url=f"{URL}.mp4")))
    content = CompositeContent(parts=(TextContent(body="look"), inner, SystemContent(body="end")))
    assert plain_message(content, ORIGIN) == PlainMessage("look\nthe menu\nend", (URL, f"{URL}.mp4"))
    assert [part.type for part in parts_of(content)] == ["text", "media", "video", "system"]


def test_a_file_needs_no_words() -> None:
    assert plain_message(AudioContent(url=f"{URL}.ogg"), ORIGIN) == PlainMessage("", (f"{URL}.ogg",))


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (TextContent(body=" \n"), ErrorCode.INVALID_REQUEST, "the message is empty"),
        (
            LocationContent(latitude=1, longitude=2),
            ErrorCode.UNSUPPORTED_CONTENT,
            "Acme cannot carry location content",
        ),
        (
            MediaContent(url="data:text/plain;base64,aGk=", mime_type="text/plain"),
            ErrorCode.UNSUPPORTED_CONTENT,
            "set media_url of the kit",
        ),
    ],
)
def test_what_it_cannot_say_is_refused(content: object, code: ErrorCode, said: str) -> None:
    with pytest.raises(ProviderError, match=said) as caught:
        plain_message(content, ORIGIN)  # type: ignore[arg-type]
    assert caught.value.error_code is code


@pytest.mark.parametrize(
    ("text", "files", "content"),
    [
        ("", [], TextContent(body="")),
        ("look", [], TextContent(body="look")),
        ("", [PICTURE], PICTURE),
        ("look", [PICTURE], PICTURE.replace(caption="look")),
        ("look", [VIDEO], CompositeContent(parts=(TextContent(body="look"), VIDEO))),
        ("", [PICTURE, VIDEO], CompositeContent(parts=(PICTURE, VIDEO))),
        ("look", [PICTURE, PICTURE], CompositeContent(parts=(TextContent(body="look"), PICTURE, PICTURE))),
    ],
)
def test_words_and_files_that_came_are_one_content(
    text: str, files: list[EventContent], content: EventContent
) -> None:
    assert text_and_files(text, files) == content


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (TextContent(body="👋" * 5), None),
        (TextContent(body="👋" * 5 + "!"), ErrorCode.TOO_LONG),
        (CompositeContent(parts=(VIDEO, VIDEO)), None),
        (CompositeContent(parts=(VIDEO, VIDEO, VIDEO)), ErrorCode.UNSUPPORTED_CONTENT),
    ],
)
def test_what_is_more_than_the_vendor_takes_is_refused(content: EventContent, code: ErrorCode | None) -> None:
    """Text is counted in UTF-16, as telephones do."""
    found = None
    try:
        plain_message(content, ORIGIN, longest=10, most_files=2)
    except ProviderError as error:
        found = error.error_code
    assert found is code
