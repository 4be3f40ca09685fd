"""The connections of a channel: which there are, which rooms they see, and how they are dropped."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from roomkit.abc.errors import InvalidInputError
from roomkit.abc.log import get_logger
from roomkit_plugins.websocket.connection import Connection

if TYPE_CHECKING:
    from roomkit.models.event import EventSource
    from roomkit_plugins.websocket.background import Background
    from roomkit_plugins.websocket.frames import CloseFn, SendFn, StreamSendFn

__all__ = ["Audience", "Connections", "Joined", "Left", "without_sender"]

_log = get_logger("roomkit.websocket")


class Audience:
    """The connections that see a room: all of them, those that see answers grow, and those that do not."""

    __slots__ = ("everyone", "plain", "streaming")

    def __init__(self, everyone: Sequence[Connection]) -> None:
        self.everyone = tuple(everyone)
        self.streaming = tuple(one for one in everyone if one.stream_send_fn is not None)
        self.plain = tuple(one for one in everyone if one.stream_send_fn is None)


_NOBODY = Audience(())


type Joined = Callable[[Connection, str, bool], None]
"""`(connection, room_id, is_new)`: it was subscribed to a room; not `is_new`, it saw the room before."""

type Left = Callable[[Sequence[str]], None]
"""`(room_ids)`: a connection stopped seeing these rooms; others may still see them."""


class Connections:
    """The registry: connections by id, and by the rooms they see.

    A connection registered without a room follows the channel: it sees the channel's room while the channel
    is attached to exactly one, until it is subscribed to a room of its own.
    """

    def __init__(self, channel_id: str, background: Background, joined: Joined, left: Left) -> None:
        self._channel_id = channel_id
        self._background = background
        self._joined = joined
        self._left = left
        self.by_id: dict[str, Connection] = {}  # bound: what the caller registered
        self._members: dict[str, dict[str, Connection]] = {}  # bound: subscriptions
        self._followers: dict[str, Connection] = {}  # bound: connections
        self._attached: set[str] = set()
        self._audiences: dict[str, Audience] = {}  # bound: rooms with connections
        self.evicted = 0

    def __len__(self) -> int:
        return len(self.by_id)

    @property
    def has_streaming(self) -> bool:
        """Whether any connection sees answers grow."""
        return any(connection.stream_send_fn is not None for connection in self.by_id.values())

    def audience(self, room_id: str) -> Audience:
        """Return who sees a room."""
        audience = self._audiences.get(room_id)
        if audience is None:
            everyone = [*self._members.get(room_id, {}).values()]
            if self._followers and self.only_room == room_id:
                everyone += self._followers.values()
            if not everyone:
                return _NOBODY
            audience = self._audiences[room_id] = Audience(everyone)
        return audience

    def are_in(self, room_id: str) -> bool:
        """Return whether any connection sees a room."""
        return bool(self.audience(room_id).everyone)

    def register(
        self,
        connection_id: str,
        send_fn: SendFn,
        stream_send_fn: StreamSendFn | None,
        close_fn: CloseFn | None,
        room_id: str | None,
        participant_id: str | None,
    ) -> None:
        """Add a connection. Raises InvalidInputError, as `WebSocketChannel.register_connection` says."""
        if not connection_id:
            raise InvalidInputError("a connection id cannot be empty: use a text of your own, such as a UUID")
        for name, fn in (
            ("send_fn", send_fn),
            ("stream_send_fn", stream_send_fn or send_fn),
            ("close_fn", close_fn or send_fn),
        ):
            if not callable(fn):
                raise InvalidInputError(f"{name} of connection {connection_id!r} is {fn!r}, not a function")
        if (before := self.by_id.get(connection_id)) is not None:
            self._replace(before, room_id, participant_id)
        connection = Connection(
            connection_id,
            send_fn,
            stream_send_fn,
            participant_id,
            close_fn=close_fn,
            roams=room_id is None,
        )
        self.by_id[connection_id] = connection
        if room_id is not None:
            self.join(connection, room_id)
        else:
            self._followers[connection_id] = connection
            self._audiences.clear()
            self._guide((connection,))

    def _replace(self, before: Connection, room_id: str | None, participant_id: str | None) -> None:
        """Remove a connection whose id is registered again. Raises InvalidInputError for another's."""
        same = before.participant_id == participant_id
        nameless = participant_id is None and room_id is None and before.roams
        if not same or (participant_id is None and not nameless):
            raise InvalidInputError(
                f"connection id {before.id!r} is in use by another connection of channel "
                f"{self._channel_id!r}: use a new id for each connection, or unregister that one first"
            )
        self.remove(before)
        self._close(before, "replaced")

    def join(self, connection: Connection, room_id: str) -> None:
        """Subscribe a connection to a room. Idempotent."""
        if room_id in connection.rooms:
            return
        followed = connection.follows and self.only_room == room_id
        if connection.follows:
            connection.follows = False
            self._followers.pop(connection.id, None)
            self._audiences.clear()
        connection.rooms.add(room_id)
        self._members.setdefault(room_id, {})[connection.id] = connection
        self._audiences.pop(room_id, None)
        self._joined(connection, room_id, not followed)

    def part(self, connection: Connection, room_id: str) -> None:
        """End a subscription."""
        connection.rooms.discard(room_id)
        members = self._members[room_id]
        del members[connection.id]
        if not members:
            del self._members[room_id]
        self._audiences.pop(room_id, None)
        self._left((room_id,))

    def remove(self, connection: Connection) -> None:
        """Send nothing more to a connection, and abort a send under way. Idempotent."""
        connection.drop()
        if self.by_id.get(connection.id) is not connection:
            return
        del self.by_id[connection.id]
        for room_id in tuple(connection.rooms):
            self.part(connection, room_id)
        if connection.follows:
            del self._followers[connection.id]
            self._audiences.clear()
            if (followed := self.only_room) is not None:
                self._left((followed,))

    def evict(self, connection: Connection, reason: str) -> None:
        """Remove a connection, report it, and have its owner close it. Idempotent."""
        if connection.gone:
            return
        self.remove(connection)
        self.evicted += 1
        self._report_gone(connection, reason)
        self._close(connection, reason)

    def bar(self, connection: Connection, room_id: str, reason: str) -> None:
        """Show a connection nothing more of a room; evict it when it has no other."""
        if connection.rooms - {room_id}:
            self.part(connection, room_id)
            self._report_gone(connection, reason, room_id)
        else:
            self.evict(connection, reason)

    def clear(self) -> None:
        """Remove every connection, without closing it. The channel is attached to nothing any more."""
        for connection in tuple(self.by_id.values()):
            self.remove(connection)
        self._attached.clear()
        self._audiences.clear()

    def _report_gone(self, connection: Connection, reason: str, room_id: str | None = None) -> None:
        self._background.report("channel_disconnected", connection.id, reason, room_id)

    def _close(self, connection: Connection, reason: str) -> None:
        if connection.close_fn is not None:
            work = _closed(connection, connection.close_fn, reason)
            self._background.run(work, f"close connection {connection.id}")

    @property
    def only_room(self) -> str | None:
        """The room that connections without one of their own follow."""
        return next(iter(self._attached)) if len(self._attached) == 1 else None

    def attach(self, room_id: str) -> None:
        """Note that the channel serves a room."""
        if room_id not in self._attached:
            self._attached.add(room_id)
            self._serves_other_rooms(were=len(self._attached) - 1)

    def detach(self, room_id: str) -> None:
        """Note that the channel serves a room no more."""
        if room_id in self._attached:
            self._attached.remove(room_id)
            self._serves_other_rooms(were=len(self._attached) + 1)

    def _serves_other_rooms(self, were: int) -> None:
        if self._followers:
            self._audiences.clear()
            self._guide(tuple(self._followers.values()), were=were)

    def _guide(self, followers: Sequence[Connection], were: int = 0) -> None:
        """Let followers join the room there now is, or report that they see none any more."""
        rooms = len(self._attached)
        if rooms == 1:
            for connection in followers:
                self._joined(connection, next(iter(self._attached)), True)
        elif rooms > 1 >= were:
            for connection in followers:
                self._background.report(
                    "connection_unrouted",
                    connection.id,
                    f"the channel serves {rooms} rooms: register the connection with a room_id, "
                    "or subscribe it",
                )


async def _closed(connection: Connection, close_fn: CloseFn, reason: str) -> None:
    try:
        await close_fn(connection.id, reason)
    except Exception as error:  # noqa: BLE001  # it may raise anything: the connection is gone either way
        _log.info("closing connection %s failed: %s", connection.id, type(error).__name__)


def without_sender(
    connections: Sequence[Connection], source: EventSource, sender_names: Collection[str]
) -> Sequence[Connection]:
    """Return the connections that are known not to be where an event came from.

    `sender_names` is what the channel calls the participant who sent it.
    """
    if (sender := source.connection_id) is not None:
        return tuple(one for one in connections if one.id != sender)
    if source.participant_id is None:
        return ()
    return tuple(
        one
        for one in connections
        if one.participant_id is not None and one.participant_id not in sender_names
    )
