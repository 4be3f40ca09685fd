"""Which state of a message follows which, and what its parts make of the whole."""

from __future__ import annotations

from itertools import product

import pytest

from roomkit.models.enums import ReceiptState

STEPS = [
    ReceiptState(word) for word in ("unknown", "queued", "sending", "sent", "partial", "delivered", "read")
]
OUTCOMES = [ReceiptState(word) for word in ("failed", "undelivered", "expired", "canceled")]


def test_the_states_are_steps_and_outcomes() -> None:
    assert sorted([*STEPS, *OUTCOMES]) == sorted(ReceiptState)


@pytest.mark.parametrize(("before", "after"), list(product(ReceiptState, ReceiptState)))
def test_what_follows_what(before: ReceiptState, after: ReceiptState) -> None:
    """Steps go up; an outcome follows what was not read; two outcomes may turn out to be premature."""
    if after in OUTCOMES:
        expected = before in STEPS and before is not ReceiptState.READ
    elif before in OUTCOMES:
        expected = before in ("undelivered", "expired") and after in ("delivered", "read")
    else:
        expected = STEPS.index(after) > STEPS.index(before)
    assert after.follows(before) is expected
    assert after.follows(None)


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ([], None),
        ([None, None], None),
        (["delivered", None], None),
        (["delivered", "sent"], "sent"),
        (["read", "read"], "read"),
        (["unknown", "delivered"], "unknown"),
        (["failed", None], "partial"),
        (["failed", "delivered"], "partial"),
        (["undelivered", "queued", "read"], "partial"),
        (["failed", "failed"], "failed"),
        (["expired", "undelivered", "failed"], "failed"),
        (["canceled", "expired"], "expired"),
    ],
)
def test_the_whole_stands_where_its_parts_do(parts: list[str | None], whole: str | None) -> None:
    states = [None if part is None else ReceiptState(part) for part in parts]
    expected = None if whole is None else ReceiptState(whole)
    assert ReceiptState.of_parts(states) is expected
    assert ReceiptState.of_parts(reversed(states)) is expected
