"""Who may see what: one vocabulary, one algebra."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.models import (
    Access,
    Amendment,
    ChannelBinding,
    ChannelCategory,
    ChannelType,
    EventSource,
    EventStatus,
    RoomEvent,
    TextContent,
    admits,
    narrowest,
    sees,
    utcnow,
)
from roomkit_plugins.testing.contracts.strategies import PROPERTY

TRANSPORT, INTELLIGENCE = ChannelCategory.TRANSPORT, ChannelCategory.INTELLIGENCE
IDS = ["ws", "sms", "bot"]
words = st.sampled_from(["all", "none", "internal", "transport", "intelligence", *IDS]) | st.lists(
    st.sampled_from(IDS), min_size=1, max_size=3
).map(", ".join)
visibilities = words | st.lists(words, min_size=2, max_size=3).map("&".join)
readers = st.tuples(st.sampled_from(IDS), st.sampled_from(ChannelCategory))


@pytest.mark.parametrize(
    ("visibility", "transport", "intelligence"),
    [
        ("all", True, True),
        ("none", False, False),
        ("internal", False, False),
        ("transport", True, False),
        ("intelligence", False, True),
        ("ch", True, True),
        ("other", False, False),
        ("other, ch", True, True),
        (" ch ", True, True),
        (",,", False, False),
        ("", False, False),
        ("all,", False, False),
        ("ch&transport", True, False),
    ],
)
def test_the_vocabulary(visibility: str, transport: bool, intelligence: bool) -> None:
    """Keywords, ids, lists of ids, and two of these that must both admit."""
    assert admits(visibility, "ch", TRANSPORT) is transport
    assert admits(visibility, "ch", INTELLIGENCE) is intelligence


@given(first=visibilities, second=visibilities, reader=readers)
@PROPERTY
def test_the_narrowest_of_two_admits_whom_both_admit(
    first: str, second: str, reader: tuple[str, ChannelCategory]
) -> None:
    """So a binding can only cap what its channel says."""
    both = admits(first, *reader) and admits(second, *reader)
    assert admits(narrowest(first, second), *reader) is both
    assert admits(narrowest(second, first), *reader) is both


@given(visibility=visibilities)
@PROPERTY
def test_everybody_caps_nothing_and_the_same_twice_is_the_same(visibility: str) -> None:
    """Visibilities do not grow by being combined."""
    assert narrowest("all", visibility) == narrowest(visibility, "all") == visibility
    assert narrowest(visibility, visibility) == visibility


@given(visibility=st.text(max_size=20), reader=st.text(max_size=5))
@PROPERTY
def test_an_unknown_word_admits_nobody_but_the_channel_of_that_name(visibility: str, reader: str) -> None:
    if admits(visibility, reader, TRANSPORT):
        assert visibility in ("all", "transport") or reader in visibility or "&" in visibility


def event(**fields: Any) -> RoomEvent:
    source = EventSource(channel_id="sms", channel_type=ChannelType.SMS)
    return RoomEvent(**{"room_id": "r", "source": source, "content": TextContent(body="x"), **fields})


def binding(channel_id: str = "ws", **fields: Any) -> ChannelBinding:
    return ChannelBinding(channel_id=channel_id, room_id="r", channel_type=ChannelType.WEBSOCKET, **fields)


def test_a_reader_sees_what_is_meant_for_it() -> None:
    """By visibility, and only while it may read."""
    assert sees(binding(), event())
    assert sees(binding(), event(visibility="ws"))
    assert not sees(binding(), event(visibility="intelligence"))
    assert not sees(binding(access=Access.WRITE_ONLY), event())
    assert not sees(binding(access=Access.NONE), event())


def test_an_author_sees_its_own_whatever_its_visibility() -> None:
    """It said it; also when it was refused."""
    assert sees(binding("sms"), event(visibility="none"))
    assert sees(binding("sms"), event(status=EventStatus.BLOCKED))
    assert not sees(binding(), event(status=EventStatus.BLOCKED))


def test_nobody_sees_what_was_deleted() -> None:
    gone = event(amendment=Amendment(deleted_at=utcnow()))
    assert not sees(binding(), gone)
    assert not sees(binding("sms"), gone)
    assert sees(binding(), event(amendment=Amendment(edited_at=utcnow())))
