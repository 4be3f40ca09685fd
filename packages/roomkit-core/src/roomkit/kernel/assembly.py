"""The kernel's parts, built from the ground up: each takes what it uses, and nothing is set afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roomkit.abc.telemetry import TelemetryConfig, TelemetryProvider
from roomkit.kernel.cluster.keeper import LeaseKeeper
from roomkit.kernel.cluster.reclaim import Reclaim
from roomkit.kernel.cluster.starts import ChannelStarts
from roomkit.kernel.cluster.timers import TimerRunner
from roomkit.kernel.cluster.unclaimed import Unclaimed
from roomkit.kernel.commit.hooks import HookEngine
from roomkit.kernel.commit.ledger import OutcomeWriter
from roomkit.kernel.commit.observers import Observers
from roomkit.kernel.commit.receipt_notices import ReceiptNotices
from roomkit.kernel.commit.speculations import Speculations
from roomkit.kernel.commit.writer import Writer
from roomkit.kernel.consent.consents import Consents
from roomkit.kernel.delivery.answers import Answers
from roomkit.kernel.delivery.breaker import Breakers
from roomkit.kernel.delivery.consent_check import ConsentCheck
from roomkit.kernel.delivery.dispatch import LaneDispatcher
from roomkit.kernel.delivery.executor import LaneExecutor
from roomkit.kernel.delivery.fallbacks import FALLBACK, Fallbacks
from roomkit.kernel.delivery.handover import HandOver
from roomkit.kernel.delivery.hearing import Hearings
from roomkit.kernel.delivery.homes import HeldHomes
from roomkit.kernel.delivery.interruptions import Interruptions
from roomkit.kernel.delivery.lanes import Lanes
from roomkit.kernel.delivery.learnt_state import LearntState
from roomkit.kernel.delivery.limits import TokenBucketRateLimiter
from roomkit.kernel.delivery.pacing import Pacing
from roomkit.kernel.delivery.parked_rounds import PARKED, ParkedRounds
from roomkit.kernel.delivery.parked_turns import ParkedTurns
from roomkit.kernel.delivery.pause_signals import PauseSignals
from roomkit.kernel.delivery.playbacks import Playbacks
from roomkit.kernel.delivery.prompt import PromptDeliveries
from roomkit.kernel.delivery.receipts import Receipts
from roomkit.kernel.delivery.sending import Deliverer
from roomkit.kernel.delivery.settling import Settling
from roomkit.kernel.delivery.wakeups import Wakeups
from roomkit.kernel.flow.contract import check_telemetry
from roomkit.kernel.flow.timers import (
    AFTER_BROADCAST,
    MOVING,
    PLAYBACK,
    REST_OF_MOVE,
    RETENTION,
    ROOM_TIMERS,
)
from roomkit.kernel.following.follows import Follows
from roomkit.kernel.inbound.claims import Claims
from roomkit.kernel.inbound.identity import IdentityDesk
from roomkit.kernel.inbound.organizations import Organizations
from roomkit.kernel.inbound.pipeline import Inbound
from roomkit.kernel.inbound.protocol_traces import ProtocolTraces
from roomkit.kernel.inbound.routing import DefaultInboundRoomRouter, router_of
from roomkit.kernel.inbound.signals import InboundSignals
from roomkit.kernel.inbound.sources import Sources
from roomkit.kernel.inbound.webhooks import Webhooks
from roomkit.kernel.media.files import Files
from roomkit.kernel.media.signing import MediaSigner
from roomkit.kernel.media.sweeper import MEDIA_IMPORT, MEDIA_SWEEP, MediaImports, MediaSweeper
from roomkit.kernel.meeting.moves import Moves
from roomkit.kernel.privacy.exports import Exports
from roomkit.kernel.privacy.requests import DataSubjectRequests
from roomkit.kernel.rooms.consent_signals import ConsentSignals
from roomkit.kernel.rooms.notices import ChannelNotices
from roomkit.kernel.rooms.participants import Participants
from roomkit.kernel.rooms.rights_signals import RightsSignals
from roomkit.kernel.rooms.rooms import Rooms
from roomkit.kernel.rooms.state import RoomStates
from roomkit.kernel.runtime.channels import Channels
from roomkit.kernel.runtime.framework_events import FrameworkEvents
from roomkit.kernel.runtime.lease import Lease
from roomkit.kernel.runtime.supervisor import Supervisor
from roomkit.kernel.runtime.tracing import ConfiguredTelemetry
from roomkit.kernel.schedule.sends import SCHEDULED, ScheduledSends
from roomkit.kernel.services.media import KitFetch
from roomkit.kernel.services.owner import HOST, Owner
from roomkit.kernel.services.speculation import Speculator
from roomkit.kernel.services.turns import KitTurns
from roomkit.memory.telemetry import NoopTelemetryProvider

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.identity import IdentityResolver
    from roomkit.abc.locks import RoomLockManager
    from roomkit.abc.media import MediaStore
    from roomkit.abc.realtime import RealtimeBackend
    from roomkit.abc.router import InboundRoomRouter
    from roomkit.abc.services.fetch import GuardedFetch
    from roomkit.abc.store import ConversationStore
    from roomkit.abc.transcoder import ContentTranscoder
    from roomkit.kernel.meeting.joining import MergeOf
    from roomkit.models.delivery import InboundMessage, InboundResult
    from roomkit.models.enums import HookTrigger
    from roomkit.models.options import KitOptions

__all__ = ["Backends", "Kernel", "assemble"]


@dataclass(slots=True, frozen=True, kw_only=True)
class Backends:
    """What a kit is given to work with."""

    store: ConversationStore
    locks: RoomLockManager
    realtime: RealtimeBackend
    telemetry: TelemetryProvider | TelemetryConfig | None
    transcoder: ContentTranscoder
    clock: Clock
    resolver: IdentityResolver | None
    router: InboundRoomRouter | None
    media: MediaStore | None
    fetch: GuardedFetch | None
    find_fetch: Callable[[], Awaitable[GuardedFetch]]
    merge_of: MergeOf


@dataclass(slots=True, frozen=True, kw_only=True)
class Kernel:
    """The built parts, owned by `RoomKit`, which forwards to them. No part is handed the whole."""

    settings: KitOptions
    store: ConversationStore
    locks: RoomLockManager
    realtime: RealtimeBackend
    telemetry: TelemetryProvider
    tracing: ConfiguredTelemetry | None
    transcoder: ContentTranscoder
    clock: Clock
    supervisor: Supervisor
    events: FrameworkEvents
    hooks: HookEngine
    channels: Channels
    observers: Observers
    lease: Lease
    ledger: OutcomeWriter
    breakers: Breakers
    limiter: TokenBucketRateLimiter
    pacing: Pacing
    pause_signals: PauseSignals
    lanes: Lanes
    writer: Writer
    speculations: Speculations
    speculator: Speculator
    channel_notices: ChannelNotices
    rights_signals: RightsSignals
    consent_signals: ConsentSignals
    rooms: Rooms
    states: RoomStates
    moves: Moves
    participants: Participants
    signals: InboundSignals
    desk: IdentityDesk
    inbound: Inbound
    organizations: Organizations[Inbound]
    receipts: Receipts
    sources: Sources
    traces: ProtocolTraces
    timers: TimerRunner
    wakeups: Wakeups
    interruptions: Interruptions
    keeper: LeaseKeeper
    reclaim: Reclaim
    starts: ChannelStarts
    hand_over: HandOver
    homes: HeldHomes
    follows: Follows
    privacy: DataSubjectRequests
    consents: Consents
    parked: ParkedTurns
    scheduled: ScheduledSends
    webhooks: Webhooks
    files: Files
    fetch: KitFetch
    imports: MediaImports
    sweeper: MediaSweeper


def assemble(
    settings: KitOptions,
    given: Backends,
    process_inbound: Callable[[InboundMessage], Awaitable[InboundResult]],
) -> Kernel:
    """Build the parts of one kit, from the ground up to the operations called from outside.

    `process_inbound` is where sources hand in their messages: the kit's own, which starts it first.
    """
    store, realtime, clock = given.store, given.realtime, given.clock
    telemetry, suppressed = _telemetry(given.telemetry)
    tracing = telemetry if isinstance(telemetry, ConfiguredTelemetry) and telemetry.enabled else None

    # What all work stands on.
    supervisor = Supervisor(abandon_after=settings.abandon_after)
    events = FrameworkEvents(supervisor, clock)
    hooks = HookEngine(supervisor, events, telemetry if telemetry.enabled else None, suppressed)
    channels = Channels()
    lease = Lease(store)

    follows = Follows(settings=settings, store=store, realtime=realtime, clock=clock, supervisor=supervisor)

    # Outcomes of deliveries, and who is shown what happened.
    observers = Observers(store=store, supervisor=supervisor, hooks=hooks)
    notices = ReceiptNotices(
        store=store, hooks=hooks, observers=observers, reported=lambda row: fallbacks.reported(row)
    )
    ledger = OutcomeWriter(store=store, supervisor=supervisor, events=events, lease=lease, notices=notices)
    settling = Settling(
        store=store,
        tracing=tracing,
        supervisor=supervisor,
        hooks=hooks,
        events=events,
        ledger=ledger,
        observers=observers,
        fallback=lambda timer: fallbacks.now(timer),
    )

    # From the lanes to the outside, or to an agent.
    breakers = Breakers()
    limiter = TokenBucketRateLimiter()
    pause_signals = PauseSignals(store=store, realtime=realtime, clock=clock, supervisor=supervisor)
    pacing = Pacing(TokenBucketRateLimiter(), pause_signals.announce)
    consents = Consents(
        store=store,
        clock=clock,
        announce=lambda said, organization_id: consent_signals.announce(said, organization_id),
        suppression_key=settings.suppression_key,
    )
    signer = MediaSigner(store=store, base_url=settings.media_url, key=settings.media_key)
    files = Files(settings=settings, store=store, clock=clock, media=given.media, signer=signer)
    deliverer = Deliverer(
        settings=settings,
        store=store,
        lease=lease,
        tracing=tracing,
        transcoder=given.transcoder,
        supervisor=supervisor,
        events=events,
        pacing=pacing,
        breakers=breakers,
        agreed=ConsentCheck(consents, pacing, settings.require_opt_in),
        follows=follows,
        files=files,
    )
    wakeups = Wakeups(realtime=realtime, clock=clock, supervisor=supervisor, lease=lease)
    homes = HeldHomes(
        settings=settings, store=store, clock=clock, lease=lease, ledger=ledger, wakeups=wakeups
    )
    playbacks = Playbacks(store=store, clock=clock, supervisor=supervisor, lease=lease)
    rounds = ParkedRounds(store=store, clock=clock)
    timers = TimerRunner(
        settings=settings, store=store, clock=clock, supervisor=supervisor, lease=lease, events=events
    )
    answers = Answers(
        settings=settings,
        store=store,
        clock=clock,
        supervisor=supervisor,
        hooks=hooks,
        lease=lease,
        channels=channels,
        observers=observers,
        playbacks=playbacks,
        rounds=rounds,
        expect=timers.expect_set,
        follows=follows,
    )
    learnt = LearntState(store=store, clock=clock, events=events)
    executor = LaneExecutor(
        settings=settings,
        store=store,
        tracing=tracing,
        clock=clock,
        supervisor=supervisor,
        hooks=hooks,
        events=events,
        lease=lease,
        channels=channels,
        settling=settling,
        observers=observers,
        answers=answers,
        deliverer=deliverer,
        note_fallback=lambda job, outcome: fallbacks.note(job, outcome),
        homes=homes,
        rounds=rounds,
        hearings=Hearings(
            store=store,
            clock=clock,
            supervisor=supervisor,
            changed=lambda room_id: speculations.changed(room_id),
        ),
        learnt=learnt,
    )
    lanes = Lanes(
        supervisor=supervisor,
        lease=lease,
        executor=executor,
        max_backlog=settings.max_lane_backlog,
        traced=tracing is not None,
        prompt=PromptDeliveries(
            clock=clock,
            channels=channels,
            settling=settling,
            learnt=learnt,
            pacing=pacing,
            breakers=breakers,
        ),
    )
    interruptions = Interruptions(store=store, realtime=realtime, clock=clock, lanes=lanes, lease=lease)
    dispatcher = LaneDispatcher(lanes=lanes, settling=settling, wakeups=wakeups, follows=follows)
    speculations = Speculations(
        settings=settings,
        store=store,
        supervisor=supervisor,
        channels=channels,
        events=events,
        is_idle=lambda room_id, channel_id: lanes.get(room_id, channel_id) is None,
    )

    # The one way into a timeline.
    writer = Writer(
        settings=settings,
        store=store,
        locks=given.locks,
        tracing=tracing,
        clock=clock,
        supervisor=supervisor,
        hooks=hooks,
        events=events,
        lease=lease,
        ledger=ledger,
        channels=channels,
        observers=observers,
        dispatcher=dispatcher,
        expect=timers.expect_set,
        speculations=speculations,
        files=files,
    )

    # Operations on rooms.
    rights_signals = RightsSignals(
        settings=settings,
        store=store,
        realtime=realtime,
        clock=clock,
        supervisor=supervisor,
        channels=channels,
        homes=homes,
        lanes=lanes,
        dispatcher=dispatcher,
        follows=follows,
    )
    consent_signals = ConsentSignals(
        settings=settings,
        store=store,
        realtime=realtime,
        clock=clock,
        supervisor=supervisor,
        channels=channels,
        homes=homes,
    )
    channel_notices = ChannelNotices(settings=settings, supervisor=supervisor, observers=observers)

    def rooms_of(organization_id: str | None) -> Rooms:
        return Rooms(
            settings=settings,
            store=store,
            clock=clock,
            notices=channel_notices,
            hooks=hooks,
            events=events,
            channels=channels,
            writer=writer,
            observers=observers,
            lanes=lanes,
            rights_signals=rights_signals,
            rounds=rounds,
            organization_id=organization_id,
        )

    rooms = rooms_of(None)
    states = RoomStates(store=store, writer=writer, clock=clock)
    participants = Participants(
        store=store,
        clock=clock,
        channels=channels,
        notices=channel_notices,
        writer=writer,
        observers=observers,
        lanes=lanes,
        rights_signals=rights_signals,
    )
    privacy = DataSubjectRequests(
        store=store,
        clock=clock,
        supervisor=supervisor,
        hooks=hooks,
        events=events,
        ledger=ledger,
        channels=channels,
        rooms=rooms,
        writer=writer,
        lanes=lanes,
        observers=observers,
        exports=Exports(store=store, clock=clock, ledger=ledger, consents=consents, files=files),
        consents=consents,
        rights_signals=rights_signals,
    )

    # Inbound.
    signals = InboundSignals(store=store, realtime=realtime, clock=clock)
    desk = IdentityDesk(
        settings=settings,
        clock=clock,
        supervisor=supervisor,
        hooks=hooks,
        events=events,
        channels=channels,
        resolver=given.resolver,
    )
    router = given.router or DefaultInboundRoomRouter(store, channels=channels)

    def inbound_of(organization_id: str | None) -> Inbound:
        return Inbound(
            settings=settings,
            store=store,
            tracing=tracing,
            supervisor=supervisor,
            hooks=hooks,
            events=events,
            ledger=ledger,
            limiter=limiter,
            rooms=rooms if organization_id is None else rooms_of(organization_id),
            writer=writer,
            observers=observers,
            signals=signals,
            router=router_of(router, store, organization_id),
            desk=desk,
            claims=Claims(store=store, clock=clock, organization_id=organization_id),
            consents=consents,
            waits=lanes.waits,
            organizations=organizations,
            organization_id=organization_id,
        )

    organizations: Organizations[Inbound] = Organizations(inbound_of)
    inbound = inbound_of(None)
    speculator = Speculator(store=store, inbound=inbound, writer=writer, speculations=speculations)
    receipts = Receipts(store=store, events=events, ledger=ledger, channels=channels, notices=notices)
    sources = Sources(
        supervisor=supervisor,
        events=events,
        process=process_inbound,
        receive=receipts.take,
        signal=signals.accept,
        homes=homes,
    )
    traces = ProtocolTraces(
        store=store, supervisor=supervisor, hooks=hooks, channels=channels, observers=observers
    )

    # Work shared with other workers.
    timers.register(ROOM_TIMERS, rooms.fire_timers)
    timers.register(RETENTION, rooms.fire_retention)
    timers.register(AFTER_BROADCAST, observers.fire_after_broadcast)
    parked = ParkedTurns(
        store=store,
        clock=clock,
        writer=writer,
        rounds=rounds,
        events=events,
        expect=timers.expect,
        retry_seconds=settings.lease_seconds,
    )
    timers.register(PARKED, parked.fire)
    scheduled = ScheduledSends(
        settings=settings, store=store, clock=clock, writer=writer, events=events, expect=timers.expect
    )
    timers.register(SCHEDULED, scheduled.fire)
    keeper = LeaseKeeper(
        store=store,
        supervisor=supervisor,
        events=events,
        lease=lease,
        channels=channels,
        lanes=lanes,
        ledger=ledger,
        wakeups=wakeups,
        homes=homes,
        seconds=settings.lease_seconds,
    )
    hand_over = HandOver(
        store=store, ledger=ledger, lease=lease, clock=clock, writer=writer, lanes=lanes, channels=channels
    )
    reclaim = Reclaim(
        store=store,
        clock=clock,
        supervisor=supervisor,
        lease=lease,
        ledger=ledger,
        channels=channels,
        pacing=pacing,
        writer=writer,
        lanes=lanes,
        settling=settling,
        dispatcher=dispatcher,
        wakeups=wakeups,
        keeper=keeper,
        unclaimed=Unclaimed(settings=settings, store=store, events=events),
        hand_over=hand_over,
    )
    fallbacks: Fallbacks = Fallbacks(
        store=store,
        clock=clock,
        supervisor=supervisor,
        events=events,
        ledger=ledger,
        take=reclaim.start,
    )
    timers.register(FALLBACK, fallbacks.fire)
    timers.register(PLAYBACK, playbacks.fire)
    fetch = KitFetch(given.fetch, given.find_fetch)
    imports = MediaImports(
        store=store, clock=clock, files=files, fetch=fetch, exclusively=writer.exclusively, events=events
    )
    sweeper = MediaSweeper(store=store, clock=clock, files=files, events=events)
    if files.are_kept:  # else they are left to workers that have the files
        timers.register(MEDIA_SWEEP, sweeper.fire)
        timers.register(MEDIA_IMPORT, imports.fire)
    moves = Moves(
        store=store,
        clock=clock,
        lease=lease,
        ledger=ledger,
        hooks=hooks,
        events=events,
        channels=channels,
        rooms=rooms,
        writer=writer,
        observers=observers,
        notices=channel_notices,
        rights_signals=rights_signals,
        expect=timers.expect,
        parked=parked.list,
        merge_of=given.merge_of,
    )
    timers.register(MOVING, moves.fire_mark)
    timers.register(REST_OF_MOVE, moves.fire_rest)

    webhooks = Webhooks(
        settings=settings,
        supervisor=supervisor,
        events=events,
        channels=channels,
        inbound=inbound,
        receipts=receipts,
        signals=signals,
        turns=KitTurns(
            Owner(channels, str, HOST, None),
            store=store,
            clock=clock,
            hooks=hooks,
            observers=observers,
            writer=writer,
            interruptions=interruptions,
            expect=timers.expect_set,
            speculator=speculator,
            parked=parked,
        ),
    )
    return Kernel(
        settings=settings,
        store=store,
        locks=given.locks,
        realtime=realtime,
        telemetry=telemetry,
        tracing=tracing,
        transcoder=given.transcoder,
        clock=clock,
        supervisor=supervisor,
        events=events,
        hooks=hooks,
        channels=channels,
        observers=observers,
        lease=lease,
        ledger=ledger,
        breakers=breakers,
        limiter=limiter,
        pacing=pacing,
        pause_signals=pause_signals,
        lanes=lanes,
        writer=writer,
        speculations=speculations,
        speculator=speculator,
        channel_notices=channel_notices,
        rights_signals=rights_signals,
        consent_signals=consent_signals,
        rooms=rooms,
        states=states,
        moves=moves,
        participants=participants,
        signals=signals,
        desk=desk,
        inbound=inbound,
        organizations=organizations,
        receipts=receipts,
        sources=sources,
        traces=traces,
        timers=timers,
        wakeups=wakeups,
        interruptions=interruptions,
        keeper=keeper,
        reclaim=reclaim,
        starts=ChannelStarts(
            settings=settings, channels=channels, supervisor=supervisor, events=events, reclaim=reclaim
        ),
        hand_over=hand_over,
        homes=homes,
        follows=follows,
        privacy=privacy,
        consents=consents,
        parked=parked,
        scheduled=scheduled,
        webhooks=webhooks,
        files=files,
        fetch=fetch,
        imports=imports,
        sweeper=sweeper,
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
