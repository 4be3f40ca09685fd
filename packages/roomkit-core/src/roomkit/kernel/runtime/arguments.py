"""What programs give to the kit's public methods: checked at one door, before anything is done."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Callable, Collection, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, NamedTuple

from pydantic import ValidationError

from roomkit.abc.errors import InvalidInputError
from roomkit.abc.records import problems_of
from roomkit.abc.services.homes import Home
from roomkit.models.delivery import InboundMessage
from roomkit.models.event import RoomEvent
from roomkit.models.room import RoomTimers

__all__ = ["checks_arguments"]

type _Types = Mapping[str, tuple[type, ...]]

_LARGEST = 2**63 - 1
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_TYPES: _Types = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "timedelta": (timedelta,),
    "Mapping": (Mapping,),
    "Sequence": (Sequence,),
    "RoomTimers": (RoomTimers,),
    **dict.fromkeys(("Access", "ChannelCategory", "ChannelType", "EventType"), (str,)),
    "None": (type(None),),
}
_OF_SERVICES: _Types = {
    **_TYPES,
    **dict.fromkeys(("Callable", "TimerFn"), (Callable,)),  # type: ignore[arg-type]  # an ABC, too
    "AsyncIterable": (AsyncIterable,),
    "bytes": (bytes,),
    "datetime": (datetime,),
    "HookTrigger": (str,),
    "Home": (Home,),
    "InboundMessage": (InboundMessage,),
    "RoomEvent": (RoomEvent,),
}


class _Parameter(NamedTuple):
    annotation: str
    name: str
    types: tuple[type, ...]
    """What it takes; empty where that is not checked."""


class _Checks:
    """The checks of one method's arguments, by position and by name.

    `Signature.bind` would cost more than most methods do. Arguments that are missing or unknown are left
    to the call.
    """

    __slots__ = ("_by_name", "_positional", "_repeated")

    def __init__(self, signature: inspect.Signature, types: _Types) -> None:
        parameters = signature.parameters.values()
        self._positional = [_check_of(each, types) for each in parameters if each.kind in _POSITIONAL]
        self._by_name = {each.name: _check_of(each, types) for each in parameters}
        repeated = [each for each in parameters if each.kind is each.VAR_POSITIONAL]
        self._repeated = _check_of(repeated[0], types) if repeated else None

    def apply(self, method: str, args: Sequence[object], kwargs: Mapping[str, object]) -> None:
        """Check what a method is called with. Raises InvalidInputError."""
        for parameter, value in zip(self._positional, args, strict=False):
            _check_one(method, parameter, value)
        if self._repeated is not None and self._repeated.types:
            for value in args[len(self._positional) :]:
                _check_one(method, self._repeated, value)
        for name, value in kwargs.items():
            if (named := self._by_name.get(name)) is not None:
                _check_one(method, named, value)


def checks_arguments[C: type](*, but: Collection[str] = (), of_services: bool = False) -> Callable[[C], C]:
    """Decorate a class so that its public methods refuse arguments that they cannot use.

    A value of another type than a plain annotation says (text, numbers, lengths of time, mappings, sequences,
    timers), a number beyond 64 bits, and a value that fits no record raise InvalidInputError.
    The methods in `but` are on the path of every message and check for themselves. `of_services` checks
    functions, bytes, datetimes, homes, messages and events too.
    """
    types = _OF_SERVICES if of_services else _TYPES

    def decorate(cls: C) -> C:
        for name, method in list(vars(cls).items()):
            if inspect.isfunction(method) and not name.startswith("_") and name not in but:
                setattr(cls, name, _door(method, types))
        return cls

    return decorate


def _door(method: Callable[..., Any], types: _Types) -> Callable[..., Any]:
    checks = _Checks(inspect.signature(method), types)
    if not inspect.iscoroutinefunction(method):

        @wraps(method)
        def called(*args: Any, **kwargs: Any) -> Any:
            checks.apply(method.__name__, args, kwargs)
            return method(*args, **kwargs)

        return called

    @wraps(method)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        checks.apply(method.__name__, args, kwargs)
        return await _typed(method.__name__, method(*args, **kwargs))

    return awaited


async def _typed[R](name: str, work: Coroutine[Any, Any, R]) -> R:
    try:
        return await work
    except ValidationError as error:
        raise refusal(f"{name} refused its arguments", error) from None


def refusal(what: str, error: ValidationError) -> InvalidInputError:
    """Return the error for values that fit no record; it has no cause, which would quote them."""
    return InvalidInputError(f"{what}: {problems_of(error)}; correct them, nothing was stored")


def _check_of(parameter: inspect.Parameter, known: _Types) -> _Parameter:
    annotation = str(parameter.annotation)
    names = [part.partition("[")[0] for part in _alternatives(annotation)]
    is_checked = parameter.kind is not parameter.VAR_KEYWORD and all(name in known for name in names)
    types = tuple(kind for name in names for kind in known[name]) if is_checked else ()
    return _Parameter(annotation, parameter.name, types)


def _alternatives(annotation: str) -> list[str]:
    """Split an annotation at each `|` outside brackets."""
    parts, depth = [""], 0
    for mark in annotation:
        depth += (mark == "[") - (mark == "]")
        if mark == "|" and not depth:
            parts.append("")
        else:
            parts[-1] += mark
    return [part.strip() for part in parts]


def _check_one(method: str, parameter: _Parameter, value: object) -> None:
    if parameter.types and not isinstance(value, parameter.types):
        raise InvalidInputError(
            f"{type(value).__name__} cannot be a {parameter.name.replace('_', ' ')}: {method}() takes "
            f"{parameter.annotation}"
        )
    if isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
        raise InvalidInputError(
            f"{parameter.name} cannot be a number of {value.bit_length()} bits: {method}() takes at most 64"
        )
