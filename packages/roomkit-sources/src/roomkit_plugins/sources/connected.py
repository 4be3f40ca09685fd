"""What sources over a connection share: connecting again, handing over, and stopping in order."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, override

from roomkit.abc.log import get_logger
from roomkit.authoring.limits import TokenBucketRateLimiter
from roomkit.authoring.source import BaseSourceProvider
from roomkit.models.delivery import InboundMessage, InboundResult
from roomkit.models.enums import SourceStatus
from roomkit_plugins.sources.errors import SourceBrokenError
from roomkit_plugins.wire.reading import unquoted

if TYPE_CHECKING:
    from roomkit.abc.source import EmitCallback
    from roomkit.models.channel import RateLimit
    from roomkit.models.source import SourceHealth

__all__ = ["ConnectedSource", "StoppedError"]

_log = get_logger("roomkit.sources")
_FIRST_BACKOFF = 1.0
_LEAST_BACKOFF = 0.1
"""Seconds, where the server chooses: of no wait at all the double would be none, either."""


class StoppedError(Exception):
    """The source was stopped while it waited."""


class ConnectedSource(BaseSourceProvider):
    """Runs one connection after the other, and hands over what comes, one message at a time.

    Without `reconnect` a connection that breaks is raised, and the kit restarts the source as it was
    attached. With it the source connects again by itself, after a wait that doubles from one second to
    `max_backoff`. What would fail in the same way again (`SourceBrokenError.is_final`) is raised all the
    same.
    """

    def __init__(
        self, name: str, channel_id: str, *, reconnect: bool, max_backoff: float, limit: RateLimit | None
    ) -> None:
        super().__init__()
        self._name = name
        self._channel_id = channel_id
        self._reconnect = reconnect
        self._max_backoff = max_backoff
        self._limit = limit
        self._limiter = TokenBucketRateLimiter(max_keys=1)
        self._waiting: asyncio.Timeout | None = None
        self._backoff = _FIRST_BACKOFF
        self._unparsed = 0
        self._ignored = 0

    @property
    @override
    def name(self) -> str:
        return self._name

    @abstractmethod
    async def _connect(self, emit: EmitCallback) -> None:
        """Connect, set CONNECTED, and hand over what comes; return when the server has nothing more to say.

        Raises SourceBrokenError for a connection that breaks, StoppedError from what it waits for.
        """

    @override
    async def start(self, emit: EmitCallback) -> None:
        self._reset_stop()
        self._backoff = _FIRST_BACKOFF
        self._set_status(SourceStatus.CONNECTING)
        try:
            while not await self._ended(emit):
                await self._pause(self._backoff)
                self._backoff = min(self._backoff * 2, self._max_backoff)
        except StoppedError:
            pass
        except SourceBrokenError as error:
            self._set_status(SourceStatus.ERROR, str(error))
            raise
        finally:
            if self.status is not SourceStatus.ERROR:
                self._set_status(SourceStatus.STOPPED)

    async def _ended(self, emit: EmitCallback) -> bool:
        """Run one connection; return whether the server ended it for good, False to connect again."""
        try:
            await self._connect(emit)
        except SourceBrokenError as error:
            if error.is_final or not self._reconnect:
                raise
            self._set_status(SourceStatus.RECONNECTING, str(error))
            _log.warning("source %s connects again in %s s: %s", self._name, self._backoff, error)
            return False
        return True

    @override
    async def stop(self) -> None:
        await super().stop()
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())

    @override
    async def healthcheck(self) -> SourceHealth:
        """Return a snapshot; `unparsed` and `ignored` in its metadata count what made no message."""
        return self._health.replace(metadata={"unparsed": self._unparsed, "ignored": self._ignored})

    def _connected(self) -> None:
        self._backoff = min(_FIRST_BACKOFF, self._max_backoff)
        self._set_status(SourceStatus.CONNECTED)

    def _wait_at_first(self, milliseconds: int) -> None:
        """Take a server's word for the wait before the next connection, within the bounds of ours."""
        most = self._max_backoff
        wanted = milliseconds / 1000 if milliseconds < most * 1000 else most  # an int may exceed any float
        self._backoff = min(max(wanted, _LEAST_BACKOFF), most)

    async def _unless_stopped[T](self, waiting: Awaitable[T]) -> T:
        """Await what may take any time. Raises StoppedError once the source is stopped.

        Only waits for the outside are ended so; a message that is being handed over is handed over.
        """
        try:
            async with asyncio.timeout(None) as self._waiting:
                if self._should_stop():
                    self._waiting.reschedule(asyncio.get_running_loop().time())
                return await waiting
        except TimeoutError:
            if self._should_stop():
                raise StoppedError from None
            raise
        finally:
            self._waiting = None

    async def _pause(self, seconds: float) -> None:
        await self._unless_stopped(asyncio.sleep(seconds))

    def _read(self, parse: Callable[[], InboundMessage | None], size: int) -> InboundMessage | None:
        """Return the message of what came; what cannot be parsed is counted and reported, not raised."""
        try:
            found = parse()
        except Exception as error:  # noqa: BLE001  # a parser may raise anything: it is reported
            self._report_unparsed(error, size)
            return None
        if found is None:
            self._ignored += 1
        return found

    def _report_unparsed(self, error: Exception, size: int) -> None:
        self._unparsed += 1
        said = unquoted(error) if isinstance(error, KeyError | ValueError) else type(error).__name__
        _log.warning("source %s got %s bytes that are no message: %s", self._name, size, said)
        if self.services is not None:
            self.services.report(
                "source_unparsed",
                channel_id=self._channel_id,
                source_name=self._name,
                error=said,
                bytes=size,
                unparsed=self._unparsed,
            )

    async def _hand_over(self, message: InboundMessage, emit: EmitCallback) -> None:
        """Emit a message until it is stored or refused for good; nothing else is read before."""
        self._record_message()
        if self._limit is not None:
            await self._unless_stopped(self._limiter.wait("messages", self._limit))
        backoff = _FIRST_BACKOFF
        while True:
            result = await emit(message)
            if not isinstance(result, InboundResult) or result.stored:
                return
            await self._pause(backoff)
            backoff = min(backoff * 2, self._max_backoff)
