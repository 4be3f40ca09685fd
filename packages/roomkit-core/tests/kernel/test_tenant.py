"""One organization's view of a kit: objects of others do not exist in it."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from roomkit.abc.errors import (
    IdentityNotFoundError,
    InvalidInputError,
    KitClosedError,
    RoomNotFoundError,
)
from roomkit.abc.identity import IdentityResolver
from roomkit.abc.router import InboundRoomRouter
from roomkit.abc.store import ConversationStore
from roomkit.kernel.kit import RoomKit
from roomkit.kernel.operations import RoomOperations
from roomkit.kernel.tenant import Tenant
from roomkit.models import Access, DeliveryState, InboundMessage, Observation, Task
from roomkit.models.content import TextContent, text_of
from roomkit.models.enums import HookTrigger
from roomkit.models.rights import ErasureReceipt
from roomkit.models.room import RoomTimers
from roomkit_plugins.testing import MockIdentityResolver

type Staging = Callable[..., Any]
WORDS = TextContent(body="hello")


@pytest.fixture
async def house(store: ConversationStore, staging: Staging) -> AsyncIterator[Any]:
    """Return a stage over the store."""
    async with staging(store=store, single_process=True) as stage:
        yield stage


def message(text: str, *, channel: str = "web", by: str = "ann", **fields: Any) -> InboundMessage:
    return InboundMessage(channel_id=channel, sender_id=by, content=TextContent(body=text), **fields)


@dataclass(frozen=True)
class Ids:
    """What one organization has: one of each."""

    room: str
    event: str
    delivery: str
    task: str
    identity: str
    participant: str
    address: str

    @classmethod
    def unknown(cls) -> Ids:
        """Ids of nothing."""
        return cls(*(f"no-{name}" for name in cls.__dataclass_fields__))


async def settle_in(stage: Any, tenant: Tenant, person: str) -> Ids:
    """Have an organization use the kit: a room, a person, an identity, a task, a delivery that failed."""
    broken = await stage.socket(f"broken for {person}", script=[RuntimeError("down")] * 10)
    room = await tenant.create_room({"name": person})
    for channel_id in ("web", broken.channel_id):
        await tenant.attach_channel(room.id, channel_id)
    result = await tenant.process_inbound(message("hello", by=person), room_id=room.id)
    identity = await tenant.create_identity(person, channel_addresses={"sms": [f"+1-{person}"]})
    await tenant.resolve_participant(room.id, person, identity.id)
    await stage.kit.store.add_task(Task(id=f"task-{person}", room_id=room.id, title="call back"))
    seen = Observation(id=f"seen-{person}", room_id=room.id, channel_id="web", content="in a hurry")
    await stage.kit.store.add_observation(seen)
    (delivery,) = await tenant.list_deliveries(state=DeliveryState.FAILED)
    return Ids(
        room=room.id,
        event=result.event.id,
        delivery=delivery.id,
        task=f"task-{person}",
        identity=identity.id,
        participant=person,
        address=f"+1-{person}",
    )


async def collected(lines: AsyncIterator[str]) -> list[str]:
    return [line async for line in lines]


CASES: dict[str, Callable[[Tenant, Ids, Ids], Awaitable[Any]]] = {
    # Each is called on one organization's view with ids of the other's, or of nothing; `own` are its own.
    "get_room": lambda view, ids, own: view.get_room(ids.room),
    "find_rooms": lambda view, ids, own: view.find_rooms(after=ids.room),
    "close_room": lambda view, ids, own: view.close_room(ids.room),
    "archive_room": lambda view, ids, own: view.archive_room(ids.room),
    "delete_room": lambda view, ids, own: view.delete_room(ids.room),
    "update_room_metadata": lambda view, ids, own: view.update_room_metadata(ids.room, {"a": 1}),
    "change_state": lambda view, ids, own: view.change_state(ids.room, "app", lambda state: {"a": 1}),
    "set_retention": lambda view, ids, own: view.set_retention(ids.room, timedelta(seconds=1)),
    "set_room_timers": lambda view, ids, own: view.set_room_timers(ids.room, RoomTimers()),
    "check_room_timers": lambda view, ids, own: view.check_room_timers(ids.room),
    "get_timeline": lambda view, ids, own: view.get_timeline(ids.room),
    "get_event": lambda view, ids, own: view.get_event(ids.event),
    "list_tasks": lambda view, ids, own: view.list_tasks(ids.room),
    "add_task": lambda view, ids, own: view.add_task(Task(id="new", room_id=ids.room, title="call back")),
    "update_task": lambda view, ids, own: view.update_task(
        ids.task, lambda task: task.replace(title="call again")
    ),
    "get_task": lambda view, ids, own: view.get_task(ids.task),
    "list_observations": lambda view, ids, own: view.list_observations(ids.room),
    "attach_channel": lambda view, ids, own: view.attach_channel(ids.room, "web"),
    "detach_channel": lambda view, ids, own: view.detach_channel(ids.room, "web"),
    "mute": lambda view, ids, own: view.mute(ids.room, "web"),
    "merge_rooms": lambda view, ids, own: view.merge_rooms(ids.room, own.room),
    "merge_rooms into another": lambda view, ids, own: view.merge_rooms(own.room, ids.room),
    "split_room": lambda view, ids, own: view.split_room(ids.room, after_index=0),
    "split_room into another": lambda view, ids, own: view.split_room(own.room, after_index=0, into=ids.room),
    "split_room by events": lambda view, ids, own: view.split_room(own.room, event_ids=[ids.event]),
    "move_channel": lambda view, ids, own: view.move_channel("web", ids.room, own.room),
    "move_channel into another": lambda view, ids, own: view.move_channel("web", own.room, ids.room),
    "take_over": lambda view, ids, own: view.take_over(ids.room),
    "give_back": lambda view, ids, own: view.give_back(ids.room),
    "unmute": lambda view, ids, own: view.unmute(ids.room, "web"),
    "set_access": lambda view, ids, own: view.set_access(ids.room, "web", Access.NONE),
    "set_visibility": lambda view, ids, own: view.set_visibility(ids.room, "web", "none"),
    "update_binding_metadata": lambda view, ids, own: view.update_binding_metadata(ids.room, "web", {"a": 1}),
    "get_binding": lambda view, ids, own: view.get_binding(ids.room, "web"),
    "list_bindings": lambda view, ids, own: view.list_bindings(ids.room),
    "mark_read": lambda view, ids, own: view.mark_read(ids.room, "web", ids.event),
    "mark_read of an own room": lambda view, ids, own: view.mark_read(own.room, "web", ids.event),
    "mark_all_read": lambda view, ids, own: view.mark_all_read(ids.room, "web"),
    "get_unread_count": lambda view, ids, own: view.get_unread_count(ids.room, "web"),
    "ensure_participant": lambda view, ids, own: view.ensure_participant(ids.room, "web", "eve"),
    "resolve_participant": lambda view, ids, own: view.resolve_participant(
        ids.room, ids.participant, own.identity
    ),
    "resolve_participant in an own room": lambda view, ids, own: view.resolve_participant(
        own.room, own.participant, ids.identity
    ),
    "remove_participant": lambda view, ids, own: view.remove_participant(ids.room, ids.participant),
    "list_participants": lambda view, ids, own: view.list_participants(ids.room),
    "get_identity": lambda view, ids, own: view.get_identity(ids.identity),
    "resolve_identity": lambda view, ids, own: view.resolve_identity("sms", ids.address),
    "link_address": lambda view, ids, own: view.link_address(ids.identity, "sms", "+666"),
    "process_inbound": lambda view, ids, own: view.process_inbound(message("eve"), room_id=ids.room),
    "send_event": lambda view, ids, own: view.send_event(ids.room, "system", WORDS),
    "edit_event": lambda view, ids, own: view.edit_event(ids.room, ids.event, WORDS),
    "edit_event of an own room": lambda view, ids, own: view.edit_event(own.room, ids.event, WORDS),
    "delete_event": lambda view, ids, own: view.delete_event(ids.room, ids.event),
    "delete_event of an own room": lambda view, ids, own: view.delete_event(own.room, ids.event),
    "get_delivery": lambda view, ids, own: view.get_delivery(ids.delivery),
    "list_deliveries": lambda view, ids, own: view.list_deliveries(ids.room),
    "list_deliveries of an event": lambda view, ids, own: view.list_deliveries(event_id=ids.event),
    "list_deliveries after one": lambda view, ids, own: view.list_deliveries(after=ids.delivery),
    "list_scheduled": lambda view, ids, own: view.list_scheduled(ids.room),
    "edit_scheduled": lambda view, ids, own: view.edit_scheduled(ids.room, ids.event),
    "cancel_scheduled": lambda view, ids, own: view.cancel_scheduled(ids.room, ids.event),
    "list_parked_turns": lambda view, ids, own: view.list_parked_turns(ids.room),
    "resume_turn": lambda view, ids, own: view.resume_turn(ids.room, ids.delivery, {"c1": "yes"}),
    "cancel_turn": lambda view, ids, own: view.cancel_turn(ids.room, ids.delivery),
    "retry_delivery": lambda view, ids, own: view.retry_delivery(ids.delivery),
    "drop_delivery": lambda view, ids, own: view.drop_delivery(ids.delivery),
    "export_room": lambda view, ids, own: view.export_room(ids.room),
    "export_room_lines": lambda view, ids, own: collected(view.export_room_lines(ids.room)),
    "export_room_archive": lambda view, ids, own: collected(view.export_room_archive(ids.room)),
    "export_person_archive": lambda view, ids, own: collected(
        view.export_person_archive(identity_id=ids.identity)
    ),
    "export_person": lambda view, ids, own: view.export_person(identity_id=ids.identity),
    "export_person by participant": lambda view, ids, own: view.export_person(participant_id=ids.participant),
    "export_person_lines": lambda view, ids, own: collected(
        view.export_person_lines(identity_id=ids.identity)
    ),
    "erase_room": lambda view, ids, own: view.erase_room(ids.room),
    "erase_person": lambda view, ids, own: view.erase_person(identity_id=ids.identity),
    "erase_person by participant": lambda view, ids, own: view.erase_person(participant_id=ids.participant),
}
HARMLESS = {"create_room", "create_identity", "organization_id", "consent", "set_consent"}
"""What takes no id of anything that is there."""


def test_every_operation_is_swept() -> None:
    """A new method of the view fails this test until it has a case."""
    public = {name for name, _ in inspect.getmembers(Tenant) if not name.startswith("_")}
    assert public == {case.partition(" ")[0] for case in CASES} | HARMLESS
    for name in HARMLESS - {"organization_id"}:
        assert not any(each.endswith("_id") for each in inspect.signature(getattr(Tenant, name)).parameters)


VIEW_ONLY = {
    "create_identity", "resolve_identity", "create_room", "organization_id",
}  # fmt: skip
"""What the view adds to the shared operations."""


def test_the_kit_and_a_view_share_every_operation() -> None:
    """None is written a second time for the view, where it could forget the scope."""
    for name, operation in inspect.getmembers(RoomOperations, inspect.isfunction):
        if not name.startswith("_"):
            assert getattr(RoomKit, name) is getattr(Tenant, name) is operation, name
    own = {name for name in vars(Tenant) if not name.startswith("_")}
    assert own == VIEW_ONLY


KIT_ONLY = {
    "create_room", "publish_typing", "publish_presence", "publish_read_receipt", "publish_reaction",
    "publish_tool_call", "subscribe_room", "connect_websocket", "add_room_hook", "remove_room_hook",
}  # fmt: skip
"""What takes a room's id and no view has: signals, sockets and hooks are the kit's; ids of rooms, too."""


def test_an_operation_on_rooms_is_shared_or_says_that_it_is_the_kits_alone() -> None:
    """A method with `room_id` that is added to the kit itself fails this test until it is decided."""
    layers = RoomKit.__mro__[: RoomKit.__mro__.index(RoomOperations)]
    own = {name: each for layer in layers for name, each in vars(layer).items() if inspect.isfunction(each)}
    takers = {name for name, each in own.items() if "room_id" in inspect.signature(each).parameters}
    assert {name for name in takers if not name.startswith("_")} == KIT_ONLY


OF_ANOTHER: dict[str, Callable[[Tenant, str], Any]] = {
    "get_delivery": lambda view, other: view.get_delivery("d", organization_id=other),
    "list_deliveries": lambda view, other: view.list_deliveries(organization_id=other),
    "export_person": lambda view, other: view.export_person(identity_id="i", organization_id=other),
    "export_person_archive": lambda view, other: collected(
        view.export_person_archive(identity_id="i", organization_id=other)
    ),
    "export_person_lines": lambda view, other: collected(
        view.export_person_lines(identity_id="i", organization_id=other)
    ),
    "erase_room": lambda view, other: view.erase_room("r", organization_id=other),
    "erase_person": lambda view, other: view.erase_person(identity_id="i", organization_id=other),
}


def test_every_operation_by_organization_is_swept() -> None:
    """One that takes an organization fails this test until it has a case."""
    functions = inspect.getmembers(Tenant, inspect.isfunction)
    takers = {name for name, each in functions if "organization_id" in inspect.signature(each).parameters}
    assert takers - {"__init__", "_create_room"} == OF_ANOTHER.keys()


@pytest.mark.parametrize("name", OF_ANOTHER)
async def test_a_view_refuses_another_organization(stage: Any, name: str) -> None:
    """Its own is accepted, and the default."""
    acme = stage.kit.for_organization("acme")
    with pytest.raises(InvalidInputError, match="organization_id 'globex' was given to the view of 'acme'"):
        await OF_ANOTHER[name](acme, "globex")
    with suppress(IdentityNotFoundError):
        await OF_ANOTHER[name](acme, "acme")


async def outcome(work: Awaitable[Any], ids: Ids) -> str:
    """Return the outcome of a call, with the ids that it was given made the same for all."""
    try:
        answer = await work
    except Exception as error:  # noqa: BLE001  # it is compared
        answer = error
    if isinstance(answer, ErasureReceipt):
        answer = (answer.found_nothing, answer.retained)
    said = f"{type(answer).__name__}: {answer!r}"
    for name in ("delivery", *Ids.__dataclass_fields__):  # its id begins with the event's
        said = said.replace(getattr(ids, name), f"<{name}>")
    return re.sub(r"\d{4}-\d\d-\d\d[^)]*", "<time>", said)


async def held(stage: Any, tenant: Tenant, ids: Ids) -> tuple[Any, ...]:
    """Return everything an organization has."""
    export = await tenant.export_room(ids.room)
    return (
        export.model_dump(exclude={"exported_at"}),
        await tenant.get_identity(ids.identity),
        [room.id for room in await tenant.find_rooms()],
    )


async def test_what_is_anothers_is_not_there(house: Any) -> None:
    """The answer is that to an id of nothing; and nothing of the other's changes.

    All cases share the organization that is asked for: what one of them changed there would fail all that
    follow. Each asks for an organization of its own, which its last call changes.
    """
    await house.socket("web")
    acme = house.kit.for_organization("acme")
    theirs = await settle_in(house, acme, "alice")
    before = await held(house, acme, theirs)
    nothing = Ids.unknown()
    for case, call in CASES.items():
        view = house.kit.for_organization(f"globex: {case}")
        own = await settle_in(house, view, f"bertha: {case}")
        seen = await outcome(call(view, theirs, own), theirs)

        assert seen == await outcome(call(view, nothing, own), nothing), case
        assert await held(house, acme, theirs) == before, case
        own_one = await outcome(call(view, own, own), own)
        assert own_one != seen or case in ("find_rooms", "list_deliveries after one"), (
            f"{case} tells nothing of its own"
        )


async def test_what_a_view_makes_is_the_organizations(house: Any) -> None:
    """Rooms, those that a stranger's message opens too, and identities."""
    await house.socket("web")
    acme = house.kit.for_organization("acme")
    made = await acme.create_room()
    opened = (await acme.process_inbound(message("hello", by="zoe"))).event.room_id
    identity = await acme.create_identity("Zoe", email="zoe@example.org")

    assert {room.id for room in await acme.find_rooms()} == {made.id, opened}
    assert {(await house.kit.get_room(each)).organization_id for each in (made.id, opened)} == {"acme"}
    assert (identity.organization_id, identity.email) == ("acme", "zoe@example.org")
    assert repr(acme) == "<Tenant 'acme'>"


async def test_the_kit_finds_what_a_view_finds_of_its_organization_alone(house: Any) -> None:
    rooms = {name: await house.kit.for_organization(name).create_room() for name in ("acme", "globex")}
    room = rooms["acme"]
    event = await house.kit.send_event(room.id, "system", WORDS)
    task = await house.kit.add_task(Task(room_id=room.id, title="call back"))
    assert {each.id for each in await house.kit.find_rooms()} >= {each.id for each in rooms.values()}
    (first,) = await house.kit.find_rooms(limit=1)
    assert first.id not in {each.id for each in await house.kit.find_rooms(after=first.id)}
    assert (await house.kit.get_event(event.id)).id == event.id
    assert (await house.kit.get_task(task.id)).id == task.id
    other = house.kit.for_organization("globex")
    assert [each.id for each in await other.find_rooms()] == [rooms["globex"].id]
    assert await other.get_event(event.id) is await other.get_task(task.id) is None


async def test_a_task_gets_an_id_of_its_own(house: Any) -> None:
    """Whether an id is taken would disclose that another organization has a task of it."""
    views = [house.kit.for_organization(each) for each in ("acme", "globex")]
    rooms = [(await view.create_room()).id for view in views]
    made = [
        await view.add_task(Task(id="call-back", room_id=room_id, title="call back"))
        for view, room_id in zip(views, rooms, strict=True)
    ]

    assert len({"call-back", *(task.id for task in made)}) == 3
    for view, room_id, task in zip(views, rooms, made, strict=True):
        assert await view.list_tasks(room_id) == [task]
        assert [await view.get_task(each.id) for each in made] == [
            task if each is task else None for each in made
        ]
    assert await views[0].get_task("call-back") is None


async def test_a_message_is_routed_among_the_organizations_rooms(house: Any) -> None:
    """The same sender by the same channel has a conversation with each organization, and one without."""
    await house.socket("web")
    views = [house.kit.for_organization(each) for each in ("acme", "globex")]
    rooms = [(await view.process_inbound(message("first"))).event.room_id for view in views]
    for view, room_id in zip(views, rooms, strict=True):
        assert (await view.process_inbound(message("second"))).event.room_id == room_id
        assert [text_of(each.content) for each in await view.get_timeline(room_id)][-1] == "second"
    assert len({*rooms}) == 2


async def test_two_first_messages_make_one_room(house: Any) -> None:
    await house.socket("web")
    results = await asyncio.gather(
        *(house.kit.for_organization("acme").process_inbound(message(str(n))) for n in range(8))
    )
    assert len({result.event.room_id for result in results}) == 1


async def test_a_router_of_the_programs_own_is_held_to_the_organization(
    store: ConversationStore, staging: Staging
) -> None:
    """Where it names another's room, the message opens one of its own."""

    class Always(InboundRoomRouter):
        answer: str | None = None

        async def route(self, *_asked: Any, **_more: Any) -> str | None:
            return self.answer

    router = Always()
    async with staging(store=store, single_process=True, inbound_router=router) as stage:
        await stage.socket("web")
        acme, globex = stage.kit.for_organization("acme"), stage.kit.for_organization("globex")
        first = (await acme.process_inbound(message("hello"))).event.room_id
        router.answer = first
        second = (await globex.process_inbound(message("hello"))).event.room_id
        again = (await acme.process_inbound(message("hello"))).event.room_id

        assert second != first == again
        assert (await globex.get_room(second)).organization_id == "globex"


async def test_a_refused_stranger_opens_no_room(store: ConversationStore, staging: Staging) -> None:
    """Who they are is asked before a room is made, as by the kit."""
    from roomkit.models import IdentificationStatus

    resolver = MockIdentityResolver(unknown_status=IdentificationStatus.REJECTED)
    async with staging(store=store, single_process=True, identity_resolver=resolver) as stage:
        await stage.socket("web")
        acme = stage.kit.for_organization("acme")
        result = await acme.process_inbound(message("hello"))
        assert result.blocked
        assert await acme.find_rooms() == []


async def test_a_person_is_the_organizations_own(house: Any) -> None:
    """The same participant id is another person elsewhere; erasing one leaves the other."""
    await house.socket("web")
    acme, globex = house.kit.for_organization("acme"), house.kit.for_organization("globex")
    for view in (acme, globex):
        await view.process_inbound(message(f"I am with {view.organization_id}"))
    receipt = await acme.erase_person(participant_id="ann")
    left = await globex.export_person(participant_id="ann")

    assert receipt.count("event") == 1
    assert [text_of(each.content) for each in left.events] == ["I am with globex"]


async def test_an_identity_is_found_in_its_organization(house: Any) -> None:
    """One address may be two people's, of two organizations."""
    acme, globex = house.kit.for_organization("acme"), house.kit.for_organization("globex")
    one = await acme.create_identity("One", channel_addresses={"sms": ["+1"]})
    two = await globex.create_identity("Two", channel_addresses={"sms": ["+1"]})
    await acme.link_address(one.id, "sms", "+2")

    assert (await acme.resolve_identity("sms", "+1")).id == one.id
    assert (await globex.resolve_identity("sms", "+1")).id == two.id
    assert (await acme.resolve_identity("sms", "+2")).id == one.id
    with pytest.raises(IdentityNotFoundError, match=one.id):
        await globex.link_address(one.id, "sms", "+3")


async def test_a_closed_kit_takes_no_messages(bare_stage: Any) -> None:
    stage = bare_stage()
    await stage.open()
    await stage.socket("web")
    acme = stage.kit.for_organization("acme")
    await stage.kit.close()
    with pytest.raises(KitClosedError):
        await acme.process_inbound(message("hello"))


async def test_an_organization_has_a_name(stage: Any) -> None:
    with pytest.raises(InvalidInputError, match="organization id"):
        stage.kit.for_organization("")
    assert await stage.kit.for_organization("new").find_rooms() == []
    with pytest.raises(RoomNotFoundError, match="'r1'"):
        await stage.kit.for_organization("new").get_room("r1")


async def test_a_resolver_is_told_the_organization_and_believed_only_about_it(
    store: ConversationStore, staging: Staging
) -> None:
    """Also for the first message, which has no room yet; another organization's person is refused."""
    from roomkit.models import IdentificationStatus, Identity, IdentityResult

    asked: list[str | None] = []

    class AcmesAlways(IdentityResolver):
        async def resolve(self, message: Any, context: Any) -> IdentityResult:
            asked.append(context.room.organization_id)
            person = Identity(id="ann@acme", display_name="Ann", organization_id="acme")
            return IdentityResult(status=IdentificationStatus.IDENTIFIED, identity=person)

    async with staging(store=store, single_process=True, identity_resolver=AcmesAlways()) as stage:
        await stage.socket("web")
        people = []
        for name in ("globex", "acme"):
            said = (await stage.kit.for_organization(name).process_inbound(message("hello"))).event
            people.append(said.source.participant_id)
        assert asked == ["globex", "acme"]
        assert people[0] != "ann@acme" == people[1]


@pytest.mark.parametrize("by", ["resolver's candidates", "hook", "hook's candidates"])
async def test_an_identity_of_another_organization_is_refused_whoever_gives_it(
    staging: Staging, by: str
) -> None:
    """Neither a hook nor candidates bring one organization's person into another's room."""
    from roomkit.models import IdentificationStatus, Identity, IdentityHookResult, IdentityResult

    ann = Identity(id="ann@acme", display_name="Ann", organization_id="acme")

    class Undecided(IdentityResolver):
        async def resolve(self, message: Any, context: Any) -> IdentityResult:
            candidates = (ann,) if by == "resolver's candidates" else ()
            return IdentityResult(status=IdentificationStatus.AMBIGUOUS, candidates=candidates)

    async with staging(identity_resolver=Undecided()) as stage:
        await stage.socket("web")
        if by != "resolver's candidates":

            @stage.kit.identity_hook(HookTrigger.ON_IDENTITY_AMBIGUOUS)
            async def decide(event: Any, context: Any, result: Any) -> IdentityHookResult:
                if by == "hook":
                    return IdentityHookResult.resolved(ann)
                return IdentityHookResult.pending(candidates=[ann])

        globex = stage.kit.for_organization("globex")
        result = await globex.process_inbound(message("hello"))
        if result.event is not None:
            participants = await globex.list_participants(result.event.room_id)
            assert all("ann@acme" not in (each.candidates or ()) for each in participants)
            assert result.event.source.participant_id != "ann@acme"
        told = stage.kinds()
        assert "identity_error" in told or "hook_error" in told
