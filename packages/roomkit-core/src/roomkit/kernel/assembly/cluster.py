"""The parts of the work that is shared with other workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit._dataclasses import dataclass
from roomkit.kernel.cluster.keeper import LeaseKeeper
from roomkit.kernel.cluster.reclaim import Reclaim
from roomkit.kernel.cluster.starts import ChannelStarts
from roomkit.kernel.delivery.handover import HandOver

if TYPE_CHECKING:
    from roomkit.kernel.assembly.ground import GroundParts
    from roomkit.kernel.assembly.outbound import OutcomeParts, SendingParts, WorkParts
    from roomkit.kernel.assembly.timeline import TimelineParts

__all__ = ["ClusterParts", "build_cluster"]


@dataclass(slots=True, frozen=True, kw_only=True)
class ClusterParts:
    """The lease, the work reclaimed under it, and hand-overs."""

    keeper: LeaseKeeper
    hand_over: HandOver
    reclaim: Reclaim
    starts: ChannelStarts


def build_cluster(
    ground: GroundParts,
    outcomes: OutcomeParts,
    sending: SendingParts,
    work: WorkParts,
    timeline: TimelineParts,
) -> ClusterParts:
    """Build what keeps this worker alive to the others, and takes on what they leave."""
    settings, store, lease, lanes = ground.settings, ground.store, ground.lease, work.lanes
    supervisor, events, channels = ground.supervisor, ground.events, ground.channels
    keeper = LeaseKeeper(
        store=store,
        supervisor=supervisor,
        events=events,
        lease=lease,
        channels=channels,
        lanes=lanes,
        ledger=outcomes.ledger,
        wakeups=sending.wakeups,
        homes=sending.homes,
        seconds=settings.lease_seconds,
    )
    hand_over = HandOver(
        store=store,
        ledger=outcomes.ledger,
        lease=lease,
        clock=ground.clock,
        writer=timeline.writer,
        lanes=lanes,
        channels=channels,
    )
    reclaim = Reclaim(
        store=store,
        clock=ground.clock,
        supervisor=supervisor,
        lease=lease,
        ledger=outcomes.ledger,
        channels=channels,
        pacing=sending.pacing,
        writer=timeline.writer,
        lanes=lanes,
        settling=outcomes.settling,
        dispatcher=work.dispatcher,
        wakeups=sending.wakeups,
        keeper=keeper,
        unclaimed=outcomes.unclaimed,
        hand_over=hand_over,
    )
    starts = ChannelStarts(
        settings=settings, channels=channels, supervisor=supervisor, events=events, reclaim=reclaim
    )
    return ClusterParts(keeper=keeper, hand_over=hand_over, reclaim=reclaim, starts=starts)
