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
_CANCELLING = 1.0
"""Seconds in which the driver can ask the server to cancel a statement that took too long."""


class Pool:
    """Makes connections when they are needed, up to `most`, and lends the last used first.

    Waiters are served in order. A connection that broke or did not answer is forgotten; one that no caller
    needed for five minutes is closed, but for `least`.

    The driver's own pool washes a connection after each use, and starts a task to take it back; that costs
    as much as a small query. Nothing here changes a session, so there is nothing to wash off.
    """

    def __init__(self, connect: Callable[[], Awaitable[Connection]], least: int, most: int) -> None:
        self._connect = connect
        self._least = least
        self._most = most
        self._count = 0
        self._idle: deque[tuple[Connection, float]] = deque()  # bound: most
        # A waiter gets a connection, or None: then it may make one.
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()  # bound: the callers of acquire()
        self._late: set[Connection] = set()  # bound: the statements that timed out within _CANCELLING
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
        if (connection := self.idle()) is not None:
            return connection
        if self._count < self._most:
            self._count += 1
        elif (connection := await self._wait()) is not None:
            return connection
        try:
            return await self._connect()
        except BaseException:
            self._give_up_one()
            raise

    async def _wait(self) -> Connection | None:
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # it was served in the same moment
                connection = waiter.result()
                if connection is None:
                    self._give_up_one()
                else:
                    self.release(connection)
            raise

    def release(self, connection: Connection) -> None:
        """Take a connection back."""
        if connection.is_closed() or self._is_closed:
            connection.terminate()
            self._give_up_one()
        elif not self._serve(connection):
            now = asyncio.get_running_loop().time()
            self._idle.append((connection, now))
            while self._count > self._least and self._idle[0][1] < now - _IDLE:
                self._idle.popleft()[0].terminate()
                self._count -= 1

    def abandon(self, connection: Connection) -> None:
        """Take back a connection that did not answer in time, and lend it no more.

        Its link may have gone silent, and with it those of the connections that are idle.
        """
        self._give_up_one()
        self.forget()
        self._late.add(connection)
        asyncio.get_running_loop().call_later(_CANCELLING, self._end, connection)

    def _end(self, connection: Connection) -> None:
        self._late.discard(connection)
        connection.terminate()

    def _serve(self, connection: Connection | None) -> bool:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    def _give_up_one(self) -> None:
        if not self._serve(None):
            self._count -= 1

    def forget(self) -> None:
        """Close the connections that are not in use: the server they led to is not the one of now."""
        while self._idle:
            self._idle.pop()[0].terminate()
            self._count -= 1

    async def close(self, timeout: float) -> None:
        """Close all connections in good order; one that is still in use is closed when it comes back."""
        self._is_closed = True
        for connection in tuple(self._late):
            self._end(connection)
        while self._idle:
            connection, _ = self._idle.pop()
            self._count -= 1
            try:
                await connection.close(timeout=timeout)
            except FAILURES:
                connection.terminate()
