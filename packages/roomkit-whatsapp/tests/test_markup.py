"""Formatted text in WhatsApp's marks: no word is lost, and no mark shows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.models import RichContent
from roomkit_plugins.whatsapp.markup import marked_up

MARKDOWN = [
    ("plain", "plain"),
    ("**bold** and *it* and ~~gone~~ and `code`", "*bold* and _it_ and ~gone~ and `code`"),
    ("***both***", "_*both*_"),
    ("# Title", "*Title*"),
    ("## A **bold** title", "*A bold title*"),
    ("**2*3**", "2*3"),
    ("**one\ntwo**", "*one*\n*two*"),
    ("[docs](https://example.org/a)", "docs (https://example.org/a)"),
    ("<https://example.org/a>", "https://example.org/a"),
    ("**[docs](https://example.org/a)**", "*docs (https://example.org/a)*"),
    ("![a cat](https://example.org/a.png)", "[a cat]"),
    ("- a\n- **b**\n  - c", "- a\n- *b*\n  - c"),
    ("3. a\n4. b", "3. a\n4. b"),
    ("> quoted\n> **twice**", "> quoted\n> *twice*"),
    ("```py\nx = 1\n```", "```\nx = 1\n```"),
    ("~~~\na ``` b\n~~~", "a ``` b"),
    ("a\n\nb", "a\n\nb"),
    ("a\n\n---\n\nb", "a\n\n---\n\nb"),
    ("| a | b |\n|---|---|\n| 1 | **2** |", "a | b\n1 | *2*"),
]


@pytest.mark.parametrize(("body", "expected"), MARKDOWN, ids=[each[0] for each in MARKDOWN])
def test_markdown_is_written_in_whatsapps_marks(body: str, expected: str) -> None:
    assert marked_up(RichContent(body=body)) == expected


def test_html_is_written_in_whatsapps_marks() -> None:
    body = "<p>Hello <b> Ann </b></p><ul><li>one</li></ul><u>under</u><script>x</script>"
    assert marked_up(RichContent(body=body, format="html")) == "Hello *Ann*\n\n- one\n\nunder"


@given(
    st.lists(
        st.sampled_from(["word", "*", "**", "_", "~~", "`", " ", "\n", "# ", "> ", "- ", "<b>"]), max_size=30
    )
)
def test_no_word_is_lost(parts: list[str]) -> None:
    """Whatever the marks around it."""
    assert marked_up(RichContent(body="".join(parts))).count("word") == parts.count("word")
