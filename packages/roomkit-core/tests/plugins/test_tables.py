"""What a configuration file has beside single components: lists, sources, bindings, plugins' own tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from roomkit import RoomKit
from roomkit.abc.errors import ForeignCodeError, InvalidInputError, RoomAlreadyExistsError
from roomkit.abc.router import InboundRoomRouter
from roomkit.kernel.inbound.routing import DefaultInboundRoomRouter
from roomkit.models.channel import BINDING_DEFAULTS, RetryPolicy
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import Access
from roomkit.plugins import ConfigError, PluginHooksError, PluginManager, json_schema
from roomkit.plugins.config import BINDING_FIELDS
from roomkit_plugins.testing import RecordingChannel, ScriptedSource


class ProviderConfig(BaseModel):
    """What a provider is set up with."""

    token: SecretStr


class Provider:
    """Takes its config as one object."""

    def __init__(self, config: ProviderConfig) -> None:
        self.token = config.token.get_secret_value()


class Plain:
    """A provider without settings."""

    token = "none"


class Line(RecordingChannel):
    """A channel with several providers."""

    def __init__(self, channel_id: str, providers: Sequence[Any] = ()) -> None:
        super().__init__(channel_id)
        self.providers = providers


class Lobby(InboundRoomRouter):
    """Sends every message to one room."""

    def __init__(self, room_id: str) -> None:
        self.room_id = room_id

    async def route(self, *args: Any, **kwargs: Any) -> str | None:
        return self.room_id


class LobbyConfig(BaseModel):
    """The settings of the router."""

    room_id: str


class MailboxConfig(BaseModel):
    """The settings of the source."""

    text: str


class Mailbox(ScriptedSource):
    """A source that brings one message."""

    def __init__(self, text: str) -> None:
        message = InboundMessage(
            channel_id="support", sender_id="bob", content=TextContent(body=text), room_id="r1"
        )
        super().__init__([message])


class Tickets(BaseModel):
    """A plugin's own table."""

    url: str
    limit: int = 10


class Settled:
    """What the plugin was configured with."""

    settings: Mapping[str, object]


@pytest.fixture
def settled() -> Settled:
    return Settled()


@pytest.fixture
def manager(make: Any, acme: ModuleType, settled: Settled) -> PluginManager:
    for each in (Provider, ProviderConfig, Plain, Line, Lobby, LobbyConfig, Mailbox, MailboxConfig, Tickets):
        setattr(acme, each.__name__, each)

    def register(registry: Any) -> None:
        registry.add("sms", "acme", "acme:Provider", config="acme:ProviderConfig")
        registry.add("sms", "plain", "acme:Plain")
        registry.add("channel", "line", "acme:Line", parts={"providers": ["sms"]})
        registry.add("router", "lobby", "acme:Lobby", config="acme:LobbyConfig")
        registry.add("source", "mailbox", "acme:Mailbox", config="acme:MailboxConfig")
        registry.add_table("tickets", config="acme:Tickets")

    def configure(settings: Mapping[str, object]) -> None:
        settled.settings = settings

    module = make.module(roomkit_register=register, roomkit_configure=configure)
    return make.manager(make.EntryPoint("acme", module))  # type: ignore[no-any-return]


@pytest.fixture
def file() -> dict[str, Any]:
    """Return a file with everything of these tests in it."""
    return {
        "channels": {
            "support": {
                "plugin": "line",
                "providers": [{"plugin": "acme", "token": "t"}, "plain"],
                "binding": {"retry_policy": {"max_retries": 7}, "metadata": {"from_": "+1"}},
            }
        },
        "router": {"plugin": "lobby", "room_id": "r1"},
        "sources": {"support": {"plugin": "mailbox", "text": "hello", "run": {"auto_restart": False}}},
        "tickets": {"url": "https://example.org"},
    }


async def test_a_file_configures_all_of_it(
    file: dict[str, Any], manager: PluginManager, settled: Settled
) -> None:
    """A list of parts, binding defaults, a router, a source and a table of the plugin's own."""
    kit = await RoomKit.from_config(file, plugins=manager)
    try:
        channel = kit.channels["support"]
        assert isinstance(channel, Line)
        assert [provider.token for provider in channel.providers] == ["t", "none"]
        assert settled.settings == {"tickets": Tickets(url="https://example.org")}
        assert kit.list_sources().keys() == {"support"}
        with suppress(RoomAlreadyExistsError):  # the source may have been faster
            await kit.create_room("r1")
        binding = await kit.attach_channel("r1", "support", metadata={"to": "+2"})
        assert binding.retry_policy == RetryPolicy(max_retries=7)
        assert binding.metadata == {"from_": "+1", "to": "+2"}
        result = await kit.process_inbound(
            InboundMessage(channel_id="support", sender_id="ann", content=TextContent(body="x"))
        )
        assert result.event is not None
        assert result.event.room_id == "r1"
    finally:
        await kit.close()


async def test_the_default_router_of_a_file_looks_into_the_kits_store(manager: PluginManager) -> None:
    kit = await RoomKit.from_config({"router": {"plugin": "default"}}, plugins=manager)
    router = kit._kernel.entry.inbound.finder.router
    assert isinstance(router, DefaultInboundRoomRouter)
    assert router._store is kit.store
    await kit.close()


WRONG: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "a part of a list": (
        {"channels": {"a": {"plugin": "line", "providers": ["plain", {"plugin": "plain", "tokn": "t"}]}}},
        "channels.a.providers[1].tokn is unknown; known here: nothing",
    ),
    "no list": (
        {"channels": {"a": {"plugin": "line", "providers": "acme"}}},
        'channels.a.providers is not a list; write [{ plugin = "...", ... }, ...]',
    ),
    "a list's name": (
        {"channels": {"a": {"plugin": "line", "provider": ["acme"]}}},
        "channels.a.provider is unknown; did you mean 'providers'?",
    ),
    "a binding's key": (
        {"channels": {"a": {"plugin": "line", "binding": {"retry_polcy": {}}}}},
        "channels.a.binding.retry_polcy is unknown; did you mean 'retry_policy'?",
    ),
    "a binding's value": (
        {"channels": {"a": {"plugin": "line", "binding": {"retry_policy": {"max_retries": -1}}}}},
        "channels.a.binding.retry_policy.max_retries: Input should be greater than or equal to 0",
    ),
    "a source's channel": (
        {
            "channels": {"support": {"plugin": "line"}},
            "sources": {"suport": {"plugin": "mailbox", "text": "x"}},
        },
        "sources.suport is unknown; did you mean 'support'?: name a channel of the file",
    ),
    "how a source runs": (
        {
            "channels": {"a": {"plugin": "line"}},
            "sources": {"a": {"plugin": "mailbox", "text": "x", "run": {"auto_start": True}}},
        },
        "sources.a.run.auto_start is unknown; did you mean 'auto_restart'?",
    ),
    "a missing plugin's table": (
        {"server": {}},
        "[server] is a table of roomkit-server, which is not installed: it is not on a package index yet; "
        "run `uv build --all-packages -o dist && pip install dist/*.whl` in a checkout of RoomKit",
    ),
    "a table": ({"ticket": {"url": "x"}}, "ticket is unknown; did you mean 'tickets'?"),
    "a table's key": ({"tickets": {"url": "x", "limt": 1}}, "tickets.limt is unknown; did you mean 'limit'?"),
    "a table's value": (
        {"tickets": {"url": "x", "limit": "many"}},
        "tickets.limit: Input should be a valid integer, unable to parse string as an integer",
    ),
    "a component": (
        {"router": {"plugin": "loby"}},
        "router: there is no router 'loby'. Did you mean 'lobby'?",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_what_is_wrong_is_named_with_the_nearest(manager: PluginManager, wrong: str) -> None:
    tables, problem = WRONG[wrong]
    with pytest.raises(ConfigError) as raised:
        await RoomKit.from_config(tables, plugins=manager)
    assert raised.value.problems == (problem,)


async def test_a_kit_that_cannot_start_is_closed(make: Any, acme: ModuleType, file: dict[str, Any]) -> None:
    """Its channels and sources are not left running."""
    closed: list[str] = []

    class Closing(Line):
        async def close(self) -> None:
            closed.append(self.channel_id)

    class Unnamed(Mailbox):
        @property
        def name(self) -> str:
            raise ValueError("no")

    acme.Line, acme.Mailbox, acme.MailboxConfig = Closing, Unnamed, MailboxConfig  # type: ignore[attr-defined]

    def register(registry: Any) -> None:
        registry.add("channel", "line", "acme:Line")
        registry.add("source", "mailbox", "acme:Mailbox", config="acme:MailboxConfig")

    manager = make.manager(make.EntryPoint("acme", make.module(roomkit_register=register)))
    tables = {"channels": {"support": {"plugin": "line"}}, "sources": file["sources"]}
    with pytest.raises(ForeignCodeError, match="name of source of channel 'support' raised"):
        await RoomKit.from_config(tables, plugins=manager)
    assert closed == ["support"]


async def test_all_problems_of_a_file_are_reported_together(manager: PluginManager) -> None:
    """Those that are seen without plugins, and those that only a plugin's model sees."""
    with pytest.raises(ConfigError) as raised:
        await RoomKit.from_config(
            {
                "kit": {"close_timout": 1},
                "channels": {
                    "a": {"plugin": "line", "providers": [{"plugin": "acme", "token": "env:NOT_SET"}]}
                },
                "router": {"plugin": "lobby", "room": "x"},
                "tickets": {"limit": "many"},
            },
            plugins=manager,
        )
    problems = "\n".join(raised.value.problems)
    for part in (
        "kit.close_timout",
        "NOT_SET is not set",
        "router.room is unknown",
        "tickets.url",
        "tickets.limit",
    ):
        assert part in problems


async def test_a_program_gives_a_plugins_table_as_well(manager: PluginManager, settled: Settled) -> None:
    """As its model, or as a mapping that is checked like the file's."""
    for given in (Tickets(url="x"), {"url": "x"}):
        async with RoomKit(plugins=manager, tables={"tickets": given}):
            assert settled.settings == {"tickets": Tickets(url="x")}
    async with RoomKit(plugins=manager):
        assert settled.settings == {}
    with pytest.raises(ConfigError, match="did you mean 'tickets'"):
        await RoomKit(plugins=manager, tables={"ticket": {}}).start()


async def test_a_plugin_whose_table_is_given_may_not_fail(make: Any, acme: ModuleType) -> None:
    """It is in use: the user configured it."""
    acme.Tickets = Tickets  # type: ignore[attr-defined]

    def register(registry: Any) -> None:
        registry.add_table("tickets", config="acme:Tickets")

    def configure() -> None:
        raise ValueError("no")

    manager = make.manager(
        make.EntryPoint("acme", make.module(roomkit_register=register, roomkit_configure=configure))
    )
    async with RoomKit(plugins=manager):
        pass
    with pytest.raises(PluginHooksError):
        await RoomKit(plugins=manager, tables={"tickets": Tickets(url="x")}).start()


@pytest.mark.parametrize(
    ("declare", "reason"),
    [
        (lambda registry: registry.add_table("kit", config="acme:Tickets"), "table 'kit' is there already"),
        (lambda registry: registry.add_table("t", config="acme"), "is not a reference"),
        (lambda registry: registry.add_table("T", config="acme:Tickets"), "cannot name"),
        (
            lambda registry: registry.add("channel", "x", "acme:X", parts={"providers": ["sms", "email"]}),
            "give a kind, or a list of one kind",
        ),
        (lambda registry: registry.add("channel", "x", "acme:X", parts={"providers": ["sns"]}), "'sms'"),
    ],
)
def test_a_table_or_list_that_cannot_be_is_refused(make: Any, declare: Any, reason: str) -> None:
    manager = make.manager(make.EntryPoint("acme", make.module(roomkit_register=declare)))
    assert reason in manager.plugins()[1].reason


def test_every_binding_default_is_described() -> None:
    assert list(BINDING_FIELDS) == list(BINDING_DEFAULTS)


def test_the_schema_describes_lists_sources_bindings_and_tables(manager: PluginManager) -> None:
    schema: Any = json_schema(manager)
    line = schema["$defs"]["channel:line"]["properties"]
    assert line["providers"]["type"] == "array"
    assert set(line["binding"]["properties"]) >= {"access", "retry_policy", "metadata", "visibility"}
    source = schema["properties"]["sources"]["additionalProperties"]["oneOf"]
    assert {"$ref": "#/$defs/source:mailbox"} in source
    assert "run" in schema["$defs"]["source:mailbox"]["properties"]
    assert schema["properties"]["tickets"]["required"] == ["url"]
    assert set(schema["properties"]["tickets"]["properties"]) == {"url", "limit"}
    assert schema["properties"]["router"]["oneOf"]


# -- binding defaults of a program ----------------------------------------------------------------


async def test_binding_defaults_hold_wherever_a_channel_is_attached(manager: PluginManager) -> None:
    """By call, and for a stranger's first message; the given value wins."""
    async with RoomKit(plugins=manager) as kit:
        defaults = {"access": Access.READ_ONLY, "visibility": "internal", "metadata": {"a": 1, "b": 1}}
        kit.register_channel(RecordingChannel("chat"), binding=defaults)
        kit.register_channel(RecordingChannel("sms"), binding={"metadata": {"from_": "+1"}})
        await kit.create_room("r1")
        made = await kit.attach_channel("r1", "chat", metadata={"b": 2})
        assert (made.access, made.visibility, made.metadata) == (
            Access.READ_ONLY,
            "internal",
            {"a": 1, "b": 2},
        )
        made = await kit.attach_channel("r1", "chat", access=Access.READ_WRITE, visibility="all")
        assert (made.access, made.visibility) == (Access.READ_WRITE, "all")
        result = await kit.process_inbound(
            InboundMessage(channel_id="sms", sender_id="+2", content=TextContent(body="x"))
        )
        assert result.event is not None
        stranger = await kit.get_binding(result.event.room_id, "sms")
        assert stranger.metadata["from_"] == "+1"
        await kit.unregister_channel("chat")
        kit.register_channel(RecordingChannel("chat"))
        assert (await kit.attach_channel("r1", "chat")).access is Access.READ_WRITE


@pytest.mark.parametrize(
    ("defaults", "reason"),
    [
        ({"acces": "none"}, "did you mean 'access'"),
        ({"access": "some"}, "access"),
        ({"room_id": "r"}, "room_id"),
    ],
)
async def test_binding_defaults_that_no_binding_has_are_refused(
    manager: PluginManager, defaults: Mapping[str, Any], reason: str
) -> None:
    kit = RoomKit(plugins=manager)
    with pytest.raises(InvalidInputError, match=reason):
        kit.register_channel(RecordingChannel("chat"), binding=defaults)
    assert "chat" not in kit.channels
    await kit.close()
