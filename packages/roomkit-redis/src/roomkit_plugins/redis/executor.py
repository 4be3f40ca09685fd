"""Agents' turns on other machines, through a queue in Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, override

from pydantic import SecretStr

from redis.exceptions import AuthenticationError
from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.abc.executor import QuarantinedTurn
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
from roomkit_plugins.redis import turn_scripts as lua
from roomkit_plugins.redis.config import RedisConnectionConfig
from roomkit_plugins.redis.link import Link
from roomkit_plugins.redis.listener import Listener
from roomkit_plugins.redis.server import TROUBLE, Server, Word

__all__ = ["RedisTurnConfig", "RedisTurnExecutor"]

_CLOSING = 1.0


class RedisTurnConfig(TurnOptions, RedisConnectionConfig):
    """The settings of `RedisTurnExecutor`: those of the server, and the bounds of turns."""

    @classmethod
    @override
    def of(cls, config: RedisConnectionConfig | str | None) -> RedisTurnConfig:
        """Return the settings that were given, or those of a bare url, with default bounds."""
        if isinstance(config, RedisTurnConfig):
            return config
        if isinstance(config, RedisConnectionConfig):
            fields = RedisConnectionConfig.model_fields
            return cls.model_validate({name: getattr(config, name) for name in fields})
        return cls() if config is None else cls(url=SecretStr(config))


class RedisTurnExecutor(QueueTurnExecutor):
    """Runs agents' turns in any process that serves them on one Redis and prefix; see `TurnExecutor`.

    Two connections, whatever the number of turns. Nothing of a conversation stays after its turn: all keys of
    a turn have an expiry. A Redis that loses its data loses the turns under way, which then fail as any
    lost turn does: the message itself is in the store's ledger.
    """

    def __init__(self, config: RedisConnectionConfig | str | None = None) -> None:
        self.config = RedisTurnConfig.of(config)
        self._server = Server(self.config)
        super().__init__(_Queue(self.config, self._server))

    @override
    def __repr__(self) -> str:
        return f"RedisTurnExecutor({self._server})"

    async def probe(self) -> str:
        """Return that the server can be worked with, as `SupportsProbe` says. Raises ProviderError."""
        return await self._server.probe()

    @property
    @override
    def is_process_local(self) -> bool:
        return False


class _Queue(TurnQueue):
    """The queue as the server has it, and its notifications."""

    def __init__(self, config: RedisTurnConfig, server: Server) -> None:
        super().__init__(config)
        self._config = config
        self._server = server
        # One slot of a cluster for all: a step touches an agent's queue and a turn.
        self._stem = f"{config.prefix}:{server.database}:{{turns}}:"
        self._own = f"{self._stem}process:{new_id()}"
        self._link = Link(server, patience=config.connect_timeout, scripts=lua.SCRIPTS)
        self._listener = Listener(server, self._receive, self._connected)
        self._is_open = False

    def _turn(self, turn_id: str) -> tuple[str, str]:
        return f"{self._stem}turn:{turn_id}", f"{self._stem}frames:{turn_id}"

    def _queue(self, agent: str) -> str:
        return f"{self._stem}queue:{agent}"

    async def _do(self, script: str, keys: Sequence[Word], *values: Word) -> Any:
        deadline = asyncio.get_running_loop().time() + self._config.connect_timeout
        question = self._link.ask("EVALSHA", script, len(keys), *keys, *values, deadline=deadline)
        try:
            return await self._link.answer(question)
        except TROUBLE as error:
            code = ErrorCode.AUTH if isinstance(error, AuthenticationError) else ErrorCode.CONNECTION
            raise ProviderError(
                f"no turn can be executed: {self._server.explain(error)}", error_code=code, provider="redis"
            ) from error

    @override
    async def open(self) -> None:
        if not self._is_open:
            await self._do(lua.QUARANTINED, (f"{self._stem}quarantine",), 0)
            self._listener.want(self._own.encode())
            self._is_open = True

    @override
    async def close(self) -> None:
        await self._listener.close()
        await self._link.close(_CLOSING)

    async def _receive(self, _channel: bytes, message: bytes) -> None:
        self.heard(message.decode(errors="replace"))

    def _connected(self) -> None:
        """Have all look what they missed."""
        self.heard("")

    @property
    def _lease(self) -> int:
        return round(self.options.lease_seconds * 1_000_000)

    # -- a reader's steps ---------------------------------------------------------------------

    @override
    async def put(self, turn: QueuedTurn) -> bool:
        key, _ = self._turn(turn.id)
        seconds, most = round(self.options.turn_seconds * 1_000_000), self.options.max_waiting
        about = (turn.id, turn.agent, turn.body, self._own)
        keys = (key, self._queue(turn.agent))
        return bool(await self._do(lua.PUT, keys, *about, self._lease, seconds, most))

    @override
    async def read(self, turn_id: str, after: int, *, limit: int, wake: bool) -> TurnReading | None:
        found = await self._do(lua.READ, self._turn(turn_id), turn_id, after, limit, self._lease, int(wake))
        if found is None:
            return None
        taken, count, attempts, is_held, texts = found
        frames = tuple(enumerate((text.decode(errors="replace") for text in texts), taken + 1))
        return TurnReading(frames, count, attempts, bool(is_held))

    @override
    async def keep(self, turn_ids: Sequence[str]) -> None:
        await self._do(lua.KEEP, [self._turn(each)[0] for each in turn_ids], self._lease)

    @override
    def drop(self, turn_id: str) -> None:
        deadline = asyncio.get_running_loop().time() + self._config.connect_timeout
        keys = self._turn(turn_id)
        self._link.ask(
            "EVALSHA", lua.DROP, len(keys), *keys, turn_id, f"{self._stem}queue:", deadline=deadline
        )

    # -- a server's steps ---------------------------------------------------------------------

    @override
    async def listen(self, agents: Sequence[str]) -> None:
        for agent in agents:
            self._listener.want(self._queue(agent).encode())

    @override
    async def claim(self, agents: Sequence[str], limit: int) -> Sequence[TurnClaim]:
        keys = [*map(self._queue, agents)]
        about = (limit, self.options.max_attempts, self._lease, self._own, f"{self._stem}turn:")
        claims = await self._do(lua.CLAIM, keys, *about)
        return [
            TurnClaim(turn_id.decode(), token, body.decode(errors="replace"))
            for turn_id, token, body in claims
        ]

    @override
    async def renew(self, claim: TurnClaim) -> ClaimStanding:
        about = (claim.id, claim.token, self._lease, f"{self._stem}queue:")
        return _standing(await self._do(lua.RENEW, self._turn(claim.id), *about))

    @override
    async def append(self, claim: TurnClaim, number: int, frame: str) -> ClaimStanding:
        about = (claim.id, claim.token, self._lease, f"{self._stem}queue:", number, frame)
        return _standing(await self._do(lua.APPEND, self._turn(claim.id), *about))

    @override
    async def release(self, claim: TurnClaim) -> None:
        await self._do(lua.RELEASE, self._turn(claim.id), claim.id, claim.token, f"{self._stem}queue:")

    @override
    async def quarantine(self, turn: QuarantinedTurn) -> None:
        note = json.dumps([turn.turn_id, turn.agent, turn.attempts, turn.reason])
        await self._do(lua.QUARANTINE, (f"{self._stem}quarantine",), note)

    @override
    async def quarantined(self) -> Sequence[QuarantinedTurn]:
        return [_note(text) for text in await self._do(lua.QUARANTINED, (f"{self._stem}quarantine",), 100)]


def _standing(answer: Sequence[int]) -> ClaimStanding:
    state, taken = answer
    return ClaimStanding((ClaimState.HELD, ClaimState.DROPPED, ClaimState.FENCED)[state], taken)


def _note(text: bytes) -> QuarantinedTurn:
    at, _, note = text.decode().partition(" ")
    turn_id, agent, attempts, reason = json.loads(note)
    return QuarantinedTurn(
        turn_id=turn_id,
        agent=agent,
        attempts=attempts,
        reason=reason,
        at=datetime.fromtimestamp(int(at) / 1_000_000, UTC),
    )
