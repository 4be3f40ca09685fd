"""Events that are sent later: kept as values, sent by timers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from roomkit.abc.errors import (
    EventNotFoundError,
    InvalidInputError,
    MediaTooLargeError,
    ParticipantNotFoundError,
    RoomNotFoundError,
    StaleValueError,
)
from roomkit.abc.records import checked
from roomkit.kernel.flow.cascade import Cascade
from roomkit.kernel.flow.draft import Draft
from roomkit.kernel.flow.quiet import QuietCommit
from roomkit.kernel.flow.timers import TimerOutcome, room_of
from roomkit.kernel.media.contents import referred
from roomkit.kernel.media.files import UNUSED_AFTER
from roomkit.kernel.schedule.local_time import instant_of, opening, zone_of_number
from roomkit.models.base import freeze
from roomkit.models.enums import ParticipantRole
from roomkit.models.event import RoomEvent
from roomkit.models.scheduling import LocalTime, ScheduledSend
from roomkit.models.timer import Timer
from roomkit.models.value import LONGEST_DATA, Value

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.commit.writer import Writer
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.models.content import EventContent
    from roomkit.models.identity import Identity
    from roomkit.models.options import KitOptions
    from roomkit.models.participant import Participant
    from roomkit.models.scheduling import SendAt, ZoneFrom

__all__ = ["SCHEDULED", "ScheduledSends"]

SCHEDULED = "scheduled_send"
"""The kind of the timers that send."""
_NAMESPACE = "core.scheduled"
_TRIES = 64
_PAGE = 100
_REFUSED = (InvalidInputError, MediaTooLargeError)
_PEOPLE = frozenset({ParticipantRole.OWNER, ParticipantRole.MEMBER})


class _Due(NamedTuple):
    at: datetime
    zone: str | None = None
    zone_from: ZoneFrom | None = None
    window: Any = None


class ScheduledSends:
    """Keeps each scheduled event as one value, and a timer that sends it.

    What changes it goes by the value's revision: an edit, a cancellation, and the start of its sending, of
    which one is first. It is written to the timeline under its own id and key, so that a worker that is
    killed while it sends leaves one entry.
    """

    def __init__(
        self,
        *,
        settings: KitOptions,
        store: ConversationStore,
        clock: Clock,
        writer: Writer,
        events: FrameworkEvents,
        expect: Callable[[datetime], None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._writer = writer
        self._events = events
        self._expect = expect

    # -- scheduling ---------------------------------------------------------------------------

    async def add(self, event: RoomEvent, at: SendAt) -> RoomEvent:
        """Keep an event until it is due; return it, pending, with its final id."""
        record = await self._load(event.room_id)
        due = await self._due(at, record)
        self._check_files(event, due)
        if event.idempotency_key is None:
            event = event.replace(idempotency_key=f"scheduled:{event.id}")
        value = Value(
            namespace=_NAMESPACE,
            key=(event.id,),
            organization_id=record.room.organization_id,
            room_id=event.room_id,
            subject=_subject_of(event, at, record),
        )
        send = _made(event, due)
        commit = QuietCommit(
            room_id=event.room_id,
            at=self._clock.now(),
            values=[_holding(value, send)],
            timers=[_timer(value, due.at)],
        )
        await self._store.commit(commit)
        self._expect(due.at)
        return event

    def _check_files(self, event: RoomEvent, due: _Due | ScheduledSend) -> None:
        """Refuse files that would be deleted before it is sent: no event refers to them until then."""
        at = due.due_at if isinstance(due, ScheduledSend) else due.at
        if at - self._clock.now() > UNUSED_AFTER and (named := referred(event.content)):
            raise InvalidInputError(
                f"the event {event.id!r} cannot be scheduled for {at.isoformat(timespec='seconds')}: its "
                f"file 'media:{named[0]}' is deleted {UNUSED_AFTER.total_seconds() / 3600:g} hours after it "
                "was put unless an event refers to it; name it by an http(s) URL, or put and send it from a "
                "timer of your own (services.timers)"
            )

    async def _load(self, room_id: str) -> RoomRecord:
        record = await self._store.load(room_id)
        if record is None:
            raise RoomNotFoundError(f"no room {room_id!r}: create_room first")
        return record

    async def _due(self, at: SendAt, record: RoomRecord) -> _Due:
        if isinstance(at, datetime):
            if at.tzinfo is None:
                raise InvalidInputError(f"nothing can be sent at {at!r}: give a datetime with a time zone")
            return _Due(at)
        if not isinstance(at, LocalTime):
            raise InvalidInputError(f"{type(at).__name__} cannot be an at: give a datetime or a LocalTime")
        name, found = await self._zone(at.of, record)
        return _Due(instant_of(at, _zone(name), self._clock.now()), name, found, at.window)

    async def _zone(self, participant_id: str | None, record: RoomRecord) -> tuple[str, ZoneFrom]:
        """Return the zone of a participant, and where it was found."""
        if participant_id is None:
            return self._settings.timezone, "kit"
        person = record.participants.get(participant_id)
        if person is None:
            raise ParticipantNotFoundError(
                f"participant {participant_id!r} not found in room {record.room_id!r}: a local time is "
                "that of one of its participants"
            )
        if person.timezone is not None:
            return person.timezone, "participant"
        identity = None if person.identity_id is None else await self._store.get_identity(person.identity_id)
        if identity is not None and identity.timezone is not None:
            return identity.timezone, "identity"
        for number in _numbers(person, identity):
            if (zone := zone_of_number(number)) is not None:
                return zone, "number"
        return self._settings.timezone, "kit"

    # -- changing -----------------------------------------------------------------------------

    async def edit(
        self, room_id: str, event_id: str, content: EventContent | None, at: SendAt | None
    ) -> ScheduledSend:
        """Replace the content or the time; return the new send."""
        record = await self._load(room_id)
        due = None if at is None else await self._due(at, record)
        for _ in range(_TRIES):
            value = await self._value(room_id, event_id)
            before = None if value is None else _send_in(value)
            if value is None or before is None or before.is_being_sent:
                raise EventNotFoundError(
                    f"room {room_id!r} has no scheduled send {event_id!r}: it was sent, cancelled or erased; "
                    "list_scheduled shows those that wait"
                )
            event = before.event
            if content is not None:
                event = checked(event.replace(content=content), RoomEvent, "given to edit_scheduled()")
            after = before.replace(event=event) if due is None else _made(event, due)
            self._check_files(event, after)
            # Early rather than late, should this worker be killed in between: who fires early sets it again.
            await self._store.set_timer(_timer(value, min(before.due_at, after.due_at)))
            try:
                await self._store.put_value(_holding(value, after), if_revision=value.revision)
            except StaleValueError:
                continue
            self._expect(after.due_at)
            return after
        raise _restless(room_id, event_id)

    async def cancel(self, room_id: str, event_id: str) -> bool:
        """Remove a scheduled send; False when there is none, or when its sending has begun."""
        for _ in range(_TRIES):
            value = await self._value(room_id, event_id)
            if value is None or _send_in(value).is_being_sent:
                return False
            try:
                if not await self._remove(value, if_revision=value.revision):
                    return False
            except StaleValueError:
                continue
            return True
        raise _restless(room_id, event_id)

    async def _remove(self, value: Value, if_revision: int | None = None) -> bool:
        removed = await self._store.delete_value(
            _NAMESPACE, value.key, organization_id=value.organization_id, if_revision=if_revision
        )
        await self._store.delete_timer(_timer(value, self._clock.now()).id)
        return removed

    # -- sending ------------------------------------------------------------------------------

    async def fire(self, timer: Timer) -> TimerOutcome:
        """Send a due message, once, however often this is called."""
        value = await self._value(room_of(timer), str(timer.data.get("event_id")))
        if value is None:
            return TimerOutcome(None)
        send = _send_in(value)
        if not send.is_being_sent:
            later = self._later(send)
            if later is not None:
                return TimerOutcome(later)
            begun = send.replace(is_being_sent=True)
            try:
                value = await self._store.put_value(_holding(value, begun), if_revision=value.revision)
            except StaleValueError:
                return TimerOutcome(self._clock.now() + timedelta(seconds=1))
        await self._send(send.event)
        await self._store.delete_value(_NAMESPACE, value.key, organization_id=value.organization_id)
        return TimerOutcome(None, changed=True)

    def _later(self, send: ScheduledSend) -> datetime | None:
        """Return when a send is to be looked at again; None if it is due, and its window is open."""
        now = self._clock.now()
        if send.due_at > now:
            return send.due_at
        if send.window is None or send.timezone is None:
            return None
        opens = opening(send.window, _zone(send.timezone), now)
        return opens if opens > now else None

    async def _send(self, event: RoomEvent) -> None:
        try:
            written = await self._writer.write(Draft(event=event, cascade=Cascade(is_awaited=False)))
        except _REFUSED as error:  # such as a file that is not there any more: it would be refused for ever
            self._refused(event, error.code)
            return
        if written.event is None:
            self._refused(event, written.reason)

    def _refused(self, event: RoomEvent, reason: str | None) -> None:
        self._events.emit(
            "scheduled_refused",
            room_id=event.room_id,
            channel_id=event.source.channel_id,
            event_id=event.id,
            reason=reason,
        )

    # -- reading ------------------------------------------------------------------------------

    async def list(
        self, room_id: str | None, *, organization_id: str | None, limit: int
    ) -> list[ScheduledSend]:
        """Return the sends of a room, of an organization, or of all, by when they are due."""
        if room_id is not None:
            values = self._of_room(room_id)
        elif organization_id is not None:
            values = self._of_organization(organization_id)
        else:
            values = self._everywhere()
        found = [_send_in(value) async for value in values]
        return sorted(found, key=lambda send: (send.due_at, send.event.id))[:limit]

    async def _value(self, room_id: str, event_id: str) -> Value | None:
        room = await self._store.get_room(room_id)
        if room is None:
            return None
        value = await self._store.get_value(_NAMESPACE, (event_id,), organization_id=room.organization_id)
        return value if value is not None and value.room_id == room_id else None

    async def _of_room(self, room_id: str) -> AsyncIterator[Value]:
        after = 0
        while page := await self._store.list_room_values(room_id, after=after, limit=_PAGE):
            for value in page:
                if value.namespace == _NAMESPACE:
                    yield value
            after = page[-1].revision

    async def _of_organization(self, organization_id: str) -> AsyncIterator[Value]:
        after: tuple[str, ...] | None = None
        while page := await self._store.list_values(
            _NAMESPACE, (), organization_id=organization_id, after=after, limit=_PAGE
        ):
            for value in page:
                yield value
            after = page[-1].key

    async def _everywhere(self) -> AsyncIterator[Value]:
        after: str | None = None
        while page := await self._store.find_timers(SCHEDULED, after=after, limit=_PAGE):
            for timer in page:
                value = await self._value(room_of(timer), str(timer.data.get("event_id")))
                if value is not None:
                    yield value
            after = page[-1].id


def _made(event: RoomEvent, due: _Due) -> ScheduledSend:
    return ScheduledSend(
        event=event, due_at=due.at, timezone=due.zone, timezone_from=due.zone_from, window=due.window
    )


def _holding(value: Value, send: ScheduledSend) -> Value:
    data = send.model_dump(mode="json")
    if (size := len(json.dumps(data))) > LONGEST_DATA:
        raise InvalidInputError(
            f"the event {send.event.id!r} cannot be scheduled: its draft has {size:,} bytes as JSON, "
            f"{LONGEST_DATA:,} are the most; name files by an http(s) URL, or send it when it is due from a "
            "timer of your own (services.timers)"
        )
    return value.replace(data=freeze(data))


def _send_in(value: Value) -> ScheduledSend:
    send = ScheduledSend.from_stored(json.dumps(value.data))
    room_id = value.room_id
    if room_id is None or send.event.room_id == room_id:
        return send
    return send.replace(event=send.event.replace(room_id=room_id))  # its room was merged


def _timer(value: Value, due_at: datetime) -> Timer:
    (event_id,) = value.key
    return Timer(
        id=f"scheduled:{event_id}",
        room_id=value.room_id,
        kind=SCHEDULED,
        due_at=due_at,
        data={"event_id": event_id},
        subject=value.subject,
    )


def _subject_of(event: RoomEvent, at: SendAt, record: RoomRecord) -> str | None:
    """Return the person whose erasure removes the event: who gets it, who says it, who is there alone."""
    if isinstance(at, LocalTime) and at.of is not None:
        return at.of
    if event.source.participant_id is not None:
        return event.source.participant_id
    people = [each.id for each in record.participants.values() if each.role in _PEOPLE]
    return people[0] if len(people) == 1 else None


def _numbers(person: Participant, identity: Identity | None) -> list[str]:
    numbers = [person.external_id or person.id]
    if identity is not None and identity.phone is not None:
        numbers.append(identity.phone)
    return numbers


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInputError(
            f"no time zone {name!r} on this machine: install the package tzdata, or correct the name"
        ) from None


def _restless(room_id: str, event_id: str) -> StaleValueError:
    return StaleValueError(
        f"the scheduled send {event_id!r} of room {room_id!r} was not changed: others changed it {_TRIES} "
        "times in between; try again"
    )
