"""Telephone numbers as people write them."""

from __future__ import annotations

import pytest

from roomkit.abc import InvalidInputError
from roomkit_plugins.sms import is_valid_phone, normalize_phone


@pytest.mark.parametrize(
    ("number", "region", "spelled"),
    [
        ("(416) 555-0123", "CA", "+14165550123"),
        (" +1 416 555 0123 ", "DE", "+14165550123"),
        ("0049 30 901820", "US", "+4930901820"),
        ("030 901820", "DE", "+4930901820"),
        ("4930901820", "US", "+4930901820"),
    ],
)
def test_a_number_has_one_spelling(number: str, region: str, spelled: str) -> None:
    """National, with a country code, or with a prefix to call abroad."""
    assert normalize_phone(number, region) == spelled
    assert is_valid_phone(number, region)


@pytest.mark.parametrize("number", ["", "12345", "hello", "+1 416"])
def test_what_is_no_number_is_refused(number: str) -> None:
    with pytest.raises(InvalidInputError, match="no valid telephone number"):
        normalize_phone(number)
    assert not is_valid_phone(number)


def test_a_number_with_two_readings_is_not_guessed() -> None:
    """A national number whose first digits are another country's code."""
    with pytest.raises(ValueError, match="write it with a \\+"):
        normalize_phone("3612345678", "DE")
