"""The contract suite of inbound routers."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

import pytest

from roomkit.abc.router import InboundRoomRouter
from roomkit.abc.store import ConversationStore
from roomkit.memory.store import InMemoryStore
from roomkit.models.base import new_id
from roomkit.models.enums import ChannelType, RoomStatus
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit_plugins.testing.contracts.base import ContractSuite, binding, message

__all__ = ["InboundRoomRouterContract"]


class InboundRoomRouterContract(ContractSuite):
    """A message reaches its sender's own conversation, or a new one; never another sender's.

    The fixture `factory` makes a router that reads `store`.
    """

    @pytest.fixture
    async def store(self) -> ConversationStore:
        """Return the store the router reads."""
        return InMemoryStore()

    @pytest.fixture
    def factory(
        self, store: ConversationStore
    ) -> Callable[[], InboundRoomRouter | Awaitable[InboundRoomRouter]]:
        """Return a function that makes a router reading `store`; the subclass gives it."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `factory` that takes `store`")

    @pytest.fixture
    def router(self, subject: InboundRoomRouter) -> InboundRoomRouter:
        """Return the router under test."""
        return subject

    @property
    def finds_senders(self) -> bool:
        """Whether it leads a sender back to their earlier room."""
        return True

    async def route(self, router: InboundRoomRouter, channel_id: str, sender: str) -> str | None:
        """Ask for the room of a message from `sender`."""
        said = message(channel_id=channel_id, sender_id=sender)
        return await router.route(channel_id, ChannelType.SMS, sender, message=said)

    async def room(
        self, store: ConversationStore, channel_id: str, *senders: str, status: RoomStatus = RoomStatus.ACTIVE
    ) -> str:
        """Make a room with a channel by which senders came."""
        room = await store.create_room(Room(status=status))
        await store.add_binding(binding(room.id, channel_id))
        for sender in senders:
            await store.add_participant(
                Participant(id=sender, room_id=room.id, channel_id=channel_id, connected_via=(channel_id,))
            )
        return room.id

    async def test_without_any_room_there_is_none(self, router: InboundRoomRouter) -> None:
        """The first message of all opens one."""
        assert await self.route(router, new_id(), "ann") is None

    async def test_a_sender_comes_back_to_their_room(
        self, router: InboundRoomRouter, store: ConversationStore
    ) -> None:
        """Each of them to their own, over one shared channel."""
        if not self.finds_senders:
            pytest.skip("the router does not go by senders")
        channel = new_id()
        rooms = {who: await self.room(store, channel, who) for who in ("ann", "ben", "eve")}
        for who, room_id in rooms.items():
            assert await self.route(router, channel, who) == room_id

    async def test_a_stranger_is_not_led_into_somebodys_room(
        self, router: InboundRoomRouter, store: ConversationStore
    ) -> None:
        """However few rooms the channel has, one included."""
        channel = new_id()
        for who in ("ann", "ben"):
            await self.room(store, channel, who)
            assert await self.route(router, channel, "stranger") is None

    async def test_two_rooms_that_would_do_are_no_answer(
        self, router: InboundRoomRouter, store: ConversationStore
    ) -> None:
        channel = new_id()
        await self.room(store, channel)
        await self.room(store, channel)
        assert await self.route(router, channel, "stranger") is None

    async def test_a_closed_room_takes_no_message(
        self, router: InboundRoomRouter, store: ConversationStore
    ) -> None:
        """Nor an archived one; a paused one does."""
        for status in (RoomStatus.CLOSED, RoomStatus.ARCHIVED):
            channel = new_id()
            await self.room(store, channel, "ann", status=status)
            assert await self.route(router, channel, "ann") is None
        if self.finds_senders:
            channel = new_id()
            paused = await self.room(store, channel, "ann", status=RoomStatus.PAUSED)
            assert await self.route(router, channel, "ann") == paused

    async def test_another_channel_is_another_way(
        self, router: InboundRoomRouter, store: ConversationStore
    ) -> None:
        channel = new_id()
        await self.room(store, channel, "ann")
        assert await self.route(router, new_id(), "ann") is None

    async def test_the_same_question_has_the_same_answer(
        self, router: InboundRoomRouter, store: ConversationStore
    ) -> None:
        channel = new_id()
        await self.room(store, channel, "ann")
        answers = {await self.route(router, channel, "ann") for _ in range(5)}
        assert len(answers) == 1
        assert not inspect.isawaitable(answers.pop())
