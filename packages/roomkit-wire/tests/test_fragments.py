"""Tool calls in pieces: whatever marks the pieces, the calls are the same."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit_plugins.testing.contracts.strategies import examples
from roomkit_plugins.wire.fragments import Fragments


def put_together(pieces: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    calls = Fragments()
    for piece in pieces:
        calls.add(**{"index": None, "identity": "", "name": "", "arguments": "", **piece})
    return [(call.name, call.arguments) for call in calls]


@st.composite
def _cut(draw: st.DrawFn) -> tuple[list[tuple[str, str]], list[dict[str, Any]]]:
    """Draw calls, and their fragments in one of the ways that servers have."""
    count = draw(st.integers(1, 3))
    calls = [(f"f{number % 2}", json.dumps({"n": number, "s": "}{"})) for number in range(count)]
    indexed, named = draw(
        st.sampled_from(
            [
                ("all", "first"),
                ("all", "all"),
                ("first", "all"),
                ("zero", "all"),
                ("all", "each"),
                ("zero", "each"),
                ("none", "all"),
                ("none", "first"),
            ]
        )
    )
    pieces = []
    for number, (name, arguments) in enumerate(calls):
        cuts = sorted(draw(st.lists(st.integers(1, len(arguments) - 1), max_size=2, unique=True)))
        for start, end in zip([0, *cuts], [*cuts, len(arguments)], strict=True):
            piece: dict[str, Any] = {"arguments": arguments[start:end]}
            if start == 0:
                piece["name"] = name
            if start == 0 or named == "all":
                piece["identity"] = f"call_{number}"
            elif named == "each":
                piece["identity"] = f"call_{number}_{start}"
            if indexed == "all" or (indexed == "first" and start == 0):
                piece["index"] = number
            elif indexed == "zero":
                piece["index"] = 0
            pieces.append(piece)
    return calls, pieces


@examples(40)
@given(_cut())
def test_fragments_belong_together_by_id_or_index(
    drawn: tuple[list[tuple[str, str]], list[dict[str, Any]]],
) -> None:
    calls, pieces = drawn
    assert put_together(pieces) == calls


@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        (
            [
                {"index": 0, "identity": "a", "name": "f", "arguments": "{}"},
                {"index": 0, "identity": "b", "name": "f", "arguments": "{}"},
            ],
            [("f", "{}"), ("f", "{}")],
        ),
        (
            [
                {"index": 0, "identity": "a", "name": "f", "arguments": '{"x"'},
                {"index": 0, "identity": "b", "name": "g", "arguments": "{}"},
                {"index": 0, "identity": "a", "arguments": ": 1}"},
            ],
            [("f", '{"x": 1}'), ("g", "{}")],
        ),
        (
            [{"name": "f", "arguments": '{"x": 1}'}, {"name": "f", "arguments": '{"x": 1}'}, {"name": "g"}],
            [("f", '{"x": 1}'), ("f", '{"x": 1}'), ("g", "")],
        ),
        (
            [
                {"index": 0, "identity": "a", "name": "f", "arguments": '{"x"'},
                {"index": 0, "identity": "b", "name": "f", "arguments": ": 1}"},
                {"index": 0, "identity": "c", "name": "f", "arguments": "{}"},
                {"index": 0, "identity": "d"},
            ],
            [("f", '{"x": 1}'), ("f", "{}")],
        ),
        (
            [{"index": 0, "name": "f"}, {"index": 0, "identity": "late", "arguments": "{}"}],
            [("f", "{}")],
        ),
        (
            [
                {"index": 0, "identity": "a", "name": "f", "arguments": '{"x"'},
                {"index": 0, "identity": "a", "name": "f", "arguments": ": 1}"},
                {"index": 0, "identity": "a", "name": "f", "arguments": '{"x": 1}'},
            ],
            [("f", '{"x": 1}')],
        ),
    ],
    ids=[
        "whole under one index",
        "mixed under one index",
        "whole without marks",
        "an id each",
        "a late id",
        "repeated",
    ],
)
def test_known_dialects(pieces: list[dict[str, Any]], calls: list[tuple[str, str]]) -> None:
    """A call that is said twice under one id is not run twice."""
    assert put_together(pieces) == calls


@pytest.mark.parametrize("piece", ["", "a" * 100_000])
def test_calls_without_end_are_ended(piece: str) -> None:
    pieces = itertools.repeat({"index": 0, "arguments": piece}, 100_000)
    with pytest.raises(ValueError, match="its tool calls have more than 8388608 characters"):
        put_together(pieces)
