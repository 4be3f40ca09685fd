"""Identities across channels, and how they were resolved."""

from __future__ import annotations

from typing import Self

from pydantic import Field

from roomkit._dataclasses import dataclass
from roomkit.models.base import EMPTY, Json, Record
from roomkit.models.enums import IdentificationStatus
from roomkit.models.hook import InjectedEvent
from roomkit.models.values import Id, Key, Label
from roomkit.models.zone import ZoneName

__all__ = ["Identity", "IdentityHookResult", "IdentityResult"]


class Identity(Record):
    """A person, by every address they are known at; `channel_addresses` is keyed by channel type."""

    id: Id
    organization_id: Key | None = None
    display_name: Label | None = None
    email: Key | None = None
    phone: Key | None = None
    channel_addresses: dict[Key, tuple[Key, ...]] = Field(default_factory=dict)
    external_id: Key | None = None
    external_ids: dict[Key, Key] = Field(default_factory=dict)
    timezone: ZoneName | None = None
    metadata: Json = EMPTY

    @property
    def addresses(self) -> frozenset[tuple[str, str, str]]:
        """Each address as (organization, or "" without one; channel type; address)."""
        return frozenset(
            (self.organization_id or "", str(channel_type), address)
            for channel_type, addresses in self.channel_addresses.items()
            for address in addresses
        )


class IdentityResult(Record):
    """A resolver's answer; IDENTIFIED carries the `identity`, AMBIGUOUS the `candidates`."""

    status: IdentificationStatus
    identity: Identity | None = None
    candidates: tuple[Identity, ...] = ()
    address: Key | None = None
    channel_type: Key | None = None
    challenge_type: Label | None = None
    message: Label | None = None


@dataclass(slots=True, frozen=True)
class IdentityHookResult:
    """An identity hook's decision; all four kinds hold for ambiguous and unknown senders alike."""

    status: IdentificationStatus
    identity: Identity | None = None
    display_name: str | None = None
    candidates: tuple[Identity, ...] | None = None
    inject: InjectedEvent | None = None
    reason: str | None = None
    challenge_type: str | None = None
    message: str | None = None

    @classmethod
    def resolved(cls, identity: Identity) -> Self:
        """The sender is `identity`."""
        return cls(IdentificationStatus.IDENTIFIED, identity=identity)

    @classmethod
    def pending(cls, display_name: str | None = None, candidates: list[Identity] | None = None) -> Self:
        """Let the message pass; the sender joins as a participant yet to be identified."""
        return cls(
            IdentificationStatus.PENDING,
            display_name=display_name,
            candidates=tuple(candidates) if candidates is not None else None,
        )

    @classmethod
    def challenge(cls, inject: InjectedEvent, message: str | None = None) -> Self:
        """Hold the message back and send `inject` to ask the sender who they are."""
        return cls(IdentificationStatus.CHALLENGE_SENT, inject=inject, message=message)

    @classmethod
    def reject(cls, reason: str = "Unknown sender") -> Self:
        """Refuse the message: no room, participant or event comes of it."""
        return cls(IdentificationStatus.REJECTED, reason=reason)
