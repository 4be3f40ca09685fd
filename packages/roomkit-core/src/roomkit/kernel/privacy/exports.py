"""Reading out all that is kept of a room, or of a person, one record after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import (
    IdentityNotFoundError,
    MediaNotConfiguredError,
    MediaNotFoundError,
    ParticipantNotFoundError,
    RoomNotFoundError,
    StoreError,
)
from roomkit.kernel.flow.merged import followed
from roomkit.kernel.media.contents import referred
from roomkit.kernel.privacy.archive import archived
from roomkit.kernel.privacy.person import Person, Place, find_person, shown
from roomkit.models.rights import ExportedMedia, ExportLine, PersonExport, ReadMark, RoomExport

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.commit.ledger import OutcomeWriter
    from roomkit.kernel.consent.consents import Consents
    from roomkit.kernel.media.files import Files
    from roomkit.models.delivery import Delivery
    from roomkit.models.event import RoomEvent
    from roomkit.models.value import Value

__all__ = ["Exports", "deliveries_of", "events_of", "room_values_of", "values_of"]

_PAGE = 500
_FIELD_OF = {
    "binding": "bindings",
    "participant": "participants",
    "event": "events",
    "delivery": "deliveries",
    "task": "tasks",
    "observation": "observations",
    "read_mark": "read_marks",
    "timer": "timers",
    "value": "values",
    "media": "media",
}


class Exports:
    """Reads in pages and holds no lock: concurrent writes may be part of it or not."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        clock: Clock,
        ledger: OutcomeWriter,
        consents: Consents,
        files: Files,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ledger = ledger
        self._consents = consents
        self._files = files

    async def room(self, room_id: str) -> RoomExport:
        """Return everything of a room."""
        collected = await _collect(self.room_lines(room_id))
        (room,) = collected.pop("room")
        return RoomExport(exported_at=self._clock.now(), room=room, **_fields(collected))

    async def person(
        self,
        *,
        identity_id: str | None = None,
        participant_id: str | None = None,
        organization_id: str | None = None,
    ) -> PersonExport:
        """Return the data kept about a person."""
        collected = await _collect(
            self.person_lines(
                identity_id=identity_id, participant_id=participant_id, organization_id=organization_id
            )
        )
        identity = next(iter(collected.pop("identity", ())), None)
        now = self._clock.now()
        return PersonExport(exported_at=now, identity=identity, **_fields(collected))

    async def room_lines(self, room_id: str) -> AsyncIterator[ExportLine]:
        """Yield everything of a room, the room first."""
        store = self._store
        await self._written_down()
        room = await store.get_room(room_id)
        if room is None:
            raise RoomNotFoundError(f"no room {room_id!r}: create_room first")
        room = await followed(store, room)
        room_id = room.id
        yield ExportLine(kind="room", record=room)
        for binding in await store.list_bindings(room_id):
            yield ExportLine(kind="binding", record=binding)
        for participant in await store.list_participants(room_id):
            yield ExportLine(kind="participant", record=participant)
        async for event in events_of(store, room_id):
            yield ExportLine(kind="event", record=event)
            async for line in self._media_lines(event):
                yield line
        async for delivery in deliveries_of(store, room_id):
            yield ExportLine(kind="delivery", record=delivery)
        for task in await store.list_tasks(room_id):
            yield ExportLine(kind="task", record=task)
        for observation in await store.list_observations(room_id):
            yield ExportLine(kind="observation", record=observation)
        for channel_id, index in (await store.list_read_marks(room_id)).items():
            mark = ReadMark(room_id=room_id, channel_id=channel_id, index=index)
            yield ExportLine(kind="read_mark", record=mark)
        for timer in await store.list_timers(room_id):
            yield ExportLine(kind="timer", record=timer)
        async for value in room_values_of(store, room_id):
            yield ExportLine(kind="value", record=value)

    async def person_lines(
        self,
        *,
        identity_id: str | None = None,
        participant_id: str | None = None,
        organization_id: str | None = None,
    ) -> AsyncIterator[ExportLine]:
        """Yield the data kept about a person: their identity, room by room, then the values about them."""
        await self._written_down()
        person = await find_person(
            self._store,
            identity_id=identity_id,
            participant_id=participant_id,
            organization_id=organization_id,
        )
        rooms = dict.fromkeys((*person.linking, *person.others, *await person.rooms_of_bindings()))
        if person.identity is None and not rooms and not await self._has_values(person):
            raise _unknown(person)
        if person.identity is not None:
            yield ExportLine(kind="identity", record=person.identity)
        for room_id in rooms:
            record = await self._store.load(room_id)
            if record is not None:
                async for line in self._place_lines(person.place_in(record)):
                    yield line
        for subject in sorted(person.subjects):  # after the rooms: they know further addresses
            async for value in values_of(self._store, subject, person.organization_id):
                yield ExportLine(kind="value", record=value)
        known = [(kind, address) for kind, address in sorted(person.addresses, key=str) if kind is not None]
        async for value in self._consents.revocations(known, person.organization_id):
            yield ExportLine(kind="value", record=value)

    async def _has_values(self, person: Person) -> bool:
        store, organization_id = self._store, person.organization_id
        for subject in person.subjects:
            if await store.list_values_of(subject, organization_id=organization_id, limit=1):
                return True
        return False

    async def _place_lines(self, place: Place) -> AsyncIterator[ExportLine]:
        store, room_id = self._store, place.record.room_id
        ways = {binding.channel_id for binding in place.readers}
        for participant in place.participants.values():
            yield ExportLine(kind="participant", record=participant)
        for binding in place.own_bindings:
            yield ExportLine(kind="binding", record=binding)
        events: set[str] = set()  # bound: what the person said and saw in one room
        async for event in events_of(store, room_id):
            if place.wrote(event) or place.saw(event):
                events.add(event.id)
                event = event if place.wrote(event) else shown(event)
                yield ExportLine(kind="event", record=event)
                async for line in self._media_lines(event):
                    yield line
        async for delivery in deliveries_of(store, room_id):
            if delivery.channel_id in ways and delivery.event_id in events:
                yield ExportLine(kind="delivery", record=delivery)
        for task in await store.list_tasks(room_id):
            if place.is_about(task):
                yield ExportLine(kind="task", record=task)
        for observation in await store.list_observations(room_id):
            if place.is_about(observation):
                yield ExportLine(kind="observation", record=observation)
        for channel_id, index in (await store.list_read_marks(room_id)).items():
            if channel_id in ways:
                mark = ReadMark(room_id=room_id, channel_id=channel_id, index=index)
                yield ExportLine(kind="read_mark", record=mark)

    async def _media_lines(self, event: RoomEvent) -> AsyncIterator[ExportLine]:
        for media_id in referred_by(event):
            yield ExportLine(kind="media", record=await self._media(media_id, event))

    async def _media(self, media_id: str, event: RoomEvent) -> ExportedMedia:
        known = {"id": media_id, "room_id": event.room_id, "event_id": event.id}
        try:
            ref = await self._files.find(media_id)
        except (MediaNotFoundError, MediaNotConfiguredError):
            return ExportedMedia(**known, is_gone=True)
        return ExportedMedia(
            **known,
            sha256=ref.sha256,
            size_bytes=ref.size_bytes,
            mime_type=ref.mime_type,
            filename=ref.filename,
        )

    async def archive(self, lines: AsyncIterator[ExportLine]) -> AsyncIterator[bytes]:
        """Yield a ZIP archive of an export, with its files."""
        async for piece in archived(lines, self._files):
            yield piece

    async def _written_down(self) -> None:
        if self._ledger:
            await self._ledger.flush()


def referred_by(event: RoomEvent) -> list[str]:
    """Return the files that an event refers to, those of its former contents included."""
    contents = (*(event.amendment.former_contents if event.amendment is not None else ()), event.content)
    return list(dict.fromkeys(media_id for content in contents for media_id in referred(content)))


async def events_of(store: ConversationStore, room_id: str) -> AsyncIterator[RoomEvent]:
    """Yield a room's timeline, read in pages."""
    after_index = -1
    while page := await store.list_events(room_id, limit=_PAGE, after_index=after_index):
        for event in page:
            yield event
        after_index = page[-1].index


async def deliveries_of(store: ConversationStore, room_id: str) -> AsyncIterator[Delivery]:
    """Yield a room's ledger, read in pages, in order of commit."""
    last: Delivery | None = None
    while True:
        try:
            page = await store.list_deliveries(room_id, limit=_PAGE, after=None if last is None else last.id)
        except StoreError:
            if last is None or await store.get_delivery(last.id) is not None:
                raise
            # Retention took it, and with it all that came before it: what there is comes after it.
            last = None
            continue
        for row in page:
            yield row
        if len(page) < _PAGE:
            return
        last = page[-1]


async def values_of(
    store: ConversationStore, subject: str, organization_id: str | None
) -> AsyncIterator[Value]:
    """Yield the values about a subject, read in pages."""
    after = 0
    while page := await store.list_values_of(
        subject, organization_id=organization_id, after=after, limit=_PAGE
    ):
        for value in page:
            yield value
        after = page[-1].revision


async def room_values_of(store: ConversationStore, room_id: str) -> AsyncIterator[Value]:
    """Yield the values that go with a room, read in pages."""
    after = 0
    while page := await store.list_room_values(room_id, after=after, limit=_PAGE):
        for value in page:
            yield value
        after = page[-1].revision


async def _collect(lines: AsyncIterator[ExportLine]) -> dict[str, list[Any]]:
    collected: dict[str, list[Any]] = {}
    async for line in lines:
        collected.setdefault(line.kind, []).append(line.record)
    return collected


def _fields(collected: dict[str, list[Any]]) -> dict[str, tuple[Any, ...]]:
    return {_FIELD_OF[kind]: tuple(records) for kind, records in collected.items()}


def _unknown(person: Person) -> Exception:
    if person.participant_id is not None:
        return ParticipantNotFoundError(f"participant {person.participant_id!r} not found in any room")
    return IdentityNotFoundError(
        f"identity {person.identity_id!r} not found, and no participant refers to it"
    )
