"""Web sockets of a room's participants, served by the channel that they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

from roomkit.abc.channel import SupportsSessions
from roomkit.abc.errors import ChannelNotRegisteredError, InvalidInputError
from roomkit_plugins.server.config import Scope
from roomkit_plugins.server.endpoint import parsed_body, parsed_query
from roomkit_plugins.server.errors import KeyRefusedError
from roomkit_plugins.server.inputs import ConnectQuery, TicketBody
from roomkit_plugins.server.problems import problem_response
from roomkit_plugins.server.requests import ids_in_path
from roomkit_plugins.server.tickets import Seat
from roomkit_plugins.server.views import TicketView
from roomkit_plugins.server.writing import sender_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.websockets import WebSocket

    from roomkit.kernel.kit import RoomKit
    from roomkit_plugins.server.config import ServerConfig
    from roomkit_plugins.server.entrance import Entrance
    from roomkit_plugins.server.keys import Principal
    from roomkit_plugins.server.tickets import Tickets

__all__ = ["Sockets"]

_DENIAL = "websocket.http.response"


class Sockets:
    """Opens web sockets: for a ticket, or for a key that says which participant connects.

    Whether the key, the page, the room and the channel are right is decided before the socket is opened;
    another organization's room is answered as a missing one. From then on the channel's session decides.
    """

    def __init__(self, kit: RoomKit, config: ServerConfig, entrance: Entrance, tickets: Tickets) -> None:
        self._kit = kit
        self._config = config
        self._entrance = entrance
        self._tickets = tickets

    async def give_ticket(self, request: Request) -> Response:
        """Answer a request for a ticket."""
        try:
            principal = self._entrance.admit(request, Scope.SOCKETS_CONNECT)
            body = await parsed_body(TicketBody, request, self._config)
            room_id = ids_in_path(request)["room_id"]
            seat = Seat(principal.name, room_id, body.channel_id, body.participant_id)
            await self._channel(principal, seat)
            ticket, expires_at = await self._tickets.give(seat)
        except Exception as error:  # noqa: BLE001  # whatever fails, the client gets an answer that says so
            return problem_response(error)
        view = TicketView(ticket=ticket, expires_at=expires_at)
        return JSONResponse(view.model_dump(mode="json"), 201)

    async def serve(self, socket: WebSocket) -> None:
        """Serve one socket for as long as it is open, or refuse to open it."""
        try:
            self._check_origin(socket)
            query = parsed_query(ConnectQuery, socket)
            seat, principal = await self._seat(socket, query)
            channel = await self._channel(principal, seat)
        except Exception as error:  # noqa: BLE001  # whatever fails, the client gets an answer that says so
            await _deny(socket, problem_response(error))
            return
        await self._converse(socket, channel, seat, principal, query.after)

    async def _converse(
        self,
        socket: WebSocket,
        channel: SupportsSessions,
        seat: Seat,
        principal: Principal,
        after: int | None,
    ) -> None:
        try:
            held = self._entrance.hold(principal)
        except Exception as error:  # noqa: BLE001  # as above
            await _deny(socket, problem_response(error))
            return
        with held:
            await socket.accept()
            session = channel.session(
                self._kit,
                seat.room_id,
                seat.participant_id,
                send=sender_of(socket),
                close=socket.close,
                after=after,
                max_frame_bytes=self._config.max_frame_bytes,
            )
            async with session as connection:
                while (frame := await socket.receive())["type"] == "websocket.receive":
                    await connection.receive(frame.get("text") or frame.get("bytes") or "")

    # -- who it is ----------------------------------------------------------------------------

    def _check_origin(self, socket: WebSocket) -> None:
        """Refuse pages that are not named; without a cookie none has the rights of another page's user."""
        origin = socket.headers.get("origin")
        if origin is not None and self._config.origins and origin not in self._config.origins:
            raise KeyRefusedError("this page may not connect: name it in the server's `origins`")

    async def _seat(self, socket: WebSocket, query: ConnectQuery) -> tuple[Seat, Principal]:
        """Return who connects, and for which key. Raises what `Entrance.admit` raises."""
        room_id = ids_in_path(socket)["room_id"]
        if query.ticket is not None:
            return await self._seat_of(query.ticket, room_id, socket)
        principal = self._entrance.admit(socket, Scope.SOCKETS_CONNECT)
        if query.participant_id is None:
            raise InvalidInputError("the connection names no participant: give participant_id=")
        channel_id = query.channel_id or self._only_channel()
        return Seat(principal.name, room_id, channel_id, query.participant_id), principal

    async def _seat_of(self, ticket: str, room_id: str, socket: WebSocket) -> tuple[Seat, Principal]:
        address = self._entrance.check_refused(socket)
        seat = await self._tickets.take(ticket)
        principal = None if seat is None else self._entrance.principal(seat.key)
        if seat is None or principal is None or seat.room_id != room_id:
            self._entrance.refuse(address)
            raise KeyRefusedError("the ticket is unknown, used or too old: ask for another one")
        return seat, principal

    # -- where it goes ------------------------------------------------------------------------

    async def _channel(self, principal: Principal, seat: Seat) -> SupportsSessions:
        """Return the channel that serves a socket. Raises RoomNotFoundError, ChannelNotFoundError."""
        await self._entrance.service(principal).get_binding(seat.room_id, seat.channel_id)
        channel: object = self._kit.get_channel(seat.channel_id)
        if not isinstance(channel, SupportsSessions):
            raise ChannelNotRegisteredError(
                f"channel {seat.channel_id!r} serves no web sockets: name one that does, such as a "
                "WebSocketChannel"
            )
        return channel

    def _only_channel(self) -> str:
        """Return the id of the only channel for web sockets. Raises InvalidInputError."""
        found = [each.channel_id for each in self._kit.list_channels() if isinstance(each, SupportsSessions)]
        if len(found) == 1:
            return found[0]
        raise InvalidInputError(f"there are {len(found)} channels for web sockets: name one by channel_id=")


async def _deny(socket: WebSocket, response: Response) -> None:
    """Refuse to open a socket, with the reason where the server can say it."""
    if _DENIAL in socket.scope.get("extensions", {}):
        await socket.send_denial_response(response)
    else:
        await socket.close()
