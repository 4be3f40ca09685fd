"""The file's connections: one that writes, for everybody in turn, and a few that read."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, override

import aiosqlite

from roomkit.abc.errors import (
    InvalidInputError,
    RoomKitError,
    StoreBusyError,
    StoreClosedError,
    StoreCorruptError,
    StoreSchemaError,
    StoreUnavailableError,
)
from roomkit_plugins.sqlite.config import SQLiteMediaConfig
from roomkit_plugins.sqlite.damage import dropped_commits
from roomkit_plugins.sqlite.errors import translated
from roomkit_plugins.sqlite.files import make_private
from roomkit_plugins.sqlite.schema import migrate, version_of

__all__ = ["DatabaseFile"]

_OLDEST = (3, 38, 0)  # the first with JSON functions always built in
_BATCH = 256
_RETRY_SECONDS = 0.01

type Work[T] = Callable[[sqlite3.Connection], T]


class _Connection(aiosqlite.Connection):
    """A connection that runs whole pieces of work in its thread: one visit instead of one a statement."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connect, iter_chunk_size=64)
        self._thread.daemon = True  # a store that was not closed does not keep the program from ending
        self._stopped: asyncio.Future[Any] | None = None

    @override
    def stop(self) -> asyncio.Future[Any] | None:
        """Ask the thread to end, and remember that it was asked."""
        self._stopped = super().stop()
        return self._stopped

    async def connected(self) -> Self:
        """Connect; a failure leaves no thread behind."""
        try:
            await self
        except BaseException:
            if self._stopped is not None:
                await self._stopped
            raise
        return self

    async def run[T](self, work: Work[T]) -> T:
        """Run `work` after all that was asked before it; a cancellation does not stop it."""
        result: T = await self._execute(work, self._conn)  # type: ignore[no-untyped-call]  # not its public face
        return result


@dataclass(slots=True)
class _Job:
    """A queued write. `done` runs on the loop once it is on disk, before its caller resumes."""

    work: Work[Any]
    done: Callable[[Any], None] | None
    outcome: asyncio.Future[Any]


@dataclass(slots=True)
class _Failed:
    """A write that raised; nothing of it was written."""

    error: Exception


class DatabaseFile:
    """Opens at first use. Reads run concurrently; writes one after the other, in the order of asking.

    Writes that come while the disk is busy with others are written together, in one transaction:
    each succeeds or fails alone, and all of them wait for the disk once. When `write` returns, the
    change is on disk as `synchronous` says; when it raises, nothing of it is. A cancelled `write` was
    written whole or not at all.
    """

    def __init__(self, config: SQLiteMediaConfig) -> None:
        self._config = config
        self._writer: _Connection | None = None
        self._readers: list[_Connection] = []  # bound: config.readers
        self._idle: deque[_Connection] = deque(maxlen=config.readers)
        self._waiting: deque[asyncio.Future[None]] = deque()  # bound: the callers that wait for a reader
        self._jobs: deque[_Job] = deque()  # bound: config.max_waiting_writes, checked in write()
        self._writing: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self.refused = 0
        """How many writes were refused because too many waited."""

    # -- opening and closing ------------------------------------------------------------------

    async def open(self) -> None:
        """Open the file, creating or migrating it if needed. Raises StoreError."""
        while self._writer is None or self._closing is not None:
            self._check_open()
            if self._opening is None:
                opening = asyncio.create_task(self._open(), name="sqlite-open")  # supervised: awaited below
                self._opening = opening
                self._opening.add_done_callback(self._opened)
            await asyncio.shield(self._opening)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening = None
        if not task.cancelled():
            task.exception()  # reported to waiting callers; there may be none

    async def _open(self) -> None:
        connections: list[_Connection] = []  # bound: the writer and the readers
        try:
            for number in range(1 + self._config.readers):
                connection = _Connection(partial(_connect, self._config, writes=not number))
                connections.append(await connection.connected())
        except BaseException as error:
            for connection in connections:
                await connection.close()
            if isinstance(error, sqlite3.Error):
                raise translated(error, self._config.path) from error
            raise
        self._writer, *self._readers = connections
        self._idle.extend(self._readers)

    def _check_open(self) -> None:
        if self._closing is not None:
            raise StoreClosedError(f"the store {str(self._config.path)!r} is closed: make a new one")

    async def close(self) -> None:
        """Write the queue, then close; later calls raise StoreClosedError. Idempotent."""
        if self._closing is None:
            closing = asyncio.create_task(self._close(), name="sqlite-close")  # supervised: awaited below
            self._closing = closing
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._opening is not None:
            await asyncio.wait([self._opening])
        if self._writing is not None:
            await asyncio.wait([self._writing])
        while self._waiting:
            _resolve(self._waiting.popleft(), None)
        writer, readers = self._writer, self._readers
        self._writer, self._readers = None, []
        for connection in (*readers, *([writer] if writer is not None else ())):
            await connection.close()

    # -- reading ------------------------------------------------------------------------------

    async def read[T](self, work: Work[T]) -> T:
        """Run `work`, which only reads, on a connection of its own; it sees all that was written before."""
        if self._writer is None or self._closing is not None:
            await self.open()
        while not self._idle:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake()
                raise
            self._check_open()
        connection = self._idle.pop()  # the last used: its pages are in memory
        try:
            return await connection.run(work)
        except (sqlite3.Error, UnicodeEncodeError) as error:
            raise self._translated(error) from error
        except ValueError as error:
            self._raise_if_closed(error)
            raise
        finally:
            self._idle.append(connection)
            self._wake()

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _raise_if_closed(self, error: ValueError) -> None:
        if self._closing is not None and self._writer is None:
            raise StoreClosedError(f"the store {str(self._config.path)!r} was closed in between") from error

    # -- writing ------------------------------------------------------------------------------

    async def write[T](self, work: Work[T], done: Callable[[T], None] | None = None) -> T:
        """Run `work` in a transaction and return what it returns, once that is on disk.

        `work` may be run again when what it shared a transaction with could not be written. `done`
        runs on the loop, in the order of writing, even when the caller was cancelled.
        """
        if self._writer is None or self._closing is not None:
            await self.open()
        if len(self._jobs) >= self._config.max_waiting_writes:
            self.refused += 1
            raise StoreBusyError(
                f"{len(self._jobs)} writes to {str(self._config.path)!r} wait for the disk already; nothing "
                "was stored: slow down, or raise max_waiting_writes"
            )
        job = _Job(work, done, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        if self._writing is None:
            writing = asyncio.create_task(self._write(), name="sqlite-write")  # supervised: close() waits
            self._writing = writing
        result: T = await job.outcome
        return result

    async def maintain(self, work: Work[None]) -> None:
        """Run `work` between two transactions; writes wait for it."""
        await self.open()
        assert self._writer is not None
        try:
            await self._writer.run(work)
        except sqlite3.Error as error:
            raise self._translated(error) from error
        except ValueError as error:
            self._raise_if_closed(error)
            raise

    async def _write(self) -> None:
        assert self._writer is not None
        jobs: list[_Job] = []  # bound: _BATCH
        try:
            while self._jobs:
                jobs = [self._jobs.popleft() for _ in range(min(len(self._jobs), _BATCH))]
                jobs = [job for job in jobs if not job.outcome.cancelled()]
                if jobs:
                    await self._write_together(self._writer, jobs)
        finally:
            self._writing = None
            for job in (*jobs, *self._jobs):  # none, unless the loop ends under our feet
                job.outcome.cancel()
            self._jobs.clear()

    async def _write_together(self, writer: _Connection, jobs: Sequence[_Job]) -> None:
        try:
            results = await writer.run(partial(_transact, works=[job.work for job in jobs]))
        except Exception as error:  # noqa: BLE001  # handed to the callers, all of them
            results = [_Failed(error)] * len(jobs)
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, _Failed):
                self._fail(job.outcome, result.error)
            else:
                try:
                    if job.done is not None:
                        job.done(result)
                except Exception as error:  # noqa: BLE001  # written, but not understood: its caller gets it alone
                    self._fail(job.outcome, error)
                _resolve(job.outcome, result)

    def _fail(self, outcome: asyncio.Future[Any], error: Exception) -> None:
        if outcome.done():
            return
        if isinstance(error, sqlite3.Error | UnicodeEncodeError):
            error, cause = self._translated(error), error
            error.__cause__ = cause
        outcome.set_exception(error)

    def _translated(self, error: sqlite3.Error | UnicodeEncodeError) -> RoomKitError:
        if isinstance(error, sqlite3.Error):
            return translated(error, self._config.path)
        return InvalidInputError(f"an id or a text is not valid Unicode: {error.reason}; nothing was stored")


def _resolve(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


# -- in the connections' threads ----------------------------------------------------------------


def _connect(config: SQLiteMediaConfig, *, writes: bool) -> sqlite3.Connection:
    if sqlite3.sqlite_version_info < _OLDEST:
        raise StoreSchemaError(
            f"SQLite {sqlite3.sqlite_version} is too old for this store: use a Python built with 3.38"
        )
    path = config.path
    if not path.parent.is_dir():
        raise StoreUnavailableError(
            f"the folder {str(path.parent)!r} of the store does not exist: make it first"
        )
    if path.is_dir():
        raise StoreUnavailableError(f"{str(path)!r} is a folder: name a file in it")
    make_private(path)
    connection = sqlite3.connect(
        path,
        timeout=config.busy_timeout,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        if writes:
            _prepare_patiently(connection, config)
        else:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare_patiently(connection: sqlite3.Connection, config: SQLiteMediaConfig) -> None:
    """Prepare the file, and begin again while another connection prepares it too.

    SQLite does not wait for `busy_timeout` where two connections would wait for each other, as two that
    change a new file's journal mode at once: one of them fails immediately.
    """
    end = time.monotonic() + config.busy_timeout
    while True:
        try:
            return _prepare(connection, config)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= end:
                raise
            time.sleep(_RETRY_SECONDS)  # in the connection's thread


def _prepare(connection: sqlite3.Connection, config: SQLiteMediaConfig) -> None:
    version_of(connection, config.path)  # refused, if it must be, before anything is changed
    _check_log(connection, config)
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreUnavailableError(
            f"{str(config.path)!r} is on a file system without shared memory, such as a network drive: "
            "put it on a local disk"
        )
    connection.execute(f"PRAGMA synchronous = {config.synchronous}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")  # erased data is not left in the file's free space
    migrate(connection, config.path)


def _check_log(connection: sqlite3.Connection, config: SQLiteMediaConfig) -> None:
    """Refuse a log that was damaged, if each commit was synced to it before the next."""
    dropped = dropped_commits(config.path) if config.synchronous == "full" else 0
    if dropped > 1:
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)  # it would drop the log
        raise StoreCorruptError(
            f"the log of the store {str(config.path)!r} is damaged before its end, and commits that were "
            "synced would be dropped; nothing was changed: restore a backup, or copy the file and its -wal "
            'and open it once with synchronous="normal" to continue without them'
        )
    if dropped:  # one that a loss of power tore: the log begins again, so that it is not counted twice
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _transact(connection: sqlite3.Connection, works: Sequence[Work[Any]]) -> list[Any]:
    """Do all in one transaction, each of them whole or not at all."""
    if len(works) == 1:
        return [_alone(connection, works[0])]
    try:
        with _transaction(connection):
            return [work(connection) for work in works]
    except Exception:  # noqa: BLE001  # found again below, by the one whose it is
        pass
    try:
        with _transaction(connection):
            return [_apart(connection, work) for work in works]
    except sqlite3.Error:
        # Something took the whole transaction down, such as a full disk: who fits alone is written alone.
        return [_alone(connection, work) for work in works]


def _apart(connection: sqlite3.Connection, work: Work[Any]) -> Any:
    """Do one of several so that its failure is its own. Not the rule: it makes the full-text index write."""
    connection.execute("SAVEPOINT work")
    try:
        result = work(connection)
    except sqlite3.Error:
        raise
    except Exception as error:  # noqa: BLE001  # handed to its caller; the others go on
        connection.execute("ROLLBACK TO work")
        result = _Failed(error)
    connection.execute("RELEASE work")
    return result


def _alone(connection: sqlite3.Connection, work: Work[Any]) -> Any:
    try:
        with _transaction(connection):
            return work(connection)
    except Exception as error:  # noqa: BLE001  # handed to its caller
        return _Failed(error)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
