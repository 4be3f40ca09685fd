"""Making the services of each owner, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, override

from roomkit.abc.services import Services
from roomkit.kernel.runtime.owned_tasks import SupervisedTasks
from roomkit.kernel.services.homes import KitHomes
from roomkit.kernel.services.inbox import KitInbox
from roomkit.kernel.services.media import KitMedia
from roomkit.kernel.services.owner import HOST, Owner
from roomkit.kernel.services.room_access import KitRoomAccess
from roomkit.kernel.services.timers import KitTimers
from roomkit.kernel.services.turns import KitTurns
from roomkit.kernel.services.values import KitValues

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit.kernel.assembly.kernel import Kernel
    from roomkit.kernel.operations import RoomOperations
    from roomkit.models.delivery import Delivery, DeliveryStatus, ReceiptWatermark
    from roomkit.models.trace import ProtocolTrace

__all__ = ["KitServices", "ServicesDesk"]

type _Receipt = Callable[[DeliveryStatus | ReceiptWatermark], Awaitable[Delivery | None]]
type _Enter = Callable[[], Awaitable[None]]
"""Starts the kit if need be, and checks that it is open."""


class KitServices(Services):
    """The kit's operations and parts, as one owner has them."""

    tasks: SupervisedTasks

    def __init__(
        self,
        kit: RoomOperations,
        kernel: Kernel,
        owner: Owner,
        tasks: SupervisedTasks,
        receipt: _Receipt,
        enter: _Enter,
    ) -> None:
        self._kit = kit
        self._kernel = kernel
        self._owner = owner
        self._receipt = receipt
        self._enter = enter
        ground = kernel.ground
        self.clock, self.realtime, self.telemetry = ground.clock, ground.realtime, ground.telemetry
        self.has_other_workers = ground.signals.has_others
        self.inbox = KitInbox(kit, owner, receipt=receipt, signals=kernel.entry.signals, enter=enter)
        self.rooms = KitRoomAccess(
            kit,
            owner,
            store=ground.store,
            bindings=kernel.timeline.bindings,
            channels=ground.channels,
            inbound=kernel.entry.inbound,
            enter=enter,
        )
        self.values = KitValues(owner, store=ground.store, clock=ground.clock, enter=enter)
        self.turns = KitTurns(
            owner,
            store=ground.store,
            clock=ground.clock,
            hooks=ground.hooks,
            observers=kernel.outcomes.observers,
            writer=kernel.timeline.writer,
            interruptions=kernel.work.interruptions,
            expect=ground.timers.expect_set,
            speculator=kernel.entry.speculator,
            enter=enter,
            parked=kernel.operations.parked,
        )
        self.timers = KitTimers(
            owner,
            settings=ground.settings,
            store=ground.store,
            supervisor=ground.supervisor,
            runner=ground.timers,
            enter=enter,
        )
        self.media = KitMedia(
            store=ground.store,
            files=ground.files,
            imports=kernel.operations.imports,
            expect=lambda: ground.timers.expect(ground.clock.now()),
            enter=enter,
        )
        self.fetch = ground.fetch
        self.tasks = tasks
        self.homes = KitHomes(owner, kernel.sending.homes, kernel.sending.follows, enter)

    @property
    @override
    def namespace(self) -> str:  # type: ignore[override]  # found at first use: it may scan the plugins
        return self._owner.namespace

    @property
    @override
    def channel_id(self) -> str | None:
        return self._owner.channel_id

    @property
    @override
    def worker_id(self) -> str | None:
        return self._kernel.ground.lease.worker_id

    @override
    def for_part(self, part: object) -> KitServices:
        owner = self._owner.part(part)
        return KitServices(self._kit, self._kernel, owner, self.tasks, self._receipt, self._enter)

    @override
    def report(
        self,
        kind: str,
        *,
        room_id: str | None = None,
        channel_id: str | None = None,
        event_id: str | None = None,
        **data: Any,
    ) -> None:
        self._kernel.ground.events.emit(
            kind, room_id=room_id, channel_id=channel_id, event_id=event_id, **data
        )

    @override
    def trace(self, trace: ProtocolTrace) -> None:
        self._kernel.entry.traces.take(trace)

    @property
    @override
    def traces_are_observed(self) -> bool:
        return self._kernel.entry.traces.are_observed


class ServicesDesk:
    """Makes one object per owner; those of plugins and of the host are kept."""

    def __init__(
        self,
        kit: RoomOperations,
        kernel: Kernel,
        namespace_of: Callable[[object], str],
        receipt: _Receipt,
        enter: _Enter,
    ) -> None:
        self._kit = kit
        self._kernel = kernel
        self._receipt = receipt
        self._enter = enter
        self._namespace_of = namespace_of
        self._plugins: dict[str, KitServices] = {}  # bound: the installed plugins, and the host
        self._channels: dict[str, KitServices] = {}  # bound: the registered channels

    def of_channel(self, channel_id: str, channel: object) -> KitServices:
        """Return new services for a channel that is being registered."""
        services = self._channels[channel_id] = self._made(channel, channel_id)
        return services

    def of_source(self, channel_id: str, source: object) -> KitServices:
        """Return new services for a channel's source."""
        return self._made(source, channel_id)

    def tasks_of(self, channel_id: str) -> SupervisedTasks:
        """Return the tasks of a channel that is being unregistered, and forget its services."""
        return self._channels.pop(channel_id).tasks

    def of_plugin(self, namespace: str) -> KitServices:
        """Return the services of a plugin, or of the host: the same object each time."""
        services = self._plugins.get(namespace)
        if services is None:
            services = self._plugins[namespace] = self._made(namespace, None)
        return services

    @property
    def host(self) -> KitServices:
        """The services of the program that the kit belongs to."""
        return self.of_plugin(HOST)

    def _made(self, of: object, channel_id: str | None) -> KitServices:
        kernel = self._kernel
        owner = Owner(kernel.ground.channels, self._namespace_of, of, channel_id)
        tasks = SupervisedTasks(kernel.ground.supervisor)
        return KitServices(self._kit, kernel, owner, tasks, self._receipt, self._enter)
