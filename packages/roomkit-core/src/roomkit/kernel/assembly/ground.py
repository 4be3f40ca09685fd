"""The parts that all work stands on."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from roomkit._dataclasses import dataclass
from roomkit.abc.telemetry import TelemetryConfig, TelemetryProvider
from roomkit.kernel.cluster.timers import TimerRunner
from roomkit.kernel.commit.hooks import HookEngine
from roomkit.kernel.flow.contract import check_telemetry
from roomkit.kernel.media.files import Files
from roomkit.kernel.media.signing import MediaSigner
from roomkit.kernel.runtime.channels import Channels
from roomkit.kernel.runtime.framework_events import FrameworkEvents
from roomkit.kernel.runtime.lease import Lease
from roomkit.kernel.runtime.supervisor import Supervisor
from roomkit.kernel.runtime.tracing import ConfiguredTelemetry
from roomkit.kernel.runtime.worker_signals import WorkerSignals
from roomkit.kernel.services.media import KitFetch
from roomkit.memory.telemetry import NoopTelemetryProvider

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.locks import RoomLockManager
    from roomkit.abc.realtime import RealtimeBackend
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.assembly.backends import Backends
    from roomkit.models.enums import HookTrigger
    from roomkit.models.options import KitOptions

__all__ = ["GroundParts", "lay_ground"]


@dataclass(slots=True, frozen=True, kw_only=True)
class GroundParts:
    """Options, backends, tasks, hooks, channels, timers and files."""

    settings: KitOptions
    store: ConversationStore
    locks: RoomLockManager
    realtime: RealtimeBackend
    signals: WorkerSignals
    telemetry: TelemetryProvider
    tracing: ConfiguredTelemetry | None
    clock: Clock
    supervisor: Supervisor
    events: FrameworkEvents
    hooks: HookEngine
    channels: Channels
    lease: Lease
    timers: TimerRunner
    files: Files
    fetch: KitFetch


def lay_ground(settings: KitOptions, given: Backends) -> GroundParts:
    """Build what needs nothing but the options and the backends."""
    shared = given.shared
    store, clock = shared.store, shared.clock
    telemetry, suppressed = _telemetry(given.telemetry)
    supervisor = Supervisor(abandon_after=settings.abandon_after)
    events = FrameworkEvents(supervisor, clock)
    lease = Lease(store)
    signer = MediaSigner(store=store, base_url=settings.media_url, key=settings.media_key)
    return GroundParts(
        settings=settings,
        store=store,
        locks=shared.locks,
        realtime=shared.realtime,
        signals=WorkerSignals(store=store, realtime=shared.realtime, clock=clock, supervisor=supervisor),
        telemetry=telemetry,
        tracing=telemetry if isinstance(telemetry, ConfiguredTelemetry) and telemetry.enabled else None,
        clock=clock,
        supervisor=supervisor,
        events=events,
        hooks=HookEngine(supervisor, events, telemetry if telemetry.enabled else None, suppressed),
        channels=Channels(),
        lease=lease,
        timers=TimerRunner(
            settings=settings, store=store, clock=clock, supervisor=supervisor, lease=lease, events=events
        ),
        files=Files(settings=settings, store=store, clock=clock, media=shared.media, signer=signer),
        fetch=KitFetch(given.fetch, given.find_fetch),
    )


def _telemetry(
    given: TelemetryProvider | TelemetryConfig | None,
) -> tuple[TelemetryProvider, Collection[HookTrigger]]:
    """Return the provider to measure with, and the triggers whose hooks get no span."""
    config = given if isinstance(given, TelemetryConfig) else TelemetryConfig(provider=given)
    provider = config.provider or NoopTelemetryProvider()
    check_telemetry(provider)
    plain = not isinstance(given, TelemetryConfig)
    if (provider.enabled or not plain) and not isinstance(provider, ConfiguredTelemetry):
        provider = ConfiguredTelemetry(provider, config)
    return provider, config.suppressed_hook_triggers
