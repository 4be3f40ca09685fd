"""What an operation may see: every room, or those of one organization."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import (
    ChannelNotFoundError,
    DeliveryNotFoundError,
    EventNotFoundError,
    IdentityNotFoundError,
    InvalidInputError,
    ParticipantNotFoundError,
    RoomClosedError,
    RoomNotFoundError,
    StaleCursorError,
)
from roomkit.kernel.flow.merged import followed, successor

if TYPE_CHECKING:
    from roomkit.kernel.assembly.kernel import Kernel
    from roomkit.kernel.inbound.pipeline import Inbound
    from roomkit.models.room import Room

__all__ = ["Scoped", "follows"]

_NOT_THERE = (RoomClosedError, ChannelNotFoundError, ParticipantNotFoundError, EventNotFoundError)
"""How an operation on a room that was merged is refused: it is closed, and empty."""


def follows[C: Callable[..., Any]](operation: C) -> C:
    """Repeat an operation on the room that the given one was merged into, where that is why it found nothing.

    Nothing is asked of the store unless the operation is refused, or returns an empty list.
    """

    @wraps(operation)
    async def following(self: Scoped, room_id: str, *args: Any, **given: Any) -> Any:
        try:
            found = await operation(self, room_id, *args, **given)
        except _NOT_THERE:
            room = await self._successor(room_id)
            if room is None:
                raise
            return await operation(self, room.id, *args, **given)
        if found != []:
            return found
        room = await self._successor(room_id)
        return found if room is None else await operation(self, room.id, *args, **given)

    return following  # type: ignore[return-value]  # it has the signature of the operation


class Scoped(ABC):
    """The scope of operations: one organization, or everything when `organization_id` is None.

    To an organization's scope, the records of others do not exist: the errors, with their words, and the
    empty answers are those for an unknown id. The scope of everything asks the store nothing.
    """

    _entered = False
    """Whether a call needs no `_enter` any more, which saves each message one call."""

    def __init__(self, kernel: Kernel, inbound: Inbound, organization_id: str | None = None) -> None:
        self._kernel = kernel
        self._store = kernel.ground.store
        self._inbound = inbound
        self._organization_id = organization_id

    @abstractmethod
    async def _enter(self, room_id: str | None = None) -> None:
        """Start the kit if need be, and check that a room is in scope.

        Raises KitClosedError, RoomNotFoundError.
        """

    async def _room(self, room_id: str) -> Room:
        """Return a room of the scope, or the one that it was merged into. Raises RoomNotFoundError."""
        room = await self._store.get_room(room_id, organization_id=self._organization_id)
        if room is None:
            raise RoomNotFoundError(f"no room {room_id!r}: create_room first")
        return room if room.merged_into is None else await followed(self._store, room)

    async def _successor(self, room_id: str) -> Room | None:
        """Return the room that a room of the scope was merged into; None if it was not."""
        return await successor(self._store, room_id, self._organization_id)

    async def _check_room(self, room_id: str) -> None:
        """Check that a room is in scope, before it is read. Raises RoomNotFoundError."""
        if self._organization_id is not None:
            await self._room(room_id)

    async def _sees(self, room_id: str) -> bool:
        """Return whether a room is in scope; also of an unknown one in the scope of everything."""
        own = self._organization_id
        return own is None or await self._store.get_room(room_id, organization_id=own) is not None

    async def _check_identity(self, identity_id: str) -> None:
        """Check that an identity is in scope. Raises IdentityNotFoundError."""
        own = self._organization_id
        if own is None or await self._store.get_identity(identity_id, organization_id=own):
            return
        raise IdentityNotFoundError(f"no identity {identity_id!r}: create_identity first")

    async def _check_delivery(self, delivery_id: str, verb: str) -> None:
        """Check that a delivery is in scope, before it is changed. Raises DeliveryNotFoundError."""
        if not await self._has_delivery(delivery_id):
            raise DeliveryNotFoundError(f"no delivery {delivery_id!r} to {verb}: list_deliveries shows them")

    async def _check_cursor(self, delivery_id: str | None) -> None:
        """Check that the last delivery of the page before is in scope. Raises StaleCursorError."""
        if delivery_id is not None and not await self._has_delivery(delivery_id):
            raise StaleCursorError(
                f"cursor delivery {delivery_id!r} no longer exists: restart from the first page"
            )

    async def _has_delivery(self, delivery_id: str) -> bool:
        own = self._organization_id
        return own is None or bool(await self._store.get_delivery(delivery_id, organization_id=own))

    def _organization(self, asked: str | None) -> str | None:
        """Return the organization whose records are meant, None for all. Raises InvalidInputError."""
        own = self._organization_id
        if own is None or asked is None:
            return asked if own is None else own
        if asked != own:
            raise InvalidInputError(
                f"organization_id {asked!r} was given to the view of {own!r}: use for_organization({asked!r})"
            )
        return own
