"""Records from other code: one that `model_construct` made is validated before it is used.

What a class of records accepts is known by the types of its fields, so that a record costs a look-up; only
one with types that were not seen before is validated in full.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from roomkit.abc.errors import InvalidInputError, RoomKitError
from roomkit.models.base import FrozenDict, FrozenList, Record
from roomkit.models.content import UnknownContent

_MOST_SHAPES = 4096
_MOST_NAMED = 3
_known: dict[tuple[type, ...], tuple[int, ...]] = {}  # bound: _MOST_SHAPES
"""The types of a valid record and of its fields, and the positions of the fields to look into."""
_CONTAINERS = (dict, list, set, frozenset)
_FROZEN = (FrozenDict, FrozenList)
_MISSING = object()


def checked[R: Record](
    record: object, kind: type[R], origin: str, error: type[RoomKitError] = InvalidInputError
) -> R:
    """Return a record whose fields, at every level, have the types that its class declares.

    Usually that is the record itself; a field that validation would freeze or repair is replaced in a copy.
    Nothing is converted. `origin` says in an error where the record came from. Raises `error`, which
    names the record and its wrong fields.
    """
    if not isinstance(record, kind):
        raise error(f"{type(record).__name__} {origin} cannot be used: it has to be {kind.__name__}")
    todo: list[Any] = [record]  # bound: the records and tuples within the record
    for each in todo:
        if type(each) is tuple:
            if each:
                break
            continue
        fields = (*each.__dict__.values(),)
        inner = _known.get((type(each), *map(type, fields)))
        if inner is None:
            break
        if inner:
            todo += [fields[position] for position in inner]
    else:
        return record
    try:
        return _validated(record)
    except ValidationError as wrong:
        # without its cause, which would quote the values
        raise error(
            f"{kind.__name__} {origin} cannot be used: {problems_of(wrong)}; make it with its constructor"
        ) from None


def problems_of(error: ValidationError) -> str:
    """Return which fields of a record are wrong, and why, without their values."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{error.title}.{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems[:_MOST_NAMED]
    )


def _validated[R: Record](record: R) -> R:
    """Return the record with every field as validation returns it. Raises ValidationError."""
    if isinstance(record, UnknownContent):  # comes of a store only, and holds what it held there
        return record
    cls, state = type(record), record.__dict__
    given = {name: _inner(state[name]) for name in cls.model_fields if name in state}
    found = cls.model_validate(given, strict=True).__dict__
    if all(_is_same(value, state.get(name, _MISSING)) for name, value in found.items()):
        _remember(record)
        return record
    return cls.trusted({**found}, like=record)


def _is_same(validated: object, given: object) -> bool:
    return validated is given or (type(validated) is type(given) and validated == given)


def _inner(value: object) -> object:
    if isinstance(value, Record):
        return _validated(value)
    return tuple(map(_inner, value)) if type(value) is tuple else value


def _remember(record: Record) -> None:
    """Remember the types of a valid record, if they say all that validation looks at."""
    fields = (*record.__dict__.values(),)
    if any(isinstance(each, _CONTAINERS) and not isinstance(each, _FROZEN) for each in fields):
        return
    if len(_known) >= _MOST_SHAPES:
        _known.clear()
    inner = (position for position, each in enumerate(fields) if isinstance(each, Record | tuple))
    _known[(type(record), *map(type, fields))] = tuple(inner)
