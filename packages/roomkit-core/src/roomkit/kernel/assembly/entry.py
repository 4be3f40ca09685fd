"""The parts by which messages, receipts and signals come in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit._dataclasses import dataclass
from roomkit.authoring.limits import TokenBucketRateLimiter
from roomkit.kernel.delivery.receipts import Receipts
from roomkit.kernel.inbound.arrivals import Arrivals
from roomkit.kernel.inbound.claims import Claims
from roomkit.kernel.inbound.drafting import Drafting
from roomkit.kernel.inbound.finding import RoomFinder
from roomkit.kernel.inbound.identity import IdentityDesk
from roomkit.kernel.inbound.organizations import Organizations
from roomkit.kernel.inbound.pipeline import Inbound
from roomkit.kernel.inbound.protocol_traces import ProtocolTraces
from roomkit.kernel.inbound.replies import Replies
from roomkit.kernel.inbound.routing import DefaultInboundRoomRouter, router_of
from roomkit.kernel.inbound.signals import InboundSignals
from roomkit.kernel.inbound.sources import Sources
from roomkit.kernel.inbound.webhooks import Webhooks
from roomkit.kernel.services.owner import HOST, Owner
from roomkit.kernel.services.speculation import Speculator
from roomkit.kernel.services.turns import KitTurns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit.abc.router import InboundRoomRouter
    from roomkit.kernel.assembly.backends import Backends
    from roomkit.kernel.assembly.ground import GroundParts
    from roomkit.kernel.assembly.outbound import OutcomeParts, SendingParts, WorkParts
    from roomkit.kernel.assembly.timeline import OperationParts, TimelineParts
    from roomkit.models.delivery import InboundMessage, InboundResult

__all__ = ["EntryParts", "build_entry"]


@dataclass(slots=True, frozen=True, kw_only=True)
class EntryParts:
    """The pipelines of messages, and what stands before them."""

    signals: InboundSignals
    desk: IdentityDesk
    inbound: Inbound
    organizations: Organizations[Inbound]
    speculator: Speculator
    receipts: Receipts
    sources: Sources
    traces: ProtocolTraces
    webhooks: Webhooks


def build_entry(
    ground: GroundParts,
    outcomes: OutcomeParts,
    sending: SendingParts,
    work: WorkParts,
    timeline: TimelineParts,
    operations: OperationParts,
    given: Backends,
    process_inbound: Callable[[InboundMessage], Awaitable[InboundResult]],
) -> EntryParts:
    """Build the pipelines over the timeline; `process_inbound` is where sources hand in their messages."""
    store, supervisor, hooks = ground.store, ground.supervisor, ground.hooks
    events, channels = ground.events, ground.channels
    signals = InboundSignals(
        store=store,
        realtime=ground.realtime,
        clock=ground.clock,
        shown=sending.shown,
        place=lambda message: inbound.signalled(message),
    )
    desk = IdentityDesk(
        settings=ground.settings,
        clock=ground.clock,
        supervisor=supervisor,
        hooks=hooks,
        events=events,
        channels=channels,
        resolver=given.resolver,
    )
    pipeline_of = _pipelines(ground, outcomes, sending, work, timeline, signals, desk, given.router)
    organizations: Organizations[Inbound] = Organizations(
        lambda organization_id: pipeline_of(organization_id, organizations)
    )
    inbound = pipeline_of(None, organizations)
    speculator = Speculator(
        store=store, inbound=inbound, writer=timeline.writer, speculations=work.speculations
    )
    receipts = Receipts(
        store=store,
        events=events,
        ledger=outcomes.ledger,
        channels=channels,
        notices=outcomes.notices,
        supervisor=supervisor,
    )
    return EntryParts(
        signals=signals,
        desk=desk,
        inbound=inbound,
        organizations=organizations,
        speculator=speculator,
        receipts=receipts,
        sources=Sources(
            supervisor=supervisor,
            events=events,
            process=process_inbound,
            receive=receipts.take,
            signal=signals.accept,
            homes=sending.homes,
        ),
        traces=ProtocolTraces(
            store=store, supervisor=supervisor, hooks=hooks, channels=channels, observers=outcomes.observers
        ),
        webhooks=Webhooks(
            settings=ground.settings,
            supervisor=supervisor,
            events=events,
            channels=channels,
            inbound=inbound,
            receipts=receipts,
            signals=signals,
            turns=_turns(ground, outcomes, work, timeline, operations, speculator),
        ),
    )


def _pipelines(
    ground: GroundParts,
    outcomes: OutcomeParts,
    sending: SendingParts,
    work: WorkParts,
    timeline: TimelineParts,
    signals: InboundSignals,
    desk: IdentityDesk,
    router: InboundRoomRouter | None,
) -> Callable[[str | None, Organizations[Inbound]], Inbound]:
    """Return what makes the pipeline of one organization; all of them share the rate limits."""
    store, supervisor = ground.store, ground.supervisor
    router = router or DefaultInboundRoomRouter(store, channels=ground.channels)
    limiter = TokenBucketRateLimiter()
    arrivals = Arrivals(store=store, hooks=ground.hooks, events=ground.events, observers=outcomes.observers)

    def pipeline_of(organization_id: str | None, organizations: Organizations[Inbound]) -> Inbound:
        rooms = timeline.rooms if organization_id is None else timeline.rooms_of(organization_id)
        replies = Replies(store, organization_id=organization_id)
        return Inbound(
            settings=ground.settings,
            store=store,
            tracing=ground.tracing,
            supervisor=supervisor,
            events=ground.events,
            ledger=outcomes.ledger,
            limiter=limiter,
            channels=ground.channels,
            writer=timeline.writer,
            signals=signals,
            finder=RoomFinder(
                store=store,
                tracing=ground.tracing,
                supervisor=supervisor,
                events=ground.events,
                router=router_of(router, store, organization_id),
                replies=replies,
                organization_id=organization_id,
            ),
            replies=replies,
            drafting=Drafting(
                store=store,
                supervisor=supervisor,
                rooms=rooms,
                bindings=timeline.bindings,
                writer=timeline.writer,
                desk=desk,
                organization_id=organization_id,
            ),
            arrivals=arrivals,
            desk=desk,
            claims=Claims(store=store, clock=ground.clock, organization_id=organization_id),
            consents=sending.consents,
            waits=work.lanes.waits,
            organizations=organizations,
            organization_id=organization_id,
        )

    return pipeline_of


def _turns(
    ground: GroundParts,
    outcomes: OutcomeParts,
    work: WorkParts,
    timeline: TimelineParts,
    operations: OperationParts,
    speculator: Speculator,
) -> KitTurns:
    return KitTurns(
        Owner(ground.channels, str, HOST, None),
        store=ground.store,
        clock=ground.clock,
        hooks=ground.hooks,
        observers=outcomes.observers,
        writer=timeline.writer,
        interruptions=work.interruptions,
        expect=ground.timers.expect_set,
        speculator=speculator,
        parked=operations.parked,
    )
