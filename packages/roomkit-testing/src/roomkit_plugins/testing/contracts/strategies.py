"""Hypothesis strategies for the core's records, read from the models' own fields.

A field that is added to a model is generated at once, and a type that is not understood here is an
error: so a store that forgets a field fails its contract the day the field is added.
"""

from __future__ import annotations

import os
import types
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta, timezone
from enum import Enum
from typing import Annotated, Any, Literal, TypeAliasType, Union, get_args, get_origin

import annotated_types
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from roomkit.models.base import Json, Record, new_id
from roomkit.models.content import (
    CompositeContent,
    DeleteContent,
    EditContent,
    EventContent,
    MediaUrl,
    TextContent,
    UnknownContent,
)
from roomkit.models.values import DerivedId, Id, VendorJson
from roomkit.models.zone import ZoneName

__all__ = ["PROPERTY", "contents", "examples", "json_objects", "records", "texts", "unique_ids"]

_TIMES = int(os.environ.get("ROOMKIT_EXAMPLES", "1"))


def examples(count: int) -> settings:
    """Return the settings of a property test that tries `count` examples, the same ones each time.

    A suite that passes today passes tomorrow: new examples come with new code. `ROOMKIT_EXAMPLES=20` makes a
    long run of it: twenty times as many, and other ones each time.
    """
    return settings(
        deadline=None,
        max_examples=count * _TIMES,
        derandomize=_TIMES == 1,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,  # examples share the fixture and use ids of their own
            HealthCheck.differing_executors,  # a suite is run by many subclasses
            HealthCheck.too_slow,
        ],
    )


PROPERTY = examples(30)
"""The settings of the suites' property tests."""

# What JSON, SQL and every vendor can carry: text without NUL and lone surrogates, numbers that are
# the same in a double and in a decimal.
_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
_LARGE = 2**53


def texts(*, min_size: int = 0) -> st.SearchStrategy[str]:
    """Generate text that is hard to carry: quotes, wildcards, wide and combining characters."""
    hard = st.sampled_from(
        ["'; DROP TABLE", 'a"b\\c', "50%_off", "日本語", "e\u0301", "👩‍👩‍👧", "\r\n\t", " "]
    )
    return hard | st.text(_CHARACTERS, min_size=min_size, max_size=20)


def unique_ids() -> st.SearchStrategy[str]:
    """Generate ids that no other example has: examples may share a store."""
    return st.builds(new_id)


def json_objects() -> st.SearchStrategy[dict[str, Any]]:
    """Generate JSON objects of every kind of value, nested."""
    scalars = (
        st.none()
        | st.booleans()
        | st.integers(-_LARGE, _LARGE)
        | st.floats(-1e15, 1e15, allow_subnormal=False)
        | texts()
    )
    values = st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(), inner, max_size=3),
        max_leaves=6,
    )
    return st.dictionaries(texts(), values, max_size=4)


def contents() -> st.SearchStrategy[EventContent]:
    """Generate contents of every type."""
    return _of(EventContent)


def records[R: Record](model: type[R], **fixed: Any) -> st.SearchStrategy[R]:
    """Generate records of `model`: some with every field set, some with only those that must be.

    `fixed` fields are the given values, or drawn from the given strategies.
    """
    unknown = fixed.keys() - model.model_fields.keys()
    if unknown:
        raise TypeError(f"{model.__name__} has no field {', '.join(sorted(unknown))}")
    chosen = {
        name: value if isinstance(value, st.SearchStrategy) else st.just(value)
        for name, value in fixed.items()
    }
    fields = {name: field for name, field in model.model_fields.items() if name not in chosen}
    every = {name: _field(field, full=True) for name, field in fields.items() if not field.exclude}
    needed = {name: _field(field) for name, field in fields.items() if field.is_required()}
    return (
        st.fixed_dictionaries({**every, **chosen})
        | st.fixed_dictionaries(
            {**needed, **chosen},
            optional={name: strategy for name, strategy in every.items() if name not in needed},
        )
    ).map(model.model_validate)


def _field(field: FieldInfo, *, full: bool = False) -> st.SearchStrategy[Any]:
    if field.annotation is None:
        raise TypeError(f"{field!r} has no annotation")
    return _of(field.annotation, tuple(field.metadata), full=full)


def _of(annotation: Any, constraints: tuple[Any, ...] = (), *, full: bool = False) -> st.SearchStrategy[Any]:
    """Return a strategy for an annotation; `full` leaves out None and empty collections."""
    if annotation in _SPECIAL:
        return _SPECIAL[annotation]()
    if isinstance(annotation, TypeAliasType):
        return _of(annotation.__value__, constraints, full=full)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _of(arguments[0], (*constraints, *arguments[1:]), full=full)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, types.UnionType):
        choices = [each for each in arguments if not (full and each is types.NoneType)]
        return st.one_of(*(_of(each, constraints, full=full) for each in choices))
    if origin is tuple and arguments[1:] == (...,):
        items = st.lists(_of(arguments[0], full=full), min_size=int(full) or _least(constraints), max_size=3)
        return items.map(tuple)
    if origin is tuple:
        return st.tuples(*(_of(each, full=full) for each in arguments))
    if origin is dict:
        return st.dictionaries(
            _of(arguments[0]), _of(arguments[1], full=full), min_size=int(full), max_size=3
        )
    if isinstance(annotation, type):
        return _of_class(annotation, constraints)
    raise TypeError(f"strategies.py does not know how to make {annotation!r}: teach it")


def _of_class(kind: type, constraints: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    if issubclass(kind, Record):
        return st.deferred(lambda: records(kind))
    if issubclass(kind, Enum):
        return st.sampled_from(kind)
    if kind in _PLAIN:
        return _PLAIN[kind](constraints)
    raise TypeError(f"strategies.py does not know how to make {kind!r}: teach it")


def _integers(constraints: tuple[Any, ...]) -> st.SearchStrategy[int]:
    low, high = _bounds(constraints)
    exclusive = any(isinstance(each, annotated_types.Gt) for each in constraints)
    return st.integers(
        -(2**31) if low is None else int(low) + exclusive, 2**31 - 1 if high is None else int(high)
    )


def _floats(constraints: tuple[Any, ...]) -> st.SearchStrategy[float]:
    low, high = _bounds(constraints)
    exclusive = any(isinstance(each, annotated_types.Gt) for each in constraints)
    return st.floats(
        -1e15 if low is None else low,
        1e15 if high is None else high,
        exclude_min=exclusive,
        allow_subnormal=False,
    )


def _bounds(constraints: tuple[Any, ...]) -> tuple[Any, Any]:
    low = high = None
    for each in constraints:
        low = getattr(each, "ge", getattr(each, "gt", low))
        high = getattr(each, "le", getattr(each, "lt", high))
    return low, high


def _least(constraints: tuple[Any, ...]) -> int:
    return max(
        (each.min_length for each in constraints if isinstance(each, annotated_types.MinLen)), default=0
    )


def _strings(constraints: tuple[Any, ...]) -> st.SearchStrategy[str]:
    return texts(min_size=_least(constraints))


def _datetimes(constraints: tuple[Any, ...]) -> st.SearchStrategy[datetime]:
    return st.datetimes(
        datetime(1990, 1, 1),
        datetime(2090, 1, 1),
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))]),
    )


_PLAIN: dict[type, Callable[[tuple[Any, ...]], st.SearchStrategy[Any]]] = {
    bool: lambda constraints: st.booleans(),
    int: _integers,
    float: _floats,
    str: _strings,
    datetime: _datetimes,
    time: lambda constraints: st.times(),
}


def _urls() -> st.SearchStrategy[str]:
    return st.sampled_from(["https://example.com/a?b=c&d=%20", "http://h/x.jpg", "data:text/plain,hi"])


def _event_contents() -> st.SearchStrategy[Any]:
    """Every type of content that can be made; the two that hold others hold plain ones."""
    kinds = get_args(get_args(EventContent.__value__)[0])
    plain = [kind for kind in kinds if kind not in (CompositeContent, EditContent, UnknownContent)]
    simple = st.one_of(*(_of_class(kind, ()) for kind in plain))
    inner = simple.filter(lambda content: not isinstance(content, DeleteContent))
    return (
        simple
        | records(EditContent, new_content=inner)
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: CompositeContent(parts=tuple(parts)))
        | st.just(CompositeContent(parts=(CompositeContent(parts=(TextContent(body="deep"),)),)))
    )


_SPECIAL: dict[Any, Callable[[], st.SearchStrategy[Any]]] = {
    ZoneName: lambda: st.sampled_from(("UTC", "Europe/Berlin", "America/Toronto")),
    Id: lambda: texts(min_size=1),
    DerivedId: lambda: texts(min_size=1),
    Json: json_objects,
    VendorJson: json_objects,
    MediaUrl: _urls,
    EventContent: _event_contents,
}
