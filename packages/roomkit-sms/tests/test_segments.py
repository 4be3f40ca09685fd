"""Segments as a phone network makes them; real messages, encoded and put together again, are the oracle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit_plugins.sms import Segments, segments_of
from roomkit_plugins.sms.segments import utf16_length
from roomkit_plugins.testing.simulators.gsm import joined_text, short_messages

GSM = st.text("abc@Δ \n€[^~|ß", max_size=700)
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=300) | st.text("a👩‍👧é", max_size=300)


@given(GSM | ANY)
def test_a_text_has_as_many_segments_as_a_network_needs(text: str) -> None:
    """Each fits into 140 octets, and a phone shows the text as it was written."""
    messages = short_messages(text)
    assert segments_of(text).count == len(messages)
    assert all(message.octets <= 140 for message in messages)
    assert joined_text(messages[::-1]) == text


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("", Segments("GSM-7", 1, 0)),
        ("a" * 160, Segments("GSM-7", 1, 160)),
        ("a" * 161, Segments("GSM-7", 2, 161)),
        ("a" * 306, Segments("GSM-7", 2, 306)),
        ("a" * 307, Segments("GSM-7", 3, 307)),
        ("€" * 80, Segments("GSM-7", 1, 160)),
        ("a" + "€" * 80, Segments("GSM-7", 2, 161)),
        ("a" * 152 + "€" + "a" * 152, Segments("GSM-7", 3, 306)),  # the euro sign is not divided
        ("ę" * 70, Segments("UCS-2", 1, 70)),
        ("ę" * 71, Segments("UCS-2", 2, 71)),
        ("👋" * 35, Segments("UCS-2", 1, 70)),
        ("👋" * 66, Segments("UCS-2", 2, 132)),
        ("👋" * 67, Segments("UCS-2", 3, 134)),  # 33 of them fit into 67 code units
        ("a" * 159 + "`", Segments("UCS-2", 3, 160)),  # one character outside the alphabet
    ],
    ids=ascii,
)
def test_the_limits_are_those_of_the_standard(text: str, segments: Segments) -> None:
    """3GPP TS 23.038 and 23.040."""
    assert segments_of(text) == segments


def test_characters_are_counted_as_utf_16() -> None:
    assert utf16_length("aé👋") == 4
