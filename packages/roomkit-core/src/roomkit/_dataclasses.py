"""Dataclasses that are cheap to define.

The standard library writes the comparison, the hash and the text of each dataclass as source and compiles
it, which was a tenth of the time until a first message. Here they are functions that know the fields'
names. The constructor is the standard library's. Comparing costs a tenth of a microsecond more; handling a
message compares none.
Standard library only: each floor of the core may use it.
"""

from __future__ import annotations

from dataclasses import dataclass as _dataclass
from dataclasses import fields
from operator import attrgetter
from reprlib import recursive_repr

TYPE_CHECKING = False  # what checkers know as typing's, without the cost of importing it
if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass as dataclass
    from typing import Any
else:

    def dataclass(cls=None, /, *, eq=True, frozen=False, **options):
        """Make a class a dataclass, as `dataclasses.dataclass` does with the same options.

        `order` and `unsafe_hash` are not taken, and `__dataclass_params__.eq` is false.
        """

        def made(original):
            own = original.__dict__
            new = _dataclass(eq=False, repr=False, frozen=frozen, **options)(original)
            if "__repr__" not in own:
                new.__repr__ = _text
            if eq and "__eq__" not in own:
                compared = _getter([each.name for each in fields(new) if each.compare])
                new.__eq__ = _comparison(compared)
                if "__hash__" not in own:
                    new.__hash__ = _hashing(compared) if frozen else None
            return new

        return made if cls is None else made(cls)


def _getter(names: list[str]) -> Callable[[Any], Any]:
    return attrgetter(*names) if names else lambda _: ()


def _comparison(compared: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    def __eq__(self: Any, other: Any) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return compared(self) == compared(other)

    return __eq__


def _hashing(compared: Callable[[Any], Any]) -> Callable[[Any], int]:
    def __hash__(self: Any) -> int:
        return hash(compared(self))

    return __hash__


@recursive_repr()
def _text(self: Any) -> str:
    shown = ", ".join(f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
    return f"{self.__class__.__qualname__}({shown})"
