"""Tokens that cannot be guessed: the address that answers to one room go to, and a link that unsubscribes."""

from __future__ import annotations

import hmac
from base64 import b32encode, urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic_core import from_json, to_json

__all__ = ["UnsubscribeLink", "plus_address", "reply_token", "tokens_in", "unsubscribe_token", "unsubscribed"]

_LENGTH = 26
"""Characters of a reply token: 130 bits."""
_LONGEST = 4_000
_SIGNATURE = 20


def _signed(secret: str, purpose: str, *facts: str) -> bytes:
    return hmac.new(secret.encode(), to_json([purpose, *facts]), "sha256").digest()


# -- addresses of rooms ---------------------------------------------------------------------------


def reply_token(secret: str, channel_id: str, room_id: str) -> str:
    """Return the token of a room: the same on every worker, in lower case, as addresses have it."""
    return b32encode(_signed(secret, "reply", channel_id, room_id)).decode().lower()[:_LENGTH]


def plus_address(address: str, token: str) -> str:
    """Return an address with a token: reply@example.com is reply+token@example.com."""
    local, _, domain = address.rpartition("@")
    return f"{local}+{token}@{domain}"


def tokens_in(addresses: Iterable[str], address: str) -> list[str]:
    """Return the tokens of addresses that are plus-addresses of `address`; what is none is omitted."""
    local, _, domain = address.lower().rpartition("@")
    found: list[str] = []
    for each in addresses:
        theirs, _, there = each.lower().rpartition("@")
        before, plus, token = theirs.partition("+")
        if plus and (before, there) == (local, domain) and len(token) == _LENGTH and token.isalnum():
            found.append(token)
    return found


# -- links that unsubscribe -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UnsubscribeLink:
    """Whose consent to what a link revokes, at an organization."""

    address: str
    purpose: str
    organization_id: str | None = None


def unsubscribe_token(secret: str, channel_id: str, link: UnsubscribeLink) -> str:
    """Return the token of a link: it says what it revokes, signed."""
    facts = to_json([link.address, link.purpose, link.organization_id])
    return urlsafe_b64encode(_signature(secret, channel_id, facts) + facts).decode().rstrip("=")


def unsubscribed(secret: str, channel_id: str, token: str) -> UnsubscribeLink | None:
    """Return what a token revokes; None for one that was not made with the secret."""
    if len(token) > _LONGEST or not token.isascii():
        return None
    try:
        raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (Error, ValueError):
        return None
    signature, facts = raw[:_SIGNATURE], raw[_SIGNATURE:]
    if not hmac.compare_digest(signature, _signature(secret, channel_id, facts)):
        return None
    return UnsubscribeLink(*from_json(facts))


def _signature(secret: str, channel_id: str, facts: bytes) -> bytes:
    return _signed(secret, "unsubscribe", channel_id, facts.decode("utf-8", "replace"))[:_SIGNATURE]
