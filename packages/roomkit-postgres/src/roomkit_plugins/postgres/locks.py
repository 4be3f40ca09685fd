"""Room locks for many workers: advisory locks of PostgreSQL, all of a process over one connection."""

from __future__ import annotations

import asyncio
from asyncio import get_running_loop
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import datetime
from hashlib import blake2b
from random import random
from types import TracebackType
from typing import Self, override

from roomkit.abc.errors import LockLostError, StoreError
from roomkit.abc.locks import RoomLockManager
from roomkit.abc.log import get_logger
from roomkit.memory.kept_locks import KeptLocks
from roomkit.memory.locks import InMemoryLockManager
from roomkit_plugins.postgres.config import PostgresLockConfig
from roomkit_plugins.postgres.line import Connection, Line, Order
from roomkit_plugins.postgres.session import answering, check_ours, shared_session
from roomkit_plugins.postgres.statements import (
    END_WHEN_SILENT,
    FIND_FENCE,
    MAKE_FENCE,
    ORDERS,
    RAISE_FENCE,
    TERMINATE,
    WAITED_FOR,
    WHO_AM_I,
    Act,
    Answer,
)

__all__ = ["PostgresLockManager"]

logger = get_logger("roomkit.postgres")

_LOOK_AGAIN = 1.0
"""Seconds after which a waiter tries again without a notification: the holder may have died."""
_SILENCE = 15.0
"""Seconds after which the server ends a session that it hears nothing of, and its locks with it.

A process that is paused keeps its connection, and would keep its rooms for as long.
"""
_COURTESY = 0.01
"""Seconds that this process leaves a room to the others, when they waited while it had its turn."""
_REMEMBERED = 1024
_SHARE = 8
"""A process keeps locks in one part of so many of the server's lock table, which all sessions share."""


class PostgresLockManager(RoomLockManager):
    """Guards rooms between all workers that use one database and namespace; see `RoomLockManager`.

    Give it a DSN, or a `PostgresLockConfig`. Everything goes over one connection, which is made at the
    first lock or at `open()`: however many rooms are held or waited for, the server sees one session, and the
    locks of rooms that are asked for at the same moment are one round trip. It needs a session of its
    own, and checks that it has it in each round trip and every five seconds: a pooler in transaction mode
    cannot keep locks, and is refused with StoreAccessError, or LockLostError once it is in use.

    Waiters of this process are served in order of arrival; between processes the order is not kept, but
    none is omitted while others take turns. A waiter is woken by a notification, and looks by itself
    about every second.

    The lock of a room that this process uses again and again stays with it, so that entering asks the
    server nothing and yields the same token. It is released when another process asks for it (by a
    notification), 30 s after its last use, and by `close()`; `kept` counts such locks. At most an eighth
    of the server's lock table is used for them: 800 rooms with the server's default settings.

    Entering yields the fencing token. When the connection breaks, held locks are lost: they are counted in
    `lost` and logged once, and its holders go on, for their commits are fenced; who waits goes on
    waiting on the next connection. Entering raises LockLostError when no connection can be had for
    `acquire_timeout`, and at once when the server refuses.
    """

    def __init__(self, config: PostgresLockConfig | str, *, namespace: str | None = None) -> None:
        self.config = PostgresLockConfig.of(config)
        self.namespace = self.config.namespace if namespace is None else namespace
        self._turns = InMemoryLockManager()
        self._server = _Server(self.config, self.namespace)

    @override
    def __repr__(self) -> str:
        return f"PostgresLockManager({self.config.where!r}, namespace={self.namespace!r})"

    async def probe(self) -> str:
        """Return that the server gives a session, as `SupportsProbe` says. Raises StoreError."""
        return await answering(self.config)

    @property
    def lost(self) -> int:
        """How many locks were lost while they were held."""
        return self._server.lost_locks

    @property
    def held(self) -> int:
        """How many locks are held now."""
        return self._server.held

    @property
    def kept(self) -> int:
        """How many locks that no task holds stay with this process for its next use."""
        return len(self._server.kept)

    @override
    async def open(self) -> Self:
        """Connect now instead of at the first lock. Raises StoreError."""
        await self._server.ask(Act.NOTHING, _NOBODY)
        return self

    @override
    async def close(self) -> None:
        await self._server.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @override
    def locked(self, room_id: str) -> _Hold:
        return _Hold(self._turns, self._server, room_id)

    @override
    def turn(self, room_id: str) -> AbstractAsyncContextManager[None]:
        return self._turns.locked(room_id)


class _Hold:
    """One acquisition: first the turn within this process, then the lock from the server."""

    __slots__ = ("_grant", "_room_id", "_server", "_turn")

    _grant: _Grant

    def __init__(self, turns: InMemoryLockManager, server: _Server, room_id: str) -> None:
        self._turn = turns.locked(room_id)
        self._server = server
        self._room_id = room_id

    async def __aenter__(self) -> int:
        await self._turn.__aenter__()
        try:
            self._grant = await self._server.acquire(self._room_id)
        except BaseException:
            await self._turn.__aexit__(None, None, None)  # never waits
            raise
        return self._grant.token

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The order is in the queue before the next waiter can queue its own, so no caller waits for it.
        self._server.leave(self._grant, is_lost=isinstance(error, LockLostError))
        await self._turn.__aexit__(kind, error, traceback)


class _Place:
    """The two advisory locks of a room: its own, and the one of those who wait for it."""

    __slots__ = ("door", "room")

    def __init__(self, namespace: str, room_id: str) -> None:
        identity = room_id.encode("utf-8", "surrogatepass")
        key = blake2b(namespace.encode("utf-8", "surrogatepass"), digest_size=32).digest()
        self.room = _number(identity, key, b"room")
        self.door = _number(identity, key, b"door")


class _Session:
    """What one connection holds. Of a session that is gone nothing can be released any more."""

    __slots__ = ("held", "is_gone", "mark", "pid", "started")

    def __init__(self, mark: str, pid: int, started: datetime | None) -> None:
        self.mark = mark
        self.pid = pid
        self.started = started
        self.held = 0
        self.is_gone = False


class _Grant:
    """A lock that is held, or kept for the next holder."""

    __slots__ = ("place", "room_id", "session", "token")

    def __init__(self, room_id: str, place: _Place, session: _Session, token: int) -> None:
        self.room_id = room_id
        self.place = place
        self.session = session
        self.token = token


class _LockOrder(Order):
    """An order of the locks; `session` is where it was done."""

    __slots__ = ("act", "place", "session")

    def __init__(self, act: Act, place: _Place, session: _Session | None) -> None:
        # Trying again on a new session is right: what the old one may have taken went with it.
        super().__init__(is_repeatable=session is None)
        self.act = act
        self.place = place
        self.session = session


class _Waiter:
    """A task of this process that waits for a lock of another; `announced` is where it said so."""

    __slots__ = ("announced", "called")

    def __init__(self) -> None:
        self.called = asyncio.Event()
        self.announced: _Session | None = None


class _Server:
    """The locks as the server has them."""

    def __init__(self, config: PostgresLockConfig, namespace: str) -> None:
        self._config = config
        self._namespace = namespace
        self._channel = f"roomkit_locks_{blake2b(namespace.encode(), digest_size=8).hexdigest()}"
        self._line: Line[_LockOrder] = Line(config, f"the lock manager of {config.where}", self)
        self._session = _Session("", 0, None)
        self._waiters: dict[int, set[_Waiter]] = {}  # bound: the tasks that wait, one a room
        self._awaited: dict[int, float] = {}  # bound: _REMEMBERED; when others waited for what we gave back
        self._grants: dict[int, _Grant] = {}  # bound: the locks that are held or kept
        self.kept: KeptLocks[_Grant] = KeptLocks(self._give_back, 0)
        self._has_left_locks = False
        """Whether a session may still hold rooms for us on the server: then we come back to end it."""
        self.lost_locks = 0

    @property
    def held(self) -> int:
        return self._session.held

    async def close(self) -> None:
        await self._give_up_kept()
        await self._line.close()
        self._session.is_gone = True
        self._session.held = 0
        self._grants.clear()
        self._wake_all()

    async def _give_up_kept(self) -> None:
        """Release kept locks while the connection is open: its end would notify no waiter."""
        self.kept.rest()
        if self._line.is_connected:
            with suppress(StoreError):  # the connection is gone, and the locks with it
                await self.ask(Act.NOTHING, _NOBODY)

    # -- what tasks ask ------------------------------------------------------------------------

    async def acquire(self, room_id: str) -> _Grant:
        kept = self.kept.take(room_id)
        if kept is not None:
            kept.session.held += 1
            return kept
        place = _Place(self._namespace, room_id)
        try:
            if not self._is_awaited(place):
                order = await self.ask(Act.TRY, place)
                if order.outcome.result() > 0:
                    return self._granted(room_id, order)
            self.kept.asked(room_id)  # it would not stay here for long
            return self._granted(room_id, await self._wait(place))
        except StoreError as error:
            raise LockLostError(f"the lock of room {room_id!r} cannot be taken: {error}") from error

    def leave(self, grant: _Grant, *, is_lost: bool) -> None:
        """Keep the lock for the next holder, or release it; `is_lost`: the store has seen a later holder."""
        if grant.session.is_gone:
            return
        grant.session.held -= 1
        if is_lost or not self.kept.keep(grant.room_id, grant):
            self._give_back(grant)

    def _give_back(self, grant: _Grant) -> None:
        self._grants.pop(grant.place.room, None)
        self._order_back(Act.RELEASE, grant.place, grant.session)

    async def ask(self, act: Act, place: _Place) -> _LockOrder:
        """Have it done, and return the order; a lock that comes for a task that is cancelled is released."""
        order = _LockOrder(act, place, None)
        self._line.submit(order)
        try:
            await order.outcome
        except asyncio.CancelledError:
            outcome = order.outcome
            if outcome.done() and not outcome.cancelled() and outcome.exception() is None:
                self._undo(order, outcome.result())
            raise
        return order

    async def _wait(self, place: _Place) -> _LockOrder:
        waiter = _Waiter()
        self._waiters.setdefault(place.room, set()).add(waiter)
        try:
            if self._is_awaited(place):
                del self._awaited[place.room]
                await self._make_way(place, waiter)
            while True:
                waiter.called.clear()
                order = await self._try(place, waiter)
                answer = order.outcome.result()
                if answer > 0:
                    return order
                if answer == Answer.TAKEN:
                    await _called(waiter, _LOOK_AGAIN * (1 + random() / 4))
        finally:
            self._withdraw(place, waiter)

    def _is_awaited(self, place: _Place) -> bool:
        return get_running_loop().time() - self._awaited.get(place.room, -_LOOK_AGAIN) < _LOOK_AGAIN

    async def _make_way(self, place: _Place, waiter: _Waiter) -> None:
        """Let the others have the lock first."""
        await self._announce(place, waiter, Act.ANNOUNCE)
        await _called(waiter, _COURTESY)

    async def _try(self, place: _Place, waiter: _Waiter) -> _LockOrder:
        if waiter.announced is not None and not waiter.announced.is_gone:
            return await self.ask(Act.ASK, place)
        return await self._announce(place, waiter, Act.ANNOUNCE_AND_ASK)

    async def _announce(self, place: _Place, waiter: _Waiter, act: Act) -> _LockOrder:
        order = await self.ask(act, place)
        if order.outcome.result() != Answer.UNHEARD:
            waiter.announced = order.session
        return order

    def _withdraw(self, place: _Place, waiter: _Waiter) -> None:
        others = self._waiters[place.room]
        others.discard(waiter)
        if not others:
            del self._waiters[place.room]
        if waiter.announced is not None:
            self._order_back(Act.WITHDRAW, place, waiter.announced)

    def _granted(self, room_id: str, order: _LockOrder) -> _Grant:
        assert order.session is not None
        grant = _Grant(room_id, order.place, order.session, order.outcome.result())
        if not order.session.is_gone:
            self._grants[order.place.room] = grant
        return grant

    def _undo(self, order: _LockOrder, answer: int) -> None:
        """Undo an acquisition for a task that is gone."""
        session = order.session
        if session is None:
            return
        if answer > 0 and not session.is_gone:
            session.held -= 1
            self._order_back(Act.RELEASE, order.place, session)
        announced = order.act in (Act.ANNOUNCE, Act.ANNOUNCE_AND_ASK) and answer != Answer.UNHEARD
        if announced:
            self._order_back(Act.WITHDRAW, order.place, session)

    def _order_back(self, act: Act, place: _Place, session: _Session) -> None:
        if not session.is_gone:
            self._line.submit(_LockOrder(act, place, session))

    # -- what the line asks --------------------------------------------------------------------

    @property
    def is_on_duty(self) -> bool:
        return self._has_left_locks

    async def prove(self, connection: Connection) -> None:
        await check_ours(self._config, connection, self._session.mark)
        self.kept.expire()
        if self.kept and await self._is_waited_for(connection):
            logger.info(
                "Another process waited for a room lock that was kept here and did not ask for it, as "
                "workers of an earlier version do: no lock is kept for a minute"
            )
            self.kept.rest()

    async def _is_waited_for(self, connection: Connection) -> bool:
        """Whether others wait for a kept lock: none that asked for it can, as it was released then."""
        places = [grant.place for grant in self._grants.values() if grant.room_id in self.kept]
        rooms, doors = [place.room for place in places], [place.door for place in places]
        waited = {row[0] for row in await connection.fetch(WAITED_FOR, rooms, doors)}
        return any(room in self._grants and self._grants[room].room_id in self.kept for room in waited)

    async def prepare(self, connection: Connection, mark: str) -> None:
        await connection.execute(END_WHEN_SILENT, f"{int(_SILENCE * 1000)}ms")
        if not await connection.fetchval(FIND_FENCE):
            await connection.execute(MAKE_FENCE)
        await connection.execute(RAISE_FENCE)
        await connection.add_listener(self._channel, self._notified)
        await connection.add_listener(f"{self._channel}_asked", self._asked)
        before = self._session
        if before.started is not None:
            await connection.execute(TERMINATE, before.pid, before.started)
        self._has_left_locks = False
        me = await connection.fetchrow(WHO_AM_I)
        self._session = _Session(mark, me["pid"], me["backend_start"])
        self.kept.most = me["lock_table"] // _SHARE

    async def perform(self, connection: Connection, orders: Sequence[_LockOrder]) -> None:
        session = self._session
        due = [order for order in orders if order.session is None or order.session is session]
        answers = await self._put(connection, due) if due else ()
        if session.is_gone:
            raise ConnectionError("the connection was lost while its last answer came in")
        for order, answer in zip(due, answers, strict=True):
            self._answered(order, answer, session)
        for order in orders:
            if not order.outcome.done():  # it releases a lock of an earlier session
                order.outcome.set_result(Answer.NOT_HELD)

    async def _put(self, connection: Connection, orders: Sequence[_LockOrder]) -> Sequence[int]:
        rows = await connection.fetch(
            ORDERS,
            [order.act for order in orders],
            [order.place.room for order in orders],
            [order.place.door for order in orders],
            self._channel,
            self._session.mark,
        )
        if len(rows) < len(orders):
            raise shared_session(self._config.where)
        return [row[0] for row in rows]

    def lost(self, error: StoreError) -> None:
        session = self._session
        session.is_gone = True
        self._has_left_locks |= bool(self._grants)
        self._grants.clear()
        self.kept.lose()
        if session.held:
            self._has_left_locks = True
            self.lost_locks += session.held
            logger.warning(
                "The connection that held the locks of %d rooms broke; their holders go on, and a commit "
                "that comes after another holder's is refused: %s",
                session.held,
                error,
            )
            session.held = 0
        self._wake_all()

    def _answered(self, order: _LockOrder, answer: int, session: _Session) -> None:
        if order.session is not None:
            self._given_back(order, answer)
        else:
            order.session = session
            if answer > 0:
                session.held += 1
        if order.outcome.cancelled():
            self._undo(order, answer)
        else:
            order.outcome.set_result(answer)

    def _given_back(self, order: _LockOrder, answer: int) -> None:
        if answer == Answer.AWAITED:
            if len(self._awaited) >= _REMEMBERED:
                self._awaited.clear()
            self._awaited[order.place.room] = get_running_loop().time()
        elif answer == Answer.NOT_HELD and order.act is Act.RELEASE:
            self.lost_locks += 1
            logger.warning(
                "A room lock was no longer there when it was released, though its session at %s was: "
                "something else released it",
                self._config.where,
            )

    def _notified(self, connection: object, pid: int, channel: str, payload: object) -> None:
        if pid != self._session.pid:  # what we release ourselves, the next of us in turn asks for anyway
            for waiter in self._waiters.get(int(str(payload)), ()):
                waiter.called.set()

    def _asked(self, connection: object, pid: int, channel: str, payload: object) -> None:
        grant = self._grants.get(int(str(payload)))
        if grant is not None and pid != self._session.pid:
            self.kept.asked(grant.room_id)

    def _wake_all(self) -> None:
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.called.set()


def _number(identity: bytes, key: bytes, purpose: bytes) -> int:
    return int.from_bytes(blake2b(identity, digest_size=8, key=key, person=purpose).digest(), signed=True)


_NOBODY = _Place("", "")


async def _called(waiter: _Waiter, patience: float) -> None:
    try:
        async with asyncio.timeout(patience):
            await waiter.called.wait()
    except TimeoutError:
        return
