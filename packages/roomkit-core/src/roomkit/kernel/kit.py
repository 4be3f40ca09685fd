"""RoomKit: the one object a program talks to. It owns the parts and forwards to them."""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import cached_property, partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack, override

from roomkit._names import nearest
from roomkit.abc.choice import check_choice
from roomkit.abc.clock import Clock
from roomkit.abc.errors import CloseError, InvalidInputError, MediaNotConfiguredError, RoomKitError
from roomkit.abc.log import get_logger
from roomkit.abc.namespaces import is_namespace, own_namespace
from roomkit.abc.records import checked
from roomkit.abc.telemetry import TelemetryConfig, TelemetryProvider
from roomkit.kernel.assembly.backends import Backends, shared_backends
from roomkit.kernel.assembly.kernel import assemble
from roomkit.kernel.commit.hooks import HookEngine
from roomkit.kernel.delivery.transcode import DefaultContentTranscoder
from roomkit.kernel.inbound.pipeline import WAITS, Wait
from roomkit.kernel.inbound.routing import adapted
from roomkit.kernel.life import KitLife, PluginSteps
from roomkit.kernel.live import LiveOperations
from roomkit.kernel.media.route import MediaApp
from roomkit.kernel.runtime.arguments import checks_arguments
from roomkit.kernel.runtime.extensions import Extensions, PluginOptions
from roomkit.kernel.runtime.settings import kit_options
from roomkit.kernel.services.desk import ServicesDesk
from roomkit.kernel.services.owner import HOST
from roomkit.kernel.tenant import Tenant, Tenants
from roomkit.models.channel import RateLimit, RetryPolicy
from roomkit.models.delivery import Delivery, DeliveryStatus, ReceiptWatermark
from roomkit.models.enums import AgentResponsePolicy, AutoAttach, ChannelType
from roomkit.models.options import KitOptions
from roomkit.models.room import AIConfig, Room, RoomTimers
from roomkit.models.webhook import WebhookOutcome, WebhookRequest

if TYPE_CHECKING:
    from pydantic import SecretStr

    from roomkit._exports import PluginMethods
    from roomkit.abc.channel import Channel
    from roomkit.abc.identity import IdentityResolver
    from roomkit.abc.locks import RoomLockManager
    from roomkit.abc.media import MediaStore
    from roomkit.abc.realtime import RealtimeBackend
    from roomkit.abc.route import ASGIApp
    from roomkit.abc.router import InboundRoomRouter
    from roomkit.abc.services import GuardedFetch, MediaService, Services
    from roomkit.abc.store import ConversationStore
    from roomkit.abc.transcoder import ContentTranscoder
    from roomkit.kernel.privacy.requests import DataSubjectRequests
    from roomkit.plugins.manager import PluginManager
else:
    PluginMethods = object  # at run time they are found when they are first used

__all__ = ["RoomKit"]

_log = get_logger("roomkit.kernel")
_DEFAULTS = KitOptions()


@checks_arguments()
class RoomKit(LiveOperations, PluginMethods):
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
        max_waiting_in_memory: int = _DEFAULTS.max_waiting_in_memory,
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
        reclaims what a killed worker had begun; workers of one store use the same. `unclaimed_after` is
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
        shared = shared_backends(store, lock_manager, realtime, clock, media, single_process=single_process)
        self._given_telemetry = telemetry if isinstance(telemetry, TelemetryProvider) else None
        kernel = assemble(
            settings,
            Backends(
                shared=shared,
                telemetry=telemetry,
                transcoder=transcoder or DefaultContentTranscoder(),
                resolver=identity_resolver,
                router=None if inbound_router is None else adapted(inbound_router),
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
        self._life = KitLife(
            kernel,
            PluginSteps(
                scan=lambda: self.plugins.ascan(),
                configure=self._configure_plugins,
                startup=lambda: self.plugins.startup(self),
                shutdown=lambda: self.plugins.shutdown(self),
            ),
            self._set_entered,
        )

    # -- life of the kit ----------------------------------------------------------------------

    @classmethod
    async def from_config(
        cls,
        source: str | os.PathLike[str] | Mapping[str, object],
        *,
        profile: str | None = None,
        plugins: PluginManager | None = None,
        **options: Any,
    ) -> Self:
        """Build a kit from `roomkit.toml`, or from the same as a mapping, and start it.

        `profile` names the tables of `profiles` that are laid over the others; for a file it is by default
        what the environment variable ROOMKIT_PROFILE says. `options` are constructor arguments that the file
        has no word for, or that override it. Raises ConfigError, naming every key that is wrong, its line
        and the nearest right one.
        """
        from roomkit.plugins import default_manager
        from roomkit.plugins.config import read_config
        from roomkit.plugins.construction import build_components

        manager = plugins or default_manager()
        plan = read_config(source, profile=profile)
        built = await build_components(plan, manager, has_store=options.get("store") is not None)
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

    def _check_options(self, options: Mapping[str, object]) -> None:
        """Refuse constructor arguments that neither the core nor a plugin declares. Raises TypeError."""
        declared = self.plugins.options() if options else {}
        for name in options:
            if name not in declared:
                own = inspect.signature(RoomKit).parameters.keys() - {"options"}
                close = nearest(name, [*own, *declared])
                hint = f"did you mean {close!r}?" if close else "no installed plugin declares it"
                raise TypeError(f"RoomKit() got an unexpected keyword argument {name!r}: {hint}")

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

    async def start(self) -> None:
        """Find the installed plugins and start them for this kit. Once; later calls wait for the first.

        Locks and realtime backend are opened, then come plugins, the lease on a store that outlives the
        process, channels (for as long as a lease is; slower ones go on starting), and pending work is
        reclaimed. A plugin or channel that fails to start is reported and never stops the kit. Raises a
        RoomKitError that names the fault when store, locks or realtime backend cannot be used; a later
        call tries again.
        """
        await self._life.start()

    async def close(self) -> None:
        """Refuse new work, finish running work, and release everything, within `close_timeout`.

        What does not end in time is cancelled; its deliveries stay pending in the ledger. Every step
        is taken whatever the others do. Raises CloseError with all that went wrong. Idempotent:
        later calls wait for the first, and then raise nothing.
        """
        await self._life.close()

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

        For objects built on the kit that must not outlive it: a server, a client, a connection. As with
        `contextlib.AsyncExitStack`, the last one pushed is called first; unlike there, a failure stops no
        other. They run one after the other once the kit's work has ended and its channels are closed, while
        plugins, realtime backend, locks and store are still open, and share the rest of `close_timeout`:
        one that does not end in time is cancelled. Failures are among those of CloseError. Withdraw what was
        closed before the kit, so that it is not kept; withdrawing twice is harmless. Raises KitClosedError
        once the kit closes.
        """
        return self._life.push_async_callback(callback, *args, **kwargs)

    def _set_entered(self, entered: bool) -> None:
        self._entered = entered

    async def _configure_plugins(self) -> None:
        """Have the plugins add to the kit, with their own tables as their models. Raises ConfigError."""
        if self._tables:
            from roomkit.plugins.construction import plugin_settings

            self._tables = await plugin_settings(self._tables, self.plugins)
        self.plugins.configure(self, self._tables)

    @override
    def _scan_plugins(self) -> None:
        self.plugins.scan()

    @override
    async def _enter(self, room_id: str | None = None) -> None:
        """Be open and started; every room is in scope."""
        await self._life.enter()

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
        """The services of the program itself, for code that is not a channel: their namespace is `app`."""
        return self._services.host

    def services_of(self, namespace: str) -> Services:
        """Return the services of a plugin, the same object each time; `app` is the host's.

        Raises InvalidInputError for a text that is not a plugin's name, and for `core`.
        """
        if not is_namespace(namespace):
            raise InvalidInputError(
                f"{namespace!r} is not a plugin's name: use lower-case letters, digits, dashes, underscores, "
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
        status on which this vendor repeats: messages stored by then stay, and are recognised by their keys.
        A message beyond `inbound_rate_limit` is committed, marked `limited`, and no agent is asked.
        """
        check_choice(wait, WAITS, "wait")
        try:
            await self._enter()
        except RoomKitError as error:
            return self._kernel.entry.webhooks.failed(channel_id, provider, error)
        return await self._kernel.entry.webhooks.take(request, channel_id, provider, wait)

    # -- deliveries ---------------------------------------------------------------------------

    async def process_delivery_status(self, status: DeliveryStatus | ReceiptWatermark) -> Delivery | None:
        """Match a vendor's receipt to its delivery and notify the observers; None if nothing matches.

        A watermark is a receipt for all that it passes, of which the newest is returned.

        A receipt that comes before its send was recorded is kept for a day and matched then. Its observers
        are called both times, first without `event_id`. Raises InvalidInputError for one with wrong fields.
        """
        await self._enter()
        where = "given to process_delivery_status()"
        if isinstance(status, ReceiptWatermark):
            status = checked(status, ReceiptWatermark, where)
        else:
            status = checked(status, DeliveryStatus, where)
        return await self._kernel.entry.receipts.take(status)

    # -- data rights --------------------------------------------------------------------------

    @property
    def privacy(self) -> DataSubjectRequests:
        """Exports, erasure and retention for tools that must not start the kit; it delivers nothing."""
        return self._kernel.operations.privacy()

    # -- organizations ------------------------------------------------------------------------

    def for_organization(self, organization_id: str) -> Tenant:
        """Return the view that has one organization's rooms and people in it, and nothing of others'."""
        return self._tenants.of(organization_id)

    @cached_property
    def _tenants(self) -> Tenants:
        return Tenants(self._kernel, self._enter)
