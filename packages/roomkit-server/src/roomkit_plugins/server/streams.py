"""The timeline of a room as server-sent events, for dashboards and programs that only listen."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, override

from pydantic_core import to_json
from starlette.responses import Response

from roomkit.abc.errors import FollowEndedError, InvalidInputError
from roomkit.abc.log import get_logger
from roomkit_plugins.server.config import Scope
from roomkit_plugins.server.endpoint import parsed_query
from roomkit_plugins.server.errors import InvalidRequestError
from roomkit_plugins.server.inputs import ConnectQuery
from roomkit_plugins.server.problems import problem_response
from roomkit_plugins.server.requests import ids_in_path
from roomkit_plugins.server.views import event_view

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from starlette.requests import Request
    from starlette.types import Receive, Send
    from starlette.types import Scope as ConnectionScope

    from roomkit.abc.services import Follow, Piece
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.event import RoomEvent
    from roomkit_plugins.server.entrance import Entrance
    from roomkit_plugins.server.stopping import Stopping

__all__ = ["EventStreams"]

_log = get_logger("roomkit.server")
_AHEAD = 64
"""Frames that wait for a slow client; a follower that waits longer than `delivery_timeout` ends."""
_HEARTBEAT = 15.0
_RETRY_MS = 2000
_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # nginx would keep events back
}
_LATEST = 2**63 - 1


class EventStreams:
    """Streams what one channel of a room sees, from an index on: see `Homes.follow`."""

    def __init__(self, kit: RoomKit, entrance: Entrance, stopping: Stopping) -> None:
        self._kit = kit
        self._entrance = entrance
        self._stopping = stopping

    async def answer(self, request: Request) -> Response:
        """Answer with the stream of a room, or with why there is none."""
        try:
            principal = self._entrance.admit(request, Scope.ROOMS_READ)
            query = parsed_query(ConnectQuery, request)
            if query.channel_id is None:
                raise InvalidInputError("no channel is named: say whose view to stream by channel_id=")
            room_id = ids_in_path(request)["room_id"]
            binding = await self._entrance.service(principal).get_binding(room_id, query.channel_id)
            after = _last_seen(request, query)
            if request.method == "HEAD":  # a stream without a body would hold its connection, and say nothing
                return Response(headers=_HEADERS)
            held = self._entrance.hold(principal)
        except Exception as error:  # noqa: BLE001  # whatever fails, the client gets an answer that says so
            return problem_response(error)
        return _Stream(self._kit, self._stopping, binding.room_id, binding.channel_id, after, held)


def _last_seen(request: Request, query: ConnectQuery) -> int | None:
    """Return the index that a client has seen; what it says on coming back counts first."""
    said = request.headers.get("last-event-id")
    if said is None:
        return query.after
    if not said.isdecimal() or not said.isascii() or int(said) > _LATEST:
        raise InvalidRequestError("Last-Event-ID is no index of an event: send the last id that was received")
    return int(said)


class _Stream(Response):
    """One client's stream."""

    def __init__(
        self,
        kit: RoomKit,
        stopping: Stopping,
        room_id: str,
        channel_id: str,
        after: int | None,
        held: AbstractContextManager[None],
    ) -> None:
        super().__init__(media_type="text/event-stream")
        self._kit = kit
        self._stopping = stopping
        self._room_id = room_id
        self._channel_id = channel_id
        self._after = after
        self._held = held
        self._frames: asyncio.Queue[bytes] = asyncio.Queue(_AHEAD)

    @override
    async def __call__(self, scope: ConnectionScope, receive: Receive, send: Send) -> None:
        headers = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
        with self._held:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await _write(send, f"retry: {_RETRY_MS}\n\n".encode())
            follow = self._kit.services.homes.follow(
                self._room_id, self._channel_id, self._show, after=self._after, pieces=self._show_piece
            )
            try:
                await self._run(follow, receive, send)
            finally:
                follow.stop()

    async def _run(self, follow: Follow, receive: Receive, send: Send) -> None:
        """Write until the client goes, the room is lost, or the server stops; then say why."""
        reason = await _first_of(
            self._pump(send), _until_gone(receive), _ended(follow), self._until_stopping()
        )
        if reason is not None:
            await _write(send, _frame("end", to_json({"code": reason})))
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pump(self, send: Send) -> str | None:
        """Write what there is to write, and a comment when there was nothing for a while."""
        while True:
            frame = b": still here\n\n"
            try:
                async with asyncio.timeout(_HEARTBEAT):
                    frame = await self._frames.get()
            except TimeoutError:
                pass
            await _write(send, frame)

    async def _until_stopping(self) -> str | None:
        await self._stopping.wait()
        return "server_stopping"

    async def _show(self, event: RoomEvent) -> None:
        await self._frames.put(
            _frame("event", event_view(event).model_dump_json().encode(), str(event.index))
        )

    async def _show_piece(self, piece: Piece) -> None:
        said = {
            "stream_id": piece.stream_id,
            "channel_id": piece.source.channel_id,
            "text": piece.text,
            "error": piece.error,
        }
        await self._frames.put(_frame("piece", to_json(said)))


async def _first_of(*work: Coroutine[Any, Any, str | None]) -> str | None:
    """Run coroutines beside each other until one of them ends; return what it returned."""
    tasks = [asyncio.ensure_future(each) for each in work]  # supervised: all are awaited here
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return next(iter(done)).result()


async def _until_gone(receive: Receive) -> str | None:
    while (await receive())["type"] != "http.disconnect":
        pass
    return None


async def _ended(follow: Follow) -> str | None:
    try:
        await follow.wait()
    except FollowEndedError as error:
        _log.info("a stream of room %s ended: %s", follow.room_id, error)
        return error.reason
    return None


def _frame(kind: str, data: bytes, index: str | None = None) -> bytes:
    """Return one event of the format; JSON has no line ends of its own."""
    named = "" if index is None else f"id: {index}\n"
    return f"{named}event: {kind}\ndata: ".encode() + data + b"\n\n"


async def _write(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})
