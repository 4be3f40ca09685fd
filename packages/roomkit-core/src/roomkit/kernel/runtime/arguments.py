"""What programs give to the kit's public methods: checked at one door, before anything is done."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from datetime import timedelta
from functools import wraps
from typing import Any

from pydantic import ValidationError

from roomkit.abc.errors import InvalidInputError
from roomkit.abc.records import problems_of
from roomkit.models.room import RoomTimers

__all__ = ["checks_arguments"]

_LARGEST = 2**63 - 1
_TYPES: Mapping[str, tuple[type, ...]] = {
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

type _Checks = Mapping[str, tuple[str, tuple[type, ...]]]
"""For each parameter its annotation, and the types that it takes; no types where they are not checked."""


def checks_arguments[C: type](*, but: Collection[str] = ()) -> Callable[[C], C]:
    """Decorate a class so that its public methods refuse arguments that they cannot use.

    A value of another type than a plain annotation says (text, numbers, lengths of time, mappings, sequences,
    timers), a number beyond 64 bits, and a value that fits no record raise InvalidInputError.
    The methods in `but` are on the path of every message and check for themselves.
    """

    def decorate(cls: C) -> C:
        for name, method in list(vars(cls).items()):
            if inspect.isfunction(method) and not name.startswith("_") and name not in but:
                setattr(cls, name, _door(method))
        return cls

    return decorate


def _door(method: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(method)
    checks = {each.name: _check_of(each) for each in signature.parameters.values()}
    if not inspect.iscoroutinefunction(method):

        @wraps(method)
        def called(*args: Any, **kwargs: Any) -> Any:
            _check(method.__name__, checks, signature.bind(*args, **kwargs).arguments)
            return method(*args, **kwargs)

        return called

    @wraps(method)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        _check(method.__name__, checks, signature.bind(*args, **kwargs).arguments)
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


def _check_of(parameter: inspect.Parameter) -> tuple[str, tuple[type, ...]]:
    annotation = str(parameter.annotation)
    if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
        return annotation, ()
    names = [part.partition("[")[0] for part in annotation.split(" | ")]
    if not all(name in _TYPES for name in names):
        return annotation, ()
    return annotation, tuple(kind for name in names for kind in _TYPES[name])


def _check(method: str, checks: _Checks, arguments: Mapping[str, Any]) -> None:
    for name, value in arguments.items():
        annotation, types = checks[name]
        if types and not isinstance(value, types):
            raise InvalidInputError(
                f"{type(value).__name__} cannot be a {name.replace('_', ' ')}: {method}() takes {annotation}"
            )
        if isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
            raise InvalidInputError(
                f"{name} cannot be a number of {value.bit_length()} bits: {method}() takes at most 64"
            )
