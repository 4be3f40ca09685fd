"""Files in `data:` URLs, as of RFC 2397."""

from __future__ import annotations

import pytest

from roomkit.authoring.data_url import inline_file


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("data:image/png;base64,aGVsbG8=", ("image/png", b"hello")),
        ("DATA:image/png;base64,aGVsbG8=", ("image/png", b"hello")),
        ("data:text/plain;charset=utf-8;base64,aGVsbG8=", ("text/plain", b"hello")),
        ("data:,hello%20you", ("text/plain", b"hello you")),
        ("data:image/png;base64,%61GVsbG8=", ("image/png", b"hello")),
        ("data:image/png;base64,a", None),
        ("data:image/png", None),
        ("https://example.com/a,b", None),
        ("media:abc", None),
        ("", None),
    ],
)
def test_the_file_of_a_url_is_read(url: str, found: tuple[str, bytes] | None) -> None:
    """Or is None, for what cannot be read and what is elsewhere."""
    assert inline_file(url) == found
