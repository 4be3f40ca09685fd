"""What an event can say, and what it cannot."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from roomkit.models import (
    AudioContent,
    CompositeContent,
    ConsentContent,
    CustomContent,
    DeleteContent,
    EditContent,
    EventContent,
    LocationContent,
    MediaContent,
    RichContent,
    SystemContent,
    TemplateContent,
    TextContent,
    UnknownContent,
    VideoContent,
    text_of,
)
from roomkit_plugins.testing.contracts.strategies import PROPERTY, contents

URL = "https://example.com/a"
TEXT = TextContent(body="words")

READINGS: list[tuple[Any, str]] = [
    (TEXT, "words"),
    (SystemContent(body="joined", code="x"), "joined"),
    (RichContent(body="**bold**"), "**bold**"),
    (RichContent(body="**bold**", plain_text="bold"), "bold"),
    (RichContent(body="**bold**", plain_text=""), ""),
    (MediaContent(url=URL, mime_type="image/png", caption="a cat"), "a cat"),
    (MediaContent(url=URL, mime_type="image/png", filename="cat.png"), ""),
    (AudioContent(url=URL, transcript="hello"), "hello"),
    (AudioContent(url=URL), ""),
    (VideoContent(url=URL), ""),
    (LocationContent(latitude=1, longitude=2, label="here", address="there"), "here"),
    (LocationContent(latitude=1, longitude=2, address="there"), "there"),
    (LocationContent(latitude=1.5, longitude=-2), "1.5, -2.0"),
    (TemplateContent(template_id="t", body="Dear you"), "Dear you"),
    (TemplateContent(template_id="t"), ""),
    (CustomContent(kind="acme.ticket", body="a ticket", data={"id": 7}), "a ticket"),
    (CompositeContent(parts=(TEXT, VideoContent(url=URL), TEXT)), "words\nwords"),
    (CompositeContent(parts=(VideoContent(url=URL),)), ""),
    (EditContent(target_event_id="e", new_content=TEXT), "words"),
    (DeleteContent(target_event_id="e", reason="spam"), ""),
    (ConsentContent(address_type="phone", address="+1", state="revoked", body="STOP"), "STOP"),
    (UnknownContent.of({"type": "poll"}), "[Unsupported content: poll]"),
]


@pytest.mark.parametrize(("content", "words"), READINGS)
def test_the_words_of_a_content(content: Any, words: str) -> None:
    """One reading for memory, search, steering and transcripts; nothing is invented for bare media."""
    assert text_of(content) == words


def test_every_kind_has_a_reading() -> None:
    """A kind that is added is added to the table above."""
    kinds = set(get_args(get_args(EventContent.__value__)[0]))
    assert {type(content) for content, _ in READINGS} == kinds


@given(content=contents())
@PROPERTY
def test_a_content_is_found_by_its_type(content: Any) -> None:
    """The JSON form says which class it is."""
    adapter: TypeAdapter[Any] = TypeAdapter(EventContent)
    assert adapter.validate_json(content.model_dump_json()) == content


@given(junk=st.recursive(st.none() | st.text() | st.integers(), lambda x: st.dictionaries(st.text(), x)))
@PROPERTY
def test_junk_is_a_validation_error_and_nothing_else(junk: Any) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(EventContent)
    with pytest.raises(ValidationError):
        adapter.validate_python(junk if not isinstance(junk, dict) else {**junk, "type": "nonsense"})


@pytest.mark.parametrize("url", ["HTTPS://EXAMPLE.COM/x", "http://h", "data:image/png;base64,AA=="])
@pytest.mark.parametrize("kind", [MediaContent, AudioContent, VideoContent])
def test_a_media_url_is_a_link_or_the_file_itself(kind: Any, url: str) -> None:
    """The scheme is matched whatever its case."""
    assert kind(url=url, mime_type="x/y").url == url


@pytest.mark.parametrize(
    "url", ["", "file:///etc/passwd", "javascript:alert(1)", "ftp://h/x", "//h/x", " http://h"]
)
@pytest.mark.parametrize("kind", [MediaContent, AudioContent, VideoContent])
def test_any_other_url_is_refused(kind: Any, url: str) -> None:
    with pytest.raises(ValidationError, match="a media URL starts with http://, https://, data: or media:"):
        kind(url=url, mime_type="x/y")


def test_a_thumbnail_is_a_media_url_too() -> None:
    with pytest.raises(ValidationError, match="a media URL starts with"):
        VideoContent(url=URL, thumbnail_url="file:///x")


@pytest.mark.parametrize(
    "fields", [{"latitude": 90.1}, {"latitude": -91}, {"longitude": 181}, {"latitude": float("nan")}]
)
def test_a_place_is_on_the_globe(fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        LocationContent(**{"latitude": 0.0, "longitude": 0.0, **fields})


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (MediaContent, {"url": URL, "mime_type": "a/b", "size_bytes": -1}),
        (AudioContent, {"url": URL, "duration_seconds": -0.1}),
        (VideoContent, {"url": URL, "duration_seconds": float("inf")}),
        (RichContent, {"body": "x", "format": "rtf"}),
        (DeleteContent, {"target_event_id": "e", "delete_type": "god"}),
    ],
)
def test_numbers_and_vocabularies_are_checked(kind: Any, fields: dict[str, Any]) -> None:
    """At the door, not at the vendor."""
    with pytest.raises(ValidationError):
        kind(**fields)


def nested(depth: int) -> CompositeContent:
    content = CompositeContent(parts=(TEXT,))
    for _ in range(depth - 1):
        content = CompositeContent(parts=(content,))
    return content


def test_composites_nest_at_most_five_deep() -> None:
    assert nested(5).type == "composite"
    with pytest.raises(ValidationError, match="composites nest at most 5 deep"):
        nested(6)
    assert EditContent(target_event_id="e", new_content=nested(5)).depth == 5


def test_a_composite_has_a_part() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        CompositeContent(parts=())


@pytest.mark.parametrize(
    "act", [EditContent(target_event_id="e", new_content=TEXT), DeleteContent(target_event_id="e")]
)
def test_an_edit_or_deletion_cannot_hide_inside_another_content(act: Any) -> None:
    with pytest.raises(ValidationError, match="cannot hold"):
        EditContent(target_event_id="e", new_content=act)
    with pytest.raises(ValidationError, match="cannot hold"):
        CompositeContent(parts=(TEXT, act))
    with pytest.raises(ValidationError, match="cannot hold"):
        EditContent(target_event_id="e", new_content={"type": "composite", "parts": [act.model_dump()]})
