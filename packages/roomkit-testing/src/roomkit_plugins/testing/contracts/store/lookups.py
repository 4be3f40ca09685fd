"""The store's contract: look-ups by a vendor's id and by an address."""

from __future__ import annotations

from datetime import timedelta
from itertools import cycle
from typing import Any

from roomkit.abc.store import ConversationStore
from roomkit.models.base import new_id
from roomkit.models.channel import ChannelBinding
from roomkit.models.enums import RoomStatus
from roomkit.models.room import Room
from roomkit_plugins.testing.contracts.base import NOW, binding, event
from roomkit_plugins.testing.contracts.store.base import StoreSuite, commit, pending, row_of, send

__all__ = ["LookupsContract"]


class LookupsContract(StoreSuite):
    """Events, deliveries and rooms are found over all rooms, within the organization that asks."""

    # -- events -------------------------------------------------------------------------------

    async def test_an_event_is_found_by_its_vendors_id(
        self, store: ConversationStore, other: ConversationStore
    ) -> None:
        """By the channel that brought it in; the newest of several, in whatever room and organization."""
        external_id, rooms = new_id(), [Room(), Room(organization_id="a"), Room(organization_id="b")]
        for number, each in enumerate(rooms):
            await store.create_room(each)
            await _brought_in(store, each.id, external_id, at=NOW + timedelta(seconds=number))
        await _brought_in(store, rooms[2].id, external_id, channel_id="mail", at=NOW + timedelta(minutes=1))

        async def found(channel_id: str = "sms", organization_id: str | None = None) -> str | None:
            event = await other.find_event(channel_id, external_id, organization_id=organization_id)
            return None if event is None else event.room_id

        assert await found() == rooms[2].id
        assert await found(organization_id="a") == rooms[1].id
        assert await found(organization_id="c") is None
        assert await found("mail", "a") is None
        assert await store.find_event("sms", new_id()) is None
        await store.delete_room(rooms[2].id)
        assert await found() == rooms[1].id
        assert await found("mail") is None

    async def test_the_newest_event_of_a_room_with_a_vendors_id_is_found(
        self, store: ConversationStore, room: Room
    ) -> None:
        """As it is now; when it was pruned or erased, it is found no longer."""
        external_id = new_id()
        for number in range(3):
            await _brought_in(
                store, room.id, external_id, at=NOW + timedelta(seconds=number), id=f"{external_id}{number}"
            )
        newest = await store.find_event("sms", external_id)
        assert newest is not None
        assert newest == await store.get_event(f"{external_id}2")
        await commit(store, room.id, redact=[newest.id])
        after = await store.find_event("sms", external_id)
        assert after is not None
        assert after.id == f"{external_id}1"
        await commit(store, room.id, redact=[after.id])
        await store.prune_events(room.id, NOW + timedelta(seconds=0.5))
        assert await store.find_event("sms", external_id) is None

    # -- deliveries ---------------------------------------------------------------------------

    async def test_a_delivery_is_found_by_its_providers_message(
        self, store: ConversationStore, other: ConversationStore
    ) -> None:
        """By the id of each of its parts, and by those of earlier attempts."""
        room, first, second, third = await store.create_room(Room(organization_id="acme")), *_ids(3)
        row = await pending(store, room.id)
        await store.complete([row.outcome(provider="acme", provider_message_id=first, attempts=1)])
        await send(store, await row_of(store, row.id), second, third)
        row = await row_of(store, row.id)
        for message_id in (first, second, third):
            assert await other.find_delivery("acme", message_id) == row
            assert await other.find_delivery("other", message_id) is None
            assert await store.find_delivery("acme", message_id, organization_id="acme") == row
            assert await store.find_delivery("acme", message_id, organization_id="other") is None
        assert await store.find_delivery("acme", new_id()) is None
        await store.delete_room(room.id)
        assert await store.find_delivery("acme", first) is None

    # -- addresses ----------------------------------------------------------------------------

    async def test_rooms_are_found_by_the_address_of_a_binding(
        self, store: ConversationStore, other: ConversationStore
    ) -> None:
        """Open ones, the last active first, character by character, of the organization that asks."""
        who = new_id()
        rooms = [await store.create_room(Room(organization_id=each)) for each in ("a", "b", "a", "a")]
        for each in rooms:
            await store.add_binding(_addressed(each.id, "sms", who))
        await store.add_binding(_addressed(rooms[3].id, "mail", f"{who}@"))
        await commit(store, rooms[3].id, room_changes={"status": RoomStatus.CLOSED})
        for minute, each in enumerate((rooms[2], rooms[0], rooms[1])):
            await commit(store, each.id, event(each.id), at=NOW + timedelta(minutes=minute))
        ids = [rooms[1].id, rooms[0].id, rooms[2].id]
        assert await other.find_address_room_ids("sms", who, limit=10) == ids
        assert await other.find_address_room_ids("sms", who) == ids[:2]
        assert await other.find_address_room_ids("sms", who, organization_id="a") == ids[1:]
        for channel_id, address in (("mail", who), ("sms", who.upper() + "x"), ("sms", new_id())):
            assert await other.find_address_room_ids(channel_id, address) == []

    async def test_rooms_of_any_status_are_found_by_the_address_of_a_binding(
        self, store: ConversationStore, other: ConversationStore
    ) -> None:
        """If so asked; the last active first, within the limit, of the organization that asks."""
        who = new_id()
        rooms = [
            await store.create_room(Room(organization_id=organization, status=status))
            for status, organization in zip(RoomStatus, cycle(("a", "b")), strict=False)
        ]
        for minute, each in enumerate(rooms):
            await store.add_binding(_addressed(each.id, "sms", who))
            await commit(store, each.id, event(each.id), at=NOW + timedelta(minutes=minute))
        ids = [each.id for each in rooms][::-1]
        own = [each.id for each in rooms if each.organization_id == "a"][::-1]
        assert await other.find_address_room_ids("sms", who, limit=10, closed=True) == ids
        assert await other.find_address_room_ids("sms", who, closed=True) == ids[:2]
        found = await other.find_address_room_ids("sms", who, limit=10, organization_id="a", closed=True)
        assert found == own
        assert await other.find_address_room_ids("mail", who, closed=True) == []

    async def test_every_room_bound_to_an_address_is_found(
        self, store: ConversationStore, other: ConversationStore
    ) -> None:
        """Of any status, by any of its bindings, once, page by page; of one organization if so asked."""
        who = f"{new_id()}ü'\""
        rooms = sorted(
            [
                await store.create_room(Room(status=status, organization_id=organization))
                for status, organization in zip(RoomStatus, cycle(("a", None)), strict=False)
            ],
            key=lambda room: room.id,
        )
        for number, room in enumerate(rooms):
            await store.add_binding(_addressed(room.id, f"sms-{number}", who))
            await store.add_binding(_addressed(room.id, "mail", who if number % 2 else new_id()))
        ids = [room.id for room in rooms]
        assert await other.find_bound_room_ids(who) == ids
        assert await other.find_bound_room_ids(who, limit=2) == ids[:2]
        assert await other.find_bound_room_ids(who, after=ids[1]) == ids[2:]
        own = [room.id for room in rooms if room.organization_id == "a"]
        assert await other.find_bound_room_ids(who, organization_id="a") == own
        await store.remove_binding(ids[1], "mail")
        assert await other.find_bound_room_ids(who) == ids
        await store.remove_binding(ids[1], "sms-1")
        await store.delete_room(ids[0])
        assert await other.find_bound_room_ids(who) == ids[2:]
        for unknown in (who.upper() + "x", new_id(), "n\0l", "\ud83d"):
            assert await other.find_bound_room_ids(unknown) == []

    async def test_an_address_leads_to_a_room_as_long_as_a_binding_has_it(
        self, store: ConversationStore, room: Room
    ) -> None:
        """Whatever state the binding has beside it, and whatever way it is written."""
        first, second = (f"{new_id()}ü'\"" for _ in range(2))
        bound = _addressed(room.id, "sms", first, state={"x": "a\0b", "y": "\\u0000"})
        await commit(store, room.id, bindings=[bound])
        assert await store.find_address_room_ids("sms", first) == [room.id]
        assert await store.get_binding(room.id, "sms") == bound
        await store.update_binding(bound.replace(address=second))
        assert await store.find_address_room_ids("sms", first) == []
        assert await store.find_address_room_ids("sms", second) == [room.id]
        await store.update_binding(bound.replace(address=None))
        assert await store.find_address_room_ids("sms", second) == []
        await store.update_binding(bound)
        await store.remove_binding(room.id, "sms")
        assert await store.find_address_room_ids("sms", first) == []


async def _brought_in(
    store: ConversationStore,
    room_id: str,
    external_id: str,
    *,
    at: Any,
    channel_id: str = "sms",
    **fields: Any,
) -> None:
    said = event(room_id, **fields)
    source = said.source.replace(channel_id=channel_id, external_id=external_id)
    await commit(store, room_id, said.replace(source=source), at=at)


def _ids(count: int) -> list[str]:
    return [new_id() for _ in range(count)]


def _addressed(room_id: str, channel_id: str, address: str, **fields: Any) -> ChannelBinding:
    return binding(room_id, channel_id, address=address, **fields)
