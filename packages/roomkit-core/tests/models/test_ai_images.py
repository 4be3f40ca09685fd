"""Images: their type under its registered name, and the note that stands for one."""

from __future__ import annotations

import pytest

from roomkit.models.ai import AIImagePart


@pytest.mark.parametrize(
    ("url", "mime_type", "media_type"),
    [
        ("data:image/png;base64,aGk=", None, "image/png"),
        ("data:image/jpg;base64,aGk=", None, "image/jpeg"),
        ("data:IMAGE/JPEG;charset=utf-8;base64,aGk=", None, "image/jpeg"),
        ("data:;base64,aGk=", "image/x-png", "image/png"),
        ("data:image/png;base64,aGk=", "image/pjpeg; q=1", "image/jpeg"),
    ],
)
def test_a_media_type_has_its_registered_name(url: str, mime_type: str | None, media_type: str) -> None:
    """Whatever the URL and the part's own type call it."""
    image = AIImagePart(url=url, mime_type=mime_type).inline
    assert image is not None
    assert image.url == f"data:{media_type};base64,aGk="


@pytest.mark.parametrize("url", ["https://a.example/b.png", "file:///x", "data:image/png,hi", "data:"])
def test_what_is_no_base64_url_holds_no_image(url: str) -> None:
    """It is fetched by the vendor, or cannot be sent."""
    part = AIImagePart(url=url)
    assert part.inline is None
    assert part.is_fetched is url.startswith("https:")


def test_a_note_names_the_type_and_no_data() -> None:
    assert AIImagePart(url="data:image/HEIC;base64,aGk=").note.text == "[image: image/heic]"
    assert AIImagePart(url="https://a.example/secret").note.text == "[image]"
