"""A record is stored whole."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given

from roomkit.models.base import Record
from roomkit.models.channel import ChannelBinding
from roomkit.models.delivery import Delivery, DeliveryStatus
from roomkit.models.enums import DeliveryState
from roomkit.models.event import RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Observation, Task
from roomkit.models.timer import Timer
from roomkit_plugins.sqlite.rows import delivery_of, dump, load, micros, moment, readable_timers
from roomkit_plugins.testing.contracts.base import NOW
from roomkit_plugins.testing.contracts.strategies import PROPERTY, records

STORED: list[type[Record]] = [
    Timer,
    ChannelBinding,
    Delivery,
    DeliveryStatus,
    Identity,
    Observation,
    Participant,
    Room,
    RoomEvent,
    Task,
]


def _subclasses(model: type[Record]) -> list[type[Record]]:
    return [each for child in model.__subclasses__() for each in (child, *_subclasses(child))]


@pytest.mark.parametrize("model", _subclasses(Record), ids=lambda model: model.__name__)
def test_a_field_that_may_be_none_is_none_without_a_value(model: type[Record]) -> None:
    for name, field in model.model_fields.items():
        allows_none = "None" in str(field.annotation)
        assert not allows_none or field.is_required() or field.default is None, name


@pytest.mark.parametrize(
    "model", [Identity, Task, ChannelBinding, DeliveryStatus], ids=lambda model: model.__name__
)
def test_a_record_is_what_it_was(model: type[Record]) -> None:
    @PROPERTY
    @given(records(model))
    def check(record: Record) -> None:
        assert load(model, dump(record)) == record

    check()


@PROPERTY
@given(records(Delivery))
def test_a_delivery_is_what_it_was(row: Delivery) -> None:
    """Its holder and its claims, which move without it, are in columns of their own."""
    columns = (
        row.holder,
        row.claims,
        row.room_id,
        row.event_id,
        row.event_index,
        row.channel_id,
        "",
        row.state.value,
    )
    assert delivery_of((dump(row), *columns)) == row
    assert not {"holder", "claims"} & json.loads(dump(row)).keys()


@PROPERTY
@given(records(Delivery))
def test_a_delivery_that_nothing_became_of_follows_from_its_event(given: Delivery) -> None:
    """All of it is in the columns."""
    row = delivery_of(
        (
            None,
            given.holder,
            given.claims,
            given.room_id,
            given.event_id,
            given.event_index,
            given.channel_id,
            given.created_at.isoformat(),
            "pending",
        )
    )
    assert (row.id, row.state) == (f"{given.event_id}:{given.channel_id}", DeliveryState.PENDING)
    assert (row.room_id, row.event_index, row.holder) == (given.room_id, given.event_index, given.holder)
    assert (row.claims, row.created_at) == (given.claims, given.created_at)


@PROPERTY
@given(records(Timer))
def test_a_timer_is_what_it_was(timer: Timer) -> None:
    assert readable_timers([(timer.id, dump(timer), timer.claims)]) == [timer]


def test_times_keep_their_microseconds() -> None:
    """Before and after 1970, with a zone and without."""
    for at in (
        NOW,
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
    ):
        assert moment(micros(at)) == at
    assert moment(micros(NOW.replace(tzinfo=None))) == NOW
    assert moment(None) is None
