"""What is kept of a record is all of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given

from roomkit.models.base import Record
from roomkit.models.channel import ChannelBinding
from roomkit.models.delivery import Delivery
from roomkit.models.event import RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Observation, Task
from roomkit_plugins.sqlite.rows import dump, load, micros, moment
from roomkit_plugins.testing.contracts.base import NOW
from roomkit_plugins.testing.contracts.strategies import PROPERTY, records

STORED: list[type[Record]] = [
    ChannelBinding,
    Delivery,
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
    """None is left out of what is kept: a field with another default would come back changed."""
    for name, field in model.model_fields.items():
        allows_none = "None" in str(field.annotation)
        assert not allows_none or field.is_required() or field.default is None, name


@pytest.mark.parametrize(
    "model", [Delivery, Identity, Task, ChannelBinding], ids=lambda model: model.__name__
)
def test_a_record_is_what_it_was(model: type[Record]) -> None:
    """Whatever is in it."""

    @PROPERTY
    @given(records(model))
    def check(record: Record) -> None:
        assert load(model, dump(record)) == record

    check()


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
