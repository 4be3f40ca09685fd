"""Albums, whose pictures come as messages of their own: joined durably, on whatever worker they come.

Each part is kept by a conditional write before its update is acknowledged, and sets the timer again; when no
more came for a second, the worker whose timer it is hands in the album as one message. A part that comes
later than that, or again, is told by the record of those that were joined.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roomkit.abc.services import Services
    from roomkit.models.base import Json
    from roomkit.models.timer import Timer

__all__ = ["Albums"]

PAUSE = timedelta(seconds=1)
"""Telegram sends the parts of an album within some tenths of a second."""
_KEPT_FOR = timedelta(hours=48)
"""For how long a repeated update is recognised: Telegram repeats one for 24 hours."""

type HandIn = Callable[[str, Sequence[Mapping[str, Any]]], Awaitable[None]]
"""`async (channel_id, updates)`: takes the updates of an album in; what it raises has it called again."""


class Albums:
    """The albums that come to one bot, of any number of chats.

    `kind` is that of the timers: one for each bot and way in, the same on all workers.
    """

    def __init__(self, services: Services, hand_in: HandIn, *, kind: str) -> None:
        self._services = services
        self._hand_in = hand_in
        self._kind = kind
        services.timers.on(kind, self._fire)

    async def keep(
        self, channel_id: str, album: tuple[str, str], number: str, update: Mapping[str, Any], sender: str
    ) -> None:
        """Keep a part of an album; durable on return. Raises StoreError."""
        part = {"number": number, "update": update}

        def added(found: Json | None) -> Mapping[str, Any]:
            before: Mapping[str, Any] = {"parts": [], "joined": []} if found is None else found
            known = {*before["joined"], *(each["number"] for each in before["parts"])}
            return before if number in known else {**before, "parts": [*before["parts"], part]}

        key = (self._kind, channel_id, *album)
        value = await self._services.values.change(*key, fn=added, expires_in=_KEPT_FOR, subject=sender)
        if value is not None and value.data["parts"]:
            due = self._services.clock.now() + PAUSE
            await self._services.timers.set(
                self._kind, due, id=":".join(key), data={"key": list(key)}, subject=sender
            )

    async def _fire(self, timer: Timer) -> datetime | None:
        """Hand an album in, then record that it was.

        What is handed in is chosen durably first: after a kill between the two it is the same message again,
        a redelivery, whatever came in between.
        """
        key = [str(each) for each in timer.data["key"]]
        value = await self._services.values.change(*key, fn=_chosen, expires_in=_KEPT_FOR)
        if value is None or not value.data["batch"]:
            return None
        batch = value.data["batch"]
        parts = [part for part in value.data["parts"] if part["number"] in batch]
        parts.sort(key=lambda part: int(part["number"]))
        await self._hand_in(key[1], [part["update"] for part in parts])
        after = await self._services.values.change(*key, fn=_recorded, expires_in=_KEPT_FOR)
        late = after is not None and bool(after.data["parts"])
        return self._services.clock.now() + PAUSE if late else None


def _chosen(found: Json | None) -> Mapping[str, Any] | None:
    """Return an album with what is to be handed in: what was chosen before, else all that is there."""
    if found is None:
        return None
    return {**found, "batch": found.get("batch") or [part["number"] for part in found["parts"]]}


def _recorded(found: Json | None) -> Mapping[str, Any] | None:
    """Return an album whose chosen parts were handed in."""
    if found is None:
        return None
    batch = found["batch"]
    rest = [part for part in found["parts"] if part["number"] not in batch]
    return {"parts": rest, "joined": [*found["joined"], *batch]}
