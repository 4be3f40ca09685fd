"""The contract of turn executors: where the model of an agent is asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Self

from roomkit._dataclasses import dataclass

if TYPE_CHECKING:
    from roomkit.abc.ai import AIProvider
    from roomkit.abc.services import Services
    from roomkit.abc.telemetry import TelemetryProvider
    from roomkit.models.ai import StreamEvent
    from roomkit.models.generation import AIContext, AIResponse

__all__ = ["QuarantinedTurn", "TurnExecutor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedTurn:
    """A model turn that is not run any more; nothing of its conversation is kept."""

    turn_id: str
    agent: str
    """The agent's name; empty if the turn could not be read."""
    attempts: int
    """How many executor processes began it."""
    reason: str
    at: datetime
    """By the clock of the service that has the queue."""


class TurnExecutor(ABC):
    """Asks agents' models: in this process, or in others by a queue.

    An agent without an executor asks its provider itself. One with an executor hands it each request for
    the model, under the agent's name, and a process that calls `serve` with a provider of that name answers
    it. The turn itself stays with the room's worker: memory, the tool loop, the gates of every tool call,
    steering and the commit. So an executor process needs neither the rooms' store nor the tools, and nothing
    that a queue carries can run anything but the providers that the process itself was given.

    `AIContext.room` is not handed on: a provider that is executed elsewhere gets None. `trace_parent` is, so
    that spans of the process that answers are part of the room's trace; there the provider gets the place
    below the span `turn.serve`. In the room's worker `turn.wait` measures how long no process took it. A
    `response_schema` reaches it as a JSON Schema; `parsed` comes back as the caller asked for it, an instance
    of the model or JSON.

    Each request is answered by one process at a time, whose lease is renewed while it works. If that
    process dies, is paused beyond its lease or cannot reach the queue, another one runs the request again,
    unless any part of the answer has been released: then the stream fails with `ProviderError`, as when a
    provider's connection breaks in the middle, and nothing is said twice. A request that ended
    `max_attempts` processes is quarantined.

    All methods may be called concurrently. Errors are those of the provider, with the same fields; those of
    the executor are ProviderError too: OVERLOADED if no process took the request in time or too many wait,
    CONNECTION if the queue or the process was lost, TIMEOUT after `turn_seconds`, TOO_LONG for a request
    beyond `max_request_bytes`, SERVER for one that was quarantined (never retryable), BAD_RESPONSE for an
    answer that cannot be read.
    """

    _services: Services | None = None
    _users: set[object]

    @property
    def is_process_local(self) -> bool:
        """Whether only this process can answer."""
        return True

    @property
    def counters(self) -> Mapping[str, int]:
        """How often what happened here since the start, by name; see the executor's documentation."""
        return {}

    def bind(self, services: Services) -> None:
        """Take the services of an agent that uses the executor, for telemetry and reports; no I/O."""
        self._services = services

    async def open(self) -> Self:
        """Connect, and check that turns can pass. Idempotent.

        Raises a RoomKitError within a few seconds if not, which says what failed and what to do.
        """
        return self

    @abstractmethod
    async def generate(self, agent: str, context: AIContext) -> AIResponse:
        """Return the whole answer of the agent's provider. Cancelling the call cancels the provider's."""

    @abstractmethod
    def stream(self, agent: str, context: AIContext) -> AsyncGenerator[StreamEvent]:
        """Yield the answer's pieces in the provider's order, and one `StreamDone`, last.

        Closing the generator cancels the provider's call, on whichever machine it runs. A reader that does
        not read stops the provider once a bounded number of pieces waits.
        """

    @abstractmethod
    async def serve(
        self,
        agents: Mapping[str, AIProvider],
        *,
        limit: int = 8,
        telemetry: TelemetryProvider | None = None,
    ) -> None:
        """Answer requests for these agents until `close()`, at most `limit` at once.

        Starts the providers first, and closes them last. Requests for other agents are left to other
        processes. When cancelled it returns unanswered turns to the queue. While the queue cannot be
        reached it tries again, for ever. Raises InvalidInputError for no agents, or a limit below 1, and
        what `open` and a provider's `start` raise.

        Each request is a span of `telemetry`, `turn.serve`, at its place in the room's trace; without it, of
        the services that the executor is bound to. It ends with an error if the provider fails, the request
        is cancelled, or the process loses it.

        All providers are closed; raises CloseError with what they raised then, if nothing else was raised.
        """

    async def quarantined(self) -> Sequence[QuarantinedTurn]:
        """Return the requests that were quarantined, the newest first, at most a hundred."""
        return ()

    def attach(self, user: object) -> None:
        """Note that `user`, the provider of an agent, asks by the executor; the same object only once.

        Users count by identity, not by the names of their agents: two kits of one process may have agents of
        one name on one executor.
        """
        self._attached().add(user)

    async def detach(self, user: object) -> None:
        """Note that `user` does not ask any more; the last one closes the executor."""
        users = self._attached()
        if user in users:
            users.discard(user)
            if not users:
                await self.close()

    def _attached(self) -> set[object]:
        if "_users" not in self.__dict__:
            self._users = set()  # bound: the agents of this process, each attached until it is closed
        return self._users

    async def close(self) -> None:
        """Stop serving, within its time, and disconnect. Idempotent."""
