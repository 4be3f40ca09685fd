"""Homes, as one owner takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, override

from roomkit.abc.services.homes import Home, Homes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit.kernel.delivery.homes import HeldHomes
    from roomkit.kernel.services.owner import Owner

__all__ = ["KitHomes"]


class KitHomes(Homes):
    """Takes homes of the owner's channels, and elects in its namespace."""

    def __init__(self, owner: Owner, held: HeldHomes, enter: Callable[[], Awaitable[None]]) -> None:
        self._owner = owner
        self._held = held
        self._enter = enter

    @override
    async def take(self, room_id: str, channel_id: str | None = None) -> Home:
        await self._enter()
        return await self._held.take(room_id, self._owner.channel(channel_id))

    @override
    async def leave(self, room_id: str, channel_id: str | None = None) -> None:
        await self._held.leave(room_id, self._owner.channel(channel_id))

    @override
    async def elect(self, name: str, work: Callable[[Home], Awaitable[None]]) -> None:
        await self._enter()
        await self._held.elect(f"{self._owner.namespace}:{name}", work)
