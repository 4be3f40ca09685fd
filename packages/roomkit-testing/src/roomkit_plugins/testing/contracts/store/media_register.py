"""The store's contract: which events refer to which files."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from roomkit.abc.errors import StaleRoomError
from roomkit.abc.store import Amend, Commit, ConversationStore, Entry, MediaUse, Move
from roomkit.models.base import new_id
from roomkit.models.content import MediaContent
from roomkit.models.event import RoomEvent
from roomkit.models.room import Room
from roomkit_plugins.testing.contracts.base import NOW, event
from roomkit_plugins.testing.contracts.store.base import StoreSuite

__all__ = ["MediaRegisterContract"]

LATER = NOW + timedelta(hours=24)
ALWAYS = NOW + timedelta(days=3650)


def shown(room_id: str, *media_ids: str) -> RoomEvent:
    """Build an event that shows the first of the files."""
    return event(room_id, content=MediaContent(url=f"media:{media_ids[0]}", mime_type="image/png"))


async def refer(store: ConversationStore, room_id: str, *media_ids: str) -> str:
    """Commit an event that refers to files; return its id."""
    new = shown(room_id, *media_ids)
    uses = [MediaUse(media_id, new.id) for media_id in media_ids]
    await store.commit(Commit(room_id=room_id, entries=[Entry(new)], at=NOW, media=uses))
    return new.id


class MediaRegisterContract(StoreSuite):
    """A file is unused once no event refers to it, in the transaction that removes the last one."""

    @pytest.fixture
    async def files(self, store: ConversationStore, room: Room) -> list[str]:
        """Register three files of the room."""
        found = sorted(new_id() for _ in range(3))
        await store.register_media(room.id, found, unused_at=LATER)
        return found

    async def unused(self, store: ConversationStore, of: Sequence[str]) -> set[str]:
        """Return which of the files no event refers to."""
        return {each for _, each in await store.list_unused_media(ALWAYS, limit=10_000)} & {*of}

    async def test_a_registered_file_has_a_room(
        self, store: ConversationStore, other: ConversationStore, room: Room, files: list[str]
    ) -> None:
        """The first one that it was registered for; an unregistered file has none."""
        await other.register_media("elsewhere", files, unused_at=NOW)
        found = await other.find_media_rooms([*files, "absent", "n\0l"])
        assert found == {each: {room.id} for each in files}
        assert await store.find_media_rooms([]) == {}

    async def test_a_file_without_references_is_unused_from_its_time_on(
        self, store: ConversationStore, room: Room, files: list[str]
    ) -> None:
        """Not before; the oldest first, in pages."""
        first = new_id()
        await store.register_media(room.id, [first], unused_at=NOW)
        assert [each for each in await store.list_unused_media(NOW) if each[0] == room.id] == [
            (room.id, first)
        ]
        everything = [
            each for each in await store.list_unused_media(LATER, limit=10_000) if each[0] == room.id
        ]
        assert everything == [(room.id, each) for each in (first, *files)]
        assert len(await store.list_unused_media(LATER, limit=2)) == 2
        assert await store.list_unused_media(LATER, limit=0) == []

    async def test_a_reference_keeps_a_file(
        self, store: ConversationStore, other: ConversationStore, room: Room, files: list[str]
    ) -> None:
        """From the commit on, for every worker."""
        first = await refer(store, room.id, files[0], files[1])
        second = await refer(other, room.id, files[0])
        assert await self.unused(other, files) == {files[2]}
        found = await other.list_event_media([second, first, "absent"])
        assert found == [MediaUse(files[0], second), MediaUse(files[0], first), MediaUse(files[1], first)]
        assert await store.forget_media(files) == 1
        assert (await store.find_media_rooms(files)).keys() == {files[0], files[1]}

    async def test_references_go_with_redaction_retention_and_the_room(
        self, store: ConversationStore, room: Room, files: list[str]
    ) -> None:
        """A file is unused at once when its last reference goes, and not before."""
        first, second = await refer(store, room.id, *files), await refer(store, room.id, files[1], files[2])
        await store.commit(Commit(room_id=room.id, entries=(), at=NOW, redact=[first]))
        assert await self.unused(store, files) == {files[0]}
        assert await store.list_unused_media(NOW - timedelta(days=3650), limit=1) == [(room.id, files[0])]
        third = await refer(store, room.id, files[2])
        assert await store.prune_events(room.id, NOW + timedelta(seconds=1), limit=2) == 2
        assert await self.unused(store, files) == {files[0], files[1]}
        assert await store.list_event_media([first, second, third]) == [MediaUse(files[2], third)]
        await store.delete_room(room.id)
        assert await self.unused(store, files) == {*files}
        assert await store.find_media_rooms(files) == {each: {room.id} for each in files}
        assert await store.forget_media([*files, files[0], "absent"]) == 3
        assert await store.find_media_rooms(files) == {}

    async def test_a_file_is_of_the_rooms_whose_events_refer_to_it(
        self, store: ConversationStore, other: ConversationStore, room: Room, files: list[str]
    ) -> None:
        """Wherever they were moved; it goes with the last of them, by the room that it was stored for."""
        into = await store.create_room(Room())
        first, second = await refer(store, room.id, *files[:2]), await refer(store, room.id, files[1])
        sides = (Commit(room_id=each.id, entries=(), at=NOW, activity=False) for each in (room, into))
        source, target = sides
        assert await store.move(Move(source=source, into=target, events=(first,))) == 1
        both, here = {room.id, into.id}, {room.id}
        assert await other.find_media_rooms(files) == dict(zip(files, ({into.id}, both, here), strict=True))
        assert await other.list_event_media([first]) == [MediaUse(each, first) for each in files[:2]]
        await other.delete_room(into.id)
        assert await self.unused(store, files) == {files[0], files[2]}
        assert await store.find_media_rooms(files) == dict.fromkeys(files, here)
        await store.commit(Commit(room_id=room.id, entries=(), at=NOW, redact=[second]))
        found = await other.list_unused_media(ALWAYS, limit=10_000)
        assert {each for each in found if each[1] in files} == {(room.id, each) for each in files}

    async def test_an_edited_event_keeps_what_it_showed(
        self, store: ConversationStore, room: Room, files: list[str]
    ) -> None:
        """Its former contents are kept with it; a reference may be added to it."""
        first = await refer(store, room.id, files[0])
        content = MediaContent(url=f"media:{files[1]}", mime_type="image/png")
        await store.commit(
            Commit(
                room_id=room.id,
                entries=(),
                at=NOW,
                amend=Amend(first, content, "ann"),
                media=[MediaUse(files[1], first)],
            )
        )
        assert await self.unused(store, files) == {files[2]}
        await store.commit(Commit(room_id=room.id, entries=(), at=NOW, redact=[first]))
        assert await self.unused(store, files) == {*files}

    async def test_a_refused_commit_adds_no_reference(
        self, store: ConversationStore, room: Room, files: list[str]
    ) -> None:
        """And one to a file that is not registered, or of another room's event, is passed over."""
        new = shown(room.id, files[0])
        uses = [MediaUse(files[0], new.id)]
        with pytest.raises(StaleRoomError):
            await store.commit(
                Commit(room_id=room.id, entries=[Entry(new)], at=NOW, expected_version=99, media=uses)
            )
        assert await self.unused(store, files) == {*files}
        await refer(store, room.id, "absent")
        second = await store.create_room(Room())
        foreign = await refer(store, second.id, "absent")
        await store.commit(Commit(room_id=room.id, entries=(), at=NOW, media=[MediaUse(files[0], foreign)]))
        assert await self.unused(store, files) == {*files}

    async def test_references_and_releases_at_once_lose_nothing(
        self, store: ConversationStore, other: ConversationStore, room: Room, files: list[str]
    ) -> None:
        """Each event is redacted by another worker while the next ones are committed."""

        async def pass_by(number: int) -> None:
            place = store if number % 2 else other
            at = await refer(place, room.id, files[number % 3])
            await store.commit(Commit(room_id=room.id, entries=(), at=NOW, redact=[at]))

        await asyncio.gather(*map(pass_by, range(12)))
        assert await self.unused(store, files) == {*files}
        kept = await refer(store, room.id, files[0])
        assert await self.unused(other, files) == {files[1], files[2]}
        assert await other.list_event_media([kept]) == [MediaUse(files[0], kept)]
