"""The in-memory store's ledger: a row for each delivery, and the lanes in which workers hold them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from itertools import count, takewhile
from operator import attrgetter
from types import MappingProxyType

from roomkit._dataclasses import dataclass
from roomkit.abc.errors import DeliveryNotFoundError, StoreError
from roomkit.abc.store import NOTHING_COMPLETED, Claimed, Completed, Entry
from roomkit.memory.homes import HomeTable
from roomkit.memory.leases import Leases
from roomkit.memory.rooms import StoredRoom
from roomkit.models.delivery import Delivery, DeliveryOutcome, DeliveryStatus
from roomkit.models.enums import DeliveryState, ReceiptState
from roomkit.models.event import RoomEvent

__all__ = ["NOWHERE", "Ledger"]

NOWHERE: Mapping[str, str | None] = MappingProxyType({})
_DAY = 86_400.0
_WAITING_LIMIT = 8
_FEW = 8
"""Fewer targets are found faster one after the other than by their hash."""


class Ledger:
    """What became of each delivery.

    A row is implied by the room's list of targets until something becomes of it, and is not a model until it
    is read. Lanes are kept from the moment when they are asked for: a single kit in its own process never
    does.
    """

    def __init__(
        self,
        rooms: Mapping[str, StoredRoom],
        events: dict[str, RoomEvent],
        leases: Leases,
        homes: HomeTable,
    ) -> None:
        self._rooms = rooms
        self._events = events
        self._leases = leases
        self._homes = homes
        self._rows: dict[str, _Row] = {}  # bound: the targets of the events that are there
        self._by_message_id: dict[tuple[str, str], str] = {}  # bound: the messages of the rows
        self._parts: dict[str, dict[str, ReceiptState]] = {}  # bound: the rows with parts
        self._former_ids: dict[str, set[tuple[str, str]]] = {}  # bound: the rows that were sent again
        self._fallbacks = _FallbackOrder(events)
        self._waiting = _WaitingReceipts()
        self._lanes: _Lanes | None = None

    # -- reading ------------------------------------------------------------------------------

    def get(self, delivery_id: str) -> Delivery | None:
        """Return a row; both ids that it is named after may have colons in them."""
        row = self._rows.get(delivery_id)
        if row is not None:
            return _model(row)
        cut = delivery_id.find(":")
        while cut >= 0:
            event = self._events.get(delivery_id[:cut])
            if event is not None and delivery_id[cut + 1 :] in self._targets(event):
                return Delivery.planned(event, delivery_id[cut + 1 :])
            cut = delivery_id.find(":", cut + 1)
        return None

    def find(self, provider: str, message_id: str) -> Delivery | None:
        """Return the row of a provider's message."""
        delivery_id = self._by_message_id.get((provider, message_id))
        return None if delivery_id is None else _model(self._rows[delivery_id])

    def of_room(self, record: StoredRoom) -> Iterator[Delivery]:
        """Return the rows of a room, in order of its events."""
        for index, targets in (record.ledger or {}).items():
            for channel_id in targets:
                yield self._row(record.at(index), channel_id)

    def of_all(self) -> Iterator[Delivery]:
        """Return the rows of all rooms, in the order in which they were written."""
        fallbacks = self._fallbacks
        for event in self._events.values():
            for row in self.of_event(event):
                if row.id not in fallbacks.made_after:
                    yield row
            for row_id in fallbacks.by_event.get(event.id, ()):
                yield _model(self._rows[row_id])

    def of_event(self, event: RoomEvent) -> Iterator[Delivery]:
        """Return the rows of one event, in the order in which they were written."""
        for channel_id in self._targets(event):
            yield self._row(event, channel_id)

    def _targets(self, event: RoomEvent) -> Sequence[str]:
        ledger = self._rooms[event.room_id].ledger
        return () if ledger is None else ledger.get(event.index, ())

    def _row(self, event: RoomEvent, channel_id: str) -> Delivery:
        row = self._rows.get(f"{event.id}:{channel_id}")
        return _model(row) if row is not None else Delivery.planned(event, channel_id)

    # -- a commit's own rows --------------------------------------------------------------------

    @property
    def keeps_lanes(self) -> bool:
        """Whether new rows have to be placed, which they have from the first worker on."""
        return self._lanes is not None

    def keep_lanes(self) -> None:
        """Have new rows placed from now on."""
        self._all_lanes()

    def place(
        self,
        entries: Sequence[Entry],
        stored: Sequence[RoomEvent],
        worker_id: str | None,
        absent: Collection[str],
        agents: Collection[str],
    ) -> Mapping[str, str | None]:
        """Put the rows of events just committed into their lanes; return those that are elsewhere."""
        lanes, homes = self._all_lanes(), self._homes
        committer = worker_id if self._leases.in_force(worker_id) else None
        elsewhere: dict[str, str | None] = {}  # bound: the targets of the commit
        for event, entry in zip(stored, entries, strict=True):
            for channel_id in entry.targets:
                delivery_id = f"{event.id}:{channel_id}"
                lane = lanes.lane(event.room_id, channel_id)
                if not lane.rows:
                    lane.holder = committer
                    if event.room_id in homes.rooms:
                        home = homes.holder(event.room_id, channel_id, is_agent=channel_id in agents)
                        lane.holder = home or committer
                if channel_id in absent:
                    holder, is_direct = self._join_absent(
                        lane, delivery_id, event.index, channel_id, worker_id
                    )
                else:
                    holder, is_direct = self._join(lane, delivery_id, event.index, committer)
                if holder is not None:
                    self._rows[delivery_id] = Delivery.planned(event, channel_id).replace(holder=holder)
                if not is_direct:
                    elsewhere[delivery_id] = holder
        return elsewhere if worker_id is not None else NOWHERE

    def _join(
        self, lane: _Lane, delivery_id: str, index: int, committer: str | None
    ) -> tuple[str | None, bool]:
        """Return who holds a new row, and whether the committer goes on with it right away."""
        is_direct = committer is not None and lane.holder == committer and not lane.handed
        lane.rows[delivery_id] = index
        if is_direct:
            return committer, True
        holder = lane.holder if self._leases.in_force(lane.holder) else None
        if holder is not None:
            lane.handed.add(delivery_id)
        return holder, False

    def _join_absent(
        self, lane: _Lane, delivery_id: str, index: int, channel_id: str, committer: str | None
    ) -> tuple[str | None, bool]:
        """Join a lane whose channel the committer lacks: a free one goes to a worker that announces it."""
        if not lane.rows and lane.holder in (None, committer):
            lane.holder = self._leases.announcer(channel_id, besides=committer)
        lane.rows[delivery_id] = index
        if not self._leases.in_force(lane.holder):
            return None, False
        lane.handed.add(delivery_id)
        return lane.holder, False

    # -- what becomes of them -------------------------------------------------------------------

    def complete(self, outcomes: Iterable[DeliveryOutcome], worker_id: str | None) -> Completed:
        """Write the pending rows that the worker holds, or any worker when it is None."""
        refused: list[str] = []  # bound: `outcomes`
        event_id: str | None = None
        targets: Collection[str] = ()
        receipts: list[tuple[Delivery, DeliveryStatus]] = []  # bound: the receipts that came early
        for outcome in outcomes:
            row_id = f"{outcome.event_id}:{outcome.channel_id}"
            kept = self._rows.get(row_id)
            if kept is None:
                if event_id != outcome.event_id:  # the rows of an event mostly come together
                    event_id = outcome.event_id
                    targets = self._targets_of(event_id)
                if worker_id is not None or outcome.channel_id not in targets:
                    refused.append(row_id)
                    continue
                self._write(row_id, outcome)
            else:
                before = kept if isinstance(kept, Delivery) else kept.delivery()
                if before.state is not DeliveryState.PENDING or worker_id not in (None, before.holder):
                    refused.append(row_id)
                    continue
                self._overwrite(row_id, outcome, before)
            if outcome.provider is not None and self._waiting.any:
                receipts += self._receive_waiting(outcome)
        return Completed(refused, receipts) if refused or receipts else NOTHING_COMPLETED

    def _targets_of(self, event_id: str) -> Collection[str]:
        event = self._events.get(event_id)
        ledger = None if event is None else self._rooms[event.room_id].ledger
        if event is None or ledger is None:
            return ()
        targets = ledger.get(event.index, ())
        return targets if len(targets) < _FEW else frozenset(targets)

    def _overwrite(self, row_id: str, outcome: DeliveryOutcome, before: Delivery) -> None:
        """Write a row that was there: the store's own fields stay, but one that ended has no holder."""
        row: _Row = outcome
        if outcome.state is DeliveryState.PENDING or before.claims or before.receipt is not None:
            holder = before.holder if outcome.state is DeliveryState.PENDING else None
            row = outcome.delivery(holder=holder, claims=before.claims, receipt=before.receipt)
            if before.receipt is not None:
                row = self._in_parts(row, before)
        if before.provider_message_id is not None:
            former = set(_message_keys(before)) - set(_message_keys(row))
            if former:
                self._former_ids.setdefault(row_id, set()).update(former)
        self._write(row_id, row)

    def _write(self, row_id: str, row: _Row) -> None:
        self._rows[row_id] = row
        if row.provider is not None and row.provider_message_id is not None:
            for key in _message_keys(row):
                self._by_message_id[key] = row_id
        if self._lanes is not None and row.state is not DeliveryState.PENDING:
            self._lanes.leave(row_id, row.room_id, row.channel_id)

    def receive(self, status: DeliveryStatus, receipt: ReceiptState) -> Delivery | None:
        """Move a row's receipt forward; keep the receipt when the message is not known yet."""
        delivery_id = self._by_message_id.get((status.provider, status.message_id))
        if delivery_id is None:
            self._waiting.keep(status, receipt)
            return None
        row = _model(self._rows[delivery_id])
        if len(row.message_ids) > 1:
            after = self._of_parts(row, status.message_id, receipt)
        else:
            after = receipt if receipt.follows(row.receipt) else row.receipt
        if after is not row.receipt:
            row = self._rows[delivery_id] = row.replace(receipt=after)
        return row

    def _of_parts(self, row: Delivery, message_id: str, receipt: ReceiptState) -> ReceiptState | None:
        """Move one part of a message forward; return the state of the whole."""
        parts = self._parts.setdefault(row.id, {})
        if receipt.follows(parts.get(message_id)):
            parts[message_id] = receipt
        return ReceiptState.of_parts(parts.get(part) for part in row.message_ids)

    def _in_parts(self, row: Delivery, before: Delivery) -> Delivery:
        """Return a row that may have got further parts: its receipt is that of all of them."""
        if len(row.message_ids) < 2:
            return row
        if before.receipt is not None and len(before.message_ids) == 1:
            self._parts.setdefault(row.id, {})[before.message_ids[0]] = before.receipt
        parts = self._parts.get(row.id, {})
        if parts.keys().isdisjoint(row.message_ids):
            return row
        return row.replace(receipt=ReceiptState.of_parts(parts.get(part) for part in row.message_ids))

    def _receive_waiting(self, row: DeliveryOutcome) -> Iterator[tuple[Delivery, DeliveryStatus]]:
        for status, receipt in self._waiting.take(_message_keys(row)):
            after = self.receive(status, receipt)
            assert after is not None  # its message ids were written before
            yield after, status

    def delete_waiting(self, recipients: Collection[str], not_of: Collection[str]) -> int:
        """Remove the receipts for a recipient that wait for their delivery; return how many there were."""
        return self._waiting.delete(recipients, not_of)

    def reopen(self, delivery_id: str) -> Delivery:
        """Put a failed row into its lane again."""
        before = self._failed(delivery_id, "reopen")
        row = before.replace(
            state=DeliveryState.PENDING, error=None, finished_at=None, duration_ms=None, claims=0
        )
        return self._put_into_lane(row)

    def _put_into_lane(self, row: Delivery) -> Delivery:
        """Keep a pending row, in its lane."""
        if self._lanes is not None:
            lane = self._lanes.lane(row.room_id, row.channel_id)
            if not lane.rows:
                lane.holder = self._homes.holder(row.room_id, row.channel_id)
            holder, _ = self._join(lane, row.id, row.event_index, None)
            row = row.replace(holder=holder)
        self._rows[row.id] = row
        return row

    def add_fallback(self, delivery_id: str, channel_id: str) -> Delivery | None:
        """Put the event of a row into another channel's lane; None if it has a row there."""
        row = self.get(delivery_id)
        if row is None:
            raise DeliveryNotFoundError(f"no delivery {delivery_id!r}: list_deliveries shows them")
        event = self._events[row.event_id]
        targets = self._targets(event)
        ledger = self._rooms[event.room_id].ledger
        if channel_id in targets or ledger is None:
            return None
        ledger[event.index] = (*targets, channel_id)
        made = self._put_into_lane(row.fallback_to(channel_id))
        self._fallbacks.add(made.id)
        return made

    def drop(self, delivery_id: str, reason: str) -> Delivery:
        """Give a failed row up."""
        before = self._failed(delivery_id, "drop")
        row = self._rows[delivery_id] = before.replace(state=DeliveryState.SKIPPED, reason=reason)
        return row

    def _failed(self, delivery_id: str, verb: str) -> Delivery:
        row = self.get(delivery_id)
        if row is None:
            raise DeliveryNotFoundError(f"no delivery {delivery_id!r} to {verb}: list_deliveries shows them")
        if row.state is not DeliveryState.FAILED:
            raise StoreError(
                f"delivery {delivery_id!r} is {row.state}, not failed: only what failed can be "
                f"{'reopened' if verb == 'reopen' else 'dropped'}"
            )
        return row

    def redact(self, event: RoomEvent) -> None:
        """Forget what the rows of a redacted event say of their failures."""
        for row in self.of_event(event):
            if row.id in self._rows:
                self._rows[row.id] = row.redacted()

    def moved(self, event: RoomEvent) -> None:
        """Note the place of the rows of an event that was moved, none of them pending."""
        for row in self.of_event(event):
            if row.id in self._rows:
                self._rows[row.id] = row.replace(room_id=event.room_id, event_index=event.index)

    def is_settled(self, event: RoomEvent) -> bool:
        """Whether no delivery of an event is pending."""
        return all(row.state is not DeliveryState.PENDING for row in self.of_event(event))

    def forget(self, event: RoomEvent) -> None:
        """Remove the rows of an event that is still there, and all that leads to them."""
        for row in self.of_event(event):
            if self._lanes is not None:
                self._lanes.leave(row.id, row.room_id, row.channel_id)
            self._fallbacks.discard(row.id)
            self._parts.pop(row.id, None)
            if self._rows.pop(row.id, None) is not None:
                for key in (*_message_keys(row), *self._former_ids.pop(row.id, ())):
                    if self._by_message_id.get(key) == row.id:
                        del self._by_message_id[key]
        self._fallbacks.forget(event.id)

    # -- workers --------------------------------------------------------------------------------

    def lane(self, record: StoredRoom, channel_id: str, indexes: Sequence[int]) -> list[Claimed]:
        """Return the rows of a channel of the events at these indexes."""
        targets = record.ledger or {}
        found = sorted({index for index in indexes if channel_id in targets.get(index, ())})
        return [Claimed(self._row(event, channel_id), event) for event in map(record.at, found)]

    def claimable(self, worker_id: str, channels: Collection[str] | None, limit: int) -> list[str]:
        """Return rooms with rows for the worker to claim, the one with the oldest of them first."""
        if not self._leases.in_force(worker_id):
            return []
        waiting = [
            (min(self._rooms[room_id].at(index).created_at for index in indexes), room_id)
            for room_id, lanes in self._all_lanes().rooms.items()
            if (
                indexes := [
                    lane.rows[row]
                    for channel_id, lane in lanes.items()
                    for row in self._open(lane, worker_id, channel_id, channels)
                ]
            )
        ]
        waiting.sort(key=lambda each: each[0])
        return [room_id for _, room_id in waiting[:limit]]

    def claim(self, record: StoredRoom, worker_id: str, channels: Collection[str] | None) -> list[Claimed]:
        """Claim rows that were handed over to the worker, or that no living worker holds."""
        taken: list[Claimed] = []  # bound: the pending rows of the room
        if not self._leases.in_force(worker_id):
            return taken
        for channel_id, lane in self._all_lanes().rooms.get(record.room_id, {}).items():
            for delivery_id in self._open(lane, worker_id, channel_id, channels):
                event = record.at(lane.rows[delivery_id])
                row = self._row(event, channel_id)
                was_lost = row.holder is not None and row.holder != worker_id
                row = row.replace(holder=worker_id, claims=row.claims + was_lost)
                self._rows[delivery_id] = row
                taken.append(Claimed(row, event))
                lane.handed.discard(delivery_id)
                lane.holder = worker_id
        return sorted(taken, key=self._place)

    def _open(
        self, lane: _Lane, worker_id: str, channel_id: str, channels: Collection[str] | None
    ) -> list[str]:
        """Return the rows of a lane that a worker with these channels may claim."""
        if lane.holder == worker_id:
            return list(lane.handed)
        if self._leases.in_force(lane.holder) or (channels is not None and channel_id not in channels):
            return []
        return list(lane.rows)

    def unclaimed(self) -> dict[str, int]:
        """Count what no worker in force holds, by the channels that none announces."""
        counts: dict[str, int] = {}  # bound: the channels with pending rows
        for lanes in self._all_lanes().rooms.values():
            for channel_id, lane in lanes.items():
                if not self._leases.in_force(lane.holder) and self._leases.announcer(channel_id) is None:
                    counts[channel_id] = counts.get(channel_id, 0) + len(lane.rows)
        return counts

    def _place(self, claimed: Claimed) -> tuple[int, int]:
        return claimed.event.index, self._targets(claimed.event).index(claimed.delivery.channel_id)

    def release(self, worker_id: str) -> None:
        """Release everything that a worker holds."""
        if self._lanes is None:
            return
        for lane in self._lanes:
            if lane.holder == worker_id:
                lane.holder = None
                lane.handed.clear()
                for delivery_id in lane.rows:
                    row = self._rows.get(delivery_id)
                    if row is not None:
                        self._rows[delivery_id] = _model(row).replace(holder=None)

    def pass_on(self, room_id: str, channel_id: str, worker_id: str, to: str | None) -> None:
        """Hand the rows that a worker holds of a lane over to another, or release them."""
        lane = None if self._lanes is None else self._lanes.rooms.get(room_id, {}).get(channel_id)
        if lane is None or lane.holder != worker_id:
            return
        lane.holder = to
        lane.handed = set() if to is None else set(lane.rows)
        for delivery_id in lane.rows:
            row = self.get(delivery_id)
            assert row is not None
            self._rows[delivery_id] = row.replace(holder=to)

    def _all_lanes(self) -> _Lanes:
        lanes = self._lanes
        if lanes is None:
            lanes = self._lanes = _Lanes()
            for row in self.of_all():
                if row.state is DeliveryState.PENDING:
                    lanes.lane(row.room_id, row.channel_id).rows[row.id] = row.event_index
        return lanes


@dataclass(slots=True)
class _Lane:
    """The pending rows of one channel in one room, with their events' indexes.

    `holder` is the worker that last took them: as long as it is in force, all rows are its own, and
    `handed` are those that it has not claimed yet. Otherwise each is held by it or free.
    """

    rows: dict[str, int] = field(default_factory=dict)  # bound: the pending rows of the lane
    handed: set[str] = field(default_factory=set)  # bound: `rows`
    holder: str | None = None


class _Lanes:
    """The lanes with pending rows, by room and channel."""

    def __init__(self) -> None:
        self.rooms: dict[str, dict[str, _Lane]] = {}  # bound: the pending rows

    def __iter__(self) -> Iterator[_Lane]:
        return (lane for lanes in self.rooms.values() for lane in lanes.values())

    def lane(self, room_id: str, channel_id: str) -> _Lane:
        """Return a lane, for a row to be put into it."""
        lanes = self.rooms.setdefault(room_id, {})
        lane = lanes.get(channel_id)
        if lane is None:
            lane = lanes[channel_id] = _Lane()
        return lane

    def leave(self, row_id: str, room_id: str, channel_id: str) -> None:
        """Take a row out of its lane, if it is there."""
        lanes = self.rooms.get(room_id)
        lane = None if lanes is None else lanes.get(channel_id)
        if lanes is None or lane is None:
            return
        lane.rows.pop(row_id, None)
        lane.handed.discard(row_id)
        if not lane.rows:
            del lanes[channel_id]
            if not lanes:
                del self.rooms[room_id]


@dataclass(slots=True, frozen=True)
class _Waiting:
    number: int
    at: float
    status: DeliveryStatus
    receipt: ReceiptState


class _WaitingReceipts:
    """Receipts that came before the message they are for, each kept for a day."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[str, str], list[_Waiting]] = {}  # bound: a day, and 8 for each message
        self._numbers = count()

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return bool(self._by_key)

    def keep(self, status: DeliveryStatus, receipt: ReceiptState) -> None:
        """Keep a receipt, the newest ones of a message, each once."""
        now = asyncio.get_running_loop().time()
        self._purge(now - _DAY)
        waiting = self._by_key.setdefault((status.provider, status.message_id), [])
        if all((each.status, each.receipt) != (status, receipt) for each in waiting):
            waiting.append(_Waiting(next(self._numbers), now, status, receipt))
            del waiting[:-_WAITING_LIMIT]

    def take(self, keys: Iterable[tuple[str, str]]) -> list[tuple[DeliveryStatus, ReceiptState]]:
        """Return what waited for these messages, in order of arrival, and keep it no longer."""
        waiting = [each for key in keys for each in self._by_key.pop(key, ())]
        waiting.sort(key=attrgetter("number"))
        return [(each.status, each.receipt) for each in waiting]

    def delete(self, recipients: Collection[str], not_of: Collection[str]) -> int:
        """Remove those for a recipient, but for those of some channels; return how many there were."""
        count = 0
        for key, waiting in list(self._by_key.items()):
            kept = [
                each
                for each in waiting
                if each.status.recipient not in recipients or each.status.channel_id in not_of
            ]
            count += len(waiting) - len(kept)
            if kept:
                self._by_key[key] = kept
            else:
                del self._by_key[key]
        return count

    def _purge(self, before: float) -> None:
        for key in list(self._by_key):
            if self._by_key[key][-1].at >= before:
                return  # those that came first come first; one with newer receipts is handled later
            del self._by_key[key]


class _FallbackOrder:
    """Which event was the newest when the row of a fallback was made."""

    def __init__(self, events: dict[str, RoomEvent]) -> None:
        self._events = events
        self.made_after: dict[str, str] = {}  # bound: the rows of fallbacks
        self.by_event: dict[str, dict[str, None]] = {}  # bound: the same

    def add(self, row_id: str) -> None:
        """Place a row that was made just now."""
        self._place(row_id, next(reversed(self._events)))

    def _place(self, row_id: str, event_id: str) -> None:
        self.made_after[row_id] = event_id
        self.by_event.setdefault(event_id, {})[row_id] = None

    def discard(self, row_id: str) -> None:
        """Remove a row that is deleted."""
        event_id = self.made_after.pop(row_id, None)
        if event_id is not None:
            del self.by_event[event_id][row_id]

    def forget(self, event_id: str) -> None:
        """Leave the rows that follow a deleted event, which is still there, to the event before it."""
        rows = self.by_event.pop(event_id, None)
        if rows:
            before = deque(takewhile(event_id.__ne__, self._events), maxlen=1)
            for row_id in rows:  # each of an event that is older
                self._place(row_id, before[0])


type _Row = Delivery | DeliveryOutcome
"""An outcome is a row that no worker holds or had to claim, and that has no receipt."""


def _model(row: _Row) -> Delivery:
    return row if isinstance(row, Delivery) else row.delivery()


def _message_keys(row: _Row) -> list[tuple[str, str]]:
    provider = row.provider
    if provider is None or row.provider_message_id is None:
        return []
    if not row.parts:
        return [(provider, row.provider_message_id)]
    return [(provider, message_id) for message_id in row.message_ids]
