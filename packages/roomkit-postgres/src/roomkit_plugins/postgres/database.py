"""The server's connections, and writes that are made exactly once though connections break."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it has no py.typed

from roomkit.abc.errors import (
    RoomKitError,
    StoreAccessError,
    StoreBusyError,
    StoreClosedError,
    StoreError,
    StoreSchemaError,
    StoreUnavailableError,
)
from roomkit.models.base import new_id
from roomkit.models.values import findable
from roomkit_plugins.postgres.config import PostgresMediaConfig
from roomkit_plugins.postgres.errors import FAILURES, refusal, translated
from roomkit_plugins.postgres.pool import Connection, Pool
from roomkit_plugins.postgres.schema import migrate
from roomkit_plugins.postgres.session import SESSION, connect

__all__ = ["Database"]

_HOPELESS = (StoreAccessError, StoreSchemaError)
"""What does not pass by itself in a few seconds."""
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5
_ATTEMPTS = 8
_AGAIN = frozenset({"40001", "40P01"})
"""Serialization failure and deadlock: nothing was done, and doing it again is all there is to do."""
_ENDED = frozenset({"57P01", "57P02", "57P03"})
"""The server shuts down, has crashed, or is starting."""
_FORGET_WRITERS = """
DELETE FROM roomkit_writers WHERE id IN (
    SELECT id FROM roomkit_writers WHERE used_at < now() - interval '1 day' FOR UPDATE SKIP LOCKED
)"""


class _Writer:
    """The numbered writes of one connection's worth of work, one after the other."""

    __slots__ = ("id", "serial")

    def __init__(self) -> None:
        self.id = new_id()
        self.serial = 0


class Database:
    """Opens at first use, and again whenever connections break.

    What finds no server, because it restarts, tries again for `acquire_timeout` seconds. `read` and
    `write` may be called concurrently. A cancelled `write` was made whole or not at all.
    """

    def __init__(self, config: PostgresMediaConfig) -> None:
        self._config = config
        self._pool: Pool | None = None
        self._opening: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._writers: list[_Writer] = []  # bound: the writes that ran at once, at most max_size
        self._tasks: set[asyncio.Task[Any]] = set()  # bound: the callers of write()

    # -- opening and closing ------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, creating or migrating the schema if needed. Raises StoreError."""
        while self._pool is None or self._closing is not None:
            self._check_open()
            if self._opening is None:
                self._opening = asyncio.create_task(self._open(), name="postgres-open")  # supervised: awaited
                self._opening.add_done_callback(self._opened)
            await asyncio.shield(self._opening)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening = None
        if not task.cancelled():
            task.exception()  # reported to waiting callers; there may be none

    async def _open(self) -> None:
        await self._patiently(self._migrate, self._deadline())
        self._pool = Pool(self._connect_once_more, self._config.min_size, self._config.max_size)

    async def _migrate(self) -> None:
        connection = await self._connect()
        try:
            await migrate(connection, self._config.where)
            if not await connection.fetchval("SELECT current_setting('transaction_read_only')::boolean"):
                await connection.execute(_FORGET_WRITERS)
        finally:
            connection.terminate()

    async def _connect(self) -> Connection:
        return await connect(self._config, SESSION)

    async def _connect_once_more(self) -> Connection:
        return await connect(self._config, SESSION, suspects_pooler=False)

    def _check_open(self) -> None:
        if self._closing is not None:
            raise StoreClosedError(f"the store at {self._config.where} is closed: make a new one")

    async def close(self) -> None:
        """Finish writes under way, then disconnect; later calls raise StoreClosedError. Idempotent."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name="postgres-close")  # supervised: awaited
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._opening is not None:
            await asyncio.wait([self._opening])
        while self._tasks:
            await asyncio.wait(self._tasks)
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close(self._config.acquire_timeout)

    # -- connections --------------------------------------------------------------------------

    @asynccontextmanager
    async def _connection(self, deadline: float) -> AsyncIterator[Connection]:
        """Lend a connection. Failures to get one raise StoreError."""
        pool = self._pool
        if pool is None:
            self._check_open()
            raise StoreUnavailableError(f"the store at {self._config.where} is not open")

        connection: Connection = pool.idle()
        if connection is None:
            connection = await self._patiently(partial(self._acquire, pool, deadline), deadline)
        give_back = pool.release
        try:
            yield connection
        except FAILURES as error:
            if isinstance(error, TimeoutError):
                give_back = pool.abandon
            elif _is_broken(error):
                connection.terminate()  # the driver does not always know yet
            raise
        finally:
            give_back(connection)

    async def _acquire(self, pool: Pool, deadline: float) -> Connection:
        try:
            async with asyncio.timeout_at(max(deadline, _now() + _FIRST_PAUSE)) as patience:
                return await pool.acquire()
        except TimeoutError as error:
            if patience.expired() and pool.is_full:
                raise StoreBusyError(
                    f"all {self._config.max_size} connections to {self._config.where} are in use, for longer "
                    "than acquire_timeout; nothing was done: slow down, or raise max_size"
                ) from error
            raise

    async def _patiently[T](self, work: Callable[[], Awaitable[T]], deadline: float) -> T:
        """Do what needs a server, again and again while none is there, until the deadline."""
        pause = _FIRST_PAUSE
        while True:
            try:
                return await work()
            except FAILURES as error:
                failure = self._translated(error)
                if isinstance(failure, _HOPELESS) or _now() + pause >= deadline:
                    raise failure from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _forget(self) -> None:
        if self._pool is not None:
            self._pool.forget()

    def _deadline(self) -> float:
        return _now() + self._config.acquire_timeout

    def _translated(self, error: BaseException) -> RoomKitError:
        return refusal(error) or translated(error, self._config.where)

    # -- reading ------------------------------------------------------------------------------

    async def fetch(self, query: str, *values: Any) -> list[Any]:
        """Return the rows of a query; it is asked again when its connection breaks.

        A value that PostgreSQL cannot hold, such as an id with a NUL, finds nothing.
        """
        deadline = self._deadline()
        while True:
            if self._pool is None or self._closing is not None:
                await self.open()
            try:
                async with self._connection(deadline) as connection:
                    rows: list[Any] = await connection.fetch(query, *values)
                    return rows
            except FAILURES as error:
                if refusal(error) is not None and (mended := findable(values)) != values:
                    values = mended
                    continue
                if not _is_broken(error) or _now() >= deadline:
                    raise self._translated(error) from error
            self._forget()

    async def fetchrow(self, query: str, *values: Any) -> Any:
        """Return the first row of a query, None when there is none."""
        rows = await self.fetch(query, *values)
        return rows[0] if rows else None

    # -- writing ------------------------------------------------------------------------------

    async def write(self, function: str, *values: Any, timeout: float | None = None) -> Any:
        """Call a function of the database, `name($3, $4)`, in a transaction of its own; return its JSON.

        When the connection breaks during it, the server is asked whether the write was made: if so its
        answer is returned, else it is made again. Raises StoreUnavailableError when that cannot be found out
        within `acquire_timeout`: it may have been made, and may still be. Cancellation does not undo it.
        """
        if self._pool is None or self._closing is not None:
            await self.open()
        return await asyncio.shield(self.supervise(self.write_once(function, *values, timeout=timeout)))

    def supervise[T](self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run work that `close` waits for."""
        task = asyncio.create_task(work, name="postgres-write")  # supervised: close() waits
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # reported to the caller; a cancelled one does not ask

    async def write_once(self, function: str, *values: Any, timeout: float | None = None) -> Any:
        """Do what `write` says in the caller's own task, which must not be cancelled."""
        writer = self._writers.pop() if self._writers else _Writer()
        query = f"SELECT roomkit_seal($1, $2, {function})::text"
        error: BaseException | None = None
        for _ in range(_ATTEMPTS):
            try:
                async with self._connection(self._deadline()) as connection:
                    answer = await connection.fetchval(
                        query, writer.id, writer.serial + 1, *values, timeout=timeout
                    )
            except RoomKitError:  # there was no connection
                self._writers.append(writer)
                raise
            except FAILURES as failure:
                error = failure
                if not _is_broken(failure) and not isinstance(failure, TimeoutError):
                    if getattr(failure, "sqlstate", None) in _AGAIN:
                        continue
                    self._writers.append(writer)
                    raise self._translated(failure) from failure
                answer = await self._settle(writer, failure)
            if answer is not None:
                writer.serial += 1
                self._writers.append(writer)
                return json.loads(answer)
            writer.serial += 1  # the number is spent: a write that comes late does not have it
            if isinstance(error, TimeoutError):
                break
        self._writers.append(writer)
        assert error is not None
        raise self._translated(error) from error

    async def _settle(self, writer: _Writer, cause: BaseException) -> str | None:
        """Return what the write that was lost has answered; None when it was not made, and now cannot be."""
        deadline = self._deadline()
        while True:
            try:
                self._forget()
                async with self._connection(deadline) as connection:
                    answer: str | None = await connection.fetchval(
                        "SELECT roomkit_settle($1, $2)::text", writer.id, writer.serial + 1
                    )
                    return answer
            except (*FAILURES, StoreError) as error:
                if isinstance(error, StoreError) or not _is_broken(error) or _now() >= deadline:
                    raise StoreUnavailableError(
                        f"the connection to {self._config.where} broke during a write, and the server "
                        "cannot be asked whether it was made: it may have been, and an event is safe to "
                        "commit again under the same id or idempotency key"
                    ) from cause


def _is_broken(error: BaseException) -> bool:
    """Whether a failure leaves open what the server did."""
    state = getattr(error, "sqlstate", None)
    if state:
        return state in _ENDED or state.startswith("08")
    # InternalClientError is what a connection says that the server has ended while it was idle.
    kinds = OSError | asyncpg.InterfaceError | asyncpg.InternalClientError
    return isinstance(error, kinds) and not isinstance(error, TimeoutError)


def _now() -> float:
    return asyncio.get_running_loop().time()
