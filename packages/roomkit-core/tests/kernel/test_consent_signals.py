"""A change of consent reaches the live things of the person, on the worker that has them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.memory.store import InMemoryStore
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import ConsentContent, TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelType, ConsentState, EventType
from roomkit.models.hook import HookResult
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import RecordingChannel, VirtualClock

pytestmark = pytest.mark.virtual_time

ANN = "+14165550123"
PLUGINS = PluginManager(entry_points=())
PLUGINS.scan()


class Store(InMemoryStore):
    """One that several workers share."""

    @property
    def is_process_local(self) -> bool:
        return False

    async def close(self) -> None:
        """Stay open for the others."""


class Realtime(InMemoryRealtime):
    """One that several workers share; it may be down."""

    is_down = False

    @property
    def is_process_local(self) -> bool:
        return False

    async def publish(self, channel: Any, event: Any) -> None:
        if self.is_down:
            raise ConnectionError("down")
        await super().publish(channel, event)

    async def close(self) -> None:
        """Stay open for the others."""


class Phone(RecordingChannel):
    """A channel of calls, which keeps the changes of consent; its recorder may be broken."""

    address_type = "phone"  # type: ignore[assignment]  # a property there
    is_broken = False

    def __init__(self) -> None:
        super().__init__("phone", channel_type=ChannelType.VOICE)
        self.changes: list[tuple[str, str, str, ConsentState]] = []

    def normalize(self, address: str) -> str:
        return "+" + "".join(filter(str.isdigit, address))

    async def deliver(self, event: Any, binding: Any, context: Any) -> ChannelOutput:
        return ChannelOutput.skipped("no_session")

    async def consent_changed(self, room_id: str, address: str, purpose: str, state: ConsentState) -> None:
        if self.is_broken:
            raise OSError("the recorder")
        self.changes.append((room_id, address, purpose, state))


class World:
    """Two workers with the channel, and a third without; three rooms."""

    def __init__(self) -> None:
        self.store, self.realtime, locks = Store(), Realtime(), InMemoryLockManager()
        self.phones = [Phone(), Phone()]
        self.kits = [
            RoomKit(
                self.store,
                lock_manager=locks,
                realtime=self.realtime,
                single_process=True,
                clock=VirtualClock(),
                plugins=PLUGINS,
            )
            for _ in range(3)
        ]
        for kit, phone in zip(self.kits, self.phones, strict=False):
            kit.register_channel(phone)

    async def open(self) -> World:
        for kit in self.kits:
            await kit.start()
        here = self.kits[0]
        for room_id in ("call", "web", "other"):
            await here.create_room(room_id)
        await here.attach_channel("call", "phone", address=ANN)
        await here.attach_channel("web", "phone")
        await here.attach_channel("other", "phone", address="+15550100")
        return self

    @property
    def changes(self) -> list[list[tuple[str, str, str, ConsentState]]]:
        return [phone.changes for phone in self.phones]

    async def close(self) -> None:
        for kit in self.kits:
            await kit.close()


@pytest.fixture
async def world():
    world = await World().open()
    yield world
    await world.close()


REVOKED, GRANTED = ConsentState.REVOKED, ConsentState.GRANTED
CHANGE = ("call", ANN, "recording", REVOKED)


@pytest.mark.parametrize("changed_by", [0, 1, 2])
async def test_the_holder_is_notified_whichever_worker_made_the_change(world, changed_by):
    assert world.phones[1].services is not None
    await world.phones[1].services.homes.take("call")
    await world.kits[changed_by].set_consent("phone", "+1 (416) 555-0123", "revoked", purpose="recording")
    await asyncio.sleep(1)
    assert world.changes == [[], [CHANGE]]


async def test_without_a_home_each_worker_with_the_channel_is_notified(world):
    await world.kits[2].set_consent("phone", ANN, "revoked", purpose="recording")
    await asyncio.sleep(1)
    assert world.changes == [[CHANGE], [CHANGE]]


async def test_a_room_whose_person_wrote_by_the_channel_counts(world):
    """Its binding names no address: there is one channel for many callers."""
    here = world.kits[0]
    message = InboundMessage(channel_id="phone", sender_id=ANN, content=TextContent(body="hello"))
    await here.process_inbound(message, room_id="web")
    await here.set_consent("phone", ANN, "granted", purpose="recording")
    await asyncio.sleep(1)
    assert {change[0] for change in world.changes[0]} == {"call", "web"}
    assert {change[3] for change in world.changes[0]} == {GRANTED}


async def test_only_a_change_is_one(world):
    here = world.kits[0]
    for state in ("revoked", "revoked", "granted", "granted", "revoked"):
        await here.set_consent("phone", ANN, state)
        await asyncio.sleep(1)
    assert [change[3] for change in world.changes[0]] == [REVOKED, GRANTED, REVOKED]


async def test_an_address_of_another_kind_is_another_persons(world):
    await world.kits[0].set_consent("email", ANN, "revoked")
    await asyncio.sleep(1)
    assert world.changes == [[], []]


async def test_a_closed_room_has_nothing_live(world):
    await world.kits[0].close_room("call")
    await world.kits[0].set_consent("phone", ANN, "revoked")
    await asyncio.sleep(1)
    assert world.changes == [[], []]


async def test_another_organizations_rooms_are_not_meant(world):
    kit = world.kits[0]
    await kit.create_room("acme's", organization_id="acme")
    await kit.attach_channel("acme's", "phone", address=ANN)
    await kit.for_organization("acme").set_consent("phone", ANN, "revoked")
    await asyncio.sleep(1)
    assert [change[0] for change in world.changes[0]] == ["acme's"]


async def test_a_message_that_says_stop_is_such_a_change(world):
    """Though a gate refuses the message itself."""

    @world.kits[0].hook("before_broadcast")
    async def refuse(event, context):
        return HookResult.block("no")

    stop = InboundMessage(
        channel_id="phone",
        sender_id=ANN,
        content=ConsentContent(address_type="phone", address=ANN, state=REVOKED, source="keyword"),
        event_type=EventType.CONSENT,
    )
    result = await world.kits[0].process_inbound(stop, room_id="call")
    assert result.blocked
    await asyncio.sleep(1)
    assert world.changes[0] == [("call", ANN, "all", REVOKED)]


async def test_a_channel_that_fails_keeps_the_change_from_no_other(world, caplog):
    world.phones[0].is_broken = True
    await world.kits[0].set_consent("phone", ANN, "revoked", purpose="recording")
    await asyncio.sleep(1)
    assert world.changes == [[], [CHANGE]]
    assert "consent_changed of channel phone" in caplog.text
    assert (await world.kits[1].consent("phone", ANN, purpose="recording")).state is REVOKED


async def test_a_consent_is_kept_though_it_cannot_be_announced(world, caplog):
    world.realtime.is_down = True
    await world.kits[0].set_consent("phone", ANN, "revoked", purpose="recording")
    await asyncio.sleep(1)
    assert world.changes == [[CHANGE], []]
    assert "could not be announced to other workers" in caplog.text
    assert (await world.kits[1].consent("phone", ANN, purpose="recording")).state is REVOKED
