"""Dataclasses that are cheap to define.

The standard library writes the methods of each dataclass as source and compiles it, which was a sixth of
the time until a first message. Here the comparison, the hash, the text and the refusal of assignments are
functions that know the fields' names, and the constructor is compiled when it is first looked up: a first
message makes records of a third of the classes that it imports.
Standard library only: each floor of the core may use it.
"""

from __future__ import annotations

import sys
from dataclasses import MISSING, FrozenInstanceError, fields
from dataclasses import dataclass as _dataclass
from operator import attrgetter
from reprlib import recursive_repr

TYPE_CHECKING = False  # what checkers know as typing's, without the cost of importing it
if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import Field
    from dataclasses import dataclass as dataclass
    from typing import Any
else:

    def dataclass(cls=None, /, *, eq=True, frozen=False, **options):
        """Make a class a dataclass, as `dataclasses.dataclass` does with the same options.

        `init`, `order` and `unsafe_hash` are not taken, nor are fields of type `InitVar`, and
        `__dataclass_params__` has false for `eq` and `init`.
        """

        def made(original):
            own = original.__dict__
            # The standard library lets a frozen class inherit from frozen ones alone; it checks that itself.
            inherited = frozen and any("__dataclass_params__" in each.__dict__ for each in original.__mro__)
            new = _dataclass(eq=False, init=False, repr=False, frozen=inherited, **options)(original)
            if "__init__" not in own:
                new.__init__ = _Constructor(new, frozen=frozen)
            if frozen:
                _freeze(new)
            if "__repr__" not in own:
                new.__repr__ = _text
            if eq and "__eq__" not in own:
                compared = _getter([each.name for each in fields(new) if each.compare])
                new.__eq__ = _comparison(compared)
                if "__hash__" not in own:
                    new.__hash__ = _hashing(compared) if frozen else None
            return new

        return made if cls is None else made(cls)


class _Constructor:
    """Stands for the `__init__` of a dataclass until it is first looked up, and then compiles it."""

    __slots__ = ("cls", "frozen")

    def __init__(self, cls: type, *, frozen: bool) -> None:
        self.cls = cls
        self.frozen = frozen

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        function = _compiled(self.cls, frozen=self.frozen)
        self.cls.__init__ = function  # type: ignore[misc]  # ours to set: this stands in for it
        return function.__get__(instance, owner)


class _Factory:
    def __repr__(self) -> str:
        return "<factory>"


_FACTORY = _Factory()
"""The default, in a signature, of a field whose default is made for each record."""


def _compiled(cls: Any, *, frozen: bool) -> Any:
    """Return the constructor of a dataclass. Its text holds names alone; values come as a closure's."""
    every = fields(cls)
    self = "self" if all(each.name != "self" for each in every) else "self__"
    outer: dict[str, object] = {"factory__": _FACTORY}
    body = [line for each in every if (line := _assignment(cls, each, self, outer, frozen=frozen))]
    if hasattr(cls, "__post_init__"):
        body.append(f"{self}.__post_init__()")
    parameters = [self, *(_parameter(each) for each in every if each.init and not each.kw_only)]
    if only_named := [_parameter(each) for each in every if each.init and each.kw_only]:
        parameters += ["*", *only_named]
    text = (
        f"def make({', '.join(outer)}):\n"
        f" def __init__({', '.join(parameters)}):\n"
        f"  {'; '.join(body) or 'pass'}\n"
        " return __init__"
    )
    made: dict[str, Any] = {}
    exec(text, vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else {}, made)
    function = made["make"](**outer)
    function.__qualname__ = f"{cls.__qualname__}.__init__"
    function.__annotations__ = {each.name: each.type for each in every if each.init} | {"return": None}
    return function


def _parameter(field: Field[Any]) -> str:
    if field.default is not MISSING:
        return f"{field.name}={field.name}__default"
    return field.name if field.default_factory is MISSING else f"{field.name}=factory__"


def _assignment(cls: type, field: Field[Any], self: str, outer: dict[str, object], *, frozen: bool) -> str:
    """Return the statement that sets a field, if it needs one; what it refers to is added to `outer`."""
    name = value = field.name
    if field.default is not MISSING:
        outer[f"{name}__default"] = field.default
        value = name if field.init else f"{name}__default"
    elif field.default_factory is not MISSING:
        outer[f"{name}__made"] = field.default_factory
        value = f"{name}__made() if {name} is factory__ else {name}" if field.init else f"{name}__made()"
    elif not field.init:
        return ""
    if not frozen:
        return f"{self}.{name} = {value}"
    slot: Any = getattr(cls, name, None)
    if hasattr(slot, "__set__"):  # half the price of object.__setattr__
        outer[f"{name}__set"] = slot.__set__
        return f"{name}__set({self}, {value})"
    outer["set__"] = object.__setattr__
    return f"set__({self}, {name!r}, {value})"


def _freeze(cls: Any) -> None:
    names = frozenset(each.name for each in fields(cls))

    def __setattr__(self: Any, name: str, value: Any) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def __delattr__(self: Any, name: str) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    cls.__setattr__ = __setattr__
    cls.__delattr__ = __delattr__
    cls.__dataclass_params__.frozen = True
    if "__slots__" in cls.__dict__ and "__getstate__" not in cls.__dict__:
        cls.__getstate__ = _state  # copying and pickling would assign the fields
        cls.__setstate__ = _restore


def _state(self: Any) -> list[Any]:
    return [getattr(self, each.name) for each in fields(self)]


def _restore(self: Any, state: list[Any]) -> None:
    for each, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)


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
