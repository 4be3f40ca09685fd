"""One connection of its own, and the task that gives it everybody's orders, many at once."""

from __future__ import annotations

import asyncio
from asyncio import Future, get_running_loop
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

import asyncpg  # type: ignore[import-untyped]  # it has no py.typed

from roomkit.abc.errors import (
    StoreAccessError,
    StoreClosedError,
    StoreError,
    StoreReadOnlyError,
    StoreSchemaError,
)
from roomkit.models.base import new_id
from roomkit_plugins.postgres.config import PostgresConnectionConfig
from roomkit_plugins.postgres.errors import FAILURES, translated
from roomkit_plugins.postgres.session import connect

__all__ = ["Connection", "Crew", "Line", "Order"]

type Connection = asyncpg.Connection[asyncpg.Record]

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
_ATTEMPTS = 4
"""So many attempts fit, at least, into the time for which an order waits for a server."""
_LASTING = 1.0
"""A connection that lived this long was a good one: the next is tried without delay."""
_BATCH = 500
_PROOF_INTERVAL = 5.0
"""Seconds after which the session has to prove again that it is there, and ours."""
_SILENCE = 5.0
"""Seconds without an answer after which a connection counts as broken: half-open ones never say so."""
_HOPELESS = (StoreAccessError, StoreReadOnlyError, StoreSchemaError)
"""What does not pass by itself in a few seconds."""
# So that a server notices within half a minute that a worker is gone without a word, and frees its locks.
_KEEPALIVE = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}


class Order:
    """Something to be done on the connection; `outcome` has the result, a StoreError, or is cancelled.

    A repeatable order that was under way when the connection broke is done again on the next one, up to
    four times: the server may refuse the order itself. Others fail then: whether they were done is not known.
    """

    __slots__ = ("attempts", "deadline", "is_repeatable", "outcome")

    def __init__(self, *, is_repeatable: bool) -> None:
        self.outcome: Future[int] = get_running_loop().create_future()
        self.is_repeatable = is_repeatable
        self.deadline = 0.0
        self.attempts = 0

    @property
    def may_be_repeated(self) -> bool:
        """Whether it is done again after its connection broke."""
        return self.is_repeatable and self.attempts <= _ATTEMPTS


class Crew[O: Order](Protocol):
    """What works on a line."""

    @property
    def is_on_duty(self) -> bool:
        """Whether the connection is to be restored when it breaks, without a request."""

    async def prepare(self, connection: Connection, mark: str) -> None:
        """Make a new connection ready, whose session has this mark. It may raise what the driver raises."""

    async def prove(self, connection: Connection) -> None:
        """Return if the connection does what it is for; else raise, or do not return."""

    async def perform(self, connection: Connection, orders: Sequence[O]) -> None:
        """Do the orders, in their order, and set the outcome of each. It may raise what the driver raises."""

    def lost(self, error: StoreError) -> None:
        """Take note that the connection that was prepared last is gone, and all that it held."""


class Line[O: Order]:
    """Keeps one connection, and hands its crew the waiting orders, in batches.

    It connects at the first order, and again when the connection breaks: at once, then ever more
    slowly. An attempt may take `connect_timeout`, however short orders wait: where connecting takes
    longer than that, later orders find the connection. Every five seconds the crew proves that the
    connection works; one that does not answer within five more is broken. An order that finds no server
    within `acquire_timeout` fails with a StoreError; a hopeless one (a wrong password) fails at once.
    """

    def __init__(self, config: PostgresConnectionConfig, name: str, crew: Crew[O]) -> None:
        self._config = config
        self._name = name
        self._crew = crew
        self._orders: deque[O] = deque()  # bound: the tasks that wait, and one order per lock they held
        self._connection: Connection | None = None
        self._connected_at = 0.0
        self._proof_due = 0.0
        self._failures = 0
        self._trouble: StoreError | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now, as far as is known."""
        return self._connection is not None

    @property
    def is_closed(self) -> bool:
        """Whether `close()` was called."""
        return self._closing.is_set()

    def submit(self, order: O) -> None:
        """Execute an order after all that were submitted before it; `order.outcome` has the result."""
        if self._closing.is_set():
            self._fail([order], self._closed_error())
            return
        order.deadline = get_running_loop().time() + self._config.acquire_timeout
        self._orders.append(order)
        if self._connection is None and self._expiry is None:
            self._expire()
        self.wake()

    def wake(self) -> None:
        """See whether there is something to do."""
        self._news.set()
        if self._task is None and not self._closing.is_set():
            self._task = asyncio.create_task(self._serve(), name=self._name)  # supervised: close() waits

    async def close(self) -> None:
        """End the connection in good order; orders that wait fail. Idempotent."""
        self._closing.set()
        self._news.set()
        if self._task is not None:
            if self._connection is None:
                self._task.cancel()
            done, _ = await asyncio.wait([self._task], timeout=self._config.acquire_timeout)
            if not done:
                self._task.cancel()
                await asyncio.wait([self._task])

    async def _serve(self) -> None:
        try:
            while not self._closing.is_set():
                if self._connection is not None and self._proof_due <= get_running_loop().time():
                    await self._prove(self._connection)
                elif not self._orders and (self._connection is not None or not self._crew.is_on_duty):
                    self._news.clear()
                    await self._idle()
                elif self._connection is None:
                    await self._connect()
                else:
                    await self._work(self._connection)
        finally:
            self._fail(self._orders, self._closed_error())
            self._stop_expiry()
            await self._hang_up()

    async def _idle(self) -> None:
        """Wait for news, or until the connection is to prove itself."""
        try:
            async with asyncio.timeout_at(self._proof_due if self._connection is not None else None):
                await self._news.wait()
        except TimeoutError:
            return

    async def _prove(self, connection: Connection) -> None:
        try:
            async with asyncio.timeout(_SILENCE):
                await self._crew.prove(connection)
        except (*FAILURES, StoreError) as error:
            self._lose(connection, translated(error, self._config.where))
        self._proof_due = get_running_loop().time() + _PROOF_INTERVAL

    async def _work(self, connection: Connection) -> None:
        batch: list[O] = []
        while self._orders and len(batch) < _BATCH:
            order = self._orders.popleft()
            if not order.outcome.done():
                order.attempts += 1
                batch.append(order)
        if not batch:
            return
        try:
            await self._crew.perform(connection, batch)
        except asyncio.CancelledError:
            self._fail(batch, self._closed_error())
            raise
        except Exception as error:  # noqa: BLE001  # any failure is passed to the waiting caller, and the line goes on
            failure = translated(error, self._config.where)
            if failure is not error:
                failure.__cause__ = error
            self._lose(connection, failure)
            again = [order for order in batch if order.may_be_repeated and isinstance(error, FAILURES)]
            self._put_back(again)
            self._fail([order for order in batch if order not in again], failure)

    def _put_back(self, orders: Sequence[O]) -> None:
        """Have orders performed on the next connection, even those that were under way for long."""
        patience = self._config.acquire_timeout / _ATTEMPTS
        for order in reversed(orders):
            if not order.outcome.done():
                order.deadline = max(order.deadline, get_running_loop().time() + patience)
                self._orders.appendleft(order)

    async def _connect(self) -> None:
        self._stop_expiry()
        self._expire()
        if self._failures:
            await self._pause()
            if self._closing.is_set():
                return
        try:
            async with asyncio.timeout(self._config.connect_timeout):
                self._connection = await self._connected()
        except (*FAILURES, StoreError) as error:
            self._failures += 1
            failure = translated(error, self._config.where)
            if failure is not error:
                failure.__cause__ = error
            self._trouble = failure
            if isinstance(failure, _HOPELESS):
                self._fail(self._orders, failure)
                self._orders.clear()
        else:
            self._trouble = None
            self._stop_expiry()
            self._connected_at = get_running_loop().time()
            self._proof_due = self._connected_at + _PROOF_INTERVAL

    async def _connected(self) -> Connection:
        settings = {"synchronous_commit": "off", **_KEEPALIVE}
        mark = new_id()
        patience = min(self._config.command_timeout, self._config.acquire_timeout, 2 * _SILENCE)
        connection: Connection = await connect(self._config, settings, mark, command_timeout=patience)
        try:
            await self._crew.prepare(connection, mark)
        except BaseException:
            connection.terminate()
            raise
        connection.add_termination_listener(self._ended)
        return connection

    def _expire(self) -> None:
        """Fail the orders that can wait no longer for a connection, and look again when the next is due."""
        loop = get_running_loop()
        now = loop.time()
        while self._orders and (self._orders[0].outcome.done() or self._orders[0].deadline <= now):
            self._fail([self._orders.popleft()], self._trouble or self._unreached())
        self._expiry = loop.call_at(self._orders[0].deadline, self._expire) if self._orders else None

    def _stop_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def _unreached(self) -> StoreError:
        return translated(TimeoutError(), self._config.where)

    async def _pause(self) -> None:
        """Wait before the next attempt; an order that comes in between still sees several."""
        longest = min(_LONGEST_PAUSE, self._config.acquire_timeout / _ATTEMPTS)
        delay = min(_FIRST_PAUSE * 2 ** min(self._failures - 1, 8), longest)
        try:
            async with asyncio.timeout(delay):
                await self._closing.wait()
        except TimeoutError:
            return

    def _ended(self, connection: object) -> None:
        """Hear from the driver that a connection has ended."""
        if self._connection is not None and connection is self._connection:
            gone = asyncpg.ConnectionDoesNotExistError("the connection was closed")
            self._lose(self._connection, translated(gone, self._config.where))

    def _lose(self, connection: Connection, failure: StoreError) -> None:
        if self._connection is None or connection is not self._connection:
            return
        self._connection = None
        connection.remove_termination_listener(self._ended)
        connection.terminate()
        lived = get_running_loop().time() - self._connected_at
        self._failures = 0 if lived > _LASTING else self._failures + 1
        self._crew.lost(failure)
        self._news.set()

    def _fail(self, orders: Iterable[O], failure: StoreError) -> None:
        for order in orders:
            if not order.outcome.done():
                order.outcome.set_exception(failure)
                order.outcome.exception()  # no caller waits for a release

    def _closed_error(self) -> StoreError:
        return StoreClosedError(f"{self._name} is closed: make a new one")

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        connection.remove_termination_listener(self._ended)
        try:
            await connection.close(timeout=_LASTING)
        except FAILURES:
            connection.terminate()
