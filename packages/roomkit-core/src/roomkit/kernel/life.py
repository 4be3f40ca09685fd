"""The life of a kit: started once, closed once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING

from roomkit._dataclasses import dataclass
from roomkit.abc.errors import CloseError, InvalidInputError, KitClosedError
from roomkit.kernel.runtime.closing import Closing
from roomkit.kernel.runtime.scope import inside
from roomkit.kernel.runtime.store_clock import follow_store
from roomkit.models.enums import ChannelType
from roomkit.models.vocabulary import declared

if TYPE_CHECKING:
    from roomkit.kernel.assembly.kernel import Kernel


__all__ = ["KitLife", "PluginSteps"]

_SHORTEST_PERIOD = 1.0
_starting: ContextVar[KitLife | None] = ContextVar("roomkit_starting", default=None)
"""The life of the kit whose plugins or channels are being started by the caller's task."""


@dataclass(slots=True, frozen=True, kw_only=True)
class PluginSteps:
    """Steps with the plugins of a kit while it starts and closes."""

    scan: Callable[[], Awaitable[object]]
    configure: Callable[[], Awaitable[None]]
    startup: Callable[[], Awaitable[object]]
    shutdown: Callable[[], Awaitable[object]]


class KitLife:
    """Starts and closes a kit, and knows whether it takes work."""

    def __init__(self, kernel: Kernel, plugins: PluginSteps, entered: Callable[[bool], None]) -> None:
        self._kernel = kernel
        self._plugins = plugins
        self._entered = entered
        self._ready = False
        self._configured = False
        self._starting: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._closed = False
        self._drained = False
        self._pushed: dict[object, partial[Awaitable[object]]] = {}  # bound: not yet withdrawn

    async def start(self) -> None:
        """Start the kit, unless it is started."""
        if self._ready or self._within_start():
            return
        self.check_open()
        if self._starting is None or (self._starting.done() and not self._ready):
            self._starting = self._kernel.ground.supervisor.begin(self._start(), "start of the kit")
        await asyncio.shield(self._starting)

    async def _start(self) -> None:
        token = _starting.set(self)
        try:
            await self._start_plugins()
            await self._begin_work()
        finally:
            _starting.reset(token)
        self._ready = True
        self._entered(not self._closed)

    async def _start_plugins(self) -> None:
        kernel = self._kernel
        is_new = not self._configured
        if is_new:
            await self._plugins.scan()
            self._check_words()
            await self._plugins.configure()
            self._configured = True
        await kernel.ground.locks.open()
        await kernel.ground.realtime.open()
        if is_new:
            await self._plugins.startup()

    def _check_words(self) -> None:
        """Refuse options with words that neither the core nor a plugin declares. Raises InvalidInputError."""
        try:
            for each in self._kernel.ground.settings.identity_channel_types or ():
                declared(ChannelType, each)
        except ValueError as error:
            raise InvalidInputError(f"identity_channel_types cannot be used: {error}") from None

    async def _begin_work(self) -> None:
        """Start the channels, once the plugins had their chance to add some, and reclaim pending work."""
        kernel, settings = self._kernel, self._kernel.ground.settings
        await kernel.cluster.keeper.begin()
        await follow_store(kernel.ground.clock, kernel.ground.store)
        if kernel.ground.files.are_kept:
            await kernel.operations.sweeper.begin()
        await kernel.cluster.starts.begin()
        period = max(_SHORTEST_PERIOD, settings.lease_seconds / 3)
        if kernel.ground.lease.worker_id is not None:
            await kernel.sending.pause_signals.listen(kernel.sending.pacing.pause)
            await kernel.timeline.rights_signals.begin()
            await kernel.sending.consent_signals.begin()
            await kernel.sending.shown.listen()
            await kernel.work.interruptions.begin()
            kernel.cluster.reclaim.begin(period)
            if settings.sweep_interval is None:
                kernel.ground.timers.begin()

    async def close(self) -> None:
        """Close the kit, or wait until it is closed."""
        if self._closing is not None:
            await asyncio.wait((self._closing,))
            return
        self._closed = True
        self._entered(False)
        self._closing = self._kernel.ground.supervisor.begin(self._close(), "close of the kit")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        kernel = self._kernel
        closing = Closing(kernel.ground.settings.close_timeout, kernel.ground.supervisor)
        kernel.work.speculations.close()
        if kernel.ground.channels.starts:
            await closing.step("starts of channels", kernel.cluster.starts.close)
        kernel.sending.follows.retry_no_more()
        kernel.sending.shown.close()
        closing.failures.extend(await kernel.entry.sources.close(closing.left / 4))
        stuck = await kernel.ground.supervisor.end_services(closing.left / 4)
        await kernel.ground.supervisor.drain(closing.left / 2)
        self._drained = True
        stuck += await kernel.ground.supervisor.cancel(closing.left / 2)
        kernel.work.lanes.leave_behind()
        kernel.ground.supervisor.cancel_abandoned()
        if stuck:
            closing.failures.append(TimeoutError(f"did not end when cancelled: {', '.join(stuck)}"))
        await closing.step("ledger", kernel.outcomes.ledger.flush)
        for channel_id, channel in kernel.ground.channels.items():
            await closing.step(f"channel {channel_id}", channel.close)
        while self._pushed:
            _, callback = self._pushed.popitem()
            name = getattr(callback.func, "__qualname__", type(callback.func).__name__)
            await closing.step(f"callback {name}", callback)
        if self._configured:
            await closing.step("plugins", self._plugins.shutdown)
        await closing.step("followers", kernel.sending.follows.close)
        await closing.step("wake-ups", kernel.sending.wakeups.end)
        await closing.step("lease", kernel.cluster.keeper.end)
        await closing.step("realtime", kernel.ground.realtime.close)
        await closing.step("telemetry", kernel.ground.telemetry.close)
        await closing.step("locks", kernel.ground.locks.close)
        await closing.step("fetch", kernel.ground.fetch.close)
        if kernel.ground.files.are_kept:
            await closing.step("media", kernel.ground.files.media.close)
        await closing.step("store", kernel.ground.store.close)
        if closing.failures:
            raise CloseError("the kit closed, but not all of it went well", closing.failures)

    def push_async_callback[**P](
        self, callback: Callable[P, Awaitable[object]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Callable[[], None]:
        """Have `close()` await a call; return a function that withdraws it."""
        self.check_open()
        if not callable(callback):
            raise InvalidInputError(
                f"{type(callback).__name__} cannot be called when the kit closes: push an async function"
            )
        key = object()
        self._pushed[key] = partial(callback, *args, **kwargs)

        def withdraw() -> None:
            self._pushed.pop(key, None)

        return withdraw

    def check_open(self) -> None:
        """Refuse new work of a kit that closes. Raises KitClosedError."""
        # Running work may still write until it ends.
        if self._closed and (self._drained or not inside()):
            raise KitClosedError("the kit is closed, or closing, and takes no new work: build another")

    def _within_start(self) -> bool:
        """Whether the caller is a plugin or channel that is being started, and may use the kit already."""
        return _starting.get() is self

    async def enter(self) -> None:
        """Be open and started. Raises KitClosedError."""
        self.check_open()
        if not self._ready and not self._within_start():
            await self.start()
