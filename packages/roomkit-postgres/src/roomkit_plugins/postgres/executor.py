"""Agents' turns on other machines, through a queue in PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, override

from pydantic import SecretStr

from roomkit.abc.errors import StoreError
from roomkit.abc.executor import QuarantinedTurn
from roomkit.abc.log import get_logger
from roomkit.authoring.turns.executor import QueueTurnExecutor
from roomkit.authoring.turns.queue import (
    ClaimStanding,
    ClaimState,
    QueuedTurn,
    TurnClaim,
    TurnOptions,
    TurnQueue,
    TurnReading,
)
from roomkit.models.base import new_id
from roomkit.models.values import repaired
from roomkit_plugins.postgres import turn_statements as sql
from roomkit_plugins.postgres.config import PostgresLockConfig
from roomkit_plugins.postgres.line import Connection, Line, Order
from roomkit_plugins.postgres.session import answering, check_ours

__all__ = ["PostgresTurnConfig", "PostgresTurnExecutor"]

logger = get_logger("roomkit.postgres")


class PostgresTurnConfig(TurnOptions, PostgresLockConfig):
    """The settings of `PostgresTurnExecutor`: those of the database, and the bounds of turns."""

    @classmethod
    @override
    def of(cls, given: PostgresLockConfig | str) -> PostgresTurnConfig:
        """Return a configuration as it is, or with default bounds. Raises pydantic.ValidationError."""
        if isinstance(given, PostgresTurnConfig):
            return given
        if isinstance(given, PostgresLockConfig):
            fields = PostgresLockConfig.model_fields
            return cls.model_validate({name: getattr(given, name) for name in fields})
        return cls(dsn=SecretStr(given))


class PostgresTurnExecutor(QueueTurnExecutor):
    """Runs agents' turns in any process that serves them on one database and namespace; see `TurnExecutor`.

    Give it a DSN, or a `PostgresTurnConfig`. One connection does everything, LISTEN included. The queue's
    tables are made when they are missing; those of turns are UNLOGGED, so a piece of an answer waits for no
    disk. A server that crashes loses the turns under way, which then fail as any lost turn does: the
    message itself is in the store's ledger. Nothing of a conversation stays after its turn.
    """

    def __init__(self, config: PostgresLockConfig | str) -> None:
        self.config = PostgresTurnConfig.of(config)
        super().__init__(_Queue(self.config))

    @override
    def __repr__(self) -> str:
        return f"PostgresTurnExecutor({self.config.where!r}, namespace={self.config.namespace!r})"

    async def probe(self) -> str:
        """Return that the server gives a session, as `SupportsProbe` says. Raises StoreError."""
        return await answering(self.config)

    @property
    @override
    def is_process_local(self) -> bool:
        return False


class _Step(Order):
    """A statement; `rows` is its answer. Each may be made twice."""

    __slots__ = ("query", "rows", "values")

    def __init__(self, query: str, values: Sequence[Any]) -> None:
        super().__init__(is_repeatable=True)
        self.query = query
        self.values = values
        self.rows: Sequence[Any] = ()


class _Listen(_Step):
    """LISTEN on a channel."""

    __slots__ = ()


class _Queue(TurnQueue):
    """The queue as the server has it, and its notifications."""

    def __init__(self, config: PostgresTurnConfig) -> None:
        super().__init__(config)
        self._config = config
        self._line: Line[_Step] = Line(config, f"the turn executor of {config.where}", self)
        self._own = self._channel(new_id())
        self._channels = {self._own}  # bound: the agents served here
        self._mark = ""
        self._echo = asyncio.Event()
        self._is_open = False

    def _key(self, name: str) -> str:
        """Return a name of this namespace, as the tables and channels have it."""
        key = blake2b(self._config.namespace.encode("utf-8", "surrogatepass"), digest_size=32).digest()
        return blake2b(name.encode(), digest_size=16, key=key).hexdigest()

    def _channel(self, name: str) -> str:
        return f"roomkit_turn_{self._key(name)}"

    async def _do(self, query: str, *values: Any) -> Sequence[Any]:
        step = _Step(query, values)
        self._line.submit(step)
        await step.outcome
        return step.rows

    @override
    async def open(self) -> None:
        if not self._is_open:
            ((missing,),) = await self._do(sql.MISSING)
            if missing:
                await self._do(sql.CREATE)
            self._is_open = True

    @override
    async def close(self) -> None:
        await self._line.close()

    # -- a reader's steps ---------------------------------------------------------------------

    @override
    async def put(self, turn: QueuedTurn) -> bool:
        options = self.options
        times = (options.lease_seconds, options.turn_seconds, options.max_waiting)
        channel = self._channel(turn.agent)
        rows = await self._do(
            sql.PUT, turn.id, self._key(turn.agent), turn.body, self._own, *times, channel, turn.agent
        )
        return bool(rows[0]["accepted"])

    @override
    async def read(self, turn_id: str, after: int, *, limit: int, wake: bool) -> TurnReading | None:
        rows = await self._do(sql.READ, turn_id, after, limit, self.options.lease_seconds, wake)
        if not rows:
            return None
        row = rows[0]
        frames = tuple(zip(row["numbers"] or (), row["bodies"] or (), strict=True))
        return TurnReading(frames, row["frames"], row["attempts"], row["is_held"])

    @override
    async def keep(self, turn_ids: Sequence[str]) -> None:
        await self._do(sql.KEEP, [*turn_ids], self.options.lease_seconds)

    @override
    def drop(self, turn_id: str) -> None:
        self._line.submit(_Step(sql.DROP, (turn_id,)))

    # -- a server's steps ---------------------------------------------------------------------

    @override
    async def listen(self, agents: Sequence[str]) -> None:
        for channel in map(self._channel, agents):
            self._channels.add(channel)
            step = _Listen("", (channel,))
            self._line.submit(step)
            await step.outcome

    @override
    async def claim(self, agents: Sequence[str], limit: int) -> Sequence[TurnClaim]:
        options, keys = self.options, [*map(self._key, agents)]
        rows = await self._do(sql.CLAIM, keys, limit, options.max_attempts, options.lease_seconds, self._own)
        return [TurnClaim(row["id"], row["token"], row["body"]) for row in rows]

    @override
    async def renew(self, claim: TurnClaim) -> ClaimStanding:
        return _standing(await self._do(sql.RENEW, claim.id, claim.token, self.options.lease_seconds))

    @override
    async def append(self, claim: TurnClaim, number: int, frame: str) -> ClaimStanding:
        lease = self.options.lease_seconds
        return _standing(await self._do(sql.APPEND, claim.id, claim.token, lease, number, frame))

    @override
    async def release(self, claim: TurnClaim) -> None:
        await self._do(sql.RELEASE, claim.id, claim.token)

    @override
    async def quarantine(self, turn: QuarantinedTurn) -> None:
        agent, reason = json.dumps(turn.agent), repaired(turn.reason)
        await self._do(sql.QUARANTINE, self._key(""), turn.turn_id, agent, turn.attempts, reason)

    @override
    async def quarantined(self) -> Sequence[QuarantinedTurn]:
        rows = await self._do(sql.QUARANTINED, self._key(""))
        return [
            QuarantinedTurn(
                turn_id=row["id"],
                agent=json.loads(row["agent"]),
                attempts=row["attempts"],
                reason=row["reason"],
                at=row["at"],
            )
            for row in rows
        ]

    # -- what the line asks -------------------------------------------------------------------

    @property
    def is_on_duty(self) -> bool:
        """Whether the connection is restored without a request."""
        return self._is_open

    async def prepare(self, connection: Connection, mark: str) -> None:
        """Listen on a new connection, and have all look what they missed."""
        self._mark = mark
        for channel in tuple(self._channels):
            await connection.add_listener(channel, self._notified)
        self.heard("")

    async def prove(self, connection: Connection) -> None:
        """Notify ourselves: that the server answers does not show that it still listens for us."""
        await check_ours(self._config, connection, self._mark)
        self._echo.clear()
        await connection.execute("SELECT pg_notify($1, '')", self._own)
        await self._echo.wait()

    async def perform(self, connection: Connection, orders: Sequence[_Step]) -> None:
        """Do steps, one after the other."""
        for step in orders:
            if isinstance(step, _Listen):
                await connection.add_listener(step.values[0], self._notified)
            elif step.query is sql.CREATE:
                await connection.execute(step.query)
            else:
                step.rows = await connection.fetch(step.query, *step.values)
            if not step.outcome.done():
                step.outcome.set_result(0)

    def lost(self, error: StoreError) -> None:
        """Note that the connection broke; it is made again."""
        logger.warning("The connection of the turn executor broke, and is made again: %s", error)

    def _notified(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        if payload:
            self.heard(str(payload))
        else:
            self._echo.set()


def _standing(rows: Sequence[Any]) -> ClaimStanding:
    row = rows[0]
    if row["taken"] is not None:
        return ClaimStanding(ClaimState.HELD, row["taken"])
    return ClaimStanding(ClaimState.FENCED if row["is_wanted"] else ClaimState.DROPPED)
