"""The contract suite of channels of live connections."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomkit.abc.channel import Channel
from roomkit.abc.errors import InvalidInputError
from roomkit.kernel.kit import RoomKit
from roomkit.memory.store import InMemoryStore
from roomkit.models.content import text_of
from roomkit.models.enums import ParticipantStatus
from roomkit.models.event import RoomEvent
from roomkit.models.participant import Participant
from roomkit_plugins.testing.contracts.base import PATIENCE, ContractSuite, binding, context, event, message

__all__ = ["ConnectionsContract", "Socket"]

REASONS: dict[str, str] = {
    ParticipantStatus.LEFT: "participant_removed",
    ParticipantStatus.BANNED: "participant_banned",
}
"""Why the connections of a participant with that status are closed."""


class Socket:
    """The other end of a connection: the frames written to it, and why it was closed."""

    def __init__(self, connection_id: str) -> None:
        self.id = connection_id
        self.texts: list[str] = []
        self.closed: list[str] = []
        self.changed = asyncio.Event()

    async def send(self, connection_id: str, event: RoomEvent) -> None:
        """Take an event in."""
        assert connection_id == self.id
        self.texts.append(text_of(event.content))
        self.changed.set()

    async def close(self, connection_id: str, reason: str) -> None:
        """Note that the channel dropped the connection."""
        assert connection_id == self.id
        self.closed.append(reason)
        self.changed.set()


class ConnectionsContract(ContractSuite):
    """What a channel that is `SupportsConnections` promises: each connection sees its room, while it may.

    The factory makes a channel that is not registered with a kit.
    """

    @pytest.fixture
    def channel(self, subject: Any) -> Any:
        """Return the channel under test."""
        return subject

    def join(
        self, channel: Any, connection_id: str, room_id: str = "room", participant_id: str | None = "ann"
    ) -> Socket:
        """Register a connection."""
        socket = Socket(connection_id)
        channel.register_connection(
            connection_id,
            socket.send,
            close_fn=socket.close,
            room_id=room_id,
            participant_id=participant_id,
        )
        return socket

    async def show(self, channel: Channel, text: str, room_id: str = "room", *to: Socket) -> None:
        """Deliver another participant's event, and wait until the named sockets have it."""
        bound = binding(room_id, channel.channel_id, channel_type=channel.channel_type)
        await channel.deliver(event(room_id, text), bound, context(bound))
        async with asyncio.timeout(PATIENCE):
            for socket in to:
                while text not in socket.texts:
                    socket.changed.clear()
                    await socket.changed.wait()

    async def until_closed(self, *sockets: Socket) -> None:
        """Wait until the channel has dropped the connections."""
        async with asyncio.timeout(PATIENCE):
            for socket in sockets:
                while not socket.closed:
                    socket.changed.clear()
                    await socket.changed.wait()

    async def test_a_connection_sees_its_room_until_it_is_unregistered(self, channel: Any) -> None:
        here, there = self.join(channel, "c1"), self.join(channel, "c2", "other")
        await self.show(channel, "one", "room", here)
        await self.show(channel, "two", "other", there)
        assert channel.unregister_connection("c1")
        assert not channel.unregister_connection("c1")
        await self.show(channel, "three")
        assert (here.texts, there.texts) == (["one"], ["two"])

    @pytest.mark.parametrize("status", [ParticipantStatus.LEFT, ParticipantStatus.BANNED])
    async def test_a_departed_participant_sees_nothing_more(
        self, channel: Any, status: ParticipantStatus
    ) -> None:
        """By any of their connections to that room; each is closed, with the reason, once."""
        gone = [self.join(channel, f"b{number}", participant_id="bob") for number in range(2)]
        ann, elsewhere = self.join(channel, "a"), self.join(channel, "e", "other", "bob")
        bob = Participant(id="bob", room_id="room", channel_id=channel.channel_id)
        await channel.update_participant("room", bob)
        await self.show(channel, "before", "room", ann, *gone)
        await channel.update_participant("room", bob.replace(status=status))
        await self.show(channel, "after", "room", ann)
        await self.show(channel, "there", "other", elsewhere)
        await self.until_closed(*gone)
        assert [socket.texts for socket in gone] == [["before"]] * 2
        assert [socket.closed for socket in gone] == [[REASONS[status]]] * 2
        assert (ann.closed, elsewhere.closed) == ([], [])

    @pytest.mark.parametrize("way", [*ParticipantStatus, "detach", "delete"])
    async def test_rights_that_another_worker_changed_are_read_again(self, channel: Any, way: str) -> None:
        """`update_rights` closes the connections without a right to the room, as the store has it."""
        async with RoomKit(store := InMemoryStore()) as kit:
            kit.register_channel(channel)
            for room_id in ("room", "other"):
                await kit.create_room(room_id)
                await kit.attach_channel(room_id, channel.channel_id)
            bob = await kit.ensure_participant("room", channel.channel_id, "bob")
            ann, theirs = self.join(channel, "a"), self.join(channel, "b", participant_id="bob")
            elsewhere = self.join(channel, "e", "other", "bob")
            if way == "detach":
                await store.remove_binding("room", channel.channel_id)
            elif way == "delete":
                await store.delete_room("room")
            else:
                await store.update_participant(bob.replace(status=ParticipantStatus(way)))
            await channel.update_rights("room")
            everyone = way in ("detach", "delete")
            gone = [ann, theirs] if everyone else [theirs] if way in REASONS else []
            await self.until_closed(*gone)
            reason = REASONS.get(way, "room_not_found")
            for socket in (ann, theirs, elsewhere):
                assert socket.closed == ([reason] if socket in gone else [])

    async def test_an_id_in_use_is_not_given_to_another_participant(self, channel: Any) -> None:
        """The connection that has it goes on; the same participant may take their own place."""
        first = self.join(channel, "c")
        for other in ("bob", None):
            with pytest.raises(InvalidInputError):
                self.join(channel, "c", "other", other)
        await self.show(channel, "one", "room", first)
        second = self.join(channel, "c")
        await self.show(channel, "two", "room", second)
        assert (first.texts, second.texts) == (["one"], ["two"])

    async def test_a_message_is_for_the_room_of_its_connection(self, channel: Any) -> None:
        self.join(channel, "c")
        assert await channel.route(message(connection_id="c")) == "room"
        assert await channel.route(message(connection_id="d")) is None
        assert await channel.route(message()) is None
