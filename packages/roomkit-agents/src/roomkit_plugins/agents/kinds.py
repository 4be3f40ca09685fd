"""Checks of what programs construct the objects of this package with."""

from __future__ import annotations

from collections.abc import Iterable
from types import UnionType

from roomkit.abc.errors import InvalidInputError

__all__ = ["check_callable", "check_kind", "check_names"]

type Kind = type | UnionType


def check_kind(owner: str, name: str, value: object, kind: Kind) -> None:
    """Raise InvalidInputError for an argument of another type; True is no number."""
    if isinstance(value, kind) and not (isinstance(value, bool) and kind in (int, int | None)):
        return
    wanted = kind.__name__ if isinstance(kind, type) else str(kind)
    raise InvalidInputError(f"{owner}: {name} is {value!r:.80}; give {wanted}")


def check_names(owner: str, name: str, values: object) -> None:
    """Raise InvalidInputError for anything but several names: a text alone is read letter by letter."""
    is_text = isinstance(values, str | bytes)
    if (
        isinstance(values, Iterable)
        and not is_text
        and all(isinstance(each, str) and each for each in values)
    ):
        return
    raise InvalidInputError(f"{owner}: {name} is {values!r:.80}; give a collection of names")


def check_callable(owner: str, name: str, value: object) -> None:
    """Raise InvalidInputError for what cannot be called."""
    if not callable(value):
        raise InvalidInputError(f"{owner}: {name} is {value!r:.80}; give a function")
