"""Finding one person in everything that is stored: their rooms, and what in a room is theirs."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence, Set
from dataclasses import field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from roomkit._dataclasses import dataclass
from roomkit.abc.errors import InvalidInputError
from roomkit.models.base import EMPTY
from roomkit.models.channel import default_address_type
from roomkit.models.enums import EventStatus, ParticipantRole, RoomStatus
from roomkit.models.event import NO_CHANNEL_DATA, RoomEvent
from roomkit.models.participant import namesake_id
from roomkit.models.visibility import admits, sees

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.identity import Identity
    from roomkit.models.participant import Participant
    from roomkit.models.room import Room
    from roomkit.models.task import Observation, Task

__all__ = ["Person", "Place", "find_person", "shown"]

_PAGE = 500
_SHORTEST_IN_TEXT = 3
"""A shorter name or id stands for the person only where it stands alone."""

_PEOPLE = frozenset({ParticipantRole.OWNER, ParticipantRole.MEMBER})


@dataclass(slots=True, kw_only=True)
class Person:
    """One person, as they were asked for and as the store knows them.

    `linking` are the rooms that lead from the participant id that was asked for to everything else;
    `others` are all further rooms where the person takes part.
    """

    store: ConversationStore
    participant_id: str | None
    identity_id: str | None
    organization_id: str | None
    identity: Identity | None = None
    others: list[str] = field(default_factory=list)  # bound: the person's rooms
    linking: list[str] = field(default_factory=list)  # bound: likewise
    senders: set[str] = field(default_factory=set)  # bound: the person's addresses
    """The addresses they came from, in the rooms looked at so far."""
    bound: set[tuple[str, str]] = field(default_factory=set)  # bound: the person's addresses
    """The addresses of bindings by which alone some room knows a participant id, with their kinds."""
    _ways: set[tuple[str | None, str]] = field(default_factory=set)  # bound: the person's addresses
    _taken: set[tuple[str | None, str]] = field(default_factory=set)  # bound: likewise

    @property
    def ids(self) -> frozenset[str]:
        """What the person is called in rooms that know nothing else of them."""
        return frozenset(filter(None, (self.participant_id, self.identity_id)))

    @property
    def is_known(self) -> bool:
        """Whether anything was found."""
        return self.identity is not None or bool(self.others or self.linking)

    @property
    def subjects(self) -> frozenset[str]:
        """What values about the person may name as their subject."""
        return self.ids | self.senders | {address for _, address in self._addresses}

    @property
    def addresses(self) -> set[tuple[str | None, str]]:
        """All addresses found so far, with their kind where it is known."""
        return self._ways | self._taken | self.contacts

    @property
    def contacts(self) -> set[tuple[str | None, str]]:
        """The e-mail address and the number of the identity, with their kinds."""
        identity = self.identity
        known = () if identity is None else (("email", identity.email), ("phone", identity.phone))
        return {(kind, address) for kind, address in known if address}

    def take_addresses(self) -> set[tuple[str | None, str]]:
        """Return the addresses found since the last call, by their kind where it is known.

        Of the identity, and of the rooms looked at so far.
        """
        found = self._ways | self._addresses | self.contacts
        if not (self.linking or self.others):  # nothing says of which kind an address is
            found |= {(None, each) for each in self.ids}
        fresh = found - self._taken
        self._taken |= fresh
        return fresh

    async def rooms_of_bindings(self) -> list[str]:
        """Return rooms where a binding is for the person, or they take part: the newest of each status."""
        found = [
            await self.store.find_latest_room(each, status=status, organization_id=self.organization_id)
            for each in sorted(self.ids)
            for status in RoomStatus
        ]
        return list(dict.fromkeys(room.id for room in found if room is not None))

    def bind(self, binding: ChannelBinding) -> None:
        """Note that a binding is to the person, whom nothing else may know by its address."""
        if binding.address is not None:
            self.bound.add((binding.addresses, binding.address))
            self.senders.add(binding.address)
            self._ways.add((binding.addresses, binding.address))

    def place_in(self, record: RoomRecord) -> Place:
        """Return what of a room is the person's."""
        everybody = record.participants
        mine = {person.id: person for person in everybody.values() if self._is(person)}
        addresses = self._addresses
        senders = {sender for person in mine.values() for sender in person.senders}
        for person in everybody.values():
            # Who they were before they were identified: the same address, by the same way.
            if person.id not in mine and person.identity_id is None:
                typed = {
                    (str(record.bindings[channel_id].channel_type), who)
                    for channel_id, who in person.senders
                    if channel_id in record.bindings
                }
                if person.senders & senders or typed & addresses:
                    mine[person.id] = person
        for channel_id, who in (sender for person in mine.values() for sender in person.senders):
            binding = record.bindings.get(channel_id)
            self.senders.add(who)
            self._ways.add((None if binding is None else binding.addresses, who))
        ids = {each for each in self.ids if each not in everybody or each in mine} | mine.keys()
        return Place(person=self, record=record, participants=mine, ids=frozenset(ids))

    def _is(self, participant: Participant) -> bool:
        if self.identity_id is not None and participant.identity_id == self.identity_id:
            return True
        if participant.id == self.participant_id:
            return True
        kind = participant.address_type
        return kind is not None and namesake_id(kind, participant.id) == self.participant_id

    @property
    def _addresses(self) -> frozenset[tuple[str, str]]:
        if self.identity is None:
            return frozenset()
        return frozenset((kind, address) for _, kind, address in self.identity.addresses)


@dataclass(kw_only=True)
class Place:
    """What one person is and has in one room."""

    person: Person
    record: RoomRecord
    participants: Mapping[str, Participant]
    ids: frozenset[str]

    @cached_property
    def own_bindings(self) -> list[ChannelBinding]:
        """The bindings that name the person: as participant, or by an address of theirs."""
        return [
            binding
            for binding in self.record.bindings.values()
            if binding.participant_id in self.ids
            or binding.address in self._reaches
            or (binding.addresses, binding.address) in self.person.bound
            or self._reaches.intersection(_leaves(binding.metadata))
        ]

    @cached_property
    def mentioning_bindings(self) -> list[ChannelBinding]:
        """Other bindings that have an address of the person: in their state, or among their further ones."""
        own = {binding.channel_id for binding in self.own_bindings}
        return [
            binding
            for binding in self.record.bindings.values()
            if binding.channel_id not in own
            and not self._reaches.isdisjoint((*_leaves(binding.state), *binding.also))
        ]

    def of_others(self, addresses: Sequence[str]) -> tuple[str, ...]:
        """Return the addresses that are not the person's."""
        return tuple(each for each in addresses if each not in self._reaches)

    @cached_property
    def readers(self) -> list[ChannelBinding]:
        """The bindings by which the person reads: their own, and those they share with others."""
        used = {each for person in self.participants.values() for each in person.connected_via}
        used |= {person.channel_id for person in self.participants.values()}
        own = {binding.channel_id for binding in self.own_bindings}
        return [
            binding
            for binding in self.record.bindings.values()
            if binding.channel_id in own or (binding.participant_id is None and binding.channel_id in used)
        ]

    @cached_property
    def is_alone(self) -> bool:
        """Whether the conversation is with this person alone."""
        return bool(self.participants) and not any(
            person.role in _PEOPLE and person.id not in self.participants
            for person in self.record.participants.values()
        )

    @cached_property
    def _reaches(self) -> frozenset[str]:
        """Ids and addresses that stand for this person alone."""
        identity = self.person.identity
        found = {*self.ids}
        for person in self.participants.values():
            found.update(filter(None, (person.external_id,)))
            found.update(address for _, address in person.also)
        if identity is not None:
            found.update(address for _, _, address in identity.addresses)
            found.update(identity.external_ids.values())
            found.update(filter(None, (identity.id, identity.email, identity.phone, identity.external_id)))
        return frozenset(found)

    @cached_property
    def _named(self) -> re.Pattern[str] | None:
        names = {person.display_name for person in self.participants.values()}
        if self.person.identity is not None:
            names.add(self.person.identity.display_name)
        marks = {each for each in (*self._reaches, *names) if each and len(each) >= _SHORTEST_IN_TEXT}
        if not marks:
            return None
        any_of = "|".join(re.escape(each) for each in sorted(marks, key=len, reverse=True))
        return re.compile(rf"(?<!\w)(?:{any_of})(?!\w)", re.IGNORECASE)

    def wrote(self, event: RoomEvent) -> bool:
        """Return whether the event is the person's own, or the framework's note on them."""
        return event.source.participant_id in self.ids

    def was_answered(self, event: RoomEvent) -> bool:
        """Return whether an intelligence made the event for the person."""
        return event.source.on_behalf_of in self.ids

    def saw(self, event: RoomEvent) -> bool:
        """Return whether the event could be seen by a way of the person's.

        A channel sees all that came by it; who shares it sees that only where it was meant for the channel.
        """
        return any(
            sees(reader, event)
            and (
                event.source.channel_id != reader.channel_id
                or (
                    event.status is not EventStatus.BLOCKED
                    and admits(event.visibility, reader.channel_id, reader.category)
                )
            )
            for reader in self.readers
        )

    def is_about(self, record: Task | Observation, events: frozenset[str] | set[str] = frozenset()) -> bool:
        """Return whether it names the person or one of `events`, or can only be about them."""
        if self.is_alone or getattr(record, "assigned_to", None) in self.ids:
            return True
        fields = type(record).model_fields.keys() - {"room_id", "channel_id"}
        for text in _leaves([getattr(record, name) for name in fields]):
            if text in self._reaches or text in events or text.removeprefix("obs_") in events:
                return True
            if self._named is not None and self._named.search(text):
                return True
        return False

    def without_address(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return metadata without the entries that hold an id or address of the person's."""
        return {
            key: value for key, value in metadata.items() if not self._reaches.intersection(_leaves(value))
        }


def shown(event: RoomEvent) -> RoomEvent:
    """Return another person's event as a reader sees it: the content, without the data beside it."""
    source = event.source.replace(
        raw_payload=EMPTY, connection_id=None, external_id=None, provider_message_id=None
    )
    return event.without_former_contents().replace(
        source=source, metadata=EMPTY, channel_data=NO_CHANNEL_DATA, block_reason=None
    )


async def find_person(
    store: ConversationStore,
    *,
    identity_id: str | None,
    participant_id: str | None,
    organization_id: str | None,
) -> Person:
    """Return a person with all rooms where they take part; an unknown one has none.

    A participant id that leads to an identity leads to all of that person. `kind:address`, as `namesake_id`
    makes it, names the sender with an address of that kind in every room, also where the address alone is
    their id. Raises InvalidInputError for an id that is several people's or empty, and unless exactly one id
    is given.
    """
    if (identity_id is None) == (participant_id is None):
        raise InvalidInputError("name the person by identity_id or by participant_id: exactly one of them")
    if not (identity_id or participant_id):
        raise InvalidInputError("an empty id names no person: give the id that they have")
    person = Person(
        store=store,
        participant_id=participant_id,
        identity_id=identity_id,
        organization_id=organization_id,
    )
    if participant_id is not None:
        asked = [each async for each in _named(person, participant_id)]
        person.linking = list(dict.fromkeys(each.room_id for each in asked))
        await _check_organization(person)
        identities = {each.identity_id for each in asked} - {None}
        if len(identities) > 1:
            raise InvalidInputError(
                f"participant id {participant_id!r} is used by {len(identities)} identities: "
                "name the one that is meant by identity_id"
            )
        person.identity_id = next(iter(identities), None)
        if person.identity_id is None:
            kinds = {each.address_type for each in asked if each.id == participant_id}
            _check_kind(participant_id, kinds)
            bound = await _rooms_bound_to_id(person, participant_id, kinds)
            person.others = [each for each in dict.fromkeys(bound) if each not in person.linking]
    if person.identity_id is not None:
        person.identity = await store.get_identity(person.identity_id, organization_id=organization_id)
        rooms = [each.room_id async for each in _pages(person, identity_id=person.identity_id)]
        rooms += [room_id async for room_id in _rooms_of_addresses(person)]
        rooms += [room_id async for room_id in _rooms_bound_to(person)]
        person.others = [each for each in dict.fromkeys(rooms) if each not in person.linking]
    return person


async def _named(person: Person, participant_id: str) -> AsyncIterator[Participant]:
    """Yield the participants of that id, and those who have the address it names as their id."""
    async for each in _pages(person, participant_id=participant_id):
        yield each
    kind, separator, address = participant_id.partition(":")
    if separator and address:
        async for each in _pages(person, participant_id=address):
            if each.address_type == kind:
                yield each


def _check_kind(participant_id: str, kinds: Set[str | None]) -> None:
    """Refuse an address that is several people's: of one kind in some rooms, of another kind in others."""
    known = sorted(filter(None, kinds))
    if len(known) > 1:
        names = " or ".join(repr(namesake_id(kind, participant_id)) for kind in known)
        raise InvalidInputError(
            f"participant id {participant_id!r} is used by senders with addresses of {len(known)} kinds: "
            f"name the one that is meant as {names}"
        )


async def _pages(
    person: Person, *, participant_id: str | None = None, identity_id: str | None = None
) -> AsyncIterator[Participant]:
    after: tuple[str, str] | None = None
    while True:
        page = await person.store.find_participants(
            participant_id=participant_id,
            identity_id=identity_id,
            organization_id=person.organization_id,
            limit=_PAGE,
            after=after,
        )
        for each in page:
            yield each
        if len(page) < _PAGE:
            return
        after = (page[-1].room_id, page[-1].id)


async def _check_organization(person: Person) -> None:
    """Refuse to take people of several organizations for one, because they share an id."""
    if person.organization_id is not None:
        return
    rooms = [await person.store.get_room(room_id) for room_id in person.linking]
    organizations = {room.organization_id for room in rooms if room is not None}
    if len(organizations) > 1:
        named = ", ".join(sorted(each or "none" for each in organizations))
        raise InvalidInputError(
            f"participant id {person.participant_id!r} is used in rooms of several organizations ({named}): "
            "say which by organization_id"
        )


async def _rooms_of_addresses(person: Person) -> AsyncIterator[str]:
    """Yield rooms where the person wrote from an address of theirs, before they were identified."""
    identity = person.identity
    if identity is None:
        return
    names = [
        (kind, name)
        for _, kind, address in sorted(identity.addresses)
        for name in (address, namesake_id(default_address_type(kind), address))
    ]
    for kind, name in names:
        async for each in _pages(person, participant_id=name):
            room = await person.store.get_room(each.room_id)
            if each.identity_id is None and room is not None:
                bindings = [await person.store.get_binding(each.room_id, way) for way, _ in each.senders]
                types = {str(binding.channel_type) for binding in bindings if binding is not None}
                if kind in types and room.organization_id == identity.organization_id:
                    yield each.room_id


async def _rooms_bound_to(person: Person) -> AsyncIterator[str]:
    """Yield rooms of the identity's organization where a binding is to an address of theirs."""
    identity = person.identity
    if identity is None:
        return
    known = {(default_address_type(kind), address) for _, kind, address in identity.addresses}
    for kind, address in sorted({*known, *person.contacts}, key=str):
        async for binding in _bound_to(person, address):
            room = await person.store.get_room(binding.room_id)
            if kind in _kinds_of(binding) and _organization_of(room) == identity.organization_id:
                yield binding.room_id


async def _rooms_bound_to_id(person: Person, participant_id: str, kinds: Set[str | None]) -> list[str]:
    """Return rooms where a binding is to the address that a participant id is, or names with its kind.

    `kinds` are those of the participants of that id. Raises InvalidInputError when it is several people's.
    """
    kind, _, address = participant_id.partition(":")
    named = [each async for each in _bound_to(person, address) if kind in _kinds_of(each)] if address else []
    bare = [each async for each in _bound_to(person, participant_id)]
    if kinds - {None}:
        bare = [each for each in bare if not kinds.isdisjoint(_kinds_of(each))]
    _check_kind(participant_id, {each.addresses for each in bare})
    for each in (*named, *bare):
        person.bind(each)
    return [each.room_id for each in (*named, *bare)]


def _kinds_of(binding: ChannelBinding) -> set[str]:
    return {binding.addresses, default_address_type(binding.channel_type)}


def _organization_of(room: Room | None) -> str | None:
    return None if room is None else room.organization_id


async def _bound_to(person: Person, address: str) -> AsyncIterator[ChannelBinding]:
    """Yield the bindings to an address, whatever its kind."""
    after: str | None = None
    while page := await person.store.find_bound_room_ids(
        address, organization_id=person.organization_id, limit=_PAGE, after=after
    ):
        for room_id in page:
            for binding in await person.store.list_bindings(room_id):
                if binding.address == address:
                    yield binding
        after = page[-1]


def _leaves(value: object) -> Iterator[str]:
    """Yield every text inside a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _leaves(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each)
