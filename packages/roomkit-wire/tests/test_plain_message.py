"""The text and the files of a content, for carriers of both."""

from __future__ import annotations

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models import (
    AudioContent,
    CompositeContent,
    LocationContent,
    MediaContent,
    SystemContent,
    TextContent,
    VideoContent,
)
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.plain_message import PlainMessage, parts_of, plain_message

ORIGIN = Origin("acme", "Acme")
URL = "https://files.example.org/a"
PICTURE = MediaContent(url=URL, mime_type="image/png", caption="the menu")


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
