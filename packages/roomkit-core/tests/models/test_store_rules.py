"""The rules that stores share because the records know them."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import to_json

from roomkit.models.content import SystemContent, TextContent
from roomkit.models.delivery import OUTCOME_FIELDS, Delivery, DeliveryOutcome
from roomkit.models.enums import (
    ChannelDirection,
    ChannelType,
    DeliveryState,
    EventStatus,
    EventType,
    RoomStatus,
)
from roomkit.models.event import Amendment, ChannelData, EventSource, RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room, RoomTimers
from roomkit.models.timer import Timer
from roomkit_plugins.testing.contracts.strategies import PROPERTY, contents, records

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
SOURCE = EventSource(channel_id="sms", channel_type=ChannelType.SMS, participant_id="ann")


def said(text: str = "hello", **fields: Any) -> RoomEvent:
    return RoomEvent(**{"room_id": "r", "source": SOURCE, "content": TextContent(body=text), **fields})


# -- deliveries -----------------------------------------------------------------------------------


def test_a_planned_delivery_says_where_it_belongs_and_nothing_else() -> None:
    """Every other field is as it is made; ids may have colons in them."""
    event = said(id="e:1", index=7, created_at=NOW)
    assert Delivery.planned(event, "sms:2") == Delivery(
        id="e:1:sms:2",
        room_id="r",
        event_id="e:1",
        event_index=7,
        channel_id="sms:2",
        state=DeliveryState.PENDING,
        created_at=NOW,
    )


@pytest.mark.parametrize(
    ("message_id", "parts", "expected"),
    [
        (None, (), ()),
        (None, ("a",), ()),
        ("a", (), ("a",)),
        ("a", ("b", "c"), ("a", "b", "c")),
        ("a", ("a", "b", "b"), ("a", "b")),
    ],
)
def test_a_delivery_has_each_of_its_message_ids_once(
    message_id: str | None, parts: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    """The message's own first; parts of no message are none."""
    row = Delivery.planned(said(), "sms").replace(provider_message_id=message_id, parts=parts)
    assert row.message_ids == expected


def test_an_outcome_has_the_fields_of_its_delivery_but_for_the_stores_own() -> None:
    """One definition in two forms: the same names, with the same defaults."""
    of_the_row = Delivery.model_fields
    assert of_the_row.keys() - set(OUTCOME_FIELDS) == {"id", "receipt", "holder", "claims"}
    assert set(OUTCOME_FIELDS) <= of_the_row.keys()
    defaults = {each.name: each.default for each in fields(DeliveryOutcome) if each.default is not MISSING}
    assert defaults.pop("unknown") is None
    assert defaults == {name: of_the_row[name].default for name in defaults}


@PROPERTY
@given(row=records(Delivery), holder=st.none() | st.just("worker"))
def test_an_outcome_makes_the_row_that_it_was_made_of(row: Delivery, holder: str | None) -> None:
    """What the store adds is added to it; without, no worker holds it, and it has no receipt."""
    row = row.replace(id=f"{row.event_id}:{row.channel_id}")
    own = {"receipt": row.receipt, "claims": row.claims, "holder": holder}
    outcome = row.outcome()
    assert outcome.id == row.id
    assert outcome.message_ids == row.message_ids
    assert outcome.delivery(**own) == row.replace(holder=holder)
    assert outcome.delivery() == row.replace(receipt=None, holder=None, claims=0)
    assert row.outcome(attempts=7) == replace(outcome, attempts=7)


def test_an_outcome_keeps_what_a_newer_version_added_to_its_row() -> None:
    stored = Delivery.planned(said(), "sms").model_dump(mode="json")
    newer = Delivery.from_stored(json.dumps({**stored, "colour": "blue"}))
    written = newer.outcome(state=DeliveryState.SENT).delivery()
    assert json.loads(written.model_dump_json())["colour"] == "blue"
    assert newer.outcome().delivery() == newer


def test_claims_are_counted_from_nothing() -> None:
    row = Delivery.planned(said(), "sms")
    timer = Timer(id="a", room_id="r", kind="k", due_at=NOW)
    assert (row.claims, row.holder, timer.claims) == (0, None, 0)
    for record in (row, timer):
        with pytest.raises(ValidationError, match="claims"):
            record.model_copy(update={"claims": -1})


def test_a_timer_needs_an_id_and_carries_json() -> None:
    """What it carries is frozen with it."""
    with pytest.raises(ValidationError, match="id"):
        Timer(id="", room_id="r", kind="k", due_at=NOW)
    timer = Timer(id="a", room_id="r", kind="k", due_at=NOW, data={"list": [1]})
    with pytest.raises(TypeError, match="read-only"):
        timer.data["list"].append(2)


# -- events ---------------------------------------------------------------------------------------


@PROPERTY
@given(event=records(RoomEvent, amendment=None), first=contents(), second=contents())
def test_an_amended_event_keeps_all_it_was(event: RoomEvent, first: Any, second: Any) -> None:
    """Edit by edit; nothing but its content and its amendment changes."""
    edited = event.amended(first, "ann", NOW).amended(second, "ben", LATER)
    assert edited == event.replace(
        content=second,
        amendment=Amendment(edited_at=LATER, amended_by="ben", former_contents=(event.content, first)),
    )
    deleted = edited.amended(None, "eve", LATER)
    assert edited.amendment is not None
    assert deleted == edited.replace(amendment=edited.amendment.replace(deleted_at=LATER, amended_by="eve"))
    assert deleted.edited
    assert deleted.deleted


@PROPERTY
@given(event=records(RoomEvent))
def test_a_redacted_event_keeps_its_place_and_nothing_that_was_said(event: RoomEvent) -> None:
    left = event.redacted(NOW)
    for name in ("id", "room_id", "index", "created_at", "type", "status", "idempotency_key"):
        assert getattr(left, name) == getattr(event, name)
    assert left.content == SystemContent(body="", code="erased")
    assert left.source == EventSource(
        channel_id=event.source.channel_id,
        channel_type=event.source.channel_type,
        direction=event.source.direction,
    )
    assert (left.metadata, left.channel_data, left.block_reason) == ({}, ChannelData(), None)
    assert left.deleted
    assert not left.is_history
    assert left.amendment == Amendment(deleted_at=NOW, amended_by="system")
    assert left.redacted(NOW) == left


def test_nothing_of_what_was_said_is_in_a_redacted_event() -> None:
    """Wherever it was: text, author, payload, metadata, the vendor's words, what it said before."""
    secret = "the-secret"
    told = said(
        f"I tell you {secret}",
        source=SOURCE.replace(
            direction=ChannelDirection.INBOUND,
            participant_id=secret,
            on_behalf_of=secret,
            connection_id=secret,
            external_id=secret,
            provider_message_id=secret,
            raw_payload={"Body": secret},
        ),
        metadata={"x": secret},
        channel_data=ChannelData(thread_id=secret, external_id=secret, extra={"x": secret}),
        block_reason=secret,
    ).amended(TextContent(body=f"edited {secret}"), secret, NOW)
    assert secret in to_json(told).decode()
    assert secret not in to_json(told.redacted(NOW)).decode()
    assert secret not in told.redacted(NOW).json_bytes.decode()


def test_history_is_what_was_said_and_stands() -> None:
    """Messages that were neither blocked nor deleted, edited ones too."""
    message = said()
    assert message.is_history
    assert message.amended(TextContent(body="edited"), "ann", NOW).is_history
    assert not message.amended(None, "ann", NOW).is_history
    assert not message.replace(status=EventStatus.BLOCKED).is_history
    assert not any(
        message.replace(type=kind).is_history for kind in EventType if kind is not EventType.MESSAGE
    )


# -- people ---------------------------------------------------------------------------------------


def test_a_participant_is_a_sender_on_each_of_their_channels() -> None:
    """Under their address there; the first channel counts while none is known to have been used."""
    ann = Participant(id="ann", room_id="r", channel_id="sms")
    assert ann.senders == {("sms", "ann")}
    assert ann.replace(connected_via=("email", "web")).senders == {("email", "ann"), ("web", "ann")}
    assert ann.replace(external_id="+1").senders == {("sms", "+1")}
    assert ann.replace(external_id="").senders == {("sms", "ann")}


def test_an_identitys_addresses_are_of_its_organization() -> None:
    """Each with its type; none without any."""
    known = {"sms": ("+1", "+2"), ChannelType.EMAIL: ("a@b",)}
    identity = Identity(id="i", channel_addresses=known)
    assert identity.addresses == {("", "sms", "+1"), ("", "sms", "+2"), ("", "email", "a@b")}
    ours = identity.replace(organization_id="org")
    assert ours.addresses == {("org", kind, address) for _, kind, address in identity.addresses}
    assert Identity(id="i").addresses == set()


# -- a room's timers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "pause", "close", "idle", "expected"),
    [
        (RoomStatus.ACTIVE, 60, None, 59, None),
        (RoomStatus.ACTIVE, 60, None, 60, (RoomStatus.PAUSED, 60, 60)),
        (RoomStatus.ACTIVE, 60, 120, 119, (RoomStatus.PAUSED, 119, 60)),
        (RoomStatus.ACTIVE, 60, 120, 120, (RoomStatus.CLOSED, 120, 120)),
        (RoomStatus.ACTIVE, 120, 60, 60, (RoomStatus.CLOSED, 60, 60)),
        (RoomStatus.PAUSED, 60, None, 1000, None),
        (RoomStatus.PAUSED, 60, 120, 120, (RoomStatus.CLOSED, 120, 120)),
        (RoomStatus.CLOSED, 60, 120, 1000, None),
        (RoomStatus.ARCHIVED, 60, 120, 1000, None),
        (RoomStatus.ACTIVE, None, None, 1000, None),
        (RoomStatus.ACTIVE, 0, None, 0, (RoomStatus.PAUSED, 0, 0)),
    ],
)
def test_what_is_due_in_an_idle_room(
    status: RoomStatus, pause: float | None, close: float | None, idle: float, expected: Any
) -> None:
    timers = RoomTimers(inactive_after_seconds=pause, closed_after_seconds=close)
    then = NOW + timedelta(seconds=idle)
    fresh = Room(status=status, created_at=NOW, timers=timers)
    used = fresh.replace(created_at=NOW - timedelta(days=1), timers=timers.replace(last_activity_at=NOW))
    assert fresh.due(then) == expected
    assert used.due(then) == expected


@pytest.mark.parametrize("status", RoomStatus)
@pytest.mark.parametrize(("pause", "close"), [(None, None), (60, None), (None, 90), (60, 90), (90, 60)])
def test_a_room_is_looked_at_when_something_is_due_and_not_before(
    status: RoomStatus, pause: float | None, close: float | None
) -> None:
    """`next_due` is the first moment at which `due` says anything; None when it never will."""
    timers = RoomTimers(inactive_after_seconds=pause, closed_after_seconds=close, last_activity_at=NOW)
    room = Room(status=status, created_at=NOW - timedelta(days=1), timers=timers)
    if room.next_due is None:
        assert all(room.due(NOW + timedelta(seconds=seconds)) is None for seconds in (0, 60, 90, 10**6))
    else:
        assert room.due(room.next_due) is not None
        assert room.due(room.next_due - timedelta(microseconds=1)) is None
