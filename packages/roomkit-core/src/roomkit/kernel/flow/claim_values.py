"""The values that lead an address to a room, where no binding or participant does."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from roomkit.models.value import Value, encoded_key, fits

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding

__all__ = ["CLAIMS", "claim_key", "lasting_claims"]

CLAIMS = "core.rooms"


def claim_key(channel_id: str, sender_id: str) -> tuple[str, ...]:
    """Return the key of a sender's claim; a long one is replaced by its digest."""
    key = (channel_id, sender_id)
    return key if fits(key) else (channel_id[:32], sha256(encoded_key(key).encode()).hexdigest())


def lasting_claims(binding: ChannelBinding, organization_id: str | None) -> list[Value]:
    """Return claims, without an end, that lead each of a binding's addresses to its room."""
    addresses = dict.fromkeys((*((binding.address,) if binding.address else ()), *binding.also))
    return [
        Value(
            namespace=CLAIMS,
            key=claim_key(binding.channel_id, address),
            organization_id=organization_id,
            subject=address,
            room_id=binding.room_id,
        )
        for address in addresses
    ]
