"""Who is where: what the in-memory store finds rooms, people and addresses by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from roomkit.abc.errors import IdentityNotFoundError
from roomkit.memory.rooms import StoredRoom
from roomkit.models.channel import ChannelBinding
from roomkit.models.enums import RoomStatus
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant

__all__ = ["Directory", "Identities", "chosen", "last_active"]


class Directory:
    """Puts bindings and participants into rooms, and finds rooms by them."""

    def __init__(self) -> None:
        self._by_channel = _RoomIndex[str]()
        self._by_sender = _RoomIndex[tuple[str, str]]()
        self._by_address = _RoomIndex[str]()
        self._by_person = _RoomIndex[str]()
        self._by_identity = _RoomIndex[str]()

    def with_channel(self, channel_id: str) -> Iterable[StoredRoom]:
        """Return rooms the channel is attached to."""
        return self._by_channel.get(channel_id)

    def with_sender(self, channel_id: str, sender_id: str) -> Iterable[StoredRoom]:
        """Return rooms with a participant of that channel and address, attached or not."""
        return self._by_sender.get((channel_id, sender_id))

    def with_address(self, channel_id: str, address: str) -> Iterable[StoredRoom]:
        """Return rooms where the channel's binding has that address."""
        return (
            record for record in self.with_any_address(address) if _address(record, channel_id) == address
        )

    def with_any_address(self, address: str) -> Iterable[StoredRoom]:
        """Return rooms where the binding of any channel has that address."""
        return self._by_address.get(address)

    def with_person(self, participant_id: str) -> Iterable[StoredRoom]:
        """Return rooms where that is a participant's id, or a binding's participant."""
        return self._by_person.get(participant_id)

    def with_identity(self, identity_id: str) -> Iterable[StoredRoom]:
        """Return rooms with a participant of that identity."""
        return self._by_identity.get(identity_id)

    def people(
        self,
        records: Iterable[StoredRoom],
        participant_id: str | None,
        identity_id: str | None,
        organization_id: str | None,
        limit: int,
        after: tuple[str, str] | None,
    ) -> list[Participant]:
        """Return a page of participants by room and id: of one id or identity, else of all `records`."""
        if participant_id is not None:
            records = self.with_person(participant_id)
        elif identity_id is not None:
            records = self.with_identity(identity_id)
        found = {
            (record.room_id, person.id): person
            for record in records
            if record.is_of(organization_id)
            for person in record.participants.values()
            if (participant_id is None or person.id == participant_id)
            and (identity_id is None or person.identity_id == identity_id)
        }
        places = sorted(place for place in found if after is None or place > after)
        return [found[place] for place in places[:limit]]

    # -- bindings -----------------------------------------------------------------------------

    def put_binding(self, record: StoredRoom, binding: ChannelBinding) -> None:
        """Attach a channel, or replace its binding."""
        before = record.bindings.get(binding.channel_id)
        record.bindings[binding.channel_id] = binding.kept()
        self._by_channel.add(binding.channel_id, record)
        who = binding.participant_id
        if who is not None:
            self._by_person.add(who, record)
            self._by_sender.add((binding.channel_id, who), record)
        if before is not None:
            if before.participant_id != who:
                self._unindex_person(record, before.channel_id, before.participant_id)
            self._unindex_address(record, before)
        if binding.address is not None:
            self._by_address.add(binding.address, record)
        record.version += 1

    def drop_binding(self, record: StoredRoom, channel_id: str) -> bool:
        """Detach a channel; False when it was not attached."""
        binding = record.bindings.pop(channel_id, None)
        if binding is None:
            return False
        self._by_channel.discard(channel_id, record)
        self._unindex_person(record, channel_id, binding.participant_id)
        self._unindex_address(record, binding)
        record.version += 1
        return True

    def _unindex_address(self, record: StoredRoom, binding: ChannelBinding) -> None:
        address = binding.address
        if address is not None and all(each.address != address for each in record.bindings.values()):
            self._by_address.discard(address, record)

    # -- participants -------------------------------------------------------------------------

    def put_participant(self, record: StoredRoom, participant: Participant) -> None:
        """Add a participant, or replace the one of that id."""
        before = record.participants.get(participant.id)
        record.participants[participant.id] = participant.kept()
        self._by_person.add(participant.id, record)
        if participant.identity_id is not None:
            self._by_identity.add(participant.identity_id, record)
        for sender in participant.senders:
            self._by_sender.add(sender, record)
        if before is not None:
            self._unindex_participant(record, before)
        record.version += 1

    def drop_participant(self, record: StoredRoom, participant_id: str) -> bool:
        """Remove a participant; False when there is none of that id."""
        participant = record.participants.pop(participant_id, None)
        if participant is None:
            return False
        self._unindex_participant(record, participant)
        record.version += 1
        return True

    def _unindex_participant(self, record: StoredRoom, before: Participant) -> None:
        """Remove a participant's former index entries, after a replacement or removal."""
        now = record.participants.get(before.id)
        if now is None or now.senders != before.senders:
            for channel_id, who in before.senders:
                self._unindex_person(record, channel_id, who)
            self._unindex_person(record, before.channel_id, before.id)
        identity = before.identity_id
        if identity is not None and all(
            each.identity_id != identity for each in record.participants.values()
        ):
            self._by_identity.discard(identity, record)

    def _unindex_person(self, record: StoredRoom, channel_id: str, who: str | None) -> None:
        """Remove a participant's channel from the index of a room, unless another participant needs it."""
        if who is None:
            return
        bindings, participants = record.bindings, record.participants
        if who not in participants and all(each.participant_id != who for each in bindings.values()):
            self._by_person.discard(who, record)
        bound = bindings.get(channel_id)
        if bound is not None and bound.participant_id == who:
            return
        if not any((channel_id, who) in participant.senders for participant in participants.values()):
            self._by_sender.discard((channel_id, who), record)

    def forget(self, record: StoredRoom) -> None:
        """Empty a room that is deleted."""
        for channel_id in list(record.bindings):
            self.drop_binding(record, channel_id)
        for participant_id in list(record.participants):
            self.drop_participant(record, participant_id)


def chosen(
    records: Iterable[StoredRoom], status: RoomStatus | str | None, organization_id: str | None
) -> Iterator[StoredRoom]:
    """Return the rooms of a status, the open ones when it is None, and of an organization."""
    for record in records:
        is_wanted = record.status.is_open if status is None else record.status == status
        if is_wanted and record.is_of(organization_id):
            yield record


def last_active(records: list[StoredRoom], limit: int) -> list[str]:
    """Return the ids of the rooms that were active last; sorts the list."""
    if len(records) > 1:
        records.sort(key=lambda record: record.last_activity or record.room.created_at, reverse=True)
    return [record.room_id for record in records[: max(limit, 0)]]


def _address(record: StoredRoom, channel_id: str) -> str | None:
    binding = record.bindings.get(channel_id)
    return None if binding is None else binding.address


class Identities:
    """Identities, and the addresses that lead to them within their organization."""

    def __init__(self) -> None:
        self._identities: dict[str, Identity] = {}  # bound: the identities themselves, until deleted
        self._addresses: dict[tuple[str, str, str], str] = {}  # bound: the addresses of the identities

    def put(self, identity: Identity) -> None:
        """Add an identity, or replace the one of that id; its addresses no longer lead to any other."""
        self.remove(identity.id)
        self._identities[identity.id] = identity
        for address in identity.addresses:
            self._addresses[address] = identity.id

    def get(self, identity_id: str) -> Identity | None:
        """Return an identity."""
        return self._identities.get(identity_id)

    def resolve(self, organization_id: str | None, channel_type: str, address: str) -> Identity | None:
        """Return who has an address."""
        found = self._addresses.get((organization_id or "", channel_type, address))
        return None if found is None else self._identities[found]

    def link(self, identity_id: str, channel_type: str, address: str) -> None:
        """Let an address lead to an identity. Raises IdentityNotFoundError."""
        identity = self.get(identity_id)
        if identity is None:
            raise IdentityNotFoundError(f"no identity {identity_id!r}: create_identity first")
        known = identity.channel_addresses.get(channel_type, ())
        if address not in known:
            addresses = {**identity.channel_addresses, str(channel_type): (*known, address)}
            self.put(identity.replace(channel_addresses=addresses))

    def remove(self, identity_id: str) -> bool:
        """Forget an identity and the addresses that lead to it; False when there is none."""
        identity = self._identities.pop(identity_id, None)
        if identity is None:
            return False
        for address in identity.addresses:
            if self._addresses.get(address) == identity_id:
                del self._addresses[address]
        return True


class _RoomIndex[K]:
    """Rooms by some key, those of a key in order of creation; of a single one the room itself is kept."""

    __slots__ = ("_rooms",)

    def __init__(self) -> None:
        self._rooms: dict[K, StoredRoom | dict[str, StoredRoom]] = {}  # bound: the contents of existing rooms

    def add(self, key: K, record: StoredRoom) -> None:
        found = self._rooms.setdefault(key, record)
        if found is record:
            return
        rooms = found if isinstance(found, dict) else {found.room_id: found}
        late = next(reversed(rooms.values())).order > record.order
        rooms[record.room_id] = record
        self._rooms[key] = dict(sorted(rooms.items(), key=lambda item: item[1].order)) if late else rooms

    def discard(self, key: K, record: StoredRoom) -> None:
        found = self._rooms.get(key)
        if found is record:
            del self._rooms[key]
        elif isinstance(found, dict):
            found.pop(record.room_id, None)
            if len(found) == 1:
                (self._rooms[key],) = found.values()

    def get(self, key: K) -> Iterable[StoredRoom]:
        found = self._rooms.get(key)
        if found is None:
            return ()
        return found.values() if isinstance(found, dict) else (found,)
