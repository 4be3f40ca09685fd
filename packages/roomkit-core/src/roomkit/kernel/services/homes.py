"""Homes, as one owner takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, override

from roomkit.abc.errors import InvalidInputError
from roomkit.abc.services.homes import Follow, Home, Homes
from roomkit.kernel.runtime.arguments import checks_arguments

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit.abc.services.homes import RoomChanged, ShowEvent, ShowPiece
    from roomkit.kernel.delivery.homes import HeldHomes
    from roomkit.kernel.following.follows import Follows
    from roomkit.kernel.services.owner import Owner

__all__ = ["KitHomes"]


@checks_arguments(of_services=True)
class KitHomes(Homes):
    """Takes homes of the owner's channels, follows rooms as they, and elects in its namespace."""

    def __init__(
        self, owner: Owner, held: HeldHomes, follows: Follows, enter: Callable[[], Awaitable[None]]
    ) -> None:
        self._owner = owner
        self._held = held
        self._follows = follows
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

    @override
    def follow(
        self,
        room_id: str,
        channel_id: str | None,
        show: ShowEvent,
        *,
        after: int | None = None,
        pieces: ShowPiece | None = None,
        changed: RoomChanged | None = None,
    ) -> Follow:
        channel_id = self._owner.channel(channel_id)
        for name, fn in (("show", show), ("pieces", pieces or show), ("changed", changed or show)):
            if not callable(fn):
                raise InvalidInputError(f"{name} of follow() is {fn!r}: give it a function")
        if after is not None and (type(after) is not int or after < -1):
            raise InvalidInputError(
                f"after of follow() is {after!r}: give it the index of an event, or -1 for the whole timeline"
            )
        return self._follows.follow(
            room_id, channel_id, show=show, after=after, pieces=pieces, changed=changed
        )
