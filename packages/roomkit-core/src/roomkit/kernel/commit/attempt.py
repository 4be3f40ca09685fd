"""A commit in preparation: decided on the room as it was loaded, and put together for the store."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from roomkit._dataclasses import dataclass
from roomkit.abc.errors import ForeignCodeError, InvalidInputError, RoomKitError
from roomkit.abc.store import Amend, Commit, Entry
from roomkit.kernel.flow.permissions import may_write, newcomer
from roomkit.kernel.flow.state import changed_state, with_binding_state
from roomkit.kernel.flow.timers import after_broadcast_timer, left_to_any_worker, room_timer
from roomkit.models.content import DeleteContent, EditContent
from roomkit.models.enums import ChannelCategory, EventStatus, RoomStatus
from roomkit.models.task import Observation
from roomkit.models.values import error_text, repaired

if TYPE_CHECKING:
    from roomkit.abc.store import RoomRecord
    from roomkit.kernel.commit.verdicts import GateVerdict
    from roomkit.kernel.flow.draft import Draft
    from roomkit.kernel.flow.recipients import Target
    from roomkit.models.base import Json
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent
    from roomkit.models.hook import InjectedEvent, StateChange
    from roomkit.models.participant import Participant
    from roomkit.models.timer import Timer

__all__ = ["TOO_DEEP", "Attempt", "Block", "assemble", "block_of", "changed_by_gates", "injected_entry"]

TOO_DEEP = "event_chain_depth_limit"


@dataclass(slots=True)
class Block:
    """Why an event is stored as blocked."""

    by: str
    reason: str


@dataclass(slots=True)
class Attempt:
    """One try to commit a draft: the room as it was loaded, and the decisions about it."""

    draft: Draft
    record: RoomRecord
    version: int
    """The room's version before the gates ran: a change that they made is planned for again."""
    event: RoomEvent
    block: Block | None
    targets: Sequence[Target]
    injected: Sequence[InjectedEvent]
    verdict: GateVerdict | None
    span: str | None = None
    """The span of the event's broadcast, when there is telemetry."""


def block_of(
    event: RoomEvent, binding: ChannelBinding | None, verdict: GateVerdict | None, max_chain_depth: int
) -> Block | None:
    """Return why an event is refused by a gate, its source's rights or its depth; None if it is not."""
    if verdict is not None and not verdict.allowed:
        return Block(repaired(verdict.blocked_by or ""), repaired(str(verdict.reason or "blocked")))
    denied = may_write(binding)
    if denied is not None:
        return Block(denied, denied)
    if event.chain_depth >= max_chain_depth and event.chain_depth > 0:
        return Block(TOO_DEEP, TOO_DEEP)
    return None


def assemble(
    attempt: Attempt,
    *,
    at: datetime,
    worker_id: str | None,
    channels: Collection[str],
    observed: bool,
    max_chain_depth: int,
) -> Commit:
    """Return the commit of an attempt, for one transaction of the store. Raises InvalidInputError.

    Where another worker may have to finish it (`worker_id`), it names the recipients that this worker
    does not know, and if the room's events are `observed`, sets the timers that have them observed.
    """
    draft, record, event, block = attempt.draft, attempt.record, attempt.event, attempt.block
    spans_rooms = draft.channel_key is not None and event.idempotency_key == draft.channel_key
    entries = [Entry(event, [target.binding.channel_id for target in attempt.targets], spans_rooms)]
    if draft.before and block is None:
        entries = [*(Entry(note) for note in draft.before), *entries]
    for injection in attempt.injected:
        entries.append(injected_entry(record, event.room_id, injection))
    participants: tuple[Participant, ...] = ()
    amend = None
    if block is None:
        person = draft.participant or newcomer(
            record, event, record.bindings.get(event.source.channel_id), at, draft.address
        )
        participants = (person, *draft.joined) if person is not None else ()
        amend = _amend(event)
    tasks, observations = draft.tasks, draft.observations
    if attempt.verdict is not None:
        tasks = (*tasks, *attempt.verdict.tasks)
        observations = (*observations, *attempt.verdict.observations)
    if block is not None and block.by == TOO_DEEP:
        observations = (*observations, _too_deep(event, at, max_chain_depth))
    room_changes, timers, values, state = draft.room_changes, draft.timers, draft.values, draft.state
    verdict = attempt.verdict
    if verdict is not None and (verdict.state or verdict.values or verdict.timers):
        timers = (*timers, *verdict.timers)
        values = (*values, *verdict.values)
        state = (*state, *verdict.state)
    if timers and worker_id is not None:
        timers = [left_to_any_worker(timer, at) for timer in timers]
    if state:
        room_changes = {**(room_changes or {}), "state": changed_by_gates(record, state)}
    is_activity = block is None and draft.activity and not draft.lifecycle
    if record.status is RoomStatus.PAUSED and is_activity:
        room_changes = {**(room_changes or {}), "status": RoomStatus.ACTIVE}
        timers = (*timers, *_resumed_timers(record, at))
    absent: Sequence[str] = ()
    agents: Sequence[str] = ()
    if worker_id is not None:
        agents = [target.binding.channel_id for target in attempt.targets if target.is_agent]
        absent = [
            channel_id for entry in entries for channel_id in entry.targets if channel_id not in channels
        ]
        if observed:
            broadcast = [entry.event for entry in entries if _is_broadcast(entry.event)]
            timers = (*timers, *(after_broadcast_timer(each) for each in broadcast))
    return Commit(
        room_id=event.room_id,
        entries=entries,
        at=at,
        expected_version=attempt.version,
        worker_id=worker_id,
        timers=timers,
        participants=participants,
        bindings=_own_bindings(draft, record) if draft.binding_state or draft.readdressed else draft.bindings,
        unbind=draft.unbind,
        room_changes=room_changes,
        metadata=draft.metadata,
        amend=amend,
        tasks=tasks,
        observations=observations,
        absent=absent,
        values=values,
        agents=agents,
        activity=is_activity,
    )


def injected_entry(record: RoomRecord, room_id: str, injection: InjectedEvent) -> Entry:
    """Return an event that a hook adds, for the transports it names. Raises InvalidInputError."""
    event = injection.event
    if event.room_id != room_id:
        raise InvalidInputError(
            f"a hook of room {room_id!r} injected an event for room {event.room_id!r}: "
            "a hook adds only to the room it was called for; use send_event for others"
        )
    wanted = [record.bindings.get(channel_id) for channel_id in injection.target_channel_ids or ()]
    return Entry(
        event,
        [
            binding.channel_id
            for binding in wanted
            if binding is not None and binding.category is not ChannelCategory.INTELLIGENCE
        ],
    )


def _amend(event: RoomEvent) -> Amend | None:
    content = event.content
    by = event.source.participant_id or event.source.channel_id
    if isinstance(content, EditContent):
        return Amend(content.target_event_id, content.new_content, by)
    if isinstance(content, DeleteContent):
        return Amend(content.target_event_id, None, by)
    return None


def _too_deep(event: RoomEvent, at: datetime, max_chain_depth: int) -> Observation:
    return Observation(
        id=f"obs_{event.id}",
        room_id=event.room_id,
        channel_id=event.source.channel_id,
        content="an answer was too deep in a chain of answers",
        category="event_chain_depth_exceeded",
        created_at=at,
        metadata={
            "chain_depth": event.chain_depth,
            "max_chain_depth": max_chain_depth,
            "source_channel": event.source.channel_id,
        },
    )


def changed_by_gates(record: RoomRecord, changes: Sequence[tuple[str, StateChange]]) -> Json:
    """Return the state of a room after its gates' changes. Raises ForeignCodeError, InvalidInputError."""
    try:
        return changed_state(record.room_id, record.room.state, changes)
    except RoomKitError:
        raise
    except Exception as error:  # a gate's function may raise anything
        raise ForeignCodeError(
            f"a gate's change of the state of room {record.room_id!r} raised {error_text(error)}: let it "
            "return the new state, or None; nothing was stored"
        ) from error


def _own_bindings(draft: Draft, record: RoomRecord) -> Sequence[ChannelBinding]:
    """Return the bindings to store: its channel's is to who wrote, and knows what the message says."""
    channel_id = draft.event.source.channel_id
    own = {each.channel_id: each for each in draft.bindings}
    before = own.get(channel_id) or record.bindings.get(channel_id)
    if before is None:
        return draft.bindings
    after = before if draft.readdressed is None else _to(before, draft.readdressed)
    state = {**after.state, **draft.binding_state}
    if state != after.state:
        after = with_binding_state(after, state)
    if after is before:
        return draft.bindings
    own[channel_id] = after
    return tuple(own.values())


def _to(binding: ChannelBinding, fields: Mapping[str, Any]) -> ChannelBinding:
    """Return a binding that writes to one of its further addresses, of which the former becomes one."""
    address = fields.get("address")
    if address is None or address not in binding.also:  # another worker has changed it already
        return binding
    further = (each for each in (binding.address, *binding.also) if each not in (None, address))
    who = fields.get("participant_id")
    return binding.replace(
        address=address,
        also=tuple(dict.fromkeys(further)),
        metadata={**binding.metadata, **(fields.get("metadata") or {})},
        participant_id=binding.participant_id if binding.participant_id is None else who,
    )


def _is_broadcast(event: RoomEvent) -> bool:
    return event.status is not EventStatus.BLOCKED and event.visibility != "internal"


def _resumed_timers(record: RoomRecord, at: datetime) -> Sequence[Timer]:
    """Return the timer of a paused room that a message makes active: it may be idle again before long."""
    room = record.room
    active = room.replace(status=RoomStatus.ACTIVE, timers=room.timers.replace(last_activity_at=at))
    timer = room_timer(room, active.next_due)
    return () if timer is None else (timer,)
