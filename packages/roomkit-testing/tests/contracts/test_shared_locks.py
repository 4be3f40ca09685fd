"""The lock contract, on managers that exclude each other and can lose what they hold."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

import pytest

from roomkit.abc.locks import RoomLockManager
from roomkit.memory.locks import InMemoryLockManager
from roomkit_plugins.testing.contracts import RoomLockManagerContract


class Server:
    """What the managers of one test share: the locks and the tokens."""

    def __init__(self) -> None:
        self.locks = InMemoryLockManager()
        self.tokens = count(1)


class SharedLockManager(RoomLockManager):
    """A manager whose locks are those of a server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.breaks = 0

    @asynccontextmanager
    async def locked(self, room_id: str) -> AsyncIterator[int]:
        async with self._server.locks.locked(room_id):
            before = self.breaks
            yield next(self._server.tokens)
            if self.breaks > before:
                logging.getLogger("roomkit.test").warning("the lock of %s was lost", room_id)


class TestSharedLockManager(RoomLockManagerContract):
    @pytest.fixture
    def factory(self) -> Callable[[], SharedLockManager]:
        server = Server()
        return lambda: SharedLockManager(server)

    async def break_connection(self, locks: RoomLockManager) -> bool:
        assert isinstance(locks, SharedLockManager)
        locks.breaks += 1
        return True
