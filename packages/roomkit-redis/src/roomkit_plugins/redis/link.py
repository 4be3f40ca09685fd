"""One connection for all requests of a process: those made while it is busy travel together."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, ResponseError
from roomkit.abc.log import get_logger
from roomkit_plugins.redis.config import RedisConnectionConfig
from roomkit_plugins.redis.server import TROUBLE, Server, Word, is_refusal, is_transient, send

__all__ = ["Link", "Pause", "Question", "deadline_of_start"]

logger = get_logger("roomkit.redis")

_BATCH = 256


@dataclass(slots=True, eq=False)
class Question:
    """A command, and the future of its answer. Cancelling the future withdraws it, if it was not sent."""

    command: Sequence[Word]
    deadline: float
    """In the loop's time. Beyond it the question is not sent any more."""
    answer: asyncio.Future[Any]
    attempts: int = 0
    """How often it was sent: the server may have done it as often."""


class Link:
    """Sends requests in order; reconnects, and repeats requests without an answer.

    So a command may be done twice, and must be one that does no harm then. Every question ends: with
    an answer, with an error, or at its deadline. It connects for the first.

    `limit` bounds how many wait; beyond it the one that waited longest fails. `on_connect` is called
    whenever there is a new connection.
    """

    def __init__(
        self,
        server: Server,
        *,
        patience: float,
        scripts: Sequence[str] = (),
        limit: int | None = None,
        on_connect: Callable[[], None] | None = None,
    ) -> None:
        self._server = server
        self._patience = patience
        self._scripts = scripts
        self._limit = limit
        self._on_connect = on_connect
        self._waiting: deque[Question] = deque()  # bound: the callers, or `limit`; purged at deadlines
        self._asked: deque[Question] = deque()  # bound: _BATCH
        self._connection: AbstractConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._busy = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._trouble: Exception | None = None
        self._closed = False

    def ask(self, *command: Word, deadline: float) -> Question:
        """Ask at the next turn of the loop, after all that was asked before."""
        loop = asyncio.get_running_loop()
        question = Question(command, deadline, loop.create_future())
        if self._closed:
            _fail(question, ConnectionError("the connection was closed"))
            return question
        if self._limit is not None and len(self._waiting) >= self._limit:
            _fail(self._waiting.popleft(), self._trouble or ConnectionError("too much waits to be sent"))
        self._waiting.append(question)
        self._busy.set()
        self._idle.clear()
        if self._task is None:
            self._task = loop.create_task(self._run(), name="redis-link")  # supervised: close() ends it
        return question

    async def answer(self, question: Question) -> Any:
        """Wait for the answer until the deadline. Raises what TROUBLE names."""
        try:
            async with asyncio.timeout_at(question.deadline):
                return await question.answer
        except TimeoutError:
            raise self._trouble or ConnectionError("there was no answer in time") from None

    async def settle(self, patience: float) -> None:
        """Wait until everything that was asked is answered, for a while."""
        self._purge()
        if not self._waiting and not self._asked:
            return
        try:
            async with asyncio.timeout(patience):
                await self._idle.wait()
        except TimeoutError:
            pass

    async def close(self, patience: float) -> None:
        """Take no more questions, wait a while for those asked, then disconnect. Idempotent."""
        self._closed = True
        await self.settle(patience)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._disconnect()

    # -- the task ---------------------------------------------------------------------------------

    async def _run(self) -> None:
        pause = Pause()
        try:
            while True:
                if not self._waiting:
                    self._busy.clear()
                    self._idle.set()
                    await self._busy.wait()
                    await asyncio.sleep(0)  # who is due in this turn of the loop travels with the first
                try:
                    await self._exchange(self._connection or await self._connect())
                    pause = Pause()
                    if self._trouble is not None:
                        logger.info("%s answers again", self._server)
                        self._trouble = None
                except TROUBLE as error:
                    await self._stumble(error, pause)
        except Exception as error:
            logger.exception("Asking %s failed", self._server)
            self._fail_all(error)
        finally:
            self._task = None
            self._fail_all(ConnectionError("the connection was closed"))
            self._idle.set()

    async def _connect(self) -> AbstractConnection:
        connection = await self._server.connect()
        try:
            async with asyncio.timeout(self._patience):
                for script in self._scripts:
                    await send(connection, ("SCRIPT", "LOAD", script))
                    await connection.read_response()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._connection = connection
        if self._on_connect is not None:
            self._on_connect()
        return connection

    async def _exchange(self, connection: AbstractConnection) -> None:
        asked = self._asked
        now = asyncio.get_running_loop().time()
        while self._waiting and len(asked) < _BATCH:
            question = self._waiting.popleft()
            if self._is_due(question, now):
                asked.append(question)
        if not asked:
            return
        for question in asked:
            question.attempts += 1
        async with asyncio.timeout(self._patience):
            await send(connection, *(question.command for question in asked))
            while asked:
                try:
                    answer = await connection.read_response()
                except ResponseError as error:
                    if is_transient(error):
                        raise
                    _fail(asked.popleft(), error)
                else:
                    question = asked.popleft()
                    if not question.answer.done():
                        question.answer.set_result(answer)

    async def _stumble(self, error: Exception, pause: Pause) -> None:
        """Disconnect, requeue requests without an answer, in order, and wait before the next attempt."""
        await self._disconnect()
        self._waiting.extendleft(reversed(self._asked))
        self._asked.clear()
        if self._trouble is None:
            logger.warning("%s; it is tried again", self._server.explain(error))
        self._trouble = error
        if is_refusal(error):
            self._fail_all(error)
        await pause.wait()
        self._purge()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    def _purge(self) -> None:
        """Drop requests without a waiter, and late ones."""
        now = asyncio.get_running_loop().time()
        due = [question for question in self._waiting if self._is_due(question, now)]
        if len(due) < len(self._waiting):
            self._waiting = deque(due)  # bound: as before

    def _is_due(self, question: Question, now: float) -> bool:
        if question.deadline <= now:
            _fail(question, self._trouble or ConnectionError("there was no answer in time"))
        return not question.answer.done()

    def _fail_all(self, error: Exception) -> None:
        while self._asked or self._waiting:
            _fail((self._asked or self._waiting).popleft(), error)


@dataclass(slots=True)
class Pause:
    """The pauses between attempts to connect: none, short, longer, then about a second each."""

    _seconds: float = field(default=0.0)

    async def wait(self) -> None:
        """Wait for the next attempt."""
        await asyncio.sleep(self._seconds * random.uniform(0.75, 1.25))  # not all workers at once
        self._seconds = min(2 * self._seconds or 0.05, 1.0)


def deadline_of_start(config: RedisConnectionConfig) -> float:
    """Return by when a server must have answered at the start, in the loop's time."""
    return asyncio.get_running_loop().time() + config.connect_timeout


def _fail(question: Question, error: Exception) -> None:
    if not question.answer.done():
        question.answer.set_exception(error)
        question.answer.exception()  # retrieved: the caller may be gone
