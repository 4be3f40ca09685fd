"""The parts from a committed event to its recipients and their outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit._dataclasses import dataclass
from roomkit.authoring.limits import TokenBucketRateLimiter
from roomkit.kernel.cluster.unclaimed import Unclaimed
from roomkit.kernel.commit.ledger import OutcomeWriter
from roomkit.kernel.commit.observers import Observers
from roomkit.kernel.commit.receipt_notices import ReceiptNotices
from roomkit.kernel.commit.speculations import Speculations
from roomkit.kernel.consent.consents import Consents
from roomkit.kernel.delivery.answers import Answers
from roomkit.kernel.delivery.breaker import Breakers
from roomkit.kernel.delivery.consent_check import ConsentCheck
from roomkit.kernel.delivery.deferrals import Deferrals
from roomkit.kernel.delivery.dispatch import LaneDispatcher
from roomkit.kernel.delivery.executor import LaneExecutor
from roomkit.kernel.delivery.fallbacks import FALLBACK, Fallbacks
from roomkit.kernel.delivery.hearing import Hearings
from roomkit.kernel.delivery.homes import HeldHomes
from roomkit.kernel.delivery.interruptions import Interruptions
from roomkit.kernel.delivery.lanes import Lanes
from roomkit.kernel.delivery.learnt_state import LearntState
from roomkit.kernel.delivery.pacing import Pacing
from roomkit.kernel.delivery.parked_rounds import ParkedRounds
from roomkit.kernel.delivery.pause_signals import PauseSignals
from roomkit.kernel.delivery.playbacks import Playbacks
from roomkit.kernel.delivery.prompt import PromptDeliveries
from roomkit.kernel.delivery.sending import Deliverer
from roomkit.kernel.delivery.settling import Settling
from roomkit.kernel.delivery.shown_signals import ShownSignals
from roomkit.kernel.delivery.streamed_turn import TurnParts
from roomkit.kernel.delivery.turn_effects import TurnEffects
from roomkit.kernel.delivery.vendor_ids import VendorIds
from roomkit.kernel.delivery.wakeups import Wakeups
from roomkit.kernel.flow.timers import AFTER_BROADCAST, PLAYBACK
from roomkit.kernel.following.follows import Follows
from roomkit.kernel.rooms.consent_signals import ConsentSignals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit.abc.transcoder import ContentTranscoder
    from roomkit.kernel.assembly.ground import GroundParts
    from roomkit.kernel.flow.cascade import Cascade
    from roomkit.models.delivery import Delivery

__all__ = ["OutcomeParts", "SendingParts", "WorkParts", "build_outcomes", "build_sending", "build_work"]


@dataclass(slots=True, frozen=True, kw_only=True)
class OutcomeParts:
    """The parts that record how deliveries ended, and show it."""

    unclaimed: Unclaimed
    observers: Observers
    notices: ReceiptNotices
    ledger: OutcomeWriter
    fallbacks: Fallbacks
    settling: Settling


def build_outcomes(ground: GroundParts, take: Callable[[Delivery], Awaitable[Cascade]]) -> OutcomeParts:
    """Build the parts behind a delivery; `take` starts one that is made in place of another."""
    store, supervisor, hooks, events = ground.store, ground.supervisor, ground.hooks, ground.events
    unclaimed = Unclaimed(settings=ground.settings, store=store, events=events)
    observers = Observers(store=store, supervisor=supervisor, hooks=hooks, missing=unclaimed.missing)
    notices = ReceiptNotices(
        store=store, hooks=hooks, observers=observers, reported=lambda row: fallbacks.reported(row)
    )
    ledger = OutcomeWriter(
        store=store, supervisor=supervisor, events=events, lease=ground.lease, notices=notices
    )
    fallbacks = Fallbacks(
        store=store, clock=ground.clock, supervisor=supervisor, events=events, ledger=ledger, take=take
    )
    settling = Settling(
        store=store,
        tracing=ground.tracing,
        supervisor=supervisor,
        hooks=hooks,
        events=events,
        ledger=ledger,
        observers=observers,
        fallback=fallbacks.now,
    )
    ground.timers.register(AFTER_BROADCAST, observers.fire_after_broadcast)
    ground.timers.register(FALLBACK, fallbacks.fire)
    return OutcomeParts(
        unclaimed=unclaimed,
        observers=observers,
        notices=notices,
        ledger=ledger,
        fallbacks=fallbacks,
        settling=settling,
    )


@dataclass(slots=True, frozen=True, kw_only=True)
class SendingParts:
    """The parts between a lane and a transport: what lets an event pass, and which worker has the way."""

    breakers: Breakers
    pacing: Pacing
    pause_signals: PauseSignals
    wakeups: Wakeups
    homes: HeldHomes
    consents: Consents
    consent_signals: ConsentSignals
    follows: Follows
    shown: ShownSignals
    deliverer: Deliverer


def build_sending(ground: GroundParts, outcomes: OutcomeParts, transcoder: ContentTranscoder) -> SendingParts:
    """Build the way to a transport."""
    settings, store, realtime, clock = ground.settings, ground.store, ground.realtime, ground.clock
    supervisor, lease = ground.supervisor, ground.lease
    wakeups = Wakeups(realtime=realtime, clock=clock, supervisor=supervisor, lease=lease)
    homes = HeldHomes(
        settings=settings, store=store, clock=clock, lease=lease, ledger=outcomes.ledger, wakeups=wakeups
    )
    consent_signals = ConsentSignals(
        settings=settings,
        store=store,
        signals=ground.signals,
        supervisor=supervisor,
        channels=ground.channels,
        homes=homes,
    )
    consents = Consents(
        store=store, clock=clock, announce=consent_signals.announce, suppression_key=settings.suppression_key
    )
    pause_signals = PauseSignals(ground.signals)
    pacing = Pacing(TokenBucketRateLimiter(), pause_signals.announce)
    breakers = Breakers()
    follows = Follows(settings=settings, store=store, realtime=realtime, clock=clock, supervisor=supervisor)
    deliverer = Deliverer(
        settings=settings,
        store=store,
        lease=lease,
        tracing=ground.tracing,
        transcoder=transcoder,
        supervisor=supervisor,
        events=ground.events,
        pacing=pacing,
        breakers=breakers,
        agreed=ConsentCheck(consents, pacing, settings.require_opt_in),
        follows=follows,
        files=ground.files,
        ids=VendorIds(store),
    )
    return SendingParts(
        breakers=breakers,
        pacing=pacing,
        pause_signals=pause_signals,
        wakeups=wakeups,
        homes=homes,
        consents=consents,
        consent_signals=consent_signals,
        follows=follows,
        shown=ShownSignals(
            store=store,
            channels=ground.channels,
            supervisor=supervisor,
            events=ground.events,
            pacing=pacing,
            breakers=breakers,
            clock=clock,
            signals=ground.signals,
        ),
        deliverer=deliverer,
    )


@dataclass(slots=True, frozen=True, kw_only=True)
class WorkParts:
    """The lanes, which work deliveries off, and what may end or prepare an agent's turn."""

    rounds: ParkedRounds
    speculations: Speculations
    lanes: Lanes
    interruptions: Interruptions
    dispatcher: LaneDispatcher


def build_work(ground: GroundParts, outcomes: OutcomeParts, sending: SendingParts) -> WorkParts:
    """Build the lanes over the way to transports and agents."""
    store, lease = ground.store, ground.lease
    rounds = ParkedRounds(store=store, clock=ground.clock)
    speculations = Speculations(
        settings=ground.settings,
        store=store,
        supervisor=ground.supervisor,
        channels=ground.channels,
        events=ground.events,
        is_idle=lambda room_id, channel_id: lanes.get(room_id, channel_id) is None,
    )
    learnt = LearntState(store=store, clock=ground.clock, events=ground.events)
    lanes = Lanes(
        supervisor=ground.supervisor,
        lease=lease,
        executor=_executor(ground, outcomes, sending, rounds, speculations, learnt),
        max_backlog=ground.settings.max_lane_backlog,
        traced=ground.tracing is not None,
        prompt=PromptDeliveries(
            clock=ground.clock,
            channels=ground.channels,
            settling=outcomes.settling,
            learnt=learnt,
            pacing=sending.pacing,
            breakers=sending.breakers,
        ),
        deferrals=Deferrals(
            store=store,
            lease=lease,
            channels=ground.channels,
            settling=outcomes.settling,
            clock=ground.clock,
            most=ground.settings.max_waiting_in_memory,
        ),
    )
    return WorkParts(
        rounds=rounds,
        speculations=speculations,
        lanes=lanes,
        interruptions=Interruptions(store=store, signals=ground.signals, lanes=lanes, lease=lease),
        dispatcher=LaneDispatcher(
            lanes=lanes, settling=outcomes.settling, wakeups=sending.wakeups, follows=sending.follows
        ),
    )


def _executor(
    ground: GroundParts,
    outcomes: OutcomeParts,
    sending: SendingParts,
    rounds: ParkedRounds,
    speculations: Speculations,
    learnt: LearntState,
) -> LaneExecutor:
    store, clock, supervisor = ground.store, ground.clock, ground.supervisor
    return LaneExecutor(
        settings=ground.settings,
        store=store,
        tracing=ground.tracing,
        clock=clock,
        supervisor=supervisor,
        hooks=ground.hooks,
        events=ground.events,
        lease=ground.lease,
        channels=ground.channels,
        settling=outcomes.settling,
        observers=outcomes.observers,
        answers=_answers(ground, outcomes, sending, rounds),
        deliverer=sending.deliverer,
        note_fallback=outcomes.fallbacks.note,
        homes=sending.homes,
        rounds=rounds,
        hearings=Hearings(store=store, clock=clock, supervisor=supervisor, changed=speculations.changed),
        learnt=learnt,
        shown=sending.shown,
    )


def _answers(
    ground: GroundParts, outcomes: OutcomeParts, sending: SendingParts, rounds: ParkedRounds
) -> Answers:
    store, clock, supervisor, lease = ground.store, ground.clock, ground.supervisor, ground.lease
    playbacks = Playbacks(store=store, clock=clock, supervisor=supervisor, lease=lease)
    ground.timers.register(PLAYBACK, playbacks.fire)
    effects = TurnEffects(
        store=store, clock=clock, observers=outcomes.observers, rounds=rounds, expect=ground.timers.expect_set
    )
    parts = TurnParts(
        settings=ground.settings,
        store=store,
        supervisor=supervisor,
        hooks=ground.hooks,
        lease=lease,
        channels=ground.channels,
        follows=sending.follows,
    )
    return Answers(parts=parts, effects=effects, playbacks=playbacks, rounds=rounds)
