"""What every record shares: frozen pydantic models, frozen JSON values, ids and the present time."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from sys import intern
from typing import Annotated, Any, Never, Self, override

from pydantic import BaseModel, ConfigDict, GetPydanticSchema, ValidationError
from pydantic_core import SchemaSerializer, core_schema, from_json

from roomkit.models.vocabulary import as_stored

__all__ = ["EMPTY", "FrozenDict", "FrozenList", "Json", "Record", "freeze", "new_id", "utcnow"]


def new_id() -> str:
    """Return 128 random bits as 32 lower-case hexadecimal digits."""
    return os.urandom(16).hex()


def utcnow() -> datetime:
    """Return the present time, aware and in UTC."""
    return datetime.now(UTC)


def _read_only(self: object, *args: object, **kwargs: object) -> Never:
    raise TypeError(
        "records are read-only: build a new dict (`{**old, ...}`) and pass it to `model_copy(update=...)`"
    )


class FrozenDict(dict[str, Any]):
    """A dict that cannot change after it is made, so that stores and readers may share it.

    `|`, `{**d}` and `dict(d)` give ordinary dicts.
    """

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = _read_only
    clear = pop = popitem = setdefault = update = _read_only

    def __hash__(self) -> int:  # type: ignore[override]  # dict declares it None; ours is immutable
        return hash(frozenset(self))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (dict(self),))


class FrozenList(list[Any]):
    """A list that cannot change after it is made; equal to a list with the same items."""

    __slots__ = ()
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _read_only
    append = clear = extend = insert = pop = remove = reverse = sort = _read_only

    def __hash__(self) -> int:  # type: ignore[override]  # list declares it None; ours is immutable
        return hash(tuple(self))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (list(self),))


EMPTY = FrozenDict()
MAX_DEPTH = 64
_MOST_DIGITS = 4300
"""What Python and pydantic read of a number in JSON."""
_FIRST_UNREADABLE = 10**_MOST_DIGITS


def freeze(value: Any, *, path: str = "", depth: int = 0) -> Any:
    """Return `value` as a deeply read-only JSON value.

    Raises ValueError for what JSON cannot carry (other types, NaN and infinities, keys that are
    not strings, lone surrogates, numbers of more than 4,300 digits, nesting beyond 64), naming the place.
    """
    kind = type(value)
    if kind is FrozenDict or kind is FrozenList or kind is bool or value is None:
        return value
    if isinstance(value, str):
        if not value.isascii():
            _check_text(value, path)
        return value
    if isinstance(value, int):
        if not -_FIRST_UNREADABLE < value < _FIRST_UNREADABLE:
            raise ValueError(
                f"{path or 'value'} is a number of more than {_MOST_DIGITS} digits, which JSON readers refuse"
            )
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{path or 'value'} is {value}, which JSON cannot carry")
        return value
    if depth >= MAX_DEPTH:
        raise ValueError(f"{path or 'value'} is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        if not value:
            return EMPTY
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"{path or 'value'} has the key {key!r}; JSON keys are strings")
            if not key.isascii():
                _check_text(key, path)
        return FrozenDict(  # payloads of one vendor share their keys, of which a parser makes new texts
            (
                intern(key) if type(key) is str else key,
                freeze(item, path=f"{path}.{key}" if path else key, depth=depth + 1),
            )
            for key, item in value.items()
        )
    if isinstance(value, list | tuple):
        return FrozenList(
            freeze(item, path=f"{path}[{place}]", depth=depth + 1) for place, item in enumerate(value)
        )
    raise ValueError(
        f"{path or 'value'} is a {kind.__name__}; only JSON values can be stored "
        "(text, numbers, booleans, None, lists, dicts): convert it first"
    )


def _check_text(text: str, path: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{path or 'value'} is not valid Unicode text: {error.reason}") from None


def _json_schema(_source: Any, _handler: Any) -> core_schema.CoreSchema:
    return core_schema.no_info_after_validator_function(
        freeze, core_schema.dict_schema(core_schema.any_schema(), core_schema.any_schema())
    )


type Json = Annotated[Mapping[str, Any], GetPydanticSchema(_json_schema)]
"""A JSON object, frozen on the way in: `freeze` says which values are refused."""


_new = object.__new__
# pydantic keeps an instance's state in these four slots; setting them through their descriptors is
# half the price of object.__setattr__, on a path that several records of every message take.
_put_state = BaseModel.__dict__["__dict__"].__set__
_put_given = BaseModel.__dict__["__pydantic_fields_set__"].__set__
_put_extra = BaseModel.__dict__["__pydantic_extra__"].__set__
_put_private = BaseModel.__dict__["__pydantic_private__"].__set__
_ALL: set[str] = set()
"""The fields set of trusted records: no caller asks which of them were given."""


class Record(BaseModel):
    """A frozen model: a change is a copy, so a record can be shared without copying it.

    An unknown field is an error, because a misspelt one would otherwise be dropped in silence. Only
    `from_stored` accepts those of a newer version; copies keep them, and they are written back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    @classmethod
    @override
    def __pydantic_on_complete__(cls) -> None:
        # Nothing but a serializer of its own makes pydantic refuse unknown fields and yet write them.
        # While the class counts as incomplete, that serializer is not taken from the class itself.
        cls.__pydantic_complete__ = False
        cls.__pydantic_serializer__ = SchemaSerializer(_with_unknown_fields(cls.__pydantic_core_schema__))
        cls.__pydantic_complete__ = True

    @classmethod
    def from_stored(cls, data: str | bytes) -> Self:
        """Return the record of a JSON text that a store, or another worker, wrote.

        What a newer version may have added is accepted and written back as it came: unknown fields at
        every level, unknown words of vocabularies, unknown contents (as `UnknownContent`). Raises
        pydantic.ValidationError for data that cannot be read even so. Reading what this version knows costs
        no more than `model_validate_json`.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError:
            return cls._from_newer(data)

    @classmethod
    def _from_newer(cls, data: str | bytes) -> Self:
        with as_stored():
            try:
                fields = from_json(data)
            except ValueError:
                return cls.model_validate_json(data)  # which says why it is not JSON
            return settled(cls.model_validate(cls._prepared(fields), extra="allow"))

    @classmethod
    def salvaged(
        cls, fields: Mapping[str, Any], *, stand_ins: Mapping[str, Any], known: Mapping[str, Any]
    ) -> Self:
        """Return the record of a stored row that cannot be read, without the `fields` that are wrong.

        `known` fields count whatever the row says. A missing field has a value of `stand_ins`, else its
        default.
        """
        kept = {name: value for name, value in fields.items() if name in cls.model_fields}
        while True:
            try:
                with as_stored():
                    given = cls._prepared({**stand_ins, **kept, **known})
                    return settled(cls.model_validate(given, extra="allow"))
            except ValidationError as error:
                wrong = {each["loc"][0] for each in error.errors()} & kept.keys() - known.keys()
                if not wrong:
                    raise
                kept = {name: value for name, value in kept.items() if name not in wrong}

    @classmethod
    def _prepared(cls, fields: Any) -> Any:
        """Return a stored record's fields with what only a class knows how to read made readable."""
        return fields

    def without_unknown(self) -> Self:
        """Return the record without the unknown fields of `from_stored`; those of nested records stay."""
        copy = self.replace()
        _put_extra(copy, None)
        return copy

    def with_unknown(self, fields: Mapping[str, Any]) -> Self:
        """Return the record with the unknown fields of another one."""
        copy = self.replace()
        _put_extra(copy, fields)
        return copy

    def replace(self, **changes: Any) -> Self:
        """Return a copy with `changes`, which are trusted: nothing is validated.

        This is the kernel's copy (a third of `model_copy`); values from outside go through the
        constructor instead. Cached properties are dropped, since they may depend on the changes.
        """
        cls = type(self)
        fields = cls.__pydantic_fields__
        copy = _new(cls)
        state = self.__dict__
        if len(state) != len(fields):
            state = {name: state[name] for name in fields}
        _put_state(copy, {**state, **changes})
        _put_given(copy, self.__pydantic_fields_set__)
        _put_extra(copy, self.__pydantic_extra__)
        _put_private(copy, None)
        return copy

    @classmethod
    def trusted(cls, values: dict[str, Any], *, like: Record | None = None) -> Self:
        """Return a record of `values`, which must be all its fields and right: nothing is checked.

        For the kernel's own records on the path of every message. The record keeps the dict itself. It
        has the unknown fields of the record it is made `like`.
        """
        record = _new(cls)
        _put_state(record, values)
        _put_given(record, _ALL)
        _put_extra(record, None if like is None else like.__pydantic_extra__)
        _put_private(record, None)
        return record

    def made_from(self, source: object) -> Self:
        """Return this very record, which from now on says that it was made of `source` and nothing else.

        No copy says so, therefore code that changes a field takes the mark away. See `checked`.
        """
        _put_private(self, source)
        return self

    def take_source(self) -> object:
        """Return what `made_from` was given, once: the record is then an ordinary one. None without."""
        source: object = self.__pydantic_private__
        if source is not None:
            _put_private(self, None)
        return source

    def forget_given(self) -> Self:
        """Return this very record without its list of the fields that were given.

        That list is up to half of a record's memory, and no caller asks a stored record for it.
        """
        _put_given(self, _ALL)
        return self

    def kept(self) -> Self:
        """Return an equal record in the least memory, for what lies idle more than it is read.

        Its fields are set one by one, so that the object holds them itself and not in a dict; the
        dict comes back when a copy is made of it.
        """
        cls = type(self)
        copy = _new(cls)
        state = self.__dict__
        for name in cls.__pydantic_fields__:
            object.__setattr__(copy, name, state[name])
        _put_given(copy, _ALL)
        _put_extra(copy, self.__pydantic_extra__)
        _put_private(copy, None)
        return copy

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with `update` applied and validated; `deep` is accepted and needs nothing.

        Raises pydantic.ValidationError when an updated field does not fit the model.
        """
        if not update:
            return self.replace()
        cls = type(self)
        state = self.__dict__
        checked = cls.model_validate({**{name: state[name] for name in cls.__pydantic_fields__}, **update})
        object.__setattr__(
            checked, "__pydantic_fields_set__", self.__pydantic_fields_set__ | frozenset(update)
        )
        _put_extra(checked, self.__pydantic_extra__)
        return checked


def _with_unknown_fields(schema: Any) -> Any:
    """Return a copy of a core schema in which every model writes its unknown fields too."""
    if type(schema) is list:
        return [_with_unknown_fields(each) for each in schema]
    if type(schema) is not dict:
        return schema
    copy = {key: _with_unknown_fields(value) for key, value in schema.items()}
    if copy.get("type") == "model":
        copy["config"] = {**copy.get("config", {}), "extra_fields_behavior": "allow"}
    elif copy.get("type") == "model-fields":
        copy["extra_behavior"] = "allow"
    return copy


def settled[R: Record](record: R) -> R:
    """Return a record that was read with its unknown fields, after freezing those of every level."""
    _settle(record)
    return record


def _settle(value: Any) -> bool:
    """Freeze the unknown fields of a value's records; return whether there are any.

    A record without unknown fields whose inner records have some has EMPTY instead of None.
    """
    if isinstance(value, tuple):
        return sum(map(_settle, value)) > 0  # all of them: `any` would stop at the first
    if not isinstance(value, Record):
        return False
    has_inner = sum(map(_settle, value.__dict__.values())) > 0
    extra = value.__pydantic_extra__
    _put_extra(value, freeze(extra) if extra else EMPTY if has_inner else None)
    return bool(extra) or has_inner
