"""Which state of a message follows which, and what its parts make of the whole."""

from __future__ import annotations

from itertools import product

import pytest

from roomkit.models.enums import ReceiptState

ORDER = (
    *("unknown", "queued", "sending", "sent", "partial"),
    *("expired", "undelivered", "delivered", "canceled", "failed", "read"),
)
"""A message that was given up may still arrive, one that arrived may bounce, a read one does neither."""


def test_every_state_has_a_place() -> None:
    assert sorted(ORDER) == sorted(ReceiptState)


@pytest.mark.parametrize(("before", "after"), list(product(ReceiptState, ReceiptState)))
def test_a_state_follows_those_below_it(before: ReceiptState, after: ReceiptState) -> None:
    assert after.follows(before) is (ORDER.index(after) > ORDER.index(before))
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
