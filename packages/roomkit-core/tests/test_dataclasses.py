"""Our dataclasses behave like those of the standard library, with each set of options that the core uses."""

from __future__ import annotations

import dataclasses
import pickle
import re
from pathlib import Path
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
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.x = 2


@dataclass(frozen=True, slots=True)
class Kept:
    a: int


def test_one_that_was_pickled_is_equal() -> None:
    assert pickle.loads(pickle.dumps(Kept(1))) == Kept(1)


def test_the_core_makes_all_of_its_dataclasses_so() -> None:
    root = Path(roomkit.__file__).parent
    standard = re.compile(r"^from dataclasses import .*\bdataclass\b", re.MULTILINE)
    found = [path.name for path in root.rglob("*.py") if standard.search(path.read_text(encoding="utf-8"))]
    assert found == ["_dataclasses.py"]
