"""Event-driven sources: started, restarted, and watched."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import field
from functools import partial
from typing import TYPE_CHECKING, Any

from roomkit._dataclasses import dataclass
from roomkit.abc.attributes import mistyped, read, read_attribute
from roomkit.abc.errors import (
    ForeignCodeError,
    LockLostError,
    ProcessTimeoutError,
    RoomKitError,
    SourceAlreadyAttachedError,
    SourceNotFoundError,
    StoreClosedError,
    StoreError,
)
from roomkit.abc.log import get_logger
from roomkit.kernel.delivery.watermarks import of_channel
from roomkit.kernel.runtime.deadline import ends_task
from roomkit.memory.locks import InMemoryLockManager
from roomkit.models.delivery import DeliveryStatus, InboundMessage, InboundResult, ReceiptWatermark
from roomkit.models.enums import SourceStatus
from roomkit.models.realtime import EphemeralEvent, InboundSignal
from roomkit.models.source import SourceHealth
from roomkit.models.values import error_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit.abc.services import Home, Services
    from roomkit.abc.source import SourceProvider
    from roomkit.kernel.delivery.homes import HeldHomes
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.owned_tasks import SupervisedTasks
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.delivery import Delivery

__all__ = ["Sources"]

_log = get_logger("roomkit.sources")
_STOP_SECONDS = 10.0
_FIRST_RETRY = 0.5
_LAST_RETRY = 30.0

type Emitted = InboundMessage | DeliveryStatus | ReceiptWatermark | EphemeralEvent | InboundSignal


@dataclass(slots=True)
class _Attached:
    source: SourceProvider
    tasks: SupervisedTasks
    name: str
    auto_restart: bool
    restart_delay: float
    max_restart_delay: float
    max_restart_attempts: int | None
    gate: asyncio.Semaphore | None
    single: bool
    task: asyncio.Task[None] | None = None
    attempts: int = 0
    received: int = 0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    detached: bool = False
    refused: int = 0
    """Messages that came after it was detached."""
    exhausted: str | None = field(default=None)


class Sources:
    """Runs one source per channel and restarts it when it breaks."""

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        events: FrameworkEvents,
        process: Callable[[InboundMessage], Awaitable[InboundResult]],
        receive: Callable[[DeliveryStatus | ReceiptWatermark], Awaitable[Delivery | None]],
        signal: Callable[[EphemeralEvent | InboundSignal, str], Awaitable[None]],
        homes: HeldHomes,
    ) -> None:
        self._supervisor = supervisor
        self._events = events
        self._process = process
        self._receive = receive
        self._signal = signal
        self._homes = homes
        self._senders = InMemoryLockManager()
        self._attached: dict[str, _Attached] = {}

    async def attach(
        self,
        channel_id: str,
        source: SourceProvider,
        services: Services,
        tasks: SupervisedTasks,
        *,
        auto_restart: bool = True,
        restart_delay: float = 5.0,
        max_restart_delay: float = 300.0,
        max_restart_attempts: int | None = None,
        max_concurrent_emits: int | None = 10,
        single: bool = False,
    ) -> None:
        """Start a source for a channel; `single`, on one worker of all."""
        if channel_id in self._attached:
            raise SourceAlreadyAttachedError(
                f"channel {channel_id!r} has the source {self._attached[channel_id].name!r} already: "
                "detach_source first"
            )
        owner = f"source of channel {channel_id!r}"
        name = read_attribute(owner, source, "name", str)
        read(owner, "bind()", partial(source.bind, services), object)
        attached = _Attached(
            source,
            tasks,
            name,
            auto_restart,
            restart_delay,
            max_restart_delay,
            max_restart_attempts,
            asyncio.Semaphore(max_concurrent_emits) if max_concurrent_emits is not None else None,
            single,
        )
        self._attached[channel_id] = attached
        self._tell("source_attached", channel_id, attached)
        attached.task = self._supervisor.start(self._run(channel_id, attached), f"source {channel_id}")

    async def unregistered(self, channel_id: str) -> None:
        """Detach the source of a channel that is gone, if it has one."""
        if channel_id in self._attached:
            await self.detach(channel_id)

    async def detach(self, channel_id: str) -> None:
        """Stop a source, within its time, and forget it; what it emits afterwards is refused."""
        attached = self._attached.pop(channel_id, None)
        if attached is None:
            raise SourceNotFoundError(f"channel {channel_id!r} has no source: attach_source first")
        if not await self._stop(channel_id, attached, _STOP_SECONDS):
            _log.warning("source %s did not stop within %s s", attached.name, _STOP_SECONDS)

    async def _stop(self, channel_id: str, attached: _Attached, seconds: float) -> bool:
        """Stop a source, twice `seconds` at most; return whether it stopped."""
        attached.stopping.set()
        # A task, and not a timeout around the call: a stop that ignores its cancellation is left behind.
        stop = self._supervisor.begin(attached.source.stop(), f"stop of source {channel_id}")
        try:
            await asyncio.wait((stop,), timeout=seconds)
            if stop.done():
                stop.result()
                return True
            return False
        finally:
            stop.cancel()
            if attached.task is not None:
                attached.task.cancel()
                await asyncio.wait((attached.task,), timeout=seconds)
            for task in (stop, attached.task):
                if task is not None and not task.done():
                    self._supervisor.abandon(task)
            await attached.tasks.end()
            attached.detached = True
            self._tell("source_detached", channel_id, attached)

    async def health(self, channel_id: str) -> SourceHealth | None:
        """Return the source's own snapshot, or that it was stopped after repeated failures."""
        attached = self._attached.get(channel_id)
        if attached is None:
            return None
        health: object = await attached.source.healthcheck()
        if not isinstance(health, SourceHealth):
            raise mistyped(f"source {attached.name}", "healthcheck()", health, SourceHealth)
        if attached.exhausted is not None:
            health = health.replace(status=SourceStatus.ERROR, error=attached.exhausted)
        return health

    def statuses(self) -> dict[str, SourceStatus]:
        """Return the status of every source."""
        return {
            channel_id: SourceStatus.ERROR
            if attached.exhausted is not None
            else _status(channel_id, attached)
            for channel_id, attached in self._attached.items()
        }

    async def _run(self, channel_id: str, attached: _Attached) -> None:
        delay = attached.restart_delay
        while not attached.stopping.is_set():
            received = attached.received
            try:
                await self._start(channel_id, attached)
            except BaseException as error:  # a source may raise anything: it is reported
                if ends_task(error):
                    raise
                if attached.received > received:
                    # It was up and bringing messages: this is a new trouble, not the old one going on.
                    delay, attached.attempts = attached.restart_delay, 0
                attached.attempts += 1
                failure = error_text(error)
                _log.warning("source %s broke: %s", attached.name, error)
                self._tell("source_error", channel_id, attached, error=failure, attempt=attached.attempts)
                if self._exhausted(attached):
                    attached.exhausted = failure
                    self._tell(
                        "source_exhausted",
                        channel_id,
                        attached,
                        attempts=attached.attempts,
                        last_error=failure,
                    )
                    return
                await asyncio.sleep(delay)
                delay = min(delay * 2, attached.max_restart_delay)
            else:
                if not attached.stopping.is_set():
                    self._attached.pop(channel_id, None)
                    await attached.tasks.end()
                    self._tell("source_ended", channel_id, attached)
                return

    async def _start(self, channel_id: str, attached: _Attached) -> None:
        """Run the source until it ends; a single one where and while this worker is elected."""
        source = attached.source
        emit = partial(self._emit, channel_id, attached)
        if not attached.single:
            await source.start(emit)
            return

        async def run(home: Home) -> None:
            source.home = home
            await source.start(emit)

        await self._homes.elect(f"source:{channel_id}", run)

    @staticmethod
    def _exhausted(attached: _Attached) -> bool:
        if not attached.auto_restart:
            return True
        most = attached.max_restart_attempts
        return most is not None and attached.attempts >= most

    async def _emit(
        self, channel_id: str, attached: _Attached, emitted: Emitted
    ) -> InboundResult | Delivery | None:
        """Hand what a source emits to the kit, in the order of its sender; nothing bad breaks the source."""
        attached.received += 1
        sender = _sender_of(emitted)
        if sender is None:
            return await self._emit_in_turn(channel_id, attached, emitted)
        async with self._senders.locked(f"{emitted.channel_id or channel_id}\0{sender}"):
            return await self._emit_in_turn(channel_id, attached, emitted)

    async def _emit_in_turn(
        self, channel_id: str, attached: _Attached, emitted: Emitted
    ) -> InboundResult | Delivery | None:
        if attached.gate is None:
            return await self._hand(channel_id, attached, emitted)
        async with attached.gate:
            return await self._hand(channel_id, attached, emitted)

    async def _hand(
        self, channel_id: str, attached: _Attached, emitted: Emitted
    ) -> InboundResult | Delivery | None:
        """Take one thing in; retry while nothing can be stored, until the source is stopped."""
        delay = _FIRST_RETRY
        while True:
            if attached.detached:
                attached.refused += 1
                self._tell("source_message_refused", channel_id, attached, refused=attached.refused)
                return InboundResult(blocked=True, reason="source_detached")
            result = await self._take(channel_id, emitted)
            retried = _retried(result)
            if retried is None or attached.stopping.is_set():
                return result
            seconds = retried.retry_after or delay
            self._tell("source_waits", channel_id, attached, reason=retried.reason, seconds=seconds)
            delay = min(delay * 2, _LAST_RETRY)
            await self._wait(attached.stopping, seconds)

    @staticmethod
    async def _wait(stopping: asyncio.Event, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stopping.wait()

    async def _take(self, channel_id: str, emitted: Emitted) -> InboundResult | Delivery | None:
        try:
            match emitted:
                case DeliveryStatus(channel_id=None):
                    return await self._receive(emitted.replace(channel_id=channel_id))
                case DeliveryStatus():
                    return await self._receive(emitted)
                case ReceiptWatermark():
                    return await self._receive(of_channel(emitted, channel_id))
                case EphemeralEvent() | InboundSignal():
                    await self._signal(emitted, channel_id)
                    return None
                case _:
                    return await self._process(emitted)
        except Exception as error:  # noqa: BLE001  # a source may raise anything: it is reported
            if isinstance(error, RoomKitError) and not isinstance(error, ForeignCodeError):
                _log.warning("a message of channel %s was refused: %s", channel_id, error)
                return InboundResult(blocked=True, reason=error.code, error=error)
            _log.exception("a message of channel %s failed", channel_id)
            return InboundResult(blocked=True, reason="internal_error", error=error)

    def _tell(self, kind: str, channel_id: str, attached: _Attached, **data: Any) -> None:
        self._events.emit(kind, channel_id=channel_id, source_name=attached.name, **data)

    async def close(self, seconds: float) -> list[Exception]:
        """Detach every source, beside each other and within `seconds`; return the failures."""
        attached, self._attached = self._attached, {}
        stops = {
            self._supervisor.begin(self._close(channel_id, each, seconds / 2), f"end of {channel_id}")
            for channel_id, each in attached.items()
        }
        if stops:
            await asyncio.wait(stops)
        return [failure for stop in stops if (failure := stop.result()) is not None]

    async def _close(self, channel_id: str, attached: _Attached, seconds: float) -> Exception | None:
        try:
            stopped = await self._stop(channel_id, attached, seconds)
        except Exception as error:  # noqa: BLE001  # a source may raise anything: it is reported
            error.add_note(f"while closing: source {attached.name}")
            return error
        if stopped:
            return None
        return TimeoutError(f"source {attached.name} did not stop within {seconds} s")


def _sender_of(emitted: Emitted) -> str | None:
    """Return whose order something is in; receipts have none."""
    match emitted:
        case InboundMessage() | InboundSignal():
            return emitted.conversation or emitted.sender_id
        case EphemeralEvent():
            return emitted.user_id
    return None


def _retried(result: InboundResult | Delivery | None) -> InboundResult | None:
    """Return the result if nothing was stored for a reason that passes; else None."""
    if not isinstance(result, InboundResult) or result.event is not None:
        return None
    error = result.error
    passes = isinstance(error, StoreError | LockLostError) and not isinstance(error, StoreClosedError)
    return result if passes or result.reason in (ProcessTimeoutError.code, "rate_limited") else None


def _status(channel_id: str, attached: _Attached) -> SourceStatus:
    """Return a source's own status; ERROR if it cannot be read, so that the others' are."""
    try:
        status: SourceStatus = read_attribute(
            f"source of channel {channel_id!r}", attached.source, "status", SourceStatus
        )
    except ForeignCodeError as error:
        _log.warning("the status of source %s cannot be read: %s", attached.name, error)
        return SourceStatus.ERROR
    return status
