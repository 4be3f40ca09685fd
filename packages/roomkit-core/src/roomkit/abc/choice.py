"""Arguments that are one of a few words."""

from __future__ import annotations

from collections.abc import Collection

from roomkit._names import nearest
from roomkit.abc.errors import InvalidInputError
from roomkit.models.vocabulary import Vocabulary, declared


def chosen[V: Vocabulary](kind: type[V], value: V | str, what: str) -> V:
    """Return the declared member of `kind` that `value` is or names. Raises InvalidInputError."""
    try:
        return declared(kind, value)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{what} cannot be {_shown(value)}: {error}") from error


def check_choice(value: object, words: Collection[str], what: str) -> None:
    """Check that `value` is one of `words`. Raises InvalidInputError with them, or the nearest."""
    if isinstance(value, str) and value in words:
        return
    close = nearest(value, words) if isinstance(value, str) else None
    hint = f"did you mean {close!r}?" if close else f"use one of {', '.join(words)}"
    raise InvalidInputError(f"{what} cannot be {_shown(value)}; {hint}")


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) else f"a {type(value).__name__}"
