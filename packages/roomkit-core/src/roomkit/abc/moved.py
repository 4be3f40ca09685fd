"""What every store says and makes of rooms that meet."""

from __future__ import annotations

from hashlib import sha256

from roomkit.abc.errors import RoomBusyError
from roomkit.models.values import LONGEST_KEY

__all__ = ["busy_room", "moved_key"]


def busy_room(room_id: str) -> RoomBusyError:
    """Return the error for a room of which deliveries are pending that cannot move."""
    return RoomBusyError(
        f"nothing was moved: deliveries of room {room_id!r} are pending; wait until they are completed, and "
        "try again"
    )


def moved_key(room_id: str, key: str) -> str:
    """Return the key of a moved entry whose own key is taken; a long one ends in its digest."""
    named = f"{room_id}/{key}"
    if len(named.encode(errors="surrogatepass")) <= LONGEST_KEY:
        return named
    return f"{room_id[:64]}/{sha256(key.encode(errors='surrogatepass')).hexdigest()}"
