"""Writes prepared for the database, and the meaning of its answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zlib import crc32

from pydantic import ValidationError

from roomkit.abc.errors import StoreError
from roomkit.abc.store import Commit, Completed, HomeRecord
from roomkit.models.delivery import Delivery, DeliveryOutcome, DeliveryStatus
from roomkit.models.enums import DeliveryState
from roomkit.models.event import RoomEvent
from roomkit.models.room import Room
from roomkit.models.timer import Timer
from roomkit.models.value import Value, encoded_key
from roomkit_plugins.postgres.rows import (
    BINDINGS,
    DELIVERIES,
    EVENTS,
    OBSERVATIONS,
    PARTICIPANTS,
    TASKS,
    TIMERS,
    dump_event,
    dump_room,
    encoded,
    unread_event,
)
from roomkit_plugins.sql import commits as sql
from roomkit_plugins.sql.cached import Change, Counters, Known, RoomGrowth
from roomkit_plugins.sql.damaged import damaged_record, readable_fields, stored_receipt
from roomkit_plugins.sql.refusals import (
    event_twice,
    foreign_task,
    lock_lost,
    no_binding,
    no_event,
    no_participant,
    no_room,
    stale_room,
)

__all__ = [
    "Basis",
    "CommitParameters",
    "PreparedEnds",
    "counters_of",
    "home_of",
    "message_key",
    "moment",
    "timer_rows",
    "value_row",
]


_CREATED_AT = [column.name for column in EVENTS.columns].index("created_at")


@dataclass(slots=True)
class Basis:
    """What a commit that changes something starts from: the room at a version, and events by their ids."""

    room: Room
    events: Mapping[str, RoomEvent] = field(default_factory=dict)


class CommitParameters(sql.PreparedCommit):
    """A commit as an operation for the database. Raises InvalidInputError for what JSON cannot carry.

    `unset` are keys to remove from the room's metadata. When `needs_basis`, `on` says what the commit is
    made from.
    """

    def __init__(
        self,
        given: Commit,
        *,
        binding: str | None = None,
        participant: str | None = None,
        unset: Collection[str] = (),
    ) -> None:
        super().__init__(given, binding=binding, participant=participant)
        self._unset = frozenset(unset)
        self.ends = PreparedEnds(given.completed)
        self._check_distinct()
        self._operation = self._encode(given)
        self._replaced: list[RoomEvent] = []
        self._changed: Room | None = None

    def _check_distinct(self) -> None:
        if len(self.events) < 2:
            return
        ids = {event.id for event in self.events}
        keys = [event.idempotency_key for event in self.events if event.idempotency_key is not None]
        if len(ids) < len(self.events) or len(set(keys)) < len(keys):
            raise event_twice(self.room_id)

    def _encode(self, given: Commit) -> dict[str, Any]:
        events = [{**dump_event(event), "i": place} for place, event in enumerate(self.events)]
        for row, entry in zip(events, given.entries, strict=True):
            if entry.key_spans_rooms and entry.event.idempotency_key is not None:
                row["key_spans_rooms"] = True
        targets = [
            (place, channel_id)
            for place, entry in enumerate(given.entries)
            for channel_id in dict.fromkeys(entry.targets)
        ]
        operation: dict[str, Any] = {
            "room": self.room_id,
            "expected": self.expected_version,
            "fence": self.fence,
            "worker": self.worker,
            "at": given.at,
            "activity": given.activity,
            "bump": int(self.raises_version),
            "binding": self.binding,
            "participant": self.participant,
            "redacted": self.redact,
            "events": events,
            "targets": [{"i": place, "id": channel_id} for place, channel_id in targets],
            "bindings": [BINDINGS.dump(each) for each in self.bindings],
            "unbind": self.unbind,
            "participants": [
                {**PARTICIPANTS.dump(each), "senders": sorted(each.senders)} for each in self.participants
            ],
            "removed": self.remove_participants,
            "tasks": [TASKS.dump(each) for each in given.tasks],
            "observations": [OBSERVATIONS.dump(each) for each in given.observations],
            "alarms": timer_rows(given.timers),
            "completed": self.ends.rows,
            "keys": self.ends.keys,
            "alarms_done": self.timers_done,
            "absent": tuple(given.absent),
            "agents": tuple(given.agents),
            "media": tuple(map(tuple, given.media)),
            "kept": [value_row(each) for each in {_place_of(each): each for each in given.values}.values()],
        }
        return {
            name: value for name, value in operation.items() if value is not None and value not in ((), [])
        }

    # -- on a basis ---------------------------------------------------------------------------

    @property
    def needs_basis(self) -> bool:
        """Whether the write depends on stored rows."""
        return bool(self.changes_room or self.wanted)

    def on(self, basis: Basis) -> None:
        """Make the commit one that changes exactly this."""
        self._operation["base"] = basis.room.version
        self._operation.pop("missing", None)
        self._replaced, self._changed = [], None
        if self.changes_room:
            self._changed = self.changed_room(basis.room, self._unset)
            self._operation["changed"] = dump_room(self._changed)
        for event_id in self.wanted:
            if event_id not in basis.events:
                self._operation["missing"] = event_id
                return
        events = dict(basis.events)
        if self.amend is not None:
            target = events[self.amend.event_id]
            events[target.id] = target.amended(self.amend.content, self.amend.amended_by, self.at)
        for each in self.heard:
            events[each.event_id] = events[each.event_id].as_heard(each.heard)
        for event_id in self.redact:
            events[event_id] = events[event_id].redacted(self.at)
        self._replaced = [events[event_id] for event_id in dict.fromkeys(self.wanted)]
        if self._replaced:
            self._operation["replaced"] = [dump_event(event) for event in self._replaced]

    def after(self, known: Known) -> None:
        """Have the answer tell what others added to the room since it was `known`."""
        self.known = known
        if known.seq >= 0:
            self._operation["known"] = (known.edition, known.next_index, known.tail)

    def encoded(self) -> str:
        """Return the operation for the database."""
        return encoded(self._operation)

    # -- the answer ---------------------------------------------------------------------------

    def change(self, answer: Mapping[str, Any]) -> Change:
        """Return what the commit did to its room."""
        counters = counters_of(answer["counters"])
        first = counters.next_index - len(self.events)
        stored = [
            event.replace(index=first + place).forget_given() for place, event in enumerate(self.events)
        ]
        room = self._changed
        if room is not None:
            room = room.replace(
                event_count=counters.event_count,
                latest_index=counters.next_index - 1,
                version=counters.version,
                timers=room.timers.replace(last_activity_at=counters.last_activity),
            )
        rows = answer.get("added")
        growth = None
        if rows is not None:
            growth = RoomGrowth(self.known, [unread_event(self.room_id, _timed(row)) for row in rows])
        return self.done(counters, room, stored, self._replaced, growth)

    def elsewhere(self, answer: Mapping[str, Any]) -> dict[str, str | None]:
        """Return whom the deliveries belong to that are not the committer's to carry out."""
        rows = answer.get("elsewhere") or ()
        return {f"{self.events[place].id}:{channel_id}": holder for place, channel_id, holder in rows}

    def refused(self, answer: Mapping[str, Any]) -> Exception:
        """Return the error that an answer stands for, but for `duplicate` and `moved`."""
        room_id = self.room_id
        match answer["error"]:
            case "no_room":
                return no_room(room_id)
            case "stale":
                return stale_room(room_id, answer["version"], self.expected_version)
            case "lock_lost":
                return lock_lost(room_id, answer["fence"], self.fence)
            case "no_event":
                return no_event(room_id, self._operation["missing"], "change")
            case "no_binding":
                return no_binding(room_id, self.binding)
            case "no_participant":
                return no_participant(room_id, self.participant)
            case "foreign_task":
                return foreign_task(room_id, answer["id"])
        return StoreError(f"the commit to room {room_id!r} was refused: {answer['error']}")


class PreparedEnds:
    """How deliveries ended, encoded. Of several ends of one delivery, the first that is one counts."""

    def __init__(self, given: Sequence[DeliveryOutcome]) -> None:
        self._given = tuple(each.delivery() for each in given)
        self._chosen: dict[str, int] = {}
        for place, delivery in enumerate(self._given):
            before = self._chosen.get(delivery.id)
            if before is None or self._given[before].state is DeliveryState.PENDING:
                self._chosen[delivery.id] = place
        self.rows = [self._row(place) for place in self._chosen.values()]

    def _row(self, place: int) -> dict[str, Any]:
        delivery = self._given[place]
        row = {**DELIVERIES.dump(delivery), "n": place, "event": delivery.event_id}
        if delivery.provider is not None and len(delivery.message_ids) > 1:
            row["others"] = delivery.message_ids[1:]
        return row

    @property
    def keys(self) -> list[int]:
        """The locks of all messages that receipts may be waiting for, in order."""
        deliveries = (self._given[place] for place in self._chosen.values())
        return sorted(
            {
                message_key(delivery.provider, message_id)
                for delivery in deliveries
                if delivery.provider is not None
                for message_id in delivery.message_ids
            }
        )

    def completed(self, answer: Mapping[str, Any] | None) -> Completed:
        """Return what became of them; without an answer nothing was asked for that can be."""
        written = set(answer["written"]) if answer is not None else set()
        refused = tuple(
            delivery.id
            for place, delivery in enumerate(self._given)
            if (chosen := self._chosen.get(delivery.id)) is None or chosen not in written or place > chosen
        )
        receipts = tuple(
            (self._after(each), _early_status(self._given[each["n"]], each["status"]))
            for each in (answer or {}).get("receipts") or ()
        )
        return Completed(refused, receipts)

    def _after(self, receipt: Mapping[str, Any]) -> Delivery:
        given: Delivery = self._given[receipt["n"]]
        state = receipt["receipt"]
        return given.replace(
            receipt=None if state is None else stored_receipt(state),
            holder=receipt["holder"],
            claims=receipt["claims"],
        )


def _early_status(delivery: Delivery, status: str) -> DeliveryStatus:
    """Return a receipt that waited for a delivery; of one that cannot be read, whose it is."""
    try:
        return DeliveryStatus.from_stored(status)
    except ValidationError:
        fields = readable_fields(status)
        part = fields.get("message_id")
        known = {
            "provider": delivery.provider,
            "message_id": part if isinstance(part, str) else delivery.provider_message_id,
        }
        return damaged_record(DeliveryStatus, fields, known)


def _place_of(value: Value) -> tuple[str | None, str, tuple[str, ...]]:
    return value.organization_id, value.namespace, value.key


def value_row(value: Value) -> dict[str, Any]:
    """Return a value as a row."""
    return {
        "organization_id": value.organization_id or "",
        "namespace": value.namespace,
        "key": encoded_key(value.key),
        "subject": value.subject,
        "room_id": value.room_id,
        "expires_at": value.expires_at,
        "data": value.model_dump_json(exclude_none=True),
        "derived": value.derived,
    }


def message_key(provider: str, message_id: str) -> int:
    """Return the lock number of a vendor's message in the database: 32 bits with a sign."""
    return crc32(f"{provider} {message_id}".encode(errors="replace")) - 2**31


def home_of(room_id: str | None, name: str, row: Mapping[str, Any]) -> HomeRecord:
    """Return the home in an answer."""
    lost_at = None if row.get("lost_at") is None else moment(row["lost_at"])
    return HomeRecord(room_id, name, row["worker"], row["token"], row["alive"], row.get("url"), lost_at)


def timer_rows(timers: Sequence[Timer]) -> list[dict[str, Any]]:
    """Return timers as rows, of several with one id the last."""
    last = {each.id: each for each in timers}.values()
    return [
        TIMERS.dump(each) if each.room_id is not None else {**TIMERS.dump(each), "roomless": True}
        for each in last
    ]


def counters_of(row: Sequence[Any]) -> Counters:
    """Return the counters in an answer."""
    seq, edition, version, next_index, event_count, last_activity = row
    return Counters(seq, edition, version, next_index, event_count, moment(last_activity))


def _timed(row: Sequence[Any]) -> Sequence[Any]:
    """Return the row of an event as a query has it: in an answer, its time is a text."""
    timed = list(row)
    timed[_CREATED_AT] = moment(row[_CREATED_AT])
    return timed


def moment(text: str | None) -> datetime | None:
    """Return a time in an answer."""
    return None if text is None else datetime.fromisoformat(text)
