"""A session is one object with a beginning, a timeline and one end."""

from __future__ import annotations

import logging
import weakref
from itertools import product

import pytest

from roomkit.abc import (
    EndCause,
    InvalidInputError,
    VoiceError,
    VoiceSession,
    VoiceSessionEndedError,
    VoiceSessionState,
)

CONNECTING, ACTIVE, PAUSED, ENDED = VoiceSessionState
MOVES = {
    (CONNECTING, ACTIVE),
    (CONNECTING, ENDED),
    (ACTIVE, PAUSED),
    (ACTIVE, ENDED),
    (PAUSED, ACTIVE),
    (PAUSED, ENDED),
}


def session(state: VoiceSessionState = CONNECTING) -> VoiceSession:
    return VoiceSession("s1", "r1", "p1", "voice", state)


@pytest.mark.parametrize(("before", "after"), list(product(VoiceSessionState, repeat=2)))
def test_what_follows_what(
    before: VoiceSessionState, after: VoiceSessionState, caplog: pytest.LogCaptureFixture
) -> None:
    """The end is final; another move that no session makes is logged, and made."""
    one = session(before)
    with caplog.at_level(logging.WARNING, "roomkit.voice"):
        if before is ENDED and after is not ENDED:
            with pytest.raises(VoiceSessionEndedError, match="session 's1' has ended and cannot become"):
                one.state = after
            assert one.state is ENDED
            return
        one.state = after
    assert one.state is after
    assert bool(caplog.records) is (before is not after and (before, after) not in MOVES)


def test_a_state_is_given_by_its_word() -> None:
    one = session()
    one.state = "active"  # type: ignore[assignment]
    assert one.state is ACTIVE
    with pytest.raises(InvalidInputError, match="'ringing' is no VoiceSessionState: use one of connecting"):
        one.state = "ringing"  # type: ignore[assignment]
    with pytest.raises(InvalidInputError, match="'bored' is no EndCause: use one of remote"):
        one.end("bored")  # type: ignore[arg-type]
    assert (one.state, one.ended) == (ACTIVE, None)


def test_the_first_cause_of_an_end_is_kept() -> None:
    one = session(ACTIVE)
    assert one.end(EndCause.REMOTE)
    assert not one.end(EndCause.LOCAL)
    assert (one.state, one.ended) == (ENDED, EndCause.REMOTE)


def test_an_end_without_a_cause_takes_the_first_that_is_named() -> None:
    one = session(ACTIVE)
    one.state = ENDED
    assert one.ended is None
    assert one.end(EndCause.NETWORK)
    assert one.ended is EndCause.NETWORK


@pytest.mark.parametrize("state", [CONNECTING, ACTIVE, PAUSED])
def test_a_session_is_renegotiated_without_a_warning(
    state: VoiceSessionState, caplog: pytest.LogCaptureFixture
) -> None:
    one = session(state)
    one.renegotiate()
    assert (one.state, caplog.records) == (CONNECTING, [])


def test_a_session_that_has_ended_is_not_renegotiated() -> None:
    one = session(ENDED)
    with pytest.raises(VoiceSessionEndedError, match="cannot be renegotiated: open another"):
        one.renegotiate()


def test_the_timeline_begins_when_media_can_flow() -> None:
    one = session()
    with pytest.raises(VoiceError, match="session 's1' has no timeline yet"):
        one.ms_at(10.0)
    one.ready_at = 10.0
    assert (one.ms_at(10.0), one.ms_at(10.5), one.ms_at(9.9)) == (0.0, 500.0, pytest.approx(-100.0))


def test_sessions_are_compared_by_identity_and_can_be_kept_weakly() -> None:
    one, other = session(), session()
    assert one != other
    assert {one: 1, other: 2}[one] == 1
    assert weakref.ref(one)() is one
    assert not hasattr(one, "__dict__")
    with pytest.raises(AttributeError):
        one.nothing = 1  # type: ignore[attr-defined]


def test_the_log_cannot_be_forged_by_an_id(caplog: pytest.LogCaptureFixture) -> None:
    one = VoiceSession("s1\nERROR all is lost", "r1", "p1", "voice")
    one.state = PAUSED
    assert "\n" not in caplog.records[0].getMessage()
