"""Telephone numbers as people write them, in E.164.

`phonenumbers` is imported at the first use: it takes some hundred milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.abc.errors import InvalidInputError

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

__all__ = ["is_valid_phone", "normalize_phone"]


def normalize_phone(number: str, default_region: str = "US") -> str:
    """Return a number in E.164, such as "+14165550123".

    With `+` or `00` it is read as it stands, else as a number of `default_region` (ISO 3166-1 alpha-2); if it
    is none there, but is one with a `+` before it, as that. Raises InvalidInputError, which is a ValueError,
    for a text that is no valid number, and for one that is valid in both readings and means two numbers.
    """
    import phonenumbers

    text = number.strip()
    if text.startswith("00"):
        text = f"+{text[2:]}"
    national = _parsed(text, default_region)
    abroad = None if text.startswith("+") else _parsed(f"+{text}", None)
    found = national if national is not None else abroad
    if found is None:
        raise InvalidInputError(
            f"{number[:40]!r} is no valid telephone number of {default_region}: write it as +14165550123"
        )
    if national is not None and abroad is not None and national != abroad and _looks_international(text):
        raise InvalidInputError(
            f"{number[:40]!r} may be a number of {default_region} or of another country: write it with a +"
        )
    return str(phonenumbers.format_number(found, phonenumbers.PhoneNumberFormat.E164))


def is_valid_phone(number: str, default_region: str = "US") -> bool:
    """Return whether `normalize_phone` takes a number."""
    try:
        normalize_phone(number, default_region)
    except InvalidInputError:
        return False
    return True


def _parsed(text: str, region: str | None) -> PhoneNumber | None:
    import phonenumbers

    try:
        found = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    return found if phonenumbers.is_valid_number(found) else None


def _looks_international(text: str) -> bool:
    """Whether a text may be meant with its country code: many national numbers begin with a 0."""
    return not text.startswith("0")
