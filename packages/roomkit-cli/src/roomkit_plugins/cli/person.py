"""A person of the demo: a client at the other end of a real web socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect

__all__ = ["DemoPerson"]

type OnFrame = Callable[["DemoPerson", dict[str, Any]], Awaitable[None]]


class DemoPerson:
    """Says things, and hands every frame that comes to `on_frame`."""

    def __init__(self, name: str, on_frame: OnFrame) -> None:
        self.name = name
        self._on_frame = on_frame
        self._socket: ClientConnection | None = None
        self._said = 0
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}  # bound: one at a time

    async def connect(self, url: str) -> Self:
        """Open the socket. Raises OSError when no server listens."""
        self._socket = await connect(url, max_queue=None, compression=None)
        return self

    async def listen(self) -> None:
        """Take frames until the socket closes."""
        assert self._socket is not None
        try:
            async for data in self._socket:
                await self._take(json.loads(data))
        finally:
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(ConnectionError(f"the connection of {self.name} is closed"))

    async def say(self, text: str) -> dict[str, Any]:
        """Send a message; return the frame that answers it, `ack` or `error`."""
        assert self._socket is not None
        self._said += 1
        client_id = f"m{self._said}"
        answer = self._answers[client_id] = asyncio.get_running_loop().create_future()
        try:
            message = {"type": "message", "text": text, "client_id": client_id}
            await self._socket.send(json.dumps(message, ensure_ascii=False))
            frame: dict[str, Any] = await answer
            return frame
        finally:
            del self._answers[client_id]

    async def close(self) -> None:
        """Close the socket. Idempotent."""
        if self._socket is not None:
            await self._socket.close()

    async def _take(self, frame: dict[str, Any]) -> None:
        answer = self._answers.get(frame.get("client_id", ""))
        if answer is not None and not answer.done() and frame["type"] in ("ack", "error"):
            answer.set_result(frame)
        else:
            await self._on_frame(self, frame)
