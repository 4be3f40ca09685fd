"""The store's contract: another organization's data does not exist."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from roomkit.abc.errors import StoreError
from roomkit.abc.store import ConversationStore
from roomkit.models.base import new_id
from roomkit.models.delivery import Delivery
from roomkit.models.enums import ChannelType
from roomkit.models.event import RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Task
from roomkit_plugins.testing.contracts.base import binding, event
from roomkit_plugins.testing.contracts.store.base import StoreSuite, commit, row_of

__all__ = ["TenantsContract"]


class Tenancy:
    """One organization's room with something of everything in it; every id in it is its own."""

    def __init__(self, organization_id: str | None) -> None:
        self.room = Room(organization_id=organization_id)
        self.channel, self.person, self.address = new_id(), new_id(), new_id()
        self.identity = Identity(
            id=new_id(), organization_id=organization_id, channel_addresses={"sms": (self.address,)}
        )
        self.task = Task(id=new_id(), room_id=self.room.id, title="call back")
        self.event: RoomEvent
        self.row: Delivery

    async def furnish(self, store: ConversationStore) -> Tenancy:
        """Put everything into the store."""
        room_id = self.room.id
        await store.create_room(self.room)
        await store.add_binding(binding(room_id, self.channel))
        await store.add_participant(
            Participant(
                id=self.person, room_id=room_id, channel_id=self.channel, identity_id=self.identity.id
            )
        )
        await store.create_identity(self.identity)
        await store.add_task(self.task)
        (self.event,) = await commit(store, room_id, event(room_id), targets=[self.channel])
        self.row = await row_of(store, f"{self.event.id}:{self.channel}")
        return self


type Lookup = Callable[[ConversationStore, Tenancy, str | None], Awaitable[Any]]

LOOKUPS: dict[str, Lookup] = {
    "get_room": lambda store, it, org: store.get_room(it.room.id, organization_id=org),
    "get_event": lambda store, it, org: store.get_event(it.event.id, organization_id=org),
    "get_task": lambda store, it, org: store.get_task(it.task.id, organization_id=org),
    "get_identity": lambda store, it, org: store.get_identity(it.identity.id, organization_id=org),
    "get_delivery": lambda store, it, org: store.get_delivery(it.row.id, organization_id=org),
    "find_latest_room": lambda store, it, org: store.find_latest_room(it.person, organization_id=org),
    "find_latest_room by channel": lambda store, it, org: store.find_latest_room(
        it.person, ChannelType.SMS, "active", organization_id=org
    ),
    "find_sender_room_ids": lambda store, it, org: store.find_sender_room_ids(
        it.channel, it.person, organization_id=org
    ),
    "find_room_ids_by_channel": lambda store, it, org: store.find_room_ids_by_channel(
        it.channel, organization_id=org
    ),
    "find_room_id_by_channel": lambda store, it, org: store.find_room_id_by_channel(
        it.channel, organization_id=org
    ),
    "list_deliveries of a room": lambda store, it, org: store.list_deliveries(
        it.room.id, organization_id=org
    ),
    "list_deliveries of an event": lambda store, it, org: store.list_deliveries(
        event_id=it.event.id, organization_id=org
    ),
    "list_deliveries of a channel": lambda store, it, org: store.list_deliveries(
        channel_id=it.channel, organization_id=org
    ),
    "find_participants": lambda store, it, org: store.find_participants(
        participant_id=it.person, organization_id=org
    ),
    "find_participants by identity": lambda store, it, org: store.find_participants(
        identity_id=it.identity.id, organization_id=org
    ),
}


class TenantsContract(StoreSuite):
    """Given an organization, a lookup finds only entries of it."""

    @pytest.mark.parametrize("name", LOOKUPS)
    async def test_what_is_anothers_is_answered_like_what_is_not_there(
        self, store: ConversationStore, name: str
    ) -> None:
        lookup = LOOKUPS[name]
        here, there = new_id(), new_id()
        places = {org: await Tenancy(org).furnish(store) for org in (here, there, None)}
        unknown = Tenancy(here)
        unknown.event = event(unknown.room.id)
        unknown.row = places[here].row.replace(id=f"{new_id()}:{unknown.channel}")
        nothing = await lookup(store, unknown, here)
        assert not nothing
        for place in places.values():
            found = await lookup(store, place, None)
            assert found
            for asked in (here, there, new_id()):
                expected = found if asked == place.room.organization_id else nothing
                assert await lookup(store, place, asked) == expected
        assert await lookup(store, unknown, None) == nothing

    async def test_pages_are_of_one_organization(self, store: ConversationStore) -> None:
        """Limits and cursors count its own only, in the order of all."""
        here, there = new_id(), new_id()
        places = [await Tenancy(org).furnish(store) for org in (here, there, here, None, here)]
        mine = [place for place in places if place.room.organization_id == here]
        rooms: list[str] = []
        rows: list[str] = []
        cursor: str | None = None
        last: str | None = None
        while page := await store.list_rooms(limit=1, organization_id=here, offset=len(rooms)):
            rooms += [room.id for room in page]
        assert rooms == [place.room.id for place in mine]
        rooms.clear()
        while page := await store.find_rooms(here, limit=1, after=cursor):
            rooms += [room.id for room in page]
            cursor = rooms[-1]
        assert rooms == [place.room.id for place in mine]
        lengths: list[int] = []
        while listed := await store.list_deliveries(organization_id=here, limit=2, after=last):
            rows += [row.id for row in listed]
            last = rows[-1]
            lengths.append(len(listed))
        assert rows == [place.row.id for place in mine]
        assert lengths == [2, 1]
        people = await store.find_participants(organization_id=here)
        assert [person.room_id for person in people] == sorted(rooms)
        assert len(await store.find_participants()) == len(places)

    async def test_a_cursor_of_another_organization_is_not_there(self, store: ConversationStore) -> None:
        """As one whose room or row is gone."""
        here, there = new_id(), new_id()
        await Tenancy(here).furnish(store)
        foreign = await Tenancy(there).furnish(store)
        with pytest.raises(StoreError, match="restart from the first page"):
            await store.find_rooms(here, after=foreign.room.id)
        with pytest.raises(StoreError, match="restart from the first page"):
            await store.list_deliveries(organization_id=here, after=foreign.row.id)

    async def test_a_room_that_changes_hands_takes_all_along(self, store: ConversationStore) -> None:
        here, there = new_id(), new_id()
        place = await Tenancy(here).furnish(store)
        await commit(store, place.room.id, room_changes={"organization_id": there})
        for name, lookup in LOOKUPS.items():
            new, old = (here, there) if name == "get_identity" else (there, here)
            assert await lookup(store, place, new)
            assert not await lookup(store, place, old)
