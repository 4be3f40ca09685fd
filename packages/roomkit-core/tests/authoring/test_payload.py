"""Reading what a vendor sent: the right shape is given back, the wrong one named by its place."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from roomkit.abc.errors import InvalidInputError
from roomkit.authoring.payload import VendorPayload

PAYLOAD = VendorPayload(
    "Acme",
    {
        "id": 7,
        "name": "Ann",
        "none": None,
        "at": "2026-11-22T15:04:05Z",
        "local": "2026-11-22T15:04:05",
        "size": 12,
        "x": "1.5",
        "inner": {"list": [{"a": "b"}, 3]},
    },
)


def test_values_are_given_back_in_their_shape() -> None:
    assert (PAYLOAD.text("id"), PAYLOAD.text("name"), PAYLOAD.text("none"), PAYLOAD.text("no")) == (
        "7",
        "Ann",
        "",
        "",
    )
    assert ("name" in PAYLOAD, "none" in PAYLOAD) == (True, False)
    assert (PAYLOAD.integer("size"), PAYLOAD.integer("none"), PAYLOAD.number("x")) == (12, None, 1.5)
    assert PAYLOAD.time("no", "local", "at") == datetime(2026, 11, 22, 15, 4, 5, tzinfo=UTC)
    assert PAYLOAD.time("local") is None
    assert PAYLOAD.several("no") == []
    assert PAYLOAD.inside("no").raw == {}
    assert (PAYLOAD.is_text("name"), PAYLOAD.is_text("size")) == (True, False)


@pytest.mark.parametrize(
    ("read", "wrong"),
    [
        (lambda: VendorPayload("Acme", ["a"]), "it is not an object"),
        (lambda: PAYLOAD.text("inner"), "inner is not a text"),
        (lambda: PAYLOAD.needed("none"), "none is not there"),
        (lambda: PAYLOAD.inside("inner").needed("id"), "inner.id is not there"),
        (lambda: PAYLOAD.inside("name"), "name is not an object"),
        (lambda: PAYLOAD.several("name"), "name is not a list"),
        (lambda: PAYLOAD.inside("inner").several("list"), "inner.list[1] is not an object"),
        (lambda: PAYLOAD.integer("x"), "x is not an integer"),
        (lambda: PAYLOAD.number("name"), "name is not a number"),
        (lambda: PAYLOAD.number("none"), "none is not a number"),
    ],
)
def test_the_wrong_shape_is_named_by_its_place_and_not_quoted(read: Callable[[], Any], wrong: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read()
    assert f"the payload cannot be one of Acme: {wrong};" in str(caught.value)
    assert "Ann" not in str(caught.value)
