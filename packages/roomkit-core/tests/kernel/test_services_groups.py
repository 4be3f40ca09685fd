"""What the services let an owner do: its own channel, no other's, by the one write path."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.abc.errors import (
    ChannelNotFoundError,
    InvalidInputError,
    RoomClosedError,
    RoomNotFoundError,
    StaleRoomError,
)
from roomkit.abc.provider import Provider
from roomkit.abc.services import Services
from roomkit.authoring.transport import TransportChannel
from roomkit.models import (
    Access,
    ChannelDirection,
    ChannelType,
    DeliveryStatus,
    EphemeralEvent,
    EphemeralEventType,
    EventSource,
    EventStatus,
    EventType,
    Generation,
    HookResult,
    HookTrigger,
    InboundMessage,
    RoomEvent,
    SystemContent,
    Task,
    TextContent,
    ToolUse,
)
from roomkit.plugins import PluginManager, hookimpl
from roomkit_plugins.testing import RecordingChannel

pytestmark = pytest.mark.virtual_time
TOOL = HookTrigger.BEFORE_TOOL_USE
USE = ToolUse(room_id="r1", channel_id="ws", call_id="c1", name="look", arguments={})


def text(event: RoomEvent) -> str:
    assert isinstance(event.content, TextContent)
    return event.content.body


def message(channel_id: str = "ws", **fields: Any) -> InboundMessage:
    return InboundMessage(channel_id=channel_id, sender_id="ann", content=TextContent(body="hi"), **fields)


def draft(
    channel_id: str = "ws", direction: ChannelDirection = ChannelDirection.OUTBOUND, **fields: Any
) -> Any:
    source = EventSource(channel_id=channel_id, channel_type=ChannelType.WEBSOCKET, direction=direction)
    return RoomEvent(**{"room_id": "r1", "source": source, "content": TextContent(body="said"), **fields})


@pytest.fixture
async def services(stage: Any) -> Services:
    """Return the services of the channel `ws` of room r1, which also has `other`."""
    await stage.socket("ws")
    await stage.socket("other")
    found = stage.kit.get_channel("ws").services
    assert isinstance(found, Services)
    return found


# -- inbox ---------------------------------------------------------------------------------------------


async def test_a_channel_takes_its_messages_in(stage: Any, services: Services) -> None:
    """By the ordinary way, once committed; a refusal is a result."""
    result = await services.inbox.receive(message(), room_id="r1")
    await stage.kit.close_room("r1")
    refused = await services.inbox.receive(message(), room_id="r1")

    assert result.event is not None
    assert result.event.index >= 0
    assert (refused.blocked, refused.reason) == (True, "room_closed")


async def test_a_receipt_finds_its_delivery_or_nothing(services: Services) -> None:
    status = DeliveryStatus(channel_id="ws", provider="p", message_id="m1", status="delivered")
    assert await services.inbox.receipt(status) is None


async def test_a_signal_is_published_as_the_channels_own(stage: Any, services: Services) -> None:
    seen: list[EphemeralEvent] = []

    async def keep(event: EphemeralEvent) -> None:
        seen.append(event)

    await stage.kit.subscribe_room("r1", keep)
    await services.inbox.signal(
        EphemeralEvent(room_id="r1", type=EphemeralEventType.TYPING_START, user_id="ann")
    )
    await asyncio.sleep(1)

    assert [(each.channel_id, each.user_id) for each in seen] == [("ws", "ann")]


# -- rooms ---------------------------------------------------------------------------------------------


async def test_a_content_is_posted_as_a_message(stage: Any, services: Services) -> None:
    """Gates see it, and it is delivered to the others."""
    seen = stage.observe(HookTrigger.AFTER_BROADCAST)
    event = await services.rooms.post("r1", TextContent(body="hello"), wait="settled")

    assert (event.type, event.source.channel_id, text(event)) == (EventType.MESSAGE, "ws", "hello")
    assert [each.id for each in seen] == [event.id]
    assert [text(each.event) for each in stage.kit.get_channel("other").delivered] == ["hello"]


async def test_a_draft_keeps_what_its_channel_says_of_it(stage: Any, services: Services) -> None:
    """Room, index, status, depth and correlation are the kernel's."""
    said = draft(
        room_id="elsewhere",
        index=99,
        status=EventStatus.BLOCKED,
        chain_depth=4,
        correlation_id="another",
        generation=Generation(provider="speech", finish_reason="stop"),
        channel_data={"extra": {"item": "i1"}},
        visibility="transport",
        addressed_to=(),
        idempotency_key="item-1",
        created_at="2026-01-02T03:04:05Z",
    )
    event = await services.rooms.post("r1", said)

    kept = ("id", "generation", "channel_data", "visibility", "addressed_to", "idempotency_key")
    assert {name: getattr(event, name) for name in kept} == {name: getattr(said, name) for name in kept}
    assert event.source.direction is ChannelDirection.OUTBOUND
    latest = (await stage.kit.get_room("r1")).latest_index
    assert (event.room_id, event.index, event.chain_depth) == ("r1", latest, 0)
    assert (event.status, event.correlation_id) == (EventStatus.DELIVERED, None)
    assert event.created_at == stage.kit.clock.now() != said.created_at


async def test_a_repeated_draft_is_one_entry(services: Services) -> None:
    said = draft(idempotency_key="item-1")
    first = await services.rooms.post("r1", said)
    again = await services.rooms.post("r1", said)
    assert (again.id, again.index) == (first.id, first.index)


async def test_a_gate_blocks_a_draft_as_it_does_a_message(stage: Any, services: Services) -> None:
    async def gate(event: RoomEvent, context: Any) -> HookResult:
        return HookResult.block("not that")

    stage.kit.hook(HookTrigger.BEFORE_BROADCAST)(gate)
    event = await services.rooms.post("r1", draft())
    assert (event.status, event.block_reason) == (EventStatus.BLOCKED, "not that")


async def test_further_arguments_beside_a_draft_are_refused(stage: Any, services: Services) -> None:
    """They could say something else than the draft."""
    with pytest.raises(InvalidInputError, match="set them on the RoomEvent"):
        await stage.kit.send_event("r1", "ws", draft(), visibility="none")
    with pytest.raises(InvalidInputError, match="set them on the RoomEvent"):
        await stage.kit.send_event("r1", "ws", draft(), addressed_to=[])
    with pytest.raises(InvalidInputError, match="signal"):
        await services.rooms.post("r1", draft(type=EventType.TYPING))
    assert [each async for each in _messages(stage)] == []


async def _messages(stage: Any) -> Any:
    for event in await stage.kit.get_timeline("r1"):
        if event.type is EventType.MESSAGE:
            yield event


async def test_a_binding_is_changed_without_an_entry(stage: Any, services: Services) -> None:
    before = (await stage.kit.get_room("r1")).latest_index
    changed = await services.rooms.change_binding(
        "r1", lambda binding: binding.model_copy(update={"metadata": {"window": 3}, "participant_id": "ann"})
    )
    assert changed == await stage.kit.get_binding("r1", "ws")
    assert (changed.metadata["window"], changed.participant_id) == (3, "ann")
    assert (await stage.kit.get_room("r1")).latest_index == before


async def test_no_concurrent_change_of_a_binding_is_lost(stage: Any, services: Services) -> None:
    """Also beside messages of the same room."""

    def count(binding: Any) -> Any:
        return binding.model_copy(update={"metadata": {"n": binding.metadata.get("n", 0) + 1}})

    works: list[Coroutine[Any, Any, Any]] = [services.rooms.change_binding("r1", count) for _ in range(50)]
    works += [services.inbox.receive(message(), room_id="r1") for _ in range(10)]
    await asyncio.gather(*works)
    assert (await stage.kit.get_binding("r1", "ws")).metadata == {"n": 50}


async def test_a_gate_changes_a_binding_of_its_own_room(stage: Any, services: Services) -> None:
    """The event that it judges is committed after the change."""

    async def gate(event: RoomEvent, context: Any) -> HookResult:
        await services.rooms.change_binding(
            "r1", lambda binding: binding.model_copy(update={"metadata": {"seen": event.id}})
        )
        return HookResult.allow()

    stage.kit.hook(HookTrigger.BEFORE_BROADCAST)(gate)
    event = await services.rooms.post("r1", TextContent(body="hello"))
    assert (await stage.kit.get_binding("r1", "ws")).metadata == {"seen": event.id}


@pytest.mark.parametrize("field", ["access", "muted", "visibility", "channel_type", "room_id"])
async def test_what_is_the_hosts_cannot_be_changed(stage: Any, services: Services, field: str) -> None:
    other = {"access": Access.READ_ONLY, "muted": True, "visibility": "none", "channel_type": ChannelType.SMS}
    update = {field: other.get(field, "another")}
    with pytest.raises(InvalidInputError, match=f"cannot change '{field}' of its binding"):
        await services.rooms.change_binding("r1", lambda binding: binding.model_copy(update=update))
    assert getattr(await stage.kit.get_binding("r1", "ws"), field) != update[field]


async def test_what_is_no_binding_is_refused(services: Services) -> None:
    with pytest.raises(InvalidInputError, match="has to be ChannelBinding"):
        await services.rooms.change_binding("r1", lambda binding: None)  # type: ignore[arg-type,return-value]


async def test_a_binding_that_is_not_there_cannot_be_changed(stage: Any, services: Services) -> None:
    await stage.kit.create_room("r2")
    with pytest.raises(RoomNotFoundError):
        await services.rooms.change_binding("r9", lambda binding: binding)
    with pytest.raises(ChannelNotFoundError):
        await services.rooms.change_binding("r2", lambda binding: binding)
    await stage.kit.close_room("r1")
    with pytest.raises(RoomClosedError):
        await services.rooms.change_binding("r1", lambda binding: binding)


async def test_a_room_that_changes_all_the_time_is_given_up(stage: Any, services: Services) -> None:
    """A change that always makes itself stale ends in an error, and not in a loop."""
    store = stage.kit.store
    commit, tries = store.commit, 0

    async def stale(given: Any) -> Any:
        nonlocal tries
        if given.bindings and given.expected_version is not None:
            tries += 1
            raise StaleRoomError("changed again")
        return await commit(given)

    store.commit = stale
    with pytest.raises(StaleRoomError, match="changed 8 times"):
        await services.rooms.change_binding(
            "r1", lambda binding: binding.model_copy(update={"metadata": {"n": 1}})
        )
    assert tries == 8


# -- turns ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", [ChannelDirection.INBOUND, ChannelDirection.OUTBOUND])
async def test_gates_and_observers_are_selected_by_direction(
    stage: Any, services: Services, direction: ChannelDirection
) -> None:
    """A hook for one direction is not asked about the other."""
    seen: list[str] = []

    async def gate(payload: Any, context: Any) -> HookResult:
        seen.append("gate")
        return HookResult.block("no")

    async def observer(payload: Any, context: Any) -> None:
        seen.append("observer")

    stage.kit.hook(TOOL, directions={direction})(gate)
    stage.kit.hook(HookTrigger.ON_TOOL_CALL, directions={direction})(observer)
    for each in (ChannelDirection.INBOUND, ChannelDirection.OUTBOUND):
        outcome = await services.turns.run_gate(TOOL, USE, room_id="r1", direction=each)
        await services.turns.observe(HookTrigger.ON_TOOL_CALL, USE, room_id="r1", direction=each)
        assert outcome.allowed == (each is not direction)
    assert seen == ["gate", "observer"]


async def test_without_a_room_only_the_hooks_of_all_rooms_run(stage: Any, services: Services) -> None:
    """Their context has no room, and says so."""
    seen: list[str] = []

    async def gate(payload: Any, context: Any) -> HookResult:
        seen.append(context.room_id)
        assert (context.bindings, context.participants, context.recent_events) == ((), (), ())
        with pytest.raises(RoomNotFoundError, match="concerns no room"):
            _ = context.room
        return HookResult.modify(USE.replace(name="else"))

    async def own(payload: Any, context: Any) -> HookResult:
        seen.append("the room's")
        return HookResult.allow()

    stage.kit.hook(TOOL)(gate)
    stage.kit.add_room_hook("r1", TOOL, "sync", own)
    outcome = await services.turns.run_gate(TOOL, USE, room_id=None)
    observed = stage.observe(HookTrigger.ON_TOOL_CALL)
    await services.turns.observe(HookTrigger.ON_TOOL_CALL, USE, room_id=None)

    assert (seen, outcome.payload.name, observed) == ([""], "else", [USE])


async def test_effects_of_a_gate_that_has_no_room_are_refused(stage: Any, services: Services) -> None:
    """There is no room to keep a task in: nothing is dropped in silence."""

    async def gate(payload: Any, context: Any) -> HookResult:
        return HookResult.block("no", tasks=[Task(id="t1", room_id="r1", title="call back")])

    stage.kit.hook(TOOL)(gate)
    outcome = await services.turns.run_gate(TOOL, USE, room_id=None)
    assert (outcome.allowed, outcome.reason, outcome.blocked_by) == (False, "room_not_found", "gate")


# -- whose they are ------------------------------------------------------------------------------------


async def test_an_owner_speaks_for_its_own_channel_only(stage: Any, services: Services) -> None:
    """Every operation that names a channel refuses another owner's."""
    signal = EphemeralEvent(
        room_id="r1", type=EphemeralEventType.TYPING_START, user_id="ann", channel_id="other"
    )
    tries = (
        services.inbox.receive(message("other"), room_id="r1"),
        services.inbox.signal(signal),
        services.rooms.post("r1", TextContent(body="no"), channel_id="other"),
        services.rooms.post("r1", draft("other")),
        services.rooms.post("r1", SystemContent(body="no"), channel_id="system"),
        services.rooms.change_binding("r1", lambda binding: binding, channel_id="other"),
        services.rooms.read_timeline("r1", channel_id="other"),
        services.turns.run_gate(TOOL, USE, room_id="r1", channel_id="other"),
    )
    stage.kit.hook(TOOL)(_allow)
    for work in tries:
        with pytest.raises(InvalidInputError, match=r"other|system"):
            await work


async def _allow(payload: Any, context: Any) -> HookResult:
    return HookResult.allow()


async def test_the_host_speaks_for_every_channel(stage: Any, services: Services) -> None:
    """Its namespace is `app`; it is no channel itself, so it names one."""
    host = stage.kit.services
    assert (host.namespace, host) == ("app", stage.kit.services_of("app"))
    await host.rooms.post("r1", TextContent(body="one"), channel_id="ws")
    await host.rooms.post("r1", SystemContent(body="two"), channel_id="system")
    await host.inbox.receive(message("other"), room_id="r1")
    with pytest.raises(InvalidInputError, match="give channel_id"):
        await host.rooms.post("r1", TextContent(body="three"))


@pytest.mark.parametrize("name", ["", "core", "two words", "../x", "a" + chr(0)])
async def test_only_a_plugins_name_has_services(stage: Any, name: str) -> None:
    with pytest.raises(InvalidInputError):
        stage.kit.services_of(name)


class _Vendor(Provider):
    async def send(self, event: RoomEvent, to: str, **options: Any) -> Any:
        raise NotImplementedError


async def test_a_provider_has_services_of_its_own(stage: Any) -> None:
    """Its namespace is that of its class, its channel that of the channel it is behind."""
    provider = _Vendor()
    channel = TransportChannel("sms", ChannelType.SMS, provider=provider)
    stage.kit.register_channel(channel)
    await stage.kit.attach_channel("r1", "sms")

    assert channel.services is not None
    assert provider.services is not None
    assert channel.services.namespace == "app"
    assert provider.services.namespace == __name__.partition(".")[0].strip("_")
    posted = await provider.services.rooms.post("r1", TextContent(body="from the vendor"))
    assert posted.source.channel_id == "sms"


async def test_channels_are_bound_before_any_loop_runs() -> None:
    """Registering one is plain synchronous code; its tasks begin later."""

    class Early(RecordingChannel):
        def bind(self, services: Services) -> None:
            super().bind(services)
            with pytest.raises(InvalidInputError, match="begin it in start"):
                services.tasks.serve(asyncio.sleep(1), name="too early")  # type: ignore[arg-type]

    def build() -> RoomKit:
        kit = RoomKit()
        kit.register_channel(Early("ws"))
        return kit

    kit = await asyncio.to_thread(build)
    await kit.close()


# -- plugins -------------------------------------------------------------------------------------------


class _EntryPoint:
    """A plugin whose package is this test's."""

    def __init__(self, name: str, plugin: object) -> None:
        self.name = name
        self.value = f"{__name__}.plugin"
        self._plugin = plugin

    def load(self) -> object:
        return self._plugin


class _Plugin:
    def __init__(self) -> None:
        self.given: dict[str, Any] = {}

    @hookimpl
    def roomkit_configure(self, kit: Any, services: Services, settings: Mapping[str, Any]) -> None:
        self.given = {"kit": kit, "services": services, "settings": dict(settings)}


async def test_a_plugin_is_configured_with_its_services() -> None:
    """It speaks for the channels of its own classes; a channel built of its class has its namespace."""
    plugin = _Plugin()
    manager = PluginManager(entry_points=[_EntryPoint("acme", plugin)])

    class AcmeChannel(RecordingChannel):
        pass

    async with RoomKit(plugins=manager) as kit:
        own = AcmeChannel("acme-1")
        kit.register_channel(own)
        kit.register_channel(RecordingChannel("ws"))
        await kit.create_room("r1")
        for channel_id in ("acme-1", "ws"):
            await kit.attach_channel("r1", channel_id)
        services = plugin.given["services"]

        assert plugin.given == {"kit": kit, "services": kit.services_of("acme"), "settings": {}}
        assert own.services is not None
        assert (services.namespace, own.services.namespace) == ("acme", "acme")
        posted = await services.rooms.post("r1", TextContent(body="hello"), channel_id="acme-1")
        assert posted.source.channel_id == "acme-1"
        with pytest.raises(InvalidInputError, match="not one of 'acme'"):
            await services.rooms.post("r1", TextContent(body="no"), channel_id="ws")
        with pytest.raises(InvalidInputError, match="not one of 'acme'"):
            await services.rooms.post("r1", SystemContent(body="no"), channel_id="system")


async def test_a_plugin_cannot_take_the_hosts_name() -> None:
    """It is reported, and the kit starts without it."""
    plugin = _Plugin()
    async with RoomKit(plugins=PluginManager(entry_points=[_EntryPoint("app", plugin)])):
        assert plugin.given == {}


# -- tasks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["serve", "spawn"])
async def test_an_owners_tasks_end_with_it(stage: Any, services: Services, way: str) -> None:
    """Unregistering a channel leaves nothing of it running."""
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(1e6)
        finally:
            ended.set()

    getattr(services.tasks, way)(work(), name="a connection")
    await asyncio.sleep(1)
    assert not ended.is_set()
    await stage.kit.unregister_channel("ws")
    assert ended.is_set()


async def test_closing_cancels_what_is_served_and_waits_for_what_is_spawned(
    stage: Any, services: Services
) -> None:
    done: list[str] = []

    async def work(name: str, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
            done.append(f"{name} ended")
        except asyncio.CancelledError:
            done.append(f"{name} was cancelled")
            raise

    services.tasks.serve(work("endless", 1e6), name="endless")
    services.tasks.spawn(work("short", 2), name="short")
    await asyncio.sleep(0)
    await stage.kit.close()
    assert done == ["endless was cancelled", "short ended"]
