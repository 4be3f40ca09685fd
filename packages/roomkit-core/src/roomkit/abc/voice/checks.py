"""Types that check their fields by their annotations."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from math import inf, isfinite, ulp
from types import NoneType
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, get_args, get_origin, get_type_hints

from roomkit.abc.errors import InvalidInputError


class Limit(NamedTuple):
    """The numbers that a field takes, both ends included."""

    low: float
    high: float
    words: str
    whole: bool = False

    def takes(self, value: float) -> bool:
        """Return whether a number is within the limits."""
        if self.whole and not isinstance(value, int):
            return False
        return isfinite(value) and self.low <= value <= self.high


type Milliseconds = Annotated[float, Limit(0, inf, "0 or more")]
"""A length of time; 0 or more."""
type Positive = Annotated[float, Limit(ulp(0.0), inf, "above 0")]
"""A number above 0."""
type Count = Annotated[int, Limit(0, inf, "whole and 0 or more", whole=True)]
"""A whole number, 0 or more."""
type PositiveCount = Annotated[int, Limit(1, inf, "whole and above 0", whole=True)]
"""A whole number above 0."""
type ZeroToOne = Annotated[float, Limit(0, 1, "from 0 to 1")]
"""A number from 0 to 1, such as a confidence."""


type _Rule = Limit | tuple[str, ...] | type[StrEnum]


class Checked:
    """The base of dataclasses whose fields take the numbers and words that their annotations name.

    Raises InvalidInputError for any other. A word of an enum becomes its member. Loaded from
    `roomkit.toml`, an unknown key is an error, too.
    """

    __slots__ = ()
    __pydantic_config__: ClassVar = {"extra": "forbid"}
    _ordered: ClassVar[tuple[str, str] | None] = None
    """Two fields, the first of which is not above the second."""

    def __post_init__(self) -> None:
        kind: Any = type(self)  # Any: mypy holds a class whose instances may not be hashed for unhashable
        for name, rule, optional in _rules(kind):
            value = getattr(self, name)
            if value is None and optional:
                continue
            if isinstance(rule, Limit):
                self._check_number(name, value, rule)
            else:
                self._check_word(name, value, rule)
        if self._ordered is not None:
            self._check_order(*self._ordered)

    def _check_number(self, name: str, value: object, limit: Limit) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not limit.takes(value):
            raise wrong(self, name, value, f"use a finite number, {limit.words}")

    def _check_word(self, name: str, value: object, words: tuple[str, ...] | type[StrEnum]) -> None:
        if not (isinstance(value, str) and value in tuple(words)):
            raise wrong(self, name, value, f"use one of {', '.join(words)}")
        if isinstance(words, type):
            object.__setattr__(self, name, words(value))

    def _check_order(self, first: str, second: str) -> None:
        low, high = getattr(self, first), getattr(self, second)
        if low is not None and high is not None and low > high:
            raise wrong(self, first, low, f"use at most {second}, which is {high:g}")


def wrong(record: object, name: str, value: object, hint: str) -> InvalidInputError:
    """Return the error of a field; texts are not quoted: they may be private."""
    shown = repr(value) if isinstance(value, int | float) else f"a {type(value).__name__}"
    return InvalidInputError(f"{type(record).__name__}.{name} cannot be {shown}: {hint}")


@lru_cache(maxsize=128)
def _rules(kind: type[object]) -> tuple[tuple[str, _Rule, bool], ...]:
    """Return what the fields of a class take: the name, the rule, and whether None will do."""
    return tuple(
        (name, rule, NoneType in get_args(hint))
        for name, hint in get_type_hints(kind, include_extras=True).items()
        for rule in _rules_of(hint)
    )


def _rules_of(hint: Any) -> Iterator[_Rule]:  # Any: an annotation is not a type
    hint = getattr(hint, "__value__", hint)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        yield hint
    elif get_origin(hint) is Annotated:
        yield from (one for one in get_args(hint) if isinstance(one, Limit))
    elif get_origin(hint) is Literal:
        yield get_args(hint)
    elif NoneType in get_args(hint):
        yield from (rule for one in get_args(hint) for rule in _rules_of(one))
