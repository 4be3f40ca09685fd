"""Drives a store by random calls: rooms, their timelines, people and work."""

# the name of a rule says what it does

from __future__ import annotations

from functools import partial
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    precondition,
    rule,
)

from roomkit.abc.store import Amend, Commit, ConversationStore, Hearing
from roomkit.models.content import TextContent
from roomkit.models.enums import (
    Access,
    ChannelType,
    RoomStatus,
    TaskStatus,
)
from roomkit.models.event import Heard
from roomkit.models.identity import Identity
from roomkit.models.room import Room
from roomkit.models.task import Observation, Task
from roomkit_plugins.testing.contracts.base import NOW
from roomkit_plugins.testing.contracts.store.driving import (
    CHANNELS,
    NUMBERS,
    PEOPLE,
    PLACES,
    STATUSES,
    StoreMachine,
)

__all__ = ["RoomsMachine"]


class RoomsMachine(StoreMachine):
    """Everything but the ledger and the workers."""

    @rule(number=NUMBERS, status=STATUSES)
    def update_room(self, number: int, status: RoomStatus) -> None:
        async def update(store: ConversationStore) -> Any:
            room = await store.get_room(self._room(number)) or Room(id=self._room(number))
            return await store.update_room(room.replace(status=status))

        self._same(update)

    @rule(number=NUMBERS, key=PEOPLE, value=st.integers() | st.none(), unset=st.lists(PEOPLE, max_size=1))
    def patch_metadata(self, number: int, key: str, value: int | None, unset: list[str]) -> None:
        patch = {} if key in unset else {key: value}
        self._same(lambda store: store.patch_room_metadata(self._room(number), patch, unset))

    @rule(number=NUMBERS, status=st.none() | STATUSES, channel=CHANNELS, gone=CHANNELS, who=PEOPLE)
    def commit_changes(
        self, number: int, status: RoomStatus | None, channel: str, gone: str, who: str
    ) -> None:
        room_id = self._room(number)
        self._commit(
            Commit(
                room_id=room_id,
                entries=[],
                at=self._tick(),
                participants=[self._person(room_id, who, channel)],
                bindings=[self._binding(room_id, channel, who)],
                unbind=[gone] if gone != channel else [],
                room_changes={"status": status} if status is not None else None,
                metadata={"who": who},
                tasks=[Task(id=f"{self._prefix}-{room_id}-{who}", room_id=room_id, title=channel)],
            )
        )

    @precondition(lambda self: self._events)
    @rule(number=NUMBERS, place=PLACES, text=st.none() | PEOPLE)
    def amend(self, number: int, place: int, text: str | None) -> None:
        content = None if text is None else TextContent(body=text)
        self._commit(
            Commit(
                room_id=self._room(number),
                entries=[],
                at=self._tick(),
                amend=Amend(self._event(place).id, content, "someone"),
            )
        )

    @precondition(lambda self: self._events)
    @rule(number=NUMBERS, place=PLACES, channel=CHANNELS, chars=st.integers(0, 9), estimated=st.booleans())
    def hear(self, number: int, place: int, channel: str, chars: int, estimated: bool) -> None:
        heard = Heard(channel_id=channel, chars=chars, estimated=estimated)
        self._commit(
            Commit(
                room_id=self._room(number),
                entries=[],
                at=self._tick(),
                heard=[Hearing(self._event(place).id, heard)],
                activity=False,
            )
        )

    @precondition(lambda self: self._events)
    @rule(number=NUMBERS, places=st.lists(PLACES, min_size=1, max_size=2), who=st.none() | PEOPLE)
    def redact(self, number: int, places: list[int], who: str | None) -> None:
        self._commit(
            Commit(
                room_id=self._room(number),
                entries=[],
                at=self._tick(),
                redact=[self._event(place).id for place in places],
                remove_participants=[] if who is None else [f"{self._prefix}-{who}"],
            )
        )

    @rule(number=NUMBERS, key=st.integers(0, 4))
    def load_by_key(self, number: int, key: int) -> None:
        async def keyed(store: ConversationStore) -> Any:
            record = await store.load(self._room(number), key=f"key {key}")
            return None if record is None else record.keyed(f"key {key}")

        self._same(keyed)

    # -- people -------------------------------------------------------------------------------

    @rule(number=NUMBERS, channel=CHANNELS, who=PEOPLE, access=st.sampled_from(Access), is_new=st.booleans())
    def bind(self, number: int, channel: str, who: str, access: Access, is_new: bool) -> None:
        bound = self._binding(self._room(number), channel, who, access=access)
        self._same(lambda store: store.add_binding(bound) if is_new else store.update_binding(bound))

    @rule(number=NUMBERS, channel=CHANNELS)
    def unbind(self, number: int, channel: str) -> None:
        async def remove(store: ConversationStore) -> Any:
            if await store.get_room(self._room(number)) is None:
                return None  # whether that is False or an error is open
            return await store.remove_binding(self._room(number), channel)

        self._same(remove)

    @rule(number=NUMBERS, who=PEOPLE, channel=CHANNELS, is_new=st.booleans())
    def join(self, number: int, who: str, channel: str, is_new: bool) -> None:
        person = self._person(self._room(number), who, channel)
        self._same(
            lambda store: store.add_participant(person) if is_new else store.update_participant(person)
        )

    @rule(who=PEOPLE, identity=st.none() | CHANNELS, after=st.none() | NUMBERS, limit=st.integers(0, 4))
    def find_people(self, who: str, identity: str | None, after: int | None, limit: int) -> None:
        cursor = None if after is None else (self._room(after), f"{self._prefix}-ann")
        person = f"{self._prefix}-{who}" if identity is None else None
        known = None if identity is None else f"{self._prefix}-{identity}"
        for organization in (None, f"{self._prefix}-a"):
            self._same(
                partial(
                    _find_people,
                    participant_id=person,
                    identity_id=known,
                    organization_id=organization,
                    limit=limit,
                    after=cursor,
                )
            )

    @rule(who=PEOPLE, organization=st.none() | PEOPLE, goes=st.booleans())
    def know(self, who: str, organization: str | None, goes: bool) -> None:
        """Identities are created once, so their ids carry the time."""
        identity = Identity(
            id=f"{self._prefix}-{who}-{self._tick().timestamp()}",
            organization_id=organization and f"{self._prefix}-{organization}",
            channel_addresses={"sms": (f"{self._prefix}-{self._now.timestamp()}",)},
        )
        self._same(lambda store: store.create_identity(identity))
        self._same(lambda store: store.link_address(identity.id, "email", identity.id))
        if goes:
            self._same(lambda store: store.delete_identity(identity.id))
        self._same(lambda store: store.get_identity(identity.id, organization_id=f"{self._prefix}-ann"))
        self._same(
            lambda store: store.resolve_identity(
                "email", identity.id, organization_id=identity.organization_id
            )
        )

    # -- work and marks -----------------------------------------------------------------------

    @rule(number=NUMBERS, who=PEOPLE, status=st.sampled_from(TaskStatus), is_new=st.booleans())
    def task(self, number: int, who: str, status: TaskStatus, is_new: bool) -> None:
        room_id = self._room(number)
        task = Task(
            id=f"{self._prefix}-{room_id}-{who}", room_id=room_id, title="t", status=status, created_at=NOW
        )
        self._same(lambda store: store.add_task(task) if is_new else store.update_task(task))
        self._same(lambda store: store.list_tasks(room_id, status))

    @rule(number=NUMBERS, who=PEOPLE)
    def observe(self, number: int, who: str) -> None:
        room_id = self._room(number)
        observation = Observation(
            id=f"{self._prefix}-{room_id}-{who}", room_id=room_id, channel_id="ai", content=who
        )
        self._same(lambda store: store.add_observation(observation))

    @precondition(lambda self: self._events)
    @rule(number=NUMBERS, channel=CHANNELS, place=PLACES | st.none())
    def read(self, number: int, channel: str, place: int | None) -> None:
        room_id = self._room(number)
        if place is None:
            self._same(lambda store: store.mark_all_read(room_id, channel))
        else:
            target = self._event(place)
            self._same(lambda store: store.mark_read(room_id, channel, target.id))

    # -- questions ----------------------------------------------------------------------------

    @rule(status=st.none() | STATUSES, who=st.none() | PEOPLE, limit=st.integers(0, 5))
    def find_rooms(self, status: RoomStatus | None, who: str | None, limit: int) -> None:
        metadata = None if who is None else {"who": who}
        self._same(lambda store: store.find_rooms(f"{self._prefix}-a", status, metadata, limit=limit))

    @rule(who=PEOPLE, status=st.none() | STATUSES, organization=st.none() | st.sampled_from(["a", "b"]))
    def find_room_of(self, who: str, status: RoomStatus | None, organization: str | None) -> None:
        person, owner = f"{self._prefix}-{who}", organization and f"{self._prefix}-{organization}"
        self._same(
            lambda store: store.find_latest_room(person, ChannelType.SMS, status, organization_id=owner)
        )
        for channel in ("sms", "email"):
            self._same(partial(_find_sender, channel_id=channel, sender_id=person, organization_id=owner))


async def _find_people(store: ConversationStore, **filters: Any) -> Any:
    return await store.find_participants(**filters)


async def _find_sender(store: ConversationStore, **filters: Any) -> Any:
    return await store.find_sender_room_ids(**filters)
