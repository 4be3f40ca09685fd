"""Tool calls of a streamed chat answer, put together from their fragments.

OpenAI sends a call's index with every fragment, its id and name with the first. Others send all
calls under index 0, leave out the index or the id, repeat both, or send each call whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from roomkit_plugins.wire.reading import json_value

__all__ = ["Fragments"]

LONGEST = 8 * 1024 * 1024
"""Characters that all calls of one answer may have; each fragment counts as a hundred more."""


@dataclass(slots=True)
class Called:
    """A call as far as it has come."""

    index: object
    identity: str
    name: str
    arguments: str

    @property
    def is_whole(self) -> bool:
        """Whether the arguments are a JSON value to which nothing can be added."""
        if not self.arguments.endswith("}"):
            return False
        try:
            return isinstance(json_value(self.arguments), dict)
        except ValueError:
            return False


class Fragments:
    """The calls of one answer, in the order in which they began.

    Fragments belong together by id *or* index. Under one index a new id begins a call if a name comes
    with it and its arguments, if any, are the beginning of an object: some servers give each fragment an id
    of its own. A name begins a call too when the call before it is whole. A fragment with neither id nor
    name continues the last call, unless its index says which.
    """

    __slots__ = ("_calls", "_size")

    def __init__(self) -> None:
        self._size = 0
        self._calls: list[Called] = []  # bound: one answer

    def __iter__(self) -> Iterator[Called]:
        return iter(self._calls)

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, *, index: object, identity: str, name: str, arguments: str) -> None:
        """Add a fragment; missing fields are empty, and an index that is not a number counts as none.

        Raises ValueError when there are too many.
        """
        self._size += len(name) + len(arguments) + 100
        if self._size > LONGEST:
            raise ValueError(f"its tool calls have more than {LONGEST} characters")
        index = index if isinstance(index, int) else None
        call = self._continued(index, identity)
        if call is None and identity and not (name and arguments.lstrip()[:1] in ("", "{")):
            call = self._last_under(index)
        if call is None and not identity and not name and self._calls:
            call = self._calls[-1]
        if call is None:
            self._calls.append(Called(index, identity, name, arguments))
            return
        if name and call.name and call.is_whole:
            repeated = name == call.name and (not arguments or (identity and arguments == call.arguments))
            if not repeated:
                self._calls.append(Called(index, identity, name, arguments))
            return
        call.index = index if call.index is None else call.index
        call.identity = call.identity or identity
        call.name = call.name or name
        call.arguments += arguments

    def _last_under(self, index: int | None) -> Called | None:
        """Return the newest call of an index."""
        found = (call for call in reversed(self._calls) if index is not None and call.index == index)
        return next(found, None)

    def _continued(self, index: int | None, identity: str) -> Called | None:
        """Return the call that a fragment continues by its index and its id."""
        for call in reversed(self._calls):
            if index is not None and call.index is not None and call.index != index:
                continue
            if identity and call.identity and call.identity != identity:
                continue
            if identity or (index is not None and call.index is not None) or call is self._calls[-1]:
                return call
        return None
