"""The whole kernel of a kit, built floor by floor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit._dataclasses import dataclass
from roomkit.kernel.assembly.backends import Backends
from roomkit.kernel.assembly.cluster import ClusterParts, build_cluster
from roomkit.kernel.assembly.entry import EntryParts, build_entry
from roomkit.kernel.assembly.ground import GroundParts, lay_ground
from roomkit.kernel.assembly.outbound import (
    OutcomeParts,
    SendingParts,
    WorkParts,
    build_outcomes,
    build_sending,
    build_work,
)
from roomkit.kernel.assembly.timeline import OperationParts, TimelineParts, build_operations, build_timeline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit.models.delivery import InboundMessage, InboundResult
    from roomkit.models.options import KitOptions

__all__ = ["Kernel", "assemble"]


@dataclass(slots=True, frozen=True, kw_only=True)
class Kernel:
    """The built parts, owned by `RoomKit`, which forwards to them. No part is handed the whole."""

    ground: GroundParts
    outcomes: OutcomeParts
    sending: SendingParts
    work: WorkParts
    timeline: TimelineParts
    operations: OperationParts
    entry: EntryParts
    cluster: ClusterParts


def assemble(
    settings: KitOptions,
    given: Backends,
    process_inbound: Callable[[InboundMessage], Awaitable[InboundResult]],
) -> Kernel:
    """Build the parts of one kit, from the ground up to the operations called from outside.

    `process_inbound` is where sources hand in their messages: the kit's own, which starts it first.
    """
    ground = lay_ground(settings, given)
    outcomes = build_outcomes(ground, take=lambda delivery: cluster.reclaim.start(delivery))
    sending = build_sending(ground, outcomes, given.transcoder)
    work = build_work(ground, outcomes, sending)
    timeline = build_timeline(ground, outcomes, sending, work)
    operations = build_operations(ground, outcomes, sending, work, timeline, given.merge_of)
    entry = build_entry(ground, outcomes, sending, work, timeline, operations, given, process_inbound)
    cluster = build_cluster(ground, outcomes, sending, work, timeline)
    return Kernel(
        ground=ground,
        outcomes=outcomes,
        sending=sending,
        work=work,
        timeline=timeline,
        operations=operations,
        entry=entry,
        cluster=cluster,
    )
