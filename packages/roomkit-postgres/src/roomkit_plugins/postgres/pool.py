"""A few connections, lent out one at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from roomkit_plugins.postgres.errors import FAILURES

__all__ = ["Connection", "Pool"]

type Connection = Any  # asyncpg.Connection: the driver has no types

_IDLE = 300.0


class Pool:
    """Makes connections when they are needed, up to `most`, and lends the last used first.

    One that broke is forgotten; one that nobody needed for five minutes is closed, but for `least`. asyncpg's
    own pool washes a connection after each use and starts a task to take it back, which costs as much as a
    small query. Nothing here changes a session, so there is nothing to wash off.
    """

    def __init__(self, connect: Callable[[], Awaitable[Connection]], least: int, most: int) -> None:
        self._connect = connect
        self._least = least
        self._most = most
        self._idle: deque[tuple[Connection, float]] = deque()  # bound: most
        self._waiting: deque[asyncio.Future[None]] = deque()  # bound: the callers that wait for a connection
        self._count = 0
        self._is_closed = False

    @property
    def is_full(self) -> bool:
        """Whether there are as many connections as there may be, none of them free."""
        return self._count >= self._most and not self._idle

    def idle(self) -> Connection | None:
        """Lend a connection that is free now."""
        while self._idle:
            connection, _ = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._count -= 1
        return None

    async def acquire(self) -> Connection:
        """Lend a connection, when one is free. Raises what connecting raises."""
        while (connection := self.idle()) is None:
            if self._count < self._most:
                return await self._make()
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake()
                raise
        return connection

    async def _make(self) -> Connection:
        self._count += 1
        try:
            return await self._connect()
        except BaseException:
            self._count -= 1
            self._wake()
            raise

    def release(self, connection: Connection) -> None:
        """Take a connection back."""
        if connection.is_closed() or self._is_closed:
            connection.terminate()
            self._count -= 1
        else:
            now = asyncio.get_running_loop().time()
            self._idle.append((connection, now))
            while self._count > self._least and self._idle[0][1] < now - _IDLE:
                self._idle.popleft()[0].terminate()
                self._count -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def forget(self) -> None:
        """Close the connections that are not in use: the server they led to is not the one of now."""
        while self._idle:
            self._idle.pop()[0].terminate()
            self._count -= 1

    async def close(self, timeout: float) -> None:
        """Close all connections in good order; one that is still in use is closed when it comes back."""
        self._is_closed = True
        while self._idle:
            connection, _ = self._idle.pop()
            self._count -= 1
            try:
                await connection.close(timeout=timeout)
            except FAILURES:
                connection.terminate()
