"""What holds for every record: frozen, strict, and the same after a trip through JSON."""

from __future__ import annotations

import copy
import importlib
import pickle
import pkgutil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import roomkit.models
from roomkit.models import (
    CompositeContent,
    EditContent,
    EventSource,
    InboundMessage,
    Record,
    Room,
    RoomEvent,
    TextContent,
    UnknownContent,
)
from roomkit_plugins.testing.contracts.strategies import PROPERTY, contents, examples, json_objects, records

SOURCE = EventSource(channel_id="ws", channel_type="websocket")


def every_record() -> list[type[Record]]:
    for module in pkgutil.iter_modules(roomkit.models.__path__, "roomkit.models."):
        importlib.import_module(module.name)
    found: list[type[Record]] = []
    waiting = list(Record.__subclasses__())
    while waiting:
        model = waiting.pop()
        waiting.extend(model.__subclasses__())
        if model.__module__.startswith("roomkit.") and model is not UnknownContent:  # which no one can make
            found.append(model)
    return sorted(found, key=lambda model: model.__name__)


RECORDS = every_record()


def event(**fields: Any) -> RoomEvent:
    return RoomEvent(**{"room_id": "r", "source": SOURCE, "content": TextContent(body="hello"), **fields})


def test_the_records_are_found() -> None:
    """The parametrised tests below would pass on an empty list."""
    assert {"RoomEvent", "Room", "ChannelBinding", "Delivery", "Identity"} <= {m.__name__ for m in RECORDS}
    assert len(RECORDS) > 35


def any_of(model: type[Record]) -> st.SearchStrategy[Record]:
    """What holds other contents holds no edit or deletion."""
    inner = contents().filter(lambda content: content.type not in ("edit", "delete", "composite"))
    if model is EditContent:
        return records(model, new_content=inner)
    if model is CompositeContent:
        return records(model, parts=st.lists(inner, min_size=1, max_size=3).map(tuple))
    return records(model)


@pytest.mark.parametrize("model", RECORDS)
def test_a_record_is_strict_frozen_and_the_same_after_any_trip(model: type[Record]) -> None:
    """Through JSON, copies and pickling it stays equal; no field can be set, and none can be invented."""

    @examples(12)
    @given(record=any_of(model))
    def holds(record: Record) -> None:
        keeps_itself_in_json(record)
        keeps_itself_in_copies(record)
        refuses_changes(record)
        refuses_unknown_fields(record)

    holds()


def keeps_itself_in_json(record: Record) -> None:
    model = type(record)
    plain = record.model_dump(mode="json")
    assert model.model_validate_json(record.model_dump_json()) == record
    assert model.model_validate(plain) == model.model_validate(record.model_dump()) == record


def keeps_itself_in_copies(record: Record) -> None:
    for twin in (
        record.replace(),
        record.model_copy(),
        record.model_copy(deep=True),
        copy.copy(record),
        copy.deepcopy(record),
        pickle.loads(pickle.dumps(record)),
    ):
        assert twin == record
        assert type(twin) is type(record)


def refuses_changes(record: Record) -> None:
    for name in type(record).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(record, name, None)


def refuses_unknown_fields(record: Record) -> None:
    with pytest.raises(ValidationError, match="misspelt"):
        type(record).model_validate({**record.model_dump(), "misspelt": 1})


@pytest.mark.parametrize("model", RECORDS)
def test_no_field_is_a_container_that_could_change(model: type[Record]) -> None:
    """Lists are tuples and free-form objects frozen; the few dicts of strings are built by us alone."""
    known = {
        ("Identity", "channel_addresses"),
        ("Identity", "external_ids"),
        ("TemplateContent", "parameters"),
    }
    mutable = {
        (model.__name__, name)
        for name, field in model.model_fields.items()
        if str(field.annotation).startswith(("list", "set", "dict"))
    }
    assert mutable <= known


def test_a_replacement_is_not_validated_and_leaves_the_original() -> None:
    """It is the kernel's copy, a third of the price."""
    before = event()
    after = before.replace(index=7)

    assert (before.index, after.index) == (-1, 7)
    assert after.source is before.source
    assert str(before.replace(index="seven").index) == "seven"


def test_a_replacement_forgets_what_was_derived() -> None:
    """The encoded form of the original is not that of the copy."""
    before = event()
    assert b'"index":-1' in before.json_bytes

    for after in (before.replace(index=7), before.model_copy(update={"index": 7})):
        assert b'"index":7' in after.json_bytes
    assert before.json_bytes is before.json_bytes
    assert before.model_copy() == before == before.replace()


def test_a_derived_value_does_not_make_records_differ() -> None:
    before = event()
    after = before.replace()
    assert after.json_bytes

    assert before == after


def test_a_copy_with_an_update_is_validated() -> None:
    before = event()

    assert before.model_copy(update={"content": {"type": "text", "body": "x"}}).content == TextContent(
        body="x"
    )
    with pytest.raises(ValidationError, match="greater than or equal"):
        before.model_copy(update={"index": -2})
    with pytest.raises(ValidationError, match="Extra inputs"):
        before.model_copy(update={"indx": 2})


def test_a_copy_knows_which_fields_were_set() -> None:
    after = Room(id="r").model_copy(update={"event_count": 2})

    assert after.model_dump(exclude_unset=True) == {"id": "r", "event_count": 2}


def test_free_form_fields_are_frozen_all_the_way_down() -> None:
    tags = ["a"]
    room = Room(metadata={"tags": tags, "inner": {"k": [1]}})
    tags.append("b")

    assert room.metadata == {"tags": ["a"], "inner": {"k": [1]}}
    with pytest.raises(TypeError, match="read-only: build a new dict"):
        room.metadata["x"] = 1  # type: ignore[index]
    with pytest.raises(TypeError, match="read-only"):
        room.metadata["inner"]["k"].append(2)


@given(metadata=json_objects())
@PROPERTY
def test_any_json_object_is_kept_as_it_is(metadata: dict[str, Any]) -> None:
    """Frozen values compare, encode and read like the plain ones."""
    room = Room(metadata=metadata)

    assert room.metadata == metadata
    assert Room.model_validate_json(room.model_dump_json()).metadata == metadata


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        ({"when": object()}, "when is a object; only JSON values can be stored"),
        ({"a": {"b": [1, {2, 3}]}}, r"a\.b\[1\] is a set"),
        ({"a": float("nan")}, "a is nan, which JSON cannot carry"),
        ({"a": [float("inf")]}, r"a\[0\] is inf"),
        ({1: "x"}, "has the key 1; JSON keys are strings"),
        ({"a": "\ud800"}, "a is not valid Unicode text"),
        ({"\ud800": 1}, "is not valid Unicode text"),
        ({"a": b"bytes"}, "a is a bytes"),
        ("not an object", "valid dictionary"),
    ],
)
def test_what_json_cannot_carry_is_refused_with_its_place(metadata: Any, complaint: str) -> None:
    """A store would choke on it much later, and far from who did it."""
    with pytest.raises(ValidationError, match=complaint):
        Room(metadata=metadata)


def test_nesting_is_bounded() -> None:
    """A document that is too deep is an error, not a crash of the recursion."""
    deep: dict[str, Any] = {}
    for _ in range(10_000):
        deep = {"d": deep}

    with pytest.raises(ValidationError, match="nested more than 64 levels deep"):
        Room(metadata=deep)


def test_a_live_session_stays_out_of_what_is_stored() -> None:
    """It is an object of this process."""
    message = InboundMessage(channel_id="v", sender_id="s", content=TextContent(body="x"), session=object())

    assert "session" not in message.model_dump()
    assert "session" not in repr(message)
