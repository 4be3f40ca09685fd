"""Words of plugins' own: types of channels and events, triggers, kinds of components."""

from __future__ import annotations

from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest

from roomkit import RoomKit
from roomkit.abc.channel import Channel
from roomkit.abc.errors import HookRegistrationError, InvalidInputError
from roomkit.authoring.transport import TransportChannel
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.content import CustomContent, TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelMediaType, ChannelType, EventType, HookExecution, HookTrigger
from roomkit.models.hook import HookResult, is_gate
from roomkit.models.identity import Identity
from roomkit.models.vocabulary import is_declared
from roomkit.plugins import ComponentKind, ComponentState, PluginBrokenError, PluginManager
from roomkit_plugins.testing import MockIdentityResolver, RecordingChannel, ScriptedIntelligence

WORD = f"w{uuid4().hex[:8]}"
"""Words are declared for the process: those of this module are no other test's."""
SLACK, HUDDLE, ENDED, RATED, OPENED = (
    f"{name}_{WORD}" for name in ("slack", "huddle", "ended", "rated", "open")
)
ON_TICKET, BEFORE_TICKET, CRM = f"on_ticket_{WORD}", f"before_ticket_{WORD}", f"crm_{WORD}"


class CRMContract:
    """What every CRM derives from."""


class Sales(CRMContract):
    """A CRM."""


class Talk(RecordingChannel):
    """A channel of a type that the core does not have."""

    def __init__(self, channel_id: str, crm: object = None) -> None:
        super().__init__(channel_id, channel_type=ChannelType(SLACK))
        self.crm = crm


class Tickets(ScriptedIntelligence):
    """An agent that answers one type of events of a plugin."""

    responds_to = frozenset({EventType.MESSAGE, EventType(OPENED)})


def declare(registry: Any) -> None:
    registry.add_channel_type(SLACK, kin="messenger", address_type="slack_user")
    registry.add_channel_type(HUDDLE, kin=SLACK)
    registry.add_event_type(OPENED)
    registry.add_event_type(ENDED, delivered=True)
    registry.add_event_type(RATED, answered=True)
    registry.add_trigger(ON_TICKET, payload="acme:Sales")
    registry.add_trigger(BEFORE_TICKET, payload="acme:Sales", gate=True)
    registry.add_kind(CRM, contract="acme:CRMContract")
    registry.add(CRM, "sales", "acme:Sales")
    registry.add(CRM, "wrong", "acme:Talk")
    registry.add("channel", "talk", "acme:Talk", parts={"crm": CRM})


@pytest.fixture
def manager(make: Any, acme: ModuleType) -> PluginManager:
    for each in (CRMContract, Sales, Talk):
        setattr(acme, each.__name__, each)
    return make.manager(make.EntryPoint("acme", make.module(roomkit_register=declare)))  # type: ignore[no-any-return]


def said(text: str, channel: str = "talk", **fields: Any) -> InboundMessage:
    return InboundMessage(channel_id=channel, sender_id="u1", content=TextContent(body=text), **fields)


async def test_filters_match_a_type_and_its_kin(manager: PluginManager) -> None:
    """However long the chain; a hook may be registered before the plugins are looked for."""
    kit = RoomKit(plugins=manager)
    seen: list[str] = []

    def watch(*kinds: Any) -> None:
        @kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC, channel_types=kinds, name=str(kinds))
        async def observer(event: Any, context: Any) -> None:
            seen.append(",".join(kinds))

    for kind in (SLACK, ChannelType.MESSENGER, HUDDLE, ChannelType.SMS):
        watch(kind)
    async with kit:
        kit.register_channel(Talk("talk"))
        await kit.process_inbound(said("hello"))
        assert sorted(seen) == sorted([SLACK, "messenger"])
        seen.clear()
        kit.register_channel(RecordingChannel("huddle", channel_type=ChannelType(HUDDLE)))
        await kit.process_inbound(said("hello", "huddle"))
        assert sorted(seen) == sorted([SLACK, "messenger", HUDDLE])
        seen.clear()
        kit.register_channel(RecordingChannel("mms", channel_type=ChannelType.MMS))
        await kit.process_inbound(said("hello", "mms"))
        assert seen == ["sms"]


async def test_identities_are_resolved_for_kin_as_well(manager: PluginManager) -> None:
    resolver = MockIdentityResolver({"u1": Identity(id="ann")}, script=[])
    kit = RoomKit(plugins=manager, identity_resolver=resolver, identity_channel_types={ChannelType.MESSENGER})
    async with kit:
        kit.register_channel(Talk("talk"))
        result = await kit.process_inbound(said("hello"))
        assert result.event is not None
        people = await kit.list_participants(result.event.room_id)
        assert [person.identity_id for person in people] == ["ann"]


async def test_a_declared_type_has_its_kind_of_addresses(manager: PluginManager) -> None:
    async with RoomKit(plugins=manager) as kit:
        kit.register_channel(Talk("talk"))
        await kit.create_room("r1")
        assert (await kit.attach_channel("r1", "talk")).addresses == "slack_user"


def test_a_text_on_a_class_is_a_type_of_channels() -> None:
    """As an attribute of the class, or as an argument of a transport; it is a member like the core's."""
    word = f"pager_{WORD}"

    class Pager(Channel):
        channel_type = word  # type: ignore[assignment]  # a text is enough
        handle_inbound: Any = None
        deliver: Any = None

    assert Pager.channel_type is ChannelType(word)
    assert is_declared(ChannelType, word)

    class Telex(Pager):
        channel_type = ChannelType(f"telex_{WORD}")

    assert is_declared(ChannelType, Telex.channel_type)
    fax = TransportChannel("fax", f"fax_{WORD}")  # type: ignore[arg-type]  # likewise
    assert fax.channel_type is ChannelType(f"fax_{WORD}")
    with pytest.raises(ValueError, match="not a word"):

        class Wrong(Channel):
            channel_type = "not a word"  # type: ignore[assignment]  # planted


async def test_a_word_that_nobody_declares_is_refused_with_the_nearest(manager: PluginManager) -> None:
    """In a filter, a trigger or an option: where a program is written, it is a misspelling."""
    kit = RoomKit(plugins=manager)
    with pytest.raises(HookRegistrationError, match=f"did you mean '{SLACK}'"):
        kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC, channel_types={f"{SLACK}x"})(_observe)
    with pytest.raises(HookRegistrationError, match=f"did you mean '{ON_TICKET}'"):
        kit.hook(f"{ON_TICKET}x")(_observe)  # type: ignore[arg-type]  # planted
    await kit.close()
    wrong = RoomKit(plugins=manager, identity_channel_types={ChannelType(f"{SLACK}x")})
    with pytest.raises(InvalidInputError, match=f"did you mean '{SLACK}'"):
        await wrong.start()
    await wrong.close()


async def _observe(payload: Any, context: Any) -> None:
    """See, and do nothing."""


async def test_event_types_of_plugins_go_where_they_are_known(manager: PluginManager) -> None:
    """To channels that list them, or to all if the plugin says so; to agents that respond to them."""
    async with RoomKit(plugins=manager) as kit:
        knows = ChannelCapabilities(event_types=(EventType(OPENED),))
        channels = [RecordingChannel("plain"), RecordingChannel("knows", capabilities=knows)]
        agents = [Tickets("tickets", ["ok"] * 9), ScriptedIntelligence("bot", ["ok"] * 9)]
        await kit.create_room("r1")
        for each in (Talk("talk"), *channels, *agents):
            kit.register_channel(each)
            await kit.attach_channel("r1", each.channel_id)
        reached = {}
        for kind in (OPENED, ENDED, RATED, f"nobodys_{WORD}"):
            event = await kit.send_event("r1", "talk", TextContent(body="x"), EventType(kind))
            rows = await kit.list_deliveries("r1", event_id=event.id)
            reached[kind] = {row.channel_id for row in rows}
        assert reached == {
            OPENED: {"knows", "tickets"},
            ENDED: {"plain", "knows"},
            RATED: {"tickets", "bot"},
            f"nobodys_{WORD}": set(),
        }
        timeline = await kit.get_timeline("r1")
        assert {OPENED, ENDED, RATED, f"nobodys_{WORD}"} <= {event.type for event in timeline}


async def test_custom_content_is_carried_or_shown_as_its_text(manager: PluginManager) -> None:
    async with RoomKit(plugins=manager) as kit:
        carries = ChannelCapabilities(media_types=(ChannelMediaType.TEXT, ChannelMediaType.CUSTOM))
        plain, whole = RecordingChannel("plain"), RecordingChannel("whole", capabilities=carries)
        await kit.create_room("r1")
        for each in (Talk("talk"), plain, whole):
            kit.register_channel(each)
            await kit.attach_channel("r1", each.channel_id)
        ticket = CustomContent(kind="acme.ticket", body="Ticket 7", data={"id": 7})
        await kit.send_event("r1", "talk", ticket)
        assert plain.delivered[0].event.content == TextContent(body="Ticket 7")
        assert whole.delivered[0].event.content == ticket


async def test_triggers_of_plugins_are_gates_or_observed(manager: PluginManager) -> None:
    """As they are declared: an observer of a gate would never run, so it is refused."""
    async with RoomKit(plugins=manager) as kit:
        talk = Talk("talk")
        kit.register_channel(talk)
        await kit.create_room("r1")
        await kit.attach_channel("r1", "talk")
        seen: list[Any] = []

        @kit.hook(HookTrigger(BEFORE_TICKET))
        async def gate(payload: Any, context: Any) -> HookResult:
            return HookResult.block("closed")

        @kit.hook(HookTrigger(ON_TICKET), HookExecution.ASYNC)
        async def observer(payload: Any, context: Any) -> None:
            seen.append(payload)

        with pytest.raises(HookRegistrationError, match="is a gate"):
            kit.hook(HookTrigger(BEFORE_TICKET), HookExecution.ASYNC)(_observe)
        assert (is_gate(HookTrigger(BEFORE_TICKET)), is_gate(HookTrigger(ON_TICKET))) == (True, False)
        services = talk.services
        assert services is not None
        sales = Sales()
        outcome = await services.turns.run_gate(
            HookTrigger(BEFORE_TICKET), sales, room_id="r1", channel_id="talk"
        )
        assert (outcome.allowed, outcome.reason) == (False, "closed")
        await services.turns.observe(HookTrigger(ON_TICKET), sales, room_id="r1", channel_id="talk")
        assert seen == [sales]


async def test_kinds_of_plugins_are_parts_like_others(manager: PluginManager) -> None:
    """From a file, by name; an object that breaks the kind's contract is the plugin's fault."""
    file = {"channels": {"talk": {"plugin": "talk", "crm": "sales"}}}
    kit = await RoomKit.from_config(file, plugins=manager)
    talk = kit.channels["talk"]
    assert isinstance(talk, Talk)
    assert isinstance(talk.crm, Sales)
    await kit.close()
    assert manager.find(CRM, "sales").kind is ComponentKind(CRM)
    with pytest.raises(PluginBrokenError, match="which is no acme:CRMContract"):
        await manager.acreate(CRM, "wrong", channel_id="x")


def test_a_kind_may_be_declared_by_a_plugin_that_comes_later(make: Any) -> None:
    """Plugins are found by name; one whose kind is not declared is broken, and named with the nearest."""
    word = f"ledger_{WORD}"
    user = make.module(roomkit_register=lambda registry: registry.add(word, "mine", "acme:Mine"))
    owner = make.module(roomkit_register=lambda registry: registry.add_kind(word, contract="acme:Ledger"))
    wrong = make.module(roomkit_register=lambda registry: registry.add("smss", "mine", "acme:Mine"))
    manager = make.manager(
        make.EntryPoint("a-user", user), make.EntryPoint("b-owner", owner), make.EntryPoint("c-wrong", wrong)
    )
    states = {plugin.name: plugin.state for plugin in manager.plugins() if plugin.name != "core"}
    broken = ComponentState.BROKEN
    assert states == {"a-user": ComponentState.LOADED, "b-owner": ComponentState.LOADED, "c-wrong": broken}
    assert "unknown component kind 'smss'; did you mean 'sms'?" in manager.plugins()[3].reason


@pytest.mark.parametrize(
    ("register", "reason"),
    [
        (lambda registry: registry.add_channel_type("sms"), "is a ChannelType of the core"),
        (lambda registry: registry.add_channel_type("Slack!"), "'Slack!' is not a valid ChannelType"),
        (lambda registry: registry.add_channel_type(SLACK, kin="email"), "is declared already, otherwise"),
        (lambda registry: registry.add_event_type("message"), "is a EventType of the core"),
        (lambda registry: registry.add_trigger("before_broadcast", payload="a:B"), "of the core"),
        (lambda registry: registry.add_trigger("on_x", payload="Ticket"), "is not a reference"),
        (lambda registry: registry.add_kind("sms", contract="a:B"), "is a ComponentKind of the core"),
    ],
)
def test_a_word_that_cannot_be_breaks_its_plugin_alone(
    make: Any, manager: PluginManager, register: Any, reason: str
) -> None:
    assert manager.plugins()[1].state is ComponentState.LOADED
    other = make.manager(make.EntryPoint("other", make.module(roomkit_register=register)))
    assert reason in other.plugins()[1].reason


def test_declaring_again_is_harmless(make: Any, manager: PluginManager) -> None:
    """As for a second kit with a manager of its own."""
    again = make.manager(make.EntryPoint("acme", make.module(roomkit_register=declare)))
    assert [each.plugins()[1].state for each in (manager, again)] == [ComponentState.LOADED] * 2
