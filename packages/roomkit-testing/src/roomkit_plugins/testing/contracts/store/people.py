"""The store's contract: bindings, participants, identities."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from roomkit.abc.errors import (
    ChannelNotFoundError,
    IdentityNotFoundError,
    ParticipantNotFoundError,
)
from roomkit.abc.store import ConversationStore
from roomkit.models.base import new_id
from roomkit.models.channel import ChannelBinding
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit_plugins.testing.contracts.base import binding
from roomkit_plugins.testing.contracts.store.base import StoreSuite
from roomkit_plugins.testing.contracts.strategies import PROPERTY, records, unique_ids

__all__ = ["PeopleContract"]


class PeopleContract(StoreSuite):
    """Who is in a room, by which channels, and who they are."""

    # -- bindings -----------------------------------------------------------------------------

    @PROPERTY
    @given(given_binding=records(ChannelBinding, channel_id=unique_ids()))
    async def test_every_field_of_a_binding_is_kept(
        self, store: ConversationStore, room: Room, given_binding: ChannelBinding
    ) -> None:
        wanted = given_binding.replace(room_id=room.id)
        assert await store.add_binding(wanted) == wanted
        assert await store.get_binding(room.id, wanted.channel_id) == wanted
        assert wanted in await store.list_bindings(room.id)
        record = await store.load(room.id)
        assert record is not None
        assert record.bindings[wanted.channel_id] == wanted

    @PROPERTY
    @given(before=records(ChannelBinding, channel_id=unique_ids()), after=records(ChannelBinding))
    async def test_an_update_replaces_every_field_of_a_binding(
        self, store: ConversationStore, room: Room, before: ChannelBinding, after: ChannelBinding
    ) -> None:
        """Nothing of the former binding is left."""
        wanted = after.replace(room_id=room.id, channel_id=before.channel_id)
        await store.add_binding(before.replace(room_id=room.id))
        assert await store.update_binding(wanted) == wanted
        assert await store.get_binding(room.id, before.channel_id) == wanted

    async def test_attaching_again_replaces_in_place(self, store: ConversationStore, room: Room) -> None:
        """The order is that of the first attachment."""
        for name in ("b", "a", "b"):
            await store.add_binding(binding(room.id, name, muted=name == "b"))
        assert [each.channel_id for each in await store.list_bindings(room.id)] == ["b", "a"]

    async def test_a_binding_belongs_to_its_room(self, store: ConversationStore, room: Room) -> None:
        """The same channel in two rooms is two bindings."""
        other = await store.create_room(Room())
        await store.add_binding(binding(room.id, muted=True))
        await store.add_binding(binding(other.id))
        assert await store.remove_binding(other.id, "channel") is True
        assert await store.remove_binding(other.id, "channel") is False
        kept = await store.get_binding(room.id, "channel")
        assert kept is not None
        assert kept.muted
        assert await store.get_binding(other.id, "channel") is None
        assert await store.get_binding(new_id(), "channel") is None

    async def test_updating_what_is_not_attached_is_an_error(
        self, store: ConversationStore, room: Room
    ) -> None:
        with pytest.raises(ChannelNotFoundError, match="channel"):
            await store.update_binding(binding(room.id))
        assert await store.list_bindings(room.id) == []

    # -- participants -------------------------------------------------------------------------

    @PROPERTY
    @given(given_person=records(Participant, id=unique_ids()))
    async def test_every_field_of_a_participant_is_kept(
        self, store: ConversationStore, room: Room, given_person: Participant
    ) -> None:
        wanted = given_person.replace(room_id=room.id)
        assert await store.add_participant(wanted) == wanted
        assert await store.get_participant(room.id, wanted.id) == wanted
        assert wanted in await store.list_participants(room.id)
        record = await store.load(room.id)
        assert record is not None
        assert record.participants[wanted.id] == wanted

    @PROPERTY
    @given(before=records(Participant, id=unique_ids()), after=records(Participant))
    async def test_an_update_replaces_every_field_of_a_participant(
        self, store: ConversationStore, room: Room, before: Participant, after: Participant
    ) -> None:
        """Nothing of the former record is left."""
        wanted = after.replace(room_id=room.id, id=before.id)
        await store.add_participant(before.replace(room_id=room.id))
        assert await store.update_participant(wanted) == wanted
        assert await store.get_participant(room.id, before.id) == wanted

    async def test_participants_are_listed_as_they_joined(self, store: ConversationStore, room: Room) -> None:
        other = await store.create_room(Room())
        for name in ("b", "a", "b"):
            await store.add_participant(Participant(id=name, room_id=room.id, channel_id="c"))
        assert [each.id for each in await store.list_participants(room.id)] == ["b", "a"]
        assert await store.get_participant(other.id, "a") is None
        assert await store.list_participants(other.id) == []

    async def test_updating_somebody_who_is_not_there_is_an_error(
        self, store: ConversationStore, room: Room
    ) -> None:
        with pytest.raises(ParticipantNotFoundError, match="unknown"):
            await store.update_participant(Participant(id="unknown", room_id=room.id, channel_id="c"))
        assert await store.list_participants(room.id) == []

    async def test_somebodys_participations_are_found_over_all_rooms(self, store: ConversationStore) -> None:
        """By id, by identity or by both, in order of room and participant; a binding is none."""
        rooms = sorted([(await store.create_room(Room())).id for _ in range(4)])
        who, identity = new_id(), new_id()

        async def join(room_id: str, name: str, **fields: Any) -> Participant:
            return await store.add_participant(
                Participant(id=name, room_id=room_id, channel_id="sms", **fields)
            )

        third = await join(rooms[2], who, identity_id=identity)
        other = await join(rooms[2], f"{who}2", identity_id=identity)
        first = await join(rooms[0], who)
        await join(rooms[1], "another person", identity_id="other")
        await store.add_binding(binding(rooms[1], "sms", participant_id=who))
        assert await store.find_participants(participant_id=who) == [first, third]
        assert await store.find_participants(identity_id=identity) == [third, other]
        assert await store.find_participants(participant_id=who, identity_id=identity) == [third]
        assert await store.find_participants(participant_id=new_id()) == []
        assert await store.find_participants(participant_id=who, identity_id="other") == []
        assert len(await store.find_participants()) == 4
        known = await store.update_participant(first.replace(identity_id=identity, display_name="F"))
        await store.update_participant(other.replace(identity_id=None))
        assert await store.find_participants(identity_id=identity) == [known, third]
        await store.delete_room(rooms[0])
        assert await store.find_participants(participant_id=who) == [third]

    @pytest.mark.parametrize("limit", [1, 2, 3, 100])
    async def test_participations_are_paged_by_the_last_one_of_the_page_before(
        self, store: ConversationStore, limit: int
    ) -> None:
        names = ["B", "a", "Z", "\u00e4", "_", "10", "9", "\U0001f600", "\uffee"]
        rooms = [(await store.create_room(Room(id=f"{name}{new_id()}"))).id for name in names]
        identity = new_id()
        for room_id in rooms:
            for name in (f"b{identity}", f"B{identity}"):
                await store.add_participant(
                    Participant(id=name, room_id=room_id, channel_id="sms", identity_id=identity)
                )
        expected = sorted((room_id, f"{name}{identity}") for room_id in rooms for name in "bB")
        seen: list[tuple[str, str]] = []
        while page := await store.find_participants(
            identity_id=identity, limit=limit, after=seen[-1] if seen else None
        ):
            seen += [(person.room_id, person.id) for person in page]
            await store.delete_room(seen[0][0])
        gone = {place for place in expected if place[0] == seen[0][0] and place not in seen}
        assert seen == [place for place in expected if place not in gone]
        assert await store.find_participants(identity_id=identity, limit=0) == []

    # -- identities ---------------------------------------------------------------------------

    @PROPERTY
    @given(identity=records(Identity, id=unique_ids(), organization_id=unique_ids()))
    async def test_every_field_of_an_identity_is_kept(
        self, store: ConversationStore, identity: Identity
    ) -> None:
        """And every address it lists leads to it."""
        assert await store.create_identity(identity) == identity
        assert await store.get_identity(identity.id) == identity
        for channel_type, addresses in identity.channel_addresses.items():
            for address in addresses:
                found = await store.resolve_identity(
                    channel_type, address, organization_id=identity.organization_id
                )
                assert found == identity

    async def test_an_address_belongs_to_one_organization(self, store: ConversationStore) -> None:
        number, here, there = new_id(), new_id(), new_id()
        addresses = {"sms": (number,)}
        owners = {
            organization: await store.create_identity(
                Identity(id=new_id(), organization_id=organization, channel_addresses=addresses)
            )
            for organization in (here, there, None)
        }
        for organization, owner in owners.items():
            found = await store.resolve_identity("sms", number, organization_id=organization)
            assert found == owner
        assert await store.resolve_identity("sms", number) == owners[None]
        assert await store.resolve_identity("sms", number, organization_id=new_id()) is None
        assert await store.resolve_identity("sms", number, organization_id="") in (None, owners[None])

    async def test_an_address_is_of_one_channel_type_and_exact(self, store: ConversationStore) -> None:
        """Case, white space and type matter; nothing is normalised here."""
        address = f"Ann-{new_id()}@example.com"
        await store.create_identity(Identity(id=new_id(), channel_addresses={"email": (address,)}))
        assert await store.resolve_identity("email", address) is not None
        for channel_type, other in (
            ("sms", address),
            ("email", address.lower()),
            ("email", f" {address}"),
            ("email", "%"),
            ("email", address.replace("@", "_")),
        ):
            assert await store.resolve_identity(channel_type, other) is None

    async def test_linking_adds_an_address(self, store: ConversationStore) -> None:
        """In the identity's organization, once however often; the record lists it."""
        organization, address = new_id(), new_id()
        identity = await store.create_identity(
            Identity(id=new_id(), organization_id=organization, channel_addresses={"sms": ("+1",)})
        )
        for channel_type in ("sms", "email", "sms"):
            await store.link_address(identity.id, channel_type, address)
        after = await store.get_identity(identity.id)
        assert after is not None
        assert after.channel_addresses == {"sms": ("+1", address), "email": (address,)}
        assert await store.resolve_identity("email", address, organization_id=organization) == after
        assert await store.resolve_identity("email", address) is None

    async def test_linking_to_an_unknown_identity_is_an_error(self, store: ConversationStore) -> None:
        unknown, address = new_id(), new_id()
        with pytest.raises(IdentityNotFoundError, match=unknown):
            await store.link_address(unknown, "sms", address)
        assert await store.resolve_identity("sms", address) is None
        assert await store.get_identity(unknown) is None

    async def test_a_deleted_identity_is_found_by_nothing(self, store: ConversationStore) -> None:
        """Neither by its id nor by an address; the addresses are free, other identities' stay."""
        here, gone, stays = new_id(), new_id(), new_id()
        doomed = Identity(
            id=new_id(), organization_id=here, channel_addresses={"sms": (gone,), "email": (gone,)}
        )
        await store.create_identity(doomed)
        await store.link_address(doomed.id, "push", gone)
        spared = await store.create_identity(
            Identity(id=new_id(), organization_id=here, channel_addresses={"sms": (stays,)})
        )
        assert await store.delete_identity(doomed.id) is True
        assert await store.delete_identity(doomed.id) is False
        assert await store.get_identity(doomed.id) is None
        for channel_type in ("sms", "email", "push"):
            assert await store.resolve_identity(channel_type, gone, organization_id=here) is None
        assert await store.resolve_identity("sms", stays, organization_id=here) == spared
        with pytest.raises(IdentityNotFoundError, match=doomed.id):
            await store.link_address(doomed.id, "sms", gone)
        heir = await store.create_identity(
            Identity(id=doomed.id, organization_id=here, channel_addresses={"sms": (gone,)})
        )
        assert await store.resolve_identity("sms", gone, organization_id=here) == heir
        assert await store.resolve_identity("email", gone, organization_id=here) is None

    async def test_an_address_that_went_to_somebody_else_is_theirs(self, store: ConversationStore) -> None:
        """Also when who had it before is deleted."""
        address = new_id()
        former = await store.create_identity(Identity(id=new_id(), channel_addresses={"sms": (address,)}))
        latter = await store.create_identity(Identity(id=new_id()))
        await store.link_address(latter.id, "sms", address)
        await store.delete_identity(former.id)
        assert await store.resolve_identity("sms", address) == await store.get_identity(latter.id)
