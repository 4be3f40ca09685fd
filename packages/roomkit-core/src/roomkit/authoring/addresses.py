"""The one spelling of an address, by its kind."""

from __future__ import annotations

import re

__all__ = ["international", "one_spelling"]

_NUMBER = re.compile(r"\+?[0-9][0-9 .()/-]*")
_MARKS = str.maketrans("", "", " .()/-")


def one_spelling(address_type: str, address: str) -> str:
    """Return an address as it is compared: equal spellings reach one recipient.

    A telephone number loses the marks between its digits, and an international prefix `00` is `+`; other
    senders of such a channel, such as a name, stay as they are. An e-mail address is in lower case. Addresses
    of other kinds are a vendor's ids and stay as they are.
    """
    text = address.strip() or address
    if address_type == "phone" and _NUMBER.fullmatch(text):
        digits = text.translate(_MARKS)
        return f"+{digits[2:]}" if digits.startswith("00") else digits
    return text.lower() if address_type == "email" else text


def international(number: str, *, shortest: int = 7) -> str:
    """Return a number with its plus, which some vendors leave out; a short code or a name as it is.

    `shortest` is how many digits a number has at least, with its country code; a short code has six at most.
    """
    is_bare = number.isascii() and number.isdigit() and len(number) >= shortest
    return f"+{number}" if is_bare else number
