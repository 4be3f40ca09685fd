"""A person is (kind of address, address), at every door and on every worker, until an identity joins two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.abc.errors import InvalidInputError
from roomkit.abc.identity import IdentityResolver
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.models.content import DeleteContent, EditContent, EventContent, TextContent, text_of
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage, InboundResult
from roomkit.models.enums import (
    ChannelType,
    EventType,
    HookTrigger,
    IdentificationStatus,
    ParticipantStatus,
)
from roomkit.models.event import RoomEvent
from roomkit.models.hook import HookResult
from roomkit.models.identity import Identity, IdentityResult
from roomkit.models.participant import Participant, namesake_id
from roomkit.models.realtime import EphemeralEvent
from roomkit.plugins import PluginManager
from roomkit_plugins.postgres import PostgresStore
from roomkit_plugins.sqlite import SQLiteStore
from roomkit_plugins.testing import RecordingChannel, SharedStore

PLUGINS = PluginManager(entry_points=())
PLUGINS.scan()
NAME = "+15550001"
TYPES = {
    "web": ChannelType.WEBSOCKET,
    "web2": ChannelType.WEBSOCKET,
    "sms": ChannelType.SMS,
    "rcs": ChannelType.RCS,
}

type Workers = tuple[RoomKit, RoomKit]


class Doorman(IdentityResolver):
    """Knows who is in its list, and is unsure of all others."""

    def __init__(self) -> None:
        self.known: dict[str, Identity] = {}

    async def resolve(self, message: InboundMessage, context: RoomContext) -> IdentityResult:
        identity = self.known.get(message.sender_id)
        status = IdentificationStatus.PENDING if identity is None else IdentificationStatus.IDENTIFIED
        return IdentityResult(status=status, identity=identity)


def in_memory(_: Any, __: Any) -> Callable[..., RoomKit]:
    parts: Any = {"lock_manager": InMemoryLockManager(), "realtime": InMemoryRealtime()}
    store = SharedStore()
    return lambda **more: RoomKit(store, single_process=True, plugins=PLUGINS, **parts, **more)


def on_sqlite(folder: Path, _: Any) -> Callable[..., RoomKit]:
    parts: Any = {"lock_manager": InMemoryLockManager(), "single_process": True, "plugins": PLUGINS}
    path = folder / "rooms.db"
    return lambda **more: RoomKit(SQLiteStore(path), **parts, **more)


def on_postgres(_: Any, dsn: Callable[[], str]) -> Callable[..., RoomKit]:
    url = dsn()
    return lambda **more: RoomKit(PostgresStore(url), plugins=PLUGINS, **more)


@pytest.fixture(params=[in_memory, on_sqlite, on_postgres])
def make_kit(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., RoomKit]:
    """Makes a kit on the one store of the test."""
    dsn = partial(request.getfixturevalue, "postgres_store_dsn")
    made: Callable[..., RoomKit] = request.param(tmp_path, dsn)
    return made


@pytest.fixture
async def workers(make_kit: Callable[..., RoomKit]) -> AsyncIterator[Workers]:
    """Two started workers on one store, with four channels of two kinds of addresses, all in room "r"."""
    async with started(make_kit(), make_kit()) as kits:
        yield kits


@pytest.fixture
def doorman() -> Doorman:
    """The resolver of both workers of `guarded`."""
    return Doorman()


@pytest.fixture
async def guarded(make_kit: Callable[..., RoomKit], doorman: Doorman) -> AsyncIterator[Workers]:
    """The same two workers, which ask a resolver who their senders are."""
    first, second = (make_kit(identity_resolver=doorman) for _ in range(2))
    async with started(first, second) as kits:
        yield kits


@asynccontextmanager
async def started(*kits: RoomKit) -> AsyncIterator[Workers]:
    for kit in kits:
        for name, kind in TYPES.items():
            kit.register_channel(RecordingChannel(name, channel_type=kind))
        await kit.start()
    await kits[0].create_room("r")
    for name in TYPES:
        await kits[0].attach_channel("r", name)
    first, second = kits
    yield first, second
    for kit in kits:
        await kit.close()


async def say(
    kit: RoomKit,
    channel: str,
    content: EventContent | str = "hi",
    kind: EventType = EventType.MESSAGE,
    *,
    sender: str = NAME,
    **fields: Any,
) -> InboundResult:
    said = TextContent(body=content) if isinstance(content, str) else content
    message = InboundMessage(channel_id=channel, sender_id=sender, content=said, event_type=kind, **fields)
    return await kit.process_inbound(message, room_id="r")


def who(result: InboundResult) -> str | None:
    """Return the participant that the message was said by."""
    assert result.event is not None, result.reason
    return result.event.source.participant_id


async def ids(kit: RoomKit) -> set[str]:
    return {each.id for each in await kit.list_participants("r")}


async def test_the_first_keeps_the_id_and_the_namesake_is_told_apart(workers: Workers) -> None:
    """Also on another worker; channels with one kind of addresses have one participant."""
    first, second = workers
    assert who(await say(first, "web")) == NAME
    assert who(await say(second, "sms")) == f"phone:{NAME}"
    assert who(await say(first, "rcs")) == f"phone:{NAME}"
    assert who(await say(second, "web2")) == NAME
    people = {each.id: each for each in await first.list_participants("r")}
    assert {name: set(each.connected_via) for name, each in people.items()} == {
        NAME: {"web", "web2"},
        f"phone:{NAME}": {"sms", "rcs"},
    }
    assert await first.store.find_sender_room_ids("sms", NAME) == ["r"]


async def test_namesakes_who_arrive_together_are_two(workers: Workers) -> None:
    for number in range(6):
        name = f"+{number}"
        pair = await asyncio.gather(
            *(say(kit, way, sender=name) for kit, way in zip(workers, ("web", "sms"), strict=True))
        )
        assert {who(each) for each in pair} in ({name, f"phone:{name}"}, {f"websocket:{name}", name})
    assert len(await ids(workers[0])) == 12


@pytest.mark.parametrize("gated", [False, True], ids=["free", "gated"])
async def test_unidentified_namesakes_who_arrive_together_are_two(guarded: Workers, gated: bool) -> None:
    """Each is written with the record of his own, also when a gate looks at the message first."""
    if gated:
        for kit in guarded:
            kit.hook(HookTrigger.BEFORE_BROADCAST)(_allow)
    for number in range(6):
        name = f"+{number}"
        pair = await asyncio.gather(
            *(say(kit, way, sender=name) for kit, way in zip(guarded, ("web", "sms"), strict=True))
        )
        assert {who(each) for each in pair} in ({name, f"phone:{name}"}, {f"websocket:{name}", name})
        people = {each.id: each for each in await guarded[0].list_participants("r")}
        for result, way in zip(pair, ("web", "sms"), strict=True):
            person = people[who(result) or ""]
            assert (person.channel_id, person.connected_via) == (way, (way,))
            assert person.identification is IdentificationStatus.PENDING
    assert len(await ids(guarded[0])) == 12


async def test_one_identity_that_arrives_by_two_channels_keeps_both(
    guarded: Workers, doorman: Doorman
) -> None:
    """The second to commit adds its channel to the record that the first wrote."""
    for number in range(6):
        ann = Identity(id=f"ann{number}", display_name="Ann")
        doorman.known |= {f"+{number}": ann, f"web{number}": ann}
        pair = await asyncio.gather(
            say(guarded[0], "web", sender=f"web{number}"), say(guarded[1], "sms", sender=f"+{number}")
        )
        assert [who(each) for each in pair] == [ann.id, ann.id]
        (person,) = (each for each in await guarded[0].list_participants("r") if each.id == ann.id)
        assert set(person.connected_via) == {"web", "sms"}


async def _allow(event: RoomEvent, context: RoomContext) -> HookResult:
    return HookResult.allow()


async def test_a_host_joins_two_kinds_of_addresses_by_naming_one_participant(workers: Workers) -> None:
    """It names an id, which is its word that both are that participant; a namesake's own id stays apart."""
    first, second = workers
    await say(first, "web")
    await second.ensure_participant("r", "sms", f"phone:{NAME}")
    assert who(await say(second, "sms")) == f"phone:{NAME}"
    await say(first, "web", sender="+2")
    await second.ensure_participant("r", "sms", "+2")
    assert who(await say(second, "sms", sender="+2")) == who(await say(first, "web", sender="+2")) == "+2"
    assert await ids(first) == {NAME, f"phone:{NAME}", "+2"}


async def test_a_name_made_of_a_kind_and_an_address_is_nobody_else(workers: Workers) -> None:
    """A web user who calls himself like a namesake's id has none of the namesake's rights."""
    first, second = workers
    await say(first, "sms")
    assert who(await say(second, "web")) == f"websocket:{NAME}"
    assert who(await say(first, "web", sender=f"websocket:{NAME}")) == f"websocket:websocket:{NAME}"
    assert who(await say(second, "web", sender=f"phone:{NAME}")) == f"phone:{NAME}"
    assert who(await say(second, "sms", sender=f"phone:{NAME}")) == f"phone:phone:{NAME}"
    assert who(await say(first, "web")) == f"websocket:{NAME}"
    assert len(await ids(first)) == 5


def test_the_id_of_a_namesake_is_no_longer_than_an_id_may_be() -> None:
    """A long one has a digest, which is the same on every worker."""
    long = namesake_id("phone", "x" * 850)
    assert len(long) < 100
    assert long == namesake_id("phone", "x" * 850) != namesake_id("phone", "y" * 850)


async def test_a_room_of_an_earlier_version_goes_on(workers: Workers) -> None:
    """Its participants say no kind of address; that of their channel counts."""
    first, second = workers
    old = Participant(id=NAME, room_id="r", channel_id="sms", connected_via=("sms",))
    await first.store.add_participant(old)
    assert who(await say(second, "sms")) == NAME
    assert who(await say(second, "rcs")) == NAME
    assert who(await say(first, "web")) == f"websocket:{NAME}"


# -- doors ----------------------------------------------------------------------------------------


async def _edit(kit: RoomKit, channel: str, target: RoomEvent) -> str | None:
    content = EditContent(target_event_id=target.id, new_content=TextContent(body="forged"))
    return (await say(kit, channel, content, EventType.EDIT)).reason


async def _delete(kit: RoomKit, channel: str, target: RoomEvent) -> str | None:
    return (await say(kit, channel, DeleteContent(target_event_id=target.id), EventType.DELETE)).reason


async def _send_edit(kit: RoomKit, channel: str, target: RoomEvent) -> str | None:
    content = EditContent(target_event_id=target.id, new_content=TextContent(body="forged"))
    try:
        await kit.send_event("r", channel, content, EventType.EDIT, participant_id=NAME)
    except Exception as error:  # noqa: BLE001  # what kind it is, is the assertion's
        return str(error).rpartition(": ")[2]
    return None


AMENDING: dict[str, Callable[[RoomKit, str, RoomEvent], Awaitable[str | None]]] = {
    "edit": _edit,
    "delete": _delete,
    "send_event": _send_edit,
}


@pytest.mark.parametrize("joined", [False, True])
async def test_a_namesakes_messages_are_amended_by_nobody_else(workers: Workers, joined: bool) -> None:
    """Until an identity makes the two one person."""
    first, second = workers
    said = [(await say(first, "web", "mine")).event for _ in AMENDING]
    await say(second, "sms")
    if joined:
        await _join(first)
    for amend, each in zip(AMENDING.values(), said, strict=True):
        assert each is not None
        assert await amend(second, "sms", each) == (None if joined else "not_original_author")


async def _join(kit: RoomKit) -> None:
    await kit.store.create_identity(Identity(id="ann", display_name="Ann"))
    for each in (NAME, f"phone:{NAME}"):
        await kit.resolve_participant("r", each, "ann")


async def _typing(kit: RoomKit, channel: str) -> str | None:
    return (await say(kit, channel, kind=EventType.TYPING, connection_id="c")).reason


async def _message(kit: RoomKit, channel: str) -> str | None:
    return (await say(kit, channel, connection_id="c")).reason


async def _reaction(kit: RoomKit, channel: str) -> str | None:
    target = (await kit.store.list_events("r", types=[EventType.MESSAGE]))[0]
    return (await say(kit, channel, kind=EventType.REACTION, parent_event_id=target.id)).reason


async def _send(kit: RoomKit, channel: str) -> str | None:
    try:
        await kit.send_event("r", channel, TextContent(body="x"), participant_id=NAME)
    except Exception as error:  # noqa: BLE001  # what kind it is, is the assertion's
        return str(error).rpartition(": ")[2]
    return None


DOORS: dict[str, Callable[[RoomKit, str], Awaitable[str | None]]] = {
    "message": _message,
    "reaction": _reaction,
    "send_event": _send,
    "typing": _typing,
}


@pytest.mark.parametrize("banned", [NAME, f"phone:{NAME}"])
async def test_a_ban_by_id_is_of_one_of_them(workers: Workers, banned: str) -> None:
    first, second = workers
    await say(first, "web")
    await say(second, "sms")
    await first.remove_participant("r", banned, banned=True)
    for kit in workers:
        for channel in TYPES:
            is_theirs = (TYPES[channel] is ChannelType.WEBSOCKET) == (banned == NAME)
            found = {name: await door(kit, channel) for name, door in DOORS.items()}
            assert found == dict.fromkeys(DOORS, "participant_banned" if is_theirs else None)


async def test_a_ban_of_one_whom_an_identity_joins_is_of_both(workers: Workers) -> None:
    """Also of who is joined to a banned one afterwards."""
    first, second = workers
    await say(first, "web")
    await say(second, "sms")
    await _join(first)
    await first.remove_participant("r", f"phone:{NAME}", banned=True)
    people = await second.list_participants("r")
    assert {each.status for each in people} == {ParticipantStatus.BANNED}
    assert [(await say(second, channel)).reason for channel in TYPES] == ["participant_banned"] * 4
    await say(first, "web", sender="later")
    await first.resolve_participant("r", "later", "ann")
    assert (await say(second, "web", sender="later")).reason == "participant_banned"


async def test_signals_name_the_participant_that_the_sender_is(workers: Workers) -> None:
    first, second = workers
    await say(first, "web")
    await say(second, "sms")
    seen: list[str] = []
    shown = asyncio.Event()

    async def see(event: EphemeralEvent) -> None:
        seen.append(event.user_id)
        if len(seen) == 2:
            shown.set()

    await second.subscribe_room("r", see)
    await say(second, "web", kind=EventType.TYPING)
    await say(second, "sms", kind=EventType.TYPING)
    await asyncio.wait_for(shown.wait(), 10)
    assert seen == [NAME, f"phone:{NAME}"]


async def test_an_export_by_id_is_of_one_of_them(workers: Workers) -> None:
    """And an erasure leaves the other's words."""
    first, second = workers
    await say(first, "web", "typed")
    await say(second, "sms", "texted")
    await first.privacy.erase_person(participant_id=f"phone:{NAME}")
    timeline = await second.store.list_events("r", types=[EventType.MESSAGE])
    assert [text_of(each.content) for each in timeline] == ["typed", ""]
    assert await ids(second) == {NAME}


async def test_an_erasure_by_identity_finds_a_namesake_by_the_address(workers: Workers) -> None:
    """Who was never identified in the room, but has an address of the identity's."""
    first, second = workers
    await say(first, "web", "typed")
    await say(second, "sms", "texted")
    await first.store.create_identity(Identity(id="ann", channel_addresses={"sms": [NAME]}))
    await second.privacy.erase_person(identity_id="ann")
    timeline = await first.store.list_events("r", types=[EventType.MESSAGE])
    assert [text_of(each.content) for each in timeline] == ["typed", ""]


async def test_an_address_of_two_kinds_is_named_with_its_kind(workers: Workers) -> None:
    """In one room the plain id is the web user's, in another the telephone's: an address alone is refused."""
    first, second = workers
    await first.create_room("r2")
    await first.attach_channel("r2", "sms")
    await say(first, "web", "typed")
    await say(second, "sms", "texted")
    await second.process_inbound(
        InboundMessage(channel_id="sms", sender_id=NAME, content=TextContent(body="texted too")), room_id="r2"
    )
    for asked in (first.export_person(participant_id=NAME), first.erase_person(participant_id=NAME)):
        with pytest.raises(InvalidInputError, match=f"'phone:\\{NAME}' or 'websocket:\\{NAME}'"):
            await asked
    export = await second.export_person(participant_id=f"phone:{NAME}")
    assert {each.room_id for each in export.events} == {"r", "r2"}
    await second.erase_person(participant_id=f"phone:{NAME}")
    texts = {
        room_id: [
            text_of(each.content)
            for each in await first.store.list_events(room_id, types=[EventType.MESSAGE])
        ]
        for room_id in ("r", "r2")
    }
    assert texts == {"r": ["typed", ""], "r2": [""]}
    await first.erase_person(participant_id=f"websocket:{NAME}")
    (typed, _) = await second.store.list_events("r", types=[EventType.MESSAGE])
    assert text_of(typed.content) == ""


class Badges(RecordingChannel):
    """A channel whose senders are numbers of badges, whatever its type says."""

    @property
    def address_type(self) -> str:
        """Badges."""
        return "badge"


async def test_a_channel_says_its_kind_of_addresses(workers: Workers) -> None:
    """Kept with the binding, so that every worker knows it, also one without the channel."""
    first, second = workers
    for kit in workers:
        kit.register_channel(Badges("door"))
    await first.attach_channel("r", "door")
    assert who(await say(first, "sms")) == NAME
    assert who(await say(second, "door")) == f"badge:{NAME}"
    binding = await second.get_binding("r", "door")
    assert (binding.address_type, binding.addresses) == ("badge", "badge")
    plain = await second.get_binding("r", "rcs")
    assert (plain.address_type, plain.addresses) == (None, "phone")
