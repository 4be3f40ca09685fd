"""Whether a server lives, and whether it is ready for requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

from roomkit.abc.log import get_logger

if TYPE_CHECKING:
    from starlette.requests import Request

    from roomkit.kernel.kit import RoomKit
    from roomkit_plugins.server.stopping import Stopping

__all__ = ["Health"]

_log = get_logger("roomkit.server")
_PATIENCE = 2.0
_REMEMBERED = 1.0
"""Seconds for which an answer of the store counts: probes are no load."""


class Health:
    """Answers probes: `live` while the loop runs, `ready` while requests can be taken.

    Not ready is a server that is draining, and one whose store does not answer within two seconds.
    """

    def __init__(self, kit: RoomKit, stopping: Stopping) -> None:
        self._kit = kit
        self._stopping = stopping
        self._checked = float("-inf")
        self._is_reached = False

    async def live(self, request: Request) -> Response:
        """Answer that the process serves."""
        return JSONResponse({"status": "live"})

    async def ready(self, request: Request) -> Response:
        """Answer whether the server is ready, and if not, why."""
        if self._stopping.is_draining:
            return JSONResponse({"status": "draining"}, 503)
        if not await self._reaches_store():
            return JSONResponse({"status": "store_unavailable"}, 503)
        broken = sorted(self._kit.broken_channels)
        return JSONResponse({"status": "ready", "broken_channels": broken})

    async def _reaches_store(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._checked >= _REMEMBERED:
            self._is_reached = await self._read()
            self._checked = asyncio.get_running_loop().time()
        return self._is_reached

    async def _read(self) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._kit.find_rooms(limit=1)
        except Exception as error:  # noqa: BLE001  # a store may raise anything: it is not reached then
            _log.warning("the store does not answer: %s", error)
            return False
        return True
