"""The servers that are listening, by their kit, so that none outlives it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from roomkit.kernel.kit import RoomKit
    from roomkit_plugins.websocket.serve import WebSocketServer

__all__ = ["close_servers_of", "note_closed", "note_started"]

_servers: WeakKeyDictionary[RoomKit, set[WebSocketServer]] = WeakKeyDictionary()  # bound: servers listening


def note_started(kit: RoomKit, server: WebSocketServer) -> None:
    """Note that a server listens."""
    _servers.setdefault(kit, set()).add(server)


def note_closed(kit: RoomKit, server: WebSocketServer) -> None:
    """Note that a server listens no more."""
    _servers.get(kit, set()).discard(server)


async def close_servers_of(kit: RoomKit) -> None:
    """Close every server of a kit that its owner left open."""
    servers = _servers.pop(kit, set())
    await asyncio.gather(*(server.close() for server in servers))
