"""Words by which a person stops or resumes messages."""

from __future__ import annotations

import pytest

from roomkit.abc.errors import InvalidInputError
from roomkit.authoring.opt_out import OPT_OUT_LANGUAGES, OptOutWords
from roomkit.models.content import ConsentContent, MediaContent, TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ConsentState, EventType

REVOKED, GRANTED = ConsentState.REVOKED, ConsentState.GRANTED


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("STOP", REVOKED),
        ("stop.", REVOKED),
        ("\u200bStop\u200b", REVOKED),
        ("Stop all", REVOKED),
        ("opt-out", REVOKED),
        ("\uff33\uff34\uff2f\uff30", REVOKED),
        ("arre\u0302t", REVOKED),
        ("退訂", REVOKED),
        ("Start!", GRANTED),
        ("dé\u0301marrer", None),
        ("", None),
        ("!!!", None),
        ("stop it", None),
        ("yes", None),
        ("s" * 41, None),
    ],
    ids=ascii,
)
def test_a_word_by_itself_is_recognised(text: str, state: ConsentState | None) -> None:
    """Whatever stands around it, and however it is typed."""
    assert OptOutWords().state_of(text) is state


def test_english_counts_in_every_language() -> None:
    """Carriers act on it."""
    german = OptOutWords(["de"])
    assert (german.state_of("abmelden"), german.state_of("STOP"), german.state_of("baja")) == (
        REVOKED,
        REVOKED,
        None,
    )


@pytest.mark.parametrize("language", sorted(OPT_OUT_LANGUAGES))
def test_no_word_both_stops_and_starts(language: str) -> None:
    from roomkit.authoring import opt_out

    words = OptOutWords([language])
    stops, starts = (table[language].split() for table in (opt_out._STOP, opt_out._START))
    assert {words.state_of(word) for word in stops} == {REVOKED}
    assert {words.state_of(word) for word in starts} == {GRANTED}


def test_an_unknown_language_is_named() -> None:
    with pytest.raises(InvalidInputError, match="opt-out words of tlh are not known"):
        OptOutWords(["en", "tlh"])


def test_only_texts_are_consent() -> None:
    """A caption, or an edit that says STOP, is none."""
    words = OptOutWords(stop=["ruhe"])
    message = InboundMessage(channel_id="sms", sender_id="+1", content=TextContent(body="Ruhe!"))
    admitted = words.admitted(message, "phone")
    assert admitted.event_type is EventType.CONSENT
    assert admitted.content == ConsentContent(
        address_type="phone", address="+1", state=REVOKED, source="keyword", body="Ruhe!"
    )
    assert words.admitted(admitted, "phone") is admitted
    picture = MediaContent(url="https://example.com/a", mime_type="image/png", caption="STOP")
    for other in (
        message.replace(content=picture),
        message.replace(event_type=EventType.SYSTEM),
        message.replace(content=TextContent(body="hello")),
    ):
        assert words.admitted(other, "phone") is other
