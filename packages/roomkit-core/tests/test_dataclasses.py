"""Our dataclasses behave like those of the standard library, with each set of options that the core uses."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import inspect
import pickle
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import roomkit
from roomkit._dataclasses import dataclass

OPTIONS: list[dict[str, bool]] = [
    {},
    {"slots": True},
    {"slots": True, "frozen": True},
    {"slots": True, "frozen": True, "kw_only": True},
    {"slots": True, "eq": False},
    {"slots": True, "eq": False, "weakref_slot": True},
]


def made(decorator: Any, options: dict[str, bool]) -> Any:
    class Point:
        x: int
        y: list[int] = dataclasses.field(default_factory=list)
        note: str = dataclasses.field(default="", compare=False, repr=False)

    Point.__annotations__ = {"x": int, "y": list[int], "note": str}
    return decorator(**options)(Point)


@pytest.fixture(params=OPTIONS, ids=lambda options: ",".join(options) or "plain")
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """Return a class as we make it, and as the standard library does."""
    return made(dataclass, request.param), made(dataclasses.dataclass, request.param)


def hash_of(value: object) -> object:
    try:
        return hash(value) != 0
    except TypeError as error:
        return str(error)


def test_the_same_values_are_equal_as_there(pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    for other in ({"x": 1}, {"x": 2}, {"x": 1, "y": [3]}, {"x": 1, "note": "a"}):
        assert (ours(x=1) == ours(**other)) == (theirs(x=1) == theirs(**other)), other
    assert ours(x=1) != theirs(x=1)
    assert ours(x=1) != 1


def test_the_hash_is_there_where_it_is(pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    assert hash_of(ours(x=1)) == hash_of(theirs(x=1))
    if ours.__hash__ is not None and ours(x=1) == ours(x=1):
        with pytest.raises(TypeError, match="unhashable type: 'list'"):
            hash(ours(x=1))


def test_equal_values_are_one_key() -> None:
    @dataclass(frozen=True, slots=True)
    class Key:
        a: int
        b: str
        seen: int = dataclasses.field(default=0, compare=False)

    assert {Key(1, "a"): 1}[Key(1, "a", seen=5)] == 1
    assert hash(Key(1, "a")) == hash(Key(1, "a", 7))


def test_the_text_is_that_of_the_other(pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    assert repr(ours(x=1, y=[2])) == repr(theirs(x=1, y=[2]))


def test_a_value_that_holds_itself_has_a_text() -> None:
    @dataclass(slots=True)
    class Ring:
        next: object = None

    ring = Ring()
    ring.next = ring
    assert repr(ring).endswith("Ring(next=...)")


def test_what_the_class_defines_itself_stays() -> None:
    @dataclass(frozen=True, slots=True)
    class Named:
        name: str

        def __repr__(self) -> str:
            return "named"

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 7

    assert (repr(Named("a")), Named("a") == Named("b"), hash(Named("a"))) == ("named", True, 7)


def test_without_fields_all_are_equal() -> None:
    @dataclass(frozen=True, slots=True)
    class Nothing: ...

    assert Nothing() == Nothing()
    assert hash(Nothing()) == hash(Nothing())


def test_the_functions_of_the_standard_library_know_them(pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    assert dataclasses.is_dataclass(ours)
    assert [each.name for each in dataclasses.fields(ours)] == [
        each.name for each in dataclasses.fields(theirs)
    ]
    assert dataclasses.replace(ours(x=1), x=2).x == 2
    assert dataclasses.asdict(ours(x=1)) == dataclasses.asdict(theirs(x=1))


def test_a_frozen_one_refuses_assignment() -> None:
    point = made(dataclass, {"slots": True, "frozen": True})(x=1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'x'"):
        point.x = 2
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'other'"):
        point.other = 2
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'x'"):
        del point.x


@dataclass(frozen=True, slots=True)
class Kept:
    a: int


class Noted(Kept):
    """A subclass that is no dataclass: its own attributes can be set."""


@dataclass(frozen=True, slots=True)
class Further(Kept):
    b: int = 2


@pytest.mark.parametrize("value", [Kept(1), Noted(1), Further(1)])
def test_one_that_was_pickled_or_copied_is_equal(value: Kept) -> None:
    assert pickle.loads(pickle.dumps(value)) == value
    assert copy.copy(value) == copy.deepcopy(value) == value


def test_a_subclass_of_a_frozen_one_protects_the_fields_alone() -> None:
    noted = Noted(1)
    noted.b = 2  # type: ignore[attr-defined]  # an attribute of its own
    del noted.b  # type: ignore[attr-defined]
    for kind in (noted, Further(1)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            kind.a = 2  # type: ignore[misc]  # frozen


@pytest.mark.parametrize("decorator", [dataclass, dataclasses.dataclass], ids=["ours", "theirs"])
def test_one_that_is_not_frozen_cannot_inherit_from_a_frozen_one(decorator: Any) -> None:
    with pytest.raises(TypeError, match="non-frozen dataclass from a frozen one"):
        decorator(type("Loose", (Kept,), {}))


def test_the_constructor_is_compiled_when_it_is_first_looked_up() -> None:
    kind = made(dataclass, {"slots": True, "frozen": True})
    assert not isinstance(vars(kind)["__init__"], FunctionType)
    kind(x=1)
    assert isinstance(vars(kind)["__init__"], FunctionType)
    assert kind.__init__ is vars(kind)["__init__"]


def test_a_subclass_that_is_made_first_compiles_the_constructor_where_it_is_defined() -> None:
    kind = made(dataclass, {})
    below = type("Below", (kind,), {})
    assert below(x=1).y == []
    assert "__init__" not in vars(below)
    assert isinstance(vars(kind)["__init__"], FunctionType)


def test_wrong_arguments_are_refused_in_the_same_words(pair: tuple[Any, Any]) -> None:
    for arguments in ({}, {"x": 1, "z": 2}):
        refused = []
        for kind in pair:
            with pytest.raises(TypeError) as error:
                kind(**arguments)
            refused.append(str(error.value))
        assert refused[0] == refused[1]


def test_each_record_has_its_own_default(pair: tuple[Any, Any]) -> None:
    for kind in pair:
        first, second = kind(x=1), kind(x=1)
        assert first.y == second.y == []
        assert first.y is not second.y
        assert kind(x=1, y=[2]).y == [2]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: ",".join(options) or "plain")
@pytest.mark.parametrize("decorator", [dataclass, dataclasses.dataclass], ids=["ours", "theirs"])
def test_fields_outside_of_the_constructor_have_their_defaults(decorator: Any, options: Any) -> None:
    class Point:
        def __post_init__(self) -> None:
            assert (self.self, self.made, self.given) == (1, [], 3)  # type: ignore[attr-defined]

    Point.__annotations__ = {"self": int, "made": list[int], "given": int, "unset": int}
    Point.made = dataclasses.field(init=False, default_factory=list)  # type: ignore[attr-defined]
    Point.given = dataclasses.field(init=False, default=3)  # type: ignore[attr-defined]
    Point.unset = dataclasses.field(init=False, repr=False, compare=False)  # type: ignore[attr-defined]
    kind = decorator(**options)(Point)
    assert [*inspect.signature(kind).parameters] == ["self"]
    assert not hasattr(kind(self=1), "unset")


def test_a_constructor_of_its_own_stays() -> None:
    @dataclass(slots=True)
    class Doubled:
        a: int

        def __init__(self, half: int) -> None:
            self.a = 2 * half

    assert Doubled(2).a == 4


def dataclasses_of_the_core() -> Iterator[type[Any]]:
    for module in pkgutil.walk_packages(roomkit.__path__, "roomkit."):
        loaded = importlib.import_module(module.name)
        for value in list(vars(loaded).values()):
            if (
                isinstance(value, type)
                and dataclasses.is_dataclass(value)
                and value.__module__ == module.name
            ):
                yield value


def test_each_constructor_of_the_core_is_the_one_of_the_standard_library() -> None:
    counted = 0
    for kind in dataclasses_of_the_core():
        ours: Any = kind.__init__
        if ours.__code__.co_filename != "<string>":
            continue  # written by hand
        specified = [(each.name, each.type, copy.copy(each)) for each in dataclasses.fields(kind)]
        theirs = dataclasses.make_dataclass("Theirs", specified)
        assert str(inspect.signature(ours)) == str(inspect.signature(theirs.__init__)), kind
        counted += 1
    assert counted > 150


def test_the_core_makes_all_of_its_dataclasses_so() -> None:
    root = Path(roomkit.__file__).parent
    standard = re.compile(r"^from dataclasses import .*\bdataclass\b", re.MULTILINE)
    found = [path.name for path in root.rglob("*.py") if standard.search(path.read_text(encoding="utf-8"))]
    assert found == ["_dataclasses.py"]
