"""Tickets for web sockets: what a browser shows in place of a key, once and within a minute."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from secrets import token_urlsafe
from typing import TYPE_CHECKING

from roomkit.abc.errors import StaleValueError

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.services import Values

__all__ = ["Seat", "Tickets"]

_BYTES = 32


@dataclass(slots=True, frozen=True)
class Seat:
    """Whose a web socket is: a participant of a room, by a channel. `key` names the key that says so."""

    key: str
    room_id: str
    channel_id: str
    participant_id: str


class Tickets:
    """Keeps the hashes of tickets in the kit's store, so that any worker takes what another one gave."""

    def __init__(self, values: Values, clock: Clock, seconds: float) -> None:
        self._values = values.of(None)
        self._clock = clock
        self._seconds = seconds

    async def give(self, seat: Seat) -> tuple[str, datetime]:
        """Return a new ticket, and until when it can be used."""
        ticket = token_urlsafe(_BYTES)
        await self._values.put(
            "ticket",
            _digest(ticket),
            data=asdict(seat),
            expires_in=self._seconds,
            subject=seat.participant_id,
            room_id=seat.room_id,
        )
        return ticket, self._clock.now() + timedelta(seconds=self._seconds)

    async def take(self, ticket: str) -> Seat | None:
        """Return whose a ticket is, and end it; None for one that is unknown, late or used."""
        value = await self._values.get("ticket", _digest(ticket))
        if value is None:
            return None
        try:
            taken = await self._values.delete(*value.key, if_revision=value.revision)
        except StaleValueError:  # of two who show it at once, one gets in
            return None
        return Seat(**value.data) if taken else None


def _digest(ticket: str) -> str:
    return sha256(ticket.encode("utf-8", "surrogatepass")).hexdigest()
