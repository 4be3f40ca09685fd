"""FrozenDict and FrozenList: read like their plain kin, refuse every change."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given

from roomkit.models import EMPTY, FrozenDict, FrozenList, freeze
from roomkit_plugins.testing.contracts.strategies import PROPERTY, json_objects

DICT_CHANGES: dict[str, Callable[[Any], object]] = {
    "item": lambda d: d.__setitem__("a", 2),
    "deletion": lambda d: d.__delitem__("a"),
    "union in place": lambda d: d.__ior__({"b": 1}),
    "update": lambda d: d.update(b=1),
    "setdefault": lambda d: d.setdefault("b", 1),
    "pop": lambda d: d.pop("a"),
    "popitem": lambda d: d.popitem(),
    "clear": lambda d: d.clear(),
}
LIST_CHANGES: dict[str, Callable[[Any], object]] = {
    "item": lambda x: x.__setitem__(0, 2),
    "slice": lambda x: x.__setitem__(slice(0, 1), [2]),
    "deletion": lambda x: x.__delitem__(0),
    "extension in place": lambda x: x.__iadd__([1]),
    "repetition in place": lambda x: x.__imul__(2),
    "append": lambda x: x.append(1),
    "extend": lambda x: x.extend([1]),
    "insert": lambda x: x.insert(0, 1),
    "pop": lambda x: x.pop(),
    "remove": lambda x: x.remove(1),
    "clear": lambda x: x.clear(),
    "sort": lambda x: x.sort(),
    "reverse": lambda x: x.reverse(),
}


@pytest.mark.parametrize("change", DICT_CHANGES.values(), ids=DICT_CHANGES)
def test_a_frozen_dict_refuses(change: Callable[[Any], object]) -> None:
    """Every method of dict that changes it, with what to do instead."""
    frozen = FrozenDict(a=1)

    with pytest.raises(TypeError, match=r"build a new dict .*model_copy\(update=\.\.\.\)"):
        change(frozen)
    assert frozen == {"a": 1}


@pytest.mark.parametrize("change", LIST_CHANGES.values(), ids=LIST_CHANGES)
def test_a_frozen_list_refuses(change: Callable[[Any], object]) -> None:
    """Every method of list that changes it."""
    frozen = FrozenList([1])

    with pytest.raises(TypeError, match="read-only"):
        change(frozen)
    assert frozen == [1]


@given(value=json_objects())
@PROPERTY
def test_a_frozen_value_is_equal_to_the_plain_one_and_so_are_its_copies(value: dict[str, Any]) -> None:
    """Copying costs nothing: there is nothing that could change."""
    frozen = freeze(value)

    assert frozen == value
    assert copy.copy(frozen) is copy.deepcopy(frozen) is freeze(frozen) is frozen
    assert pickle.loads(pickle.dumps(frozen)) == frozen
    assert type(pickle.loads(pickle.dumps(frozen))) is FrozenDict
    assert json.loads(json.dumps(frozen)) == value
    assert hash(frozen) == hash(freeze(value))


def test_what_is_made_of_a_frozen_value_is_plain() -> None:
    """Merging is how one goes on from it."""
    frozen = FrozenDict(a=1)

    assert type({**frozen, "b": 2}) is type(frozen | {"b": 2}) is type(dict(frozen)) is dict
    assert type(list(FrozenList([1]))) is type([*FrozenList([1]), 2]) is list


def test_objects_share_their_keys() -> None:
    """A store that keeps a thousand payloads of one vendor keeps each key once."""
    first, second = (freeze(json.loads('{"MessageStatus": {"ErrorCode": 1}}')) for _ in range(2))

    keys = [[key for each in (value, value["MessageStatus"]) for key in each] for value in (first, second)]
    assert [id(key) for key in keys[0]] == [id(key) for key in keys[1]]


def test_all_empty_objects_are_one() -> None:
    assert freeze({}) is freeze({"a": {}})["a"] is EMPTY


def test_frozen_values_can_be_keys() -> None:
    assert len({freeze({"a": [1, {"b": 2}]}), freeze({"a": [1, {"b": 2}]}), EMPTY}) == 2


@pytest.mark.parametrize("value", [None, True, 0, -1, 2**70, 1.5, "", "é", [], {}, (1, 2)])
def test_every_json_value_can_be_frozen(value: Any) -> None:
    """A tuple is a list to JSON."""
    assert freeze(value) == (list(value) if isinstance(value, tuple) else value)
