"""RoomKit: the one object a program talks to. It owns the parts and forwards to them."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from datetime import timedelta
from functools import cached_property, partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, override

from pydantic import ValidationError

from roomkit._names import nearest
from roomkit.abc.attributes import read, read_attribute
from roomkit.abc.channel import SupportsConnections
from roomkit.abc.choice import check_choice, chosen
from roomkit.abc.clock import Clock, SystemClock
from roomkit.abc.errors import (
    ChannelAlreadyRegisteredError,
    ChannelNotRegisteredError,
    CloseError,
    InvalidInputError,
    KitClosedError,
    MediaNotConfiguredError,
    ParticipantBannedError,
    ParticipantRemovedError,
    RoomKitError,
)
from roomkit.abc.log import get_logger
from roomkit.abc.namespaces import is_namespace, own_namespace
from roomkit.abc.records import checked, problems_of
from roomkit.abc.telemetry import TelemetryConfig, TelemetryProvider
from roomkit.kernel.assembly.ground import Backends
from roomkit.kernel.assembly.kernel import assemble
from roomkit.kernel.commit.hooks import HookEngine, HookFn, HookRegistration
from roomkit.kernel.delivery.transcode import DefaultContentTranscoder
from roomkit.kernel.flow.contract import (
    check_flags,
    check_media,
    check_store,
    made_locks,
    made_realtime,
    owner_of,
)
from roomkit.kernel.inbound.identity import IdentityHookFn, IdentityHookRegistration
from roomkit.kernel.inbound.pipeline import WAITS, Wait
from roomkit.kernel.inbound.routing import adapted
from roomkit.kernel.media.route import MediaApp
from roomkit.kernel.operations import RoomOperations
from roomkit.kernel.privacy.requests import DataSubjectRequests
from roomkit.kernel.rooms.checks import check_channel_id, check_registered
from roomkit.kernel.runtime.arguments import checks_arguments
from roomkit.kernel.runtime.closing import Closing
from roomkit.kernel.runtime.extensions import Extensions, PluginOptions
from roomkit.kernel.runtime.framework_events import FrameworkHandler
from roomkit.kernel.runtime.scope import inside
from roomkit.kernel.runtime.settings import kit_options
from roomkit.kernel.runtime.store_clock import StoreClock, follow_store
from roomkit.kernel.services.desk import ServicesDesk
from roomkit.kernel.services.owner import HOST
from roomkit.kernel.tenant import Tenant, Tenants
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.memory.store import InMemoryStore
from roomkit.models.channel import BINDING_DEFAULTS, RateLimit, RetryPolicy, binding_defaults
from roomkit.models.delivery import Delivery, DeliveryStatus
from roomkit.models.enums import (
    AgentResponsePolicy,
    AutoAttach,
    ChannelDirection,
    ChannelType,
    EphemeralEventType,
    HookExecution,
    HookTrigger,
    SourceStatus,
)
from roomkit.models.event import RoomEvent
from roomkit.models.options import KitOptions
from roomkit.models.room import AIConfig, Room, RoomTimers
from roomkit.models.source import SourceHealth
from roomkit.models.vocabulary import declared, is_declared
from roomkit.models.webhook import WebhookOutcome, WebhookRequest

if TYPE_CHECKING:
    from pydantic import SecretStr

    from roomkit.abc.channel import Channel
    from roomkit.abc.identity import IdentityResolver
    from roomkit.abc.locks import RoomLockManager
    from roomkit.abc.media import MediaStore
    from roomkit.abc.realtime import EphemeralCallback, RealtimeBackend
    from roomkit.abc.route import ASGIApp
    from roomkit.abc.router import InboundRoomRouter
    from roomkit.abc.services import GuardedFetch, MediaService, Services
    from roomkit.abc.source import SourceProvider
    from roomkit.abc.store import ConversationStore
    from roomkit.abc.transcoder import ContentTranscoder
    from roomkit.plugins.manager import PluginManager

__all__ = ["RoomKit"]

_log = get_logger("roomkit.kernel")
_SHORTEST_PERIOD = 1.0
_starting: ContextVar[RoomKit | None] = ContextVar("roomkit_starting", default=None)
"""The kit whose plugins or channels are being started by the caller's task."""
_DEFAULTS = KitOptions()


@checks_arguments()
class RoomKit(RoomOperations):
    """Holds conversations over many channels.

    Build one per process, register channels, create rooms and attach channels to them; then hand
    in messages from outside with `process_inbound`. `RoomKit()` works at once, with everything in
    memory. Times are in seconds. All methods may be called concurrently, and from hooks, tools and
    channels: a call about a room from inside that room's own work returns at the commit.

    Installed plugins are started with the kit: by `start()`, by `async with`, or by the first call
    that needs it. After `close()` every call that
    changes or sends something raises KitClosedError.
    """

    def __init__(
        self,
        store: ConversationStore | None = None,
        identity_resolver: IdentityResolver | None = None,
        identity_channel_types: Collection[ChannelType] | None = _DEFAULTS.identity_channel_types,
        inbound_router: InboundRoomRouter | None = None,
        lock_manager: RoomLockManager | None = None,
        realtime: RealtimeBackend | None = None,
        max_chain_depth: int = _DEFAULTS.max_chain_depth,
        identity_timeout: float = _DEFAULTS.identity_timeout,
        process_timeout: float = _DEFAULTS.process_timeout,
        telemetry: TelemetryProvider | TelemetryConfig | None = None,
        inbound_rate_limit: RateLimit | None = _DEFAULTS.inbound_rate_limit,
        *,
        transcoder: ContentTranscoder | None = None,
        agent_response_policy: AgentResponsePolicy = _DEFAULTS.agent_response_policy,
        retry_policy: RetryPolicy | None = _DEFAULTS.retry_policy,
        delivery_timeout: float = _DEFAULTS.delivery_timeout,
        agent_timeout: float = _DEFAULTS.agent_timeout,
        close_timeout: float = _DEFAULTS.close_timeout,
        abandon_after: float = _DEFAULTS.abandon_after,
        sweep_interval: float | None = _DEFAULTS.sweep_interval,
        lease_seconds: float = _DEFAULTS.lease_seconds,
        unclaimed_after: float = _DEFAULTS.unclaimed_after,
        retention: str | float | timedelta | None = _DEFAULTS.retention,
        max_claims: int = _DEFAULTS.max_claims,
        max_lane_backlog: int = _DEFAULTS.max_lane_backlog,
        max_webhook_bytes: int = _DEFAULTS.max_webhook_bytes,
        worker_url: str | None = _DEFAULTS.worker_url,
        require_opt_in: Collection[str] = _DEFAULTS.require_opt_in,
        suppression_key: str | SecretStr | None = _DEFAULTS.suppression_key,
        media: MediaStore | None = None,
        fetch: GuardedFetch | None = None,
        media_url: str | None = _DEFAULTS.media_url,
        media_limit: int = _DEFAULTS.media_limit,
        media_key: str | SecretStr | None = _DEFAULTS.media_key,
        timezone: str = _DEFAULTS.timezone,
        single_process: bool = _DEFAULTS.single_process,
        clock: Clock | None = None,
        plugins: PluginManager | None = None,
        tables: Mapping[str, object] | None = None,
        **options: Unpack[PluginOptions],
    ) -> None:
        """Build a kit; whatever is not given is in memory, or the default.

        Locks and realtime that are not given come from the store, if it has some that go with it.
        `max_chain_depth` bounds answers to answers; `process_timeout` covers all that comes before a
        commit; `delivery_timeout` one attempt of a delivery; `agent_timeout` one turn of an agent;
        `close_timeout` the whole of `close()`. Code of hooks, agents, channels and resolvers that has not
        ended `abandon_after` seconds after its cancellation is abandoned: it holds no room, lane or caller
        any longer, what it returns is ignored, and the framework event `work_abandoned` names it.
        `retry_policy` is for bindings without their own. `sweep_interval` is how often due room timers are
        looked for in the background: by default a third of `lease_seconds`, and in a store that ends with
        the process never. `lease_seconds` is after how long another worker, or this one started again,
        takes over what a killed worker had begun; workers of one store use the same. `unclaimed_after` is
        after how long a delivery fails whose channel no worker has registered. `retention` is how long
        rooms made by this kit keep their events, as `create_room` takes it. `tables` are plugins' own
        settings, by the name of their table in roomkit.toml: models, or mappings that `start()` checks.
        `options` are arguments that plugins declare (`registry.add_option`), components as a rule; a name
        that none declares raises TypeError.
        `require_opt_in` are the purposes for which nothing is sent to an address that has not agreed
        (`set_consent`); addresses in the register of consents are hashed with `suppression_key`, or with a
        key that the store keeps. `media` keeps files, of `media_limit` bytes at most; URLs of them begin with
        `media_url`, where the kit's routes are reached, and are signed with `media_key`, or with a key that
        the store keeps. `fetch` fetches from URLs that come from outside; by default the installed one does
        (roomkit-media). `timezone` is the zone for a `LocalTime` of people of whom none is known. Raises
        InvalidInputError for values that cannot work, and for a shared
        store with locks that only this process sees, unless `single_process` says that there is only one.
        """
        given = locals()
        settings = kit_options({name: given[name] for name in KitOptions.model_fields})
        store = store or InMemoryStore()
        locks = lock_manager or (None if single_process else made_locks(store))
        locks = locks or InMemoryLockManager()
        check_flags(store, locks)
        if locks.is_process_local and not store.is_process_local and not single_process:
            raise InvalidInputError(
                f"{type(store).__name__} is shared between processes but {type(locks).__name__} locks only "
                "this one: pass a shared lock_manager, or single_process=True if there is only one process"
            )
        if media is not None:
            check_media(media, store, single_process=single_process)
        clock = clock or SystemClock()
        check_store(store, clock)
        if clock.follows_store and not store.is_process_local:
            clock = StoreClock(clock)
        realtime = realtime or made_realtime(store) or InMemoryRealtime()
        check_flags(realtime)
        self._given_telemetry = telemetry if isinstance(telemetry, TelemetryProvider) else None
        kernel = assemble(
            settings,
            Backends(
                store=store,
                locks=locks,
                realtime=realtime,
                telemetry=telemetry,
                transcoder=transcoder or DefaultContentTranscoder(),
                clock=clock,
                resolver=identity_resolver,
                router=None if inbound_router is None else adapted(inbound_router),
                media=media,
                fetch=fetch,
                find_fetch=self._find_fetch,
                merge_of=lambda namespace: self.plugins.merge(namespace),
            ),
            partial(self.process_inbound, wait="committed"),
        )
        super().__init__(kernel, kernel.entry.inbound)
        self._plugins = plugins
        self._services = ServicesDesk(
            self, kernel, self._namespace_of, self.process_delivery_status, self._enter
        )
        own: Mapping[str, object] = {**options}
        self._check_options(own)
        self._tables: Mapping[str, object] = {**(tables or {}), **own}
        self._ready = False
        self._configured = False
        self._starting: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._closed = False
        self._drained = False
        self._pushed: dict[object, partial[Awaitable[object]]] = {}  # bound: not yet withdrawn

    # -- life of the kit ----------------------------------------------------------------------

    @classmethod
    async def from_config(
        cls,
        source: str | os.PathLike[str] | Mapping[str, object],
        *,
        plugins: PluginManager | None = None,
        **options: Any,
    ) -> Self:
        """Build a kit from `roomkit.toml`, or from the same as a mapping, and start it.

        `options` are constructor arguments that the file has no word for, or that override it.
        Raises ConfigError, naming every key that is wrong and the nearest right one.
        """
        from roomkit.plugins import default_manager
        from roomkit.plugins.config import read_config
        from roomkit.plugins.construction import build_components

        manager = plugins or default_manager()
        built = await build_components(read_config(source), manager)
        arguments: dict[str, Any] = {
            "store": built.store,
            "lock_manager": built.locks,
            "realtime": built.realtime,
            "telemetry": built.telemetry,
            "identity_resolver": built.identity,
            "inbound_router": built.router,
            "media": built.media,
            "fetch": built.fetch,
            "tables": built.tables,
            "plugins": manager,
            **built.options.given(),
            **options,
        }
        kit = cls(**arguments)
        try:
            for channel_id, channel in (*built.channels.items(), *built.agents.items()):
                kit.register_channel(channel, binding=built.bindings.get(channel_id))
            await kit.start()
            for channel_id, (source_provider, run) in built.sources.items():
                await kit.attach_source(channel_id, source_provider, **run.model_dump())
        except BaseException:
            with suppress(CloseError):  # the first failure is the one to report
                await kit.close()
            raise
        return kit

    async def start(self) -> None:
        """Find the installed plugins and start them for this kit. Once; later calls wait for the first.

        Locks and realtime backend are opened, then come plugins, the lease on a store that outlives the
        process, channels (for as long as a lease is; slower ones go on starting), and pending work is
        reclaimed. A plugin or channel that fails to start is reported and never stops the kit. Raises a
        RoomKitError that names what is wrong when store, locks or realtime backend cannot be used; a later
        call tries again.
        """
        if self._ready or self._within_start():
            return
        self._check_open()
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
        self._entered = not self._closed

    async def _start_plugins(self) -> None:
        kernel, manager = self._kernel, self.plugins
        is_new = not self._configured
        if is_new:
            await manager.ascan()
            self._check_words()
            self._tables = await self._plugin_settings(manager)
            manager.configure(self, self._tables)
            self._configured = True
        await kernel.ground.locks.open()
        await kernel.ground.realtime.open()
        if is_new:
            await manager.startup(self)

    def _check_words(self) -> None:
        """Refuse options with words that neither the core nor a plugin declares. Raises InvalidInputError."""
        try:
            for each in self._kernel.ground.settings.identity_channel_types or ():
                declared(ChannelType, each)
        except ValueError as error:
            raise InvalidInputError(f"identity_channel_types cannot be used: {error}") from None

    def _check_options(self, options: Mapping[str, object]) -> None:
        """Refuse constructor arguments that neither the core nor a plugin declares. Raises TypeError."""
        declared = self.plugins.options() if options else {}
        for name in options:
            if name not in declared:
                own = inspect.signature(RoomKit).parameters.keys() - {"options"}
                close = nearest(name, [*own, *declared])
                hint = f"did you mean {close!r}?" if close else "no installed plugin declares it"
                raise TypeError(f"RoomKit() got an unexpected keyword argument {name!r}: {hint}")

    async def _plugin_settings(self, manager: PluginManager) -> Mapping[str, object]:
        """Return plugins' own tables as their models. Raises ConfigError."""
        if not self._tables:
            return {}
        from roomkit.plugins.construction import plugin_settings

        return await plugin_settings(self._tables, manager)

    async def _begin_work(self) -> None:
        """Start the channels, once the plugins had their chance to add some, and reclaim pending work."""
        kernel, settings = self._kernel, self._kernel.ground.settings
        await kernel.shared.keeper.begin()
        await follow_store(kernel.ground.clock, kernel.ground.store)
        if kernel.ground.files.are_kept:
            await kernel.operations.sweeper.begin()
        await kernel.shared.starts.begin()
        period = max(_SHORTEST_PERIOD, settings.lease_seconds / 3)
        if kernel.ground.lease.worker_id is not None:
            await kernel.sending.pause_signals.listen(kernel.sending.pacing.pause)
            await kernel.timeline.rights_signals.begin()
            await kernel.sending.consent_signals.begin()
            await kernel.work.interruptions.begin()
            kernel.shared.reclaim.begin(period)
            if settings.sweep_interval is None:
                kernel.ground.timers.begin()

    @property
    def plugins(self) -> PluginManager:
        """The plugins of this kit: the process's own unless others were given."""
        if self._plugins is None:
            from roomkit.plugins import default_manager

            self._plugins = default_manager()
        return self._plugins

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Refuse new work, finish running work, and release everything, within `close_timeout`.

        What does not end in time is cancelled; its deliveries stay pending in the ledger. Every step
        is taken whatever the others do. Raises CloseError with all that went wrong. Idempotent:
        later calls wait for the first, and then raise nothing.
        """
        if self._closing is not None:
            await asyncio.wait((self._closing,))
            return
        self._closed = True
        self._entered = False
        self._closing = self._kernel.ground.supervisor.begin(self._close(), "close of the kit")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        kernel = self._kernel
        closing = Closing(kernel.ground.settings.close_timeout, kernel.ground.supervisor)
        kernel.work.speculations.close()
        if kernel.ground.channels.starts:
            await closing.step("starts of channels", kernel.shared.starts.close)
        kernel.sending.follows.retry_no_more()
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
            await closing.step("plugins", lambda: self.plugins.shutdown(self))
        await closing.step("followers", kernel.sending.follows.close)
        await closing.step("wake-ups", kernel.sending.wakeups.end)
        await closing.step("lease", kernel.shared.keeper.end)
        await closing.step("realtime", kernel.ground.realtime.close)
        await closing.step("telemetry", kernel.ground.telemetry.close)
        await closing.step("locks", kernel.ground.locks.close)
        await closing.step("fetch", kernel.ground.fetch.close)
        if kernel.ground.files.are_kept:
            await closing.step("media", kernel.ground.files.media.close)
        await closing.step("store", kernel.ground.store.close)
        if closing.failures:
            raise CloseError("the kit closed, but not all of it went well", closing.failures)

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run `work` in the background for as long as the kit is open; `close()` cancels it.

        For plugins and programs: the task is supervised, its failure logged and published as the
        framework event `background_error`.
        """
        self._kernel.ground.supervisor.serve(work, name)

    def push_async_callback[**P](
        self, callback: Callable[P, Awaitable[object]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Callable[[], None]:
        """Have `close()` await `callback(*args, **kwargs)`; return a function that withdraws it.

        For what is built on the kit and must not outlive it: a server, a client, a connection. As with
        `contextlib.AsyncExitStack`, the last one pushed is called first; unlike there, a failure stops no
        other. They run one after the other once the kit's work has ended and its channels are closed, while
        plugins, realtime backend, locks and store are still open, and share the rest of `close_timeout`:
        one that does not end in time is cancelled. Failures are among those of CloseError. Withdraw what was
        closed before the kit, so that it is not kept; withdrawing twice is harmless. Raises KitClosedError
        once the kit closes.
        """
        self._check_open()
        if not callable(callback):
            raise InvalidInputError(
                f"{type(callback).__name__} cannot be called when the kit closes: push an async function"
            )
        key = object()
        self._pushed[key] = partial(callback, *args, **kwargs)

        def withdraw() -> None:
            self._pushed.pop(key, None)

        return withdraw

    def _check_open(self) -> None:
        # Running work may still write until it ends.
        if self._closed and (self._drained or not inside()):
            raise KitClosedError("the kit is closed, or closing, and takes no new work: build another")

    @override
    async def _enter(self, room_id: str | None = None) -> None:
        """Be open and started; every room is in scope."""
        self._check_open()
        if not self._ready and not self._within_start():
            await self.start()

    def _within_start(self) -> bool:
        """Whether the caller is a plugin or channel that is being started, and may use the kit already."""
        return _starting.get() is self

    # -- parts, for reading -------------------------------------------------------------------

    @property
    def store(self) -> ConversationStore:
        """The store."""
        return self._kernel.ground.store

    @property
    def hook_engine(self) -> HookEngine:
        """The hook engine."""
        return self._kernel.ground.hooks

    @property
    def realtime(self) -> RealtimeBackend:
        """The ephemeral side."""
        return self._kernel.ground.realtime

    @property
    def telemetry(self) -> TelemetryProvider:
        """The telemetry provider as it was given; with a `TelemetryConfig`, the configured one.

        Channels open spans by `services.telemetry`, which puts them where their work is.
        """
        return self._given_telemetry or self._kernel.ground.telemetry

    @property
    def lock_manager(self) -> RoomLockManager:
        """The room locks."""
        return self._kernel.ground.locks

    @property
    def clock(self) -> Clock:
        """The kit's one clock."""
        return self._kernel.ground.clock

    @property
    def services(self) -> Services:
        """The services of the program itself, for what is no channel: their namespace is `app`."""
        return self._services.host

    def services_of(self, namespace: str) -> Services:
        """Return the services of a plugin, the same object each time; `app` is the host's.

        Raises InvalidInputError for a text that is no plugin's name, and for `core`.
        """
        if not is_namespace(namespace):
            raise InvalidInputError(
                f"{namespace!r} is no plugin's name: use lower-case letters, digits, dashes and underscores, "
                "as `roomkit plugins list` shows it"
            )
        if namespace == "core":
            raise InvalidInputError("'core' is the kernel's own namespace: give a plugin's name")
        return self._services.of_plugin(namespace)

    @property
    def media(self) -> MediaService:
        """The files of rooms, which contents refer to by `media:<id>`."""
        return self.services.media

    @property
    def media_app(self) -> ASGIApp | None:
        """What serves the kit's files at their signed URLs; None without a media store.

        A server mounts it at `/media`, by the routes of the plugins.
        """
        kernel = self._kernel
        return MediaApp(kernel.ground.files, kernel.ground.clock) if kernel.ground.files.are_kept else None

    async def _find_fetch(self) -> GuardedFetch:
        """Return the installed guarded fetch. Raises MediaNotConfiguredError."""
        from roomkit.plugins.errors import PluginError

        try:
            found: GuardedFetch = (await self.plugins.aget("fetch", "pinned"))()
        except PluginError as error:
            raise MediaNotConfiguredError(
                f"URLs cannot be fetched: no guarded fetch is installed ({error}); pip install "
                "roomkit-media, or give RoomKit(fetch=...)"
            ) from error
        return found

    @property
    def ext(self) -> Extensions:
        """The methods that plugins add to kits: `kit.ext.<plugin>.<name>(...)`."""
        return self._extensions

    @cached_property
    def _extensions(self) -> Extensions:
        return Extensions(self, self.plugins.method, self._method_names)

    def _method_names(self) -> dict[str, list[str]]:
        return {each.name: list(each.methods) for each in self.plugins.plugins() if each.methods}

    if not TYPE_CHECKING:  # to checkers the kit has what it declares

        def __getattr__(self, name: str) -> Any:
            """Return a plugin's option, None for one not given, or a method of a plugin of RoomKit's own."""
            if not name.startswith("_") and name in self.plugins.options():
                return self._tables.get(name)
            plugin = None if name.startswith("_") else self.plugins.own_method(name)
            if plugin is None:
                raise AttributeError(
                    f"{type(self).__name__!r} object has no attribute {name!r}, and no installed plugin adds "
                    "it: `roomkit plugins list` shows what there is"
                )
            method = getattr(getattr(self.ext, plugin), name)
            self.__dict__[name] = method
            return method

    def _namespace_of(self, owner: object) -> str:
        module = type(owner).__module__
        return self.plugins.namespace_of(module) or own_namespace(module) or HOST

    @property
    def settings(self) -> KitOptions:
        """The kit's scalar options."""
        return self._kernel.ground.settings

    @property
    def channels(self) -> Mapping[str, Channel]:
        """The registered channels by id."""
        return self._kernel.ground.channels

    # -- channels -----------------------------------------------------------------------------

    def register_channel(self, channel: Channel, *, binding: Mapping[str, Any] | None = None) -> None:
        """Make a channel known, once per process; rooms attach it by its id.

        `binding` are fields of its bindings where `attach_channel` gives no other, such as a `retry_policy`.
        Raises ChannelAlreadyRegisteredError when another channel has that id, InvalidInputError for
        an id that means something else in `visibility` and for a provider's name that no store can hold, and
        ForeignCodeError for a channel whose properties or plain methods fail or return other types.
        """
        self._check_open()
        owner = f"channel of {type(channel).__name__}"
        channel_id = check_channel_id(read_attribute(owner, channel, "channel_id", object))
        check_registered(channel, channel_id)
        known = self._kernel.ground.channels.get(channel_id)
        defaults = self._binding_defaults(channel_id, binding or {})
        if known is channel:
            return
        if known is not None:
            raise ChannelAlreadyRegisteredError(
                f"a {type(known).__name__} is registered as {channel_id!r} already: "
                "unregister_channel first, or use another id"
            )
        services = self._services.of_channel(channel_id, channel)
        read(owner_of(channel_id), "bind()", partial(channel.bind, services), object)
        self._kernel.ground.channels.add(channel_id, channel, defaults)
        self._kernel.shared.starts.registered(channel_id, channel)
        self._kernel.shared.reclaim.channels_changed()
        self._kernel.ground.events.emit("channel_registered", channel_id=channel_id)

    @staticmethod
    def _binding_defaults(channel_id: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
        for name in given:
            if name not in BINDING_DEFAULTS:
                close = nearest(name, BINDING_DEFAULTS)
                hint = f"did you mean {close!r}?" if close else f"give one of {', '.join(BINDING_DEFAULTS)}"
                raise InvalidInputError(
                    f"bindings of channel {channel_id!r} have no default {name!r}; {hint}"
                )
        try:
            return binding_defaults(channel_id, given)
        except ValidationError as error:
            raise InvalidInputError(
                f"binding defaults of channel {channel_id!r} cannot be used: {problems_of(error)}"
            ) from None

    async def unregister_channel(self, channel_id: str) -> None:
        """Close a channel and forget it, and detach its source; its bindings stay.

        An intelligence's turns end at once; what people saw of its answers is committed before it is closed.
        Turns that wait are left to other workers that have the channel registered, if there can be any.
        What its source or sockets still bring is refused, also once another channel has its id. Raises
        ChannelNotRegisteredError.
        """
        kernel = self._kernel
        channel = kernel.ground.channels.known(channel_id)
        del kernel.ground.channels[channel_id]
        tasks = self._services.tasks_of(channel_id)
        worker_id = kernel.ground.lease.worker_id
        if worker_id is not None:
            kernel.ground.channels.left.update(kernel.work.lanes.take_waiting(channel_id))
        await kernel.work.speculations.unregistered(channel_id)
        await kernel.work.lanes.end_answers(None, "unregistered", of=channel_id)
        kernel.shared.reclaim.channels_changed()
        kernel.sending.breakers.forget(channel_id)
        kernel.ground.events.emit("channel_unregistered", channel_id=channel_id)
        try:
            await kernel.shared.hand_over.work()
            await kernel.entry.sources.unregistered(channel_id)
            kernel.ground.timers.unregister(f"@{channel_id}")
            await tasks.end_served()
            await kernel.shared.starts.unregistered(channel_id)
        finally:
            try:
                await channel.close()
            finally:
                await tasks.end()

    def get_channel(self, channel_id: str) -> Channel | None:
        """Return a registered channel."""
        return self._kernel.ground.channels.get(channel_id)

    @property
    def broken_channels(self) -> Mapping[str, str]:
        """Why channels did not start, by their ids; their deliveries stay pending."""
        starts = self._kernel.ground.channels.starts
        return {channel_id: start.broken for channel_id, start in starts.items() if start.broken is not None}

    def list_channels(self) -> list[Channel]:
        """Return all registered channels."""
        return list(self._kernel.ground.channels.values())

    # -- rooms --------------------------------------------------------------------------------

    async def create_room(
        self,
        room_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        timers: RoomTimers | None = None,
        retention: str | float | timedelta | None = None,
        ai_config: AIConfig | None = None,
        organization_id: str | None = None,
        agent_response_policy: AgentResponsePolicy | None = None,
        auto_attach: AutoAttach | None = None,
    ) -> Room:
        """Create a room; the id is made up when none is given. Raises RoomAlreadyExistsError.

        `retention` is how long its events are kept: a timedelta, seconds, or text as "180d", "36h", "90min".
        `auto_attach` is whether messages attach the channels that they come by: "known" by default.
        """
        return await self._create_room(
            room_id,
            metadata,
            timers=timers,
            retention=retention,
            ai_config=ai_config,
            organization_id=organization_id,
            agent_response_policy=agent_response_policy,
            auto_attach=auto_attach,
        )

    async def sweep_room_timers(self) -> list[Room]:
        """Pause or close every room whose time has come; return those that changed."""
        await self._enter()
        return await self._kernel.timeline.rooms.changed_by(await self._kernel.ground.timers.sweep())

    # -- messages -----------------------------------------------------------------------------

    async def process_webhook(
        self,
        request: WebhookRequest,
        channel_id: str,
        provider: str | None = None,
        *,
        wait: Wait = "committed",
    ) -> WebhookOutcome:
        """Verify a vendor's request, take in what it says, and return what to answer.

        `provider` names one of several behind the channel. Parts are taken in the vendor's order. The answer
        is 200, or the provider's own, once all of them are committed; 401 for a request that cannot be
        verified, 400 for one that is malformed or brings a message that makes no event (the others are
        committed), 404 for an unknown channel or provider, 413 for more than `max_webhook_bytes`. Whatever
        else fails (the store, the time, code of the provider, a kit that closes) is answered with the
        status on which this vendor repeats: what is stored by then stays, and is recognised by its keys.
        A message beyond `inbound_rate_limit` is committed, marked `limited`, and no agent is asked.
        """
        check_choice(wait, WAITS, "wait")
        try:
            await self._enter()
        except RoomKitError as error:
            return self._kernel.entry.webhooks.failed(channel_id, provider, error)
        return await self._kernel.entry.webhooks.take(request, channel_id, provider, wait)

    # -- deliveries ---------------------------------------------------------------------------

    async def process_delivery_status(self, status: DeliveryStatus) -> Delivery | None:
        """Match a vendor's receipt to its delivery and notify the observers; None if nothing matches.

        A receipt that comes before its send was recorded is kept for a day and matched then. Its observers
        are called both times, first without `event_id`. Raises InvalidInputError for one with wrong fields.
        """
        await self._enter()
        status = checked(status, DeliveryStatus, "given to process_delivery_status()")
        return await self._kernel.entry.receipts.take(status)

    # -- data rights --------------------------------------------------------------------------

    @property
    def privacy(self) -> DataSubjectRequests:
        """Exports, erasure and retention for tools that must not start the kit; it delivers nothing."""
        return self._kernel.operations.privacy

    # -- organizations ------------------------------------------------------------------------

    def for_organization(self, organization_id: str) -> Tenant:
        """Return the view that has one organization's rooms and people in it, and nothing of others'."""
        return self._tenants.of(organization_id)

    @cached_property
    def _tenants(self) -> Tenants:
        return Tenants(self._kernel, self._enter)

    # -- the ephemeral side -------------------------------------------------------------------

    async def publish_typing(
        self, room_id: str, user_id: str, is_typing: bool = True, data: Mapping[str, Any] | None = None
    ) -> None:
        """Show that a participant is typing, or stopped."""
        await self._enter()
        kind = EphemeralEventType.TYPING_START if is_typing else EphemeralEventType.TYPING_STOP
        await self._kernel.entry.signals.publish(room_id, kind, user_id, data)

    async def publish_presence(self, room_id: str, user_id: str, status: str) -> None:
        """Show that a participant is `online`, `away` or `offline`; any other status is a CUSTOM event."""
        await self._enter()
        await self._kernel.entry.signals.presence(room_id, user_id, status)

    async def publish_read_receipt(self, room_id: str, user_id: str, event_id: str) -> None:
        """Show that a participant read an event; `mark_read` also moves the mark."""
        await self._enter()
        await self._kernel.entry.signals.publish(
            room_id, EphemeralEventType.READ_RECEIPT, user_id, {"event_id": event_id}
        )

    async def publish_reaction(
        self,
        room_id: str,
        user_id: str,
        target_event_id: str,
        emoji: str,
        action: Literal["add", "remove"] = "add",
    ) -> None:
        """Show a reaction to an event."""
        await self._enter()
        check_choice(action, ("add", "remove"), "action")
        await self._kernel.entry.signals.publish(
            room_id,
            EphemeralEventType.REACTION,
            user_id,
            {"target_event_id": target_event_id, "emoji": emoji, "action": action},
        )

    async def publish_tool_call(
        self,
        room_id: str,
        channel_id: str,
        tool_calls: Sequence[Mapping[str, Any]],
        event_type: EphemeralEventType = EphemeralEventType.TOOL_CALL_START,
        *,
        duration_ms: float | None = None,
        visibility: str = "intelligence",
    ) -> None:
        """Show an agent's tool calls; to intelligences and operators alone unless said otherwise."""
        await self._enter()
        event_type = chosen(EphemeralEventType, event_type, "event_type")
        data: dict[str, Any] = {"tool_calls": list(tool_calls), "channel_id": channel_id}
        if duration_ms is not None:
            data["duration_ms"] = duration_ms
        await self._kernel.entry.signals.publish(
            room_id, event_type, channel_id, data, channel_id=channel_id, visibility=visibility
        )

    async def subscribe_room(
        self, room_id: str, callback: EphemeralCallback, *, as_channel: str | None = None
    ) -> str:
        """Call `callback` for each ephemeral event of a room; return the subscription's id.

        `as_channel` shows only what that channel may see.
        """
        await self._enter()
        return await self._kernel.entry.signals.subscribe(room_id, callback, as_channel)

    async def unsubscribe_room(self, subscription_id: str) -> bool:
        """End a subscription; False when there is none of that id."""
        return await self._kernel.ground.realtime.unsubscribe(subscription_id)

    # -- live connections ---------------------------------------------------------------------

    async def connect_websocket(
        self,
        channel_id: str,
        connection_id: str,
        send_fn: Callable[[str, RoomEvent], Awaitable[None]],
        *,
        stream_send_fn: Callable[[str, Any], Awaitable[None]] | None = None,
        close_fn: Callable[[str, str], Awaitable[None]] | None = None,
        room_id: str | None = None,
        participant_id: str | None = None,
    ) -> None:
        """Connect a socket to a channel and, with `room_id`, to one of its rooms.

        `close_fn(connection_id, reason)` is called once when the channel drops the connection by itself:
        its room was deleted (`room_not_found`), the participant banned (`participant_banned`) or removed
        (`participant_removed`), it was too slow. Connecting makes a removed participant active again, so
        check first who may return; also in a closed room, which they may read. Raises
        ChannelNotRegisteredError when the channel is unknown or has no connections; ParticipantBannedError
        for a participant banned from the room, ParticipantRemovedError for one who is removed while they
        connect; InvalidInputError for an id that is another's connection.
        """
        await self._enter()
        channel: object = self._kernel.ground.channels.known(channel_id)
        if not isinstance(channel, SupportsConnections):
            raise ChannelNotRegisteredError(
                f"channel {channel_id!r} is a {type(channel).__name__}, which has no connections"
            )
        if room_id is not None and participant_id is not None:
            await self._kernel.timeline.participants.readmit(room_id, channel_id, participant_id)
        more = {} if close_fn is None else {"close_fn": close_fn}
        channel.register_connection(
            connection_id,
            send_fn,
            stream_send_fn=stream_send_fn,
            room_id=room_id,
            participant_id=participant_id,
            **more,
        )
        # Asked once it is registered: a removal or ban that comes later finds the connection.
        if room_id is not None and participant_id is not None:
            try:
                await self._kernel.timeline.participants.check_present(room_id, channel_id, participant_id)
            except (ParticipantBannedError, ParticipantRemovedError):
                channel.unregister_connection(connection_id)
                raise
        self._kernel.ground.events.emit(
            "channel_connected", room_id=room_id, channel_id=channel_id, connection_id=connection_id
        )

    async def disconnect_websocket(self, channel_id: str, connection_id: str) -> None:
        """Disconnect a socket; never raises."""
        channel: object = self._kernel.ground.channels.get(channel_id)
        if isinstance(channel, SupportsConnections) and channel.unregister_connection(connection_id):
            self._kernel.ground.events.emit(
                "channel_disconnected", channel_id=channel_id, connection_id=connection_id
            )

    # -- sources ------------------------------------------------------------------------------

    async def attach_source(
        self,
        channel_id: str,
        source: SourceProvider,
        *,
        auto_restart: bool = True,
        restart_delay: float = 5.0,
        max_restart_delay: float = 300.0,
        max_restart_attempts: int | None = None,
        max_concurrent_emits: int | None = 10,
        single: bool = False,
    ) -> None:
        """Run a source for a channel, and restart it when it breaks.

        `single` runs it on one worker of all that attach it so (see `Homes.elect`), such as a bot whose
        vendor refuses a second connection; when that worker is gone, another one runs it.

        The delay doubles from `restart_delay` to `max_restart_delay`, and starts over, as the count
        of attempts does, once the source has brought messages again. Raises SourceAlreadyAttachedError.
        """
        await self._enter()
        services = self._services.of_source(channel_id, source)
        await self._kernel.entry.sources.attach(
            channel_id,
            source,
            services,
            services.tasks,
            auto_restart=auto_restart,
            restart_delay=restart_delay,
            max_restart_delay=max_restart_delay,
            max_restart_attempts=max_restart_attempts,
            max_concurrent_emits=max_concurrent_emits,
            single=single,
        )

    async def detach_source(self, channel_id: str) -> None:
        """Stop a channel's source. Raises SourceNotFoundError.

        What it emits while it stops is taken in. What one that did not stop in time emits afterwards is
        refused as `source_detached` and counted (framework event `source_message_refused`).
        """
        await self._kernel.entry.sources.detach(channel_id)

    async def source_health(self, channel_id: str) -> SourceHealth | None:
        """Return a snapshot of a channel's source, None without one."""
        return await self._kernel.entry.sources.health(channel_id)

    def list_sources(self) -> dict[str, SourceStatus]:
        """Return the status of every attached source by channel id."""
        return self._kernel.entry.sources.statuses()

    # -- hooks and framework events -----------------------------------------------------------

    def _learn_words(self, trigger: str, channel_types: Collection[str] | None) -> None:
        """Find the plugins if a word is not the core's: one of them may declare it."""
        kinds = channel_types or ()
        known = is_declared(HookTrigger, trigger) and all(is_declared(ChannelType, each) for each in kinds)
        if not known:
            self.plugins.scan()

    def hook[F: HookFn](
        self,
        trigger: HookTrigger,
        execution: HookExecution = HookExecution.SYNC,
        priority: int = 0,
        name: str = "",
        timeout: float = 30.0,
        channel_types: Collection[ChannelType] | None = None,
        channel_ids: Collection[str] | None = None,
        directions: Collection[ChannelDirection] | None = None,
        *,
        on_error: Literal["block", "allow"] = "block",
        streams: Literal["segments", "whole"] = "segments",
        when: Callable[[Room], bool] | None = None,
        speculative: bool = True,
    ) -> Callable[[F], F]:
        """Register the decorated `async def (payload, context)` for every room, or for those of `when`.

        `when=lambda room: "agents" in room.state` is a pure function of the room; a gate whose `when` raises
        blocks as one that fails. What a plugin registers when it is configured or started is named after it,
        `<plugin>.<name>`, in `blocked_by`, events and `remove_hook`.

        Gates (see `roomkit.models.hook.GATES`) return a HookResult; a gate that fails blocks unless
        `on_error="allow"`. Raises HookRegistrationError for a hook that could never work.

        Of an answer that is shown while it is generated, a BEFORE_BROADCAST gate sees each segment (a
        sentence or line, at most 600 characters) before it leaves, then the whole before it is committed.
        The content of a segment begins with the last 200 characters that were released before it, also in
        `generation.preceding`. So what a gate finds in the content, and is no longer than 201 characters, is
        never seen, wherever segments end; a longer one may be seen before the whole is refused. If a gate
        rewrites a segment, the text after the unchanged beginning is released; if it changes the beginning,
        readers get no more until the whole, as rewritten, is committed. Tasks, observations and injected
        events are those of the verdict on the whole, and of one that refuses a segment. With
        `streams="whole"` a gate sees only the whole, and no reader sees the answer before.

        A gate also judges messages to which an answer is prepared before they are committed, with
        `context.speculative`, and again at the commit (see `Turns.speculate`). One that counts or writes
        takes `speculative=False`: nothing is prepared where it applies.
        """

        self._learn_words(trigger, channel_types)

        def register(fn: F) -> F:
            self._kernel.ground.hooks.register(
                HookRegistration(
                    trigger=HookTrigger(trigger),
                    fn=fn,
                    execution=execution,
                    priority=priority,
                    name=name,
                    timeout=timeout,
                    channel_types=channel_types,
                    channel_ids=channel_ids,
                    directions=directions,
                    on_error=on_error,
                    streams=streams,
                    when=when,
                    speculative=speculative,
                )
            )
            return fn

        return register

    def add_room_hook(
        self,
        room_id: str,
        trigger: HookTrigger,
        execution: HookExecution,
        fn: HookFn,
        priority: int = 0,
        name: str = "",
        timeout: float = 30.0,
    ) -> None:
        """Register a hook for one room; it is dropped when the room closes."""
        self._learn_words(trigger, None)
        self._kernel.ground.hooks.add_room_hook(
            room_id,
            HookRegistration(
                trigger=trigger,
                fn=fn,
                execution=execution,
                priority=priority,
                name=name,
                timeout=timeout,
            ),
        )

    def remove_room_hook(self, room_id: str, name: str) -> bool:
        """Remove the first hook of that name from a room; False when there is none."""
        return self._kernel.ground.hooks.remove_room_hook(room_id, name)

    def remove_hook(self, name: str) -> bool:
        """Remove the first hook of that name from every room; False when there is none."""
        return self._kernel.ground.hooks.unregister(name)

    def identity_hook[F: IdentityHookFn](
        self,
        trigger: HookTrigger,
        channel_types: Collection[ChannelType] | None = None,
        channel_ids: Collection[str] | None = None,
        directions: Collection[ChannelDirection] | None = None,
        *,
        timeout: float = 10.0,
    ) -> Callable[[F], F]:
        """Register the decorated `async def (event, context, id_result)` to decide on senders.

        The first answer that is not None counts; a hook that fails rejects the message.
        """

        self._learn_words(trigger, channel_types)

        def register(fn: F) -> F:
            self._kernel.entry.desk.hooks.append(
                IdentityHookRegistration(
                    trigger=HookTrigger(trigger),
                    fn=fn,
                    timeout=timeout,
                    channel_types=channel_types,
                    channel_ids=channel_ids,
                    directions=directions,
                )
            )
            return fn

        return register

    def on_delivery_status(self, fn: Callable[[DeliveryStatus], Any]) -> Callable[[DeliveryStatus], Any]:
        """Register `fn(status)`, a function or a coroutine function, for receipts.

        `status.event_id` names the event; it is None for a receipt that matches no delivery.
        """

        async def observer(status: DeliveryStatus, _context: object) -> None:
            answer = fn(status)
            if isinstance(answer, Awaitable):
                await answer

        observer.__name__ = getattr(fn, "__name__", "on_delivery_status")
        self.hook(HookTrigger.ON_DELIVERY_STATUS, HookExecution.ASYNC)(observer)
        return fn

    def on(self, event_type: str) -> Callable[[FrameworkHandler], FrameworkHandler]:
        """Register the decorated `async def (event)` for framework events of a type, or for `"*"`.

        A handler sees its events in order; it delays no one else, and at most 1,000 wait for it.
        """

        def register(fn: FrameworkHandler) -> FrameworkHandler:
            self._kernel.ground.events.subscribe(event_type, fn)
            return fn

        return register

    def subscribe_events(self, event_type: str, fn: FrameworkHandler) -> Callable[[], None]:
        """Register `fn` as `on` does; return a function that ends it."""
        return self._kernel.ground.events.subscribe(event_type, fn)
