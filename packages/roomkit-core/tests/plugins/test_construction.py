"""From settings to objects: everything is checked before anything is built."""

import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict, SecretStr

from roomkit.abc.channel import Channel
from roomkit.abc.store import ConversationStore
from roomkit.plugins import (
    BlockingImportError,
    ComponentNotFoundError,
    ConfigError,
    KitParts,
    PluginBrokenError,
    PluginManager,
    build_components,
    json_schema,
    load_config,
)


class Config(BaseModel):
    """What the provider of these tests is set up with."""

    model_config = ConfigDict(extra="ignore")  # unknown keys are refused all the same

    token: SecretStr
    sender: str = "+15550100"
    retries: int = 3


class Provider:
    """Takes its config as one object."""

    built: ClassVar[list["Provider"]] = []

    def __init__(self, config: Config) -> None:
        self.config = config
        self.thread = threading.get_ident()
        self.built.append(self)


class LineConfig(BaseModel):
    """The settings of a channel."""

    greeting: str = "hello"
    extra: Any = object()  # JSON cannot say this default


class UnsayableConfig(BaseModel):
    """Settings that no file can hold."""

    factory: Callable[[], object]


class Line(Channel):
    """Takes its settings as keyword arguments, as most channels do."""

    handle_inbound: Any = None
    deliver: Any = None

    def __init__(
        self,
        channel_id: str,
        *,
        provider: Provider | None = None,
        greeting: str = "",
        extra: object = None,
    ) -> None:
        super().__init__(channel_id)
        self.provider = provider
        self.greeting = greeting


@pytest.fixture
def manager(make: Any, acme: ModuleType) -> PluginManager:
    Provider.built.clear()
    acme.Provider, acme.Config, acme.Line, acme.LineConfig = Provider, Config, Line, LineConfig
    acme.not_a_model = dict
    acme.UnsayableConfig = UnsayableConfig

    def fail(**settings: object) -> None:
        raise ModuleNotFoundError("No module named 'acmesdk'", name="acmesdk")

    acme.fails = fail

    def register(registry: Any) -> None:
        registry.add("sms", "acme", "acme:Provider", config="acme:Config", summary="Acme SMS.")
        registry.add("channel", "line", "acme:Line", config="acme:LineConfig", parts={"provider": "sms"})
        registry.add("sms", "no-sdk", "acme:fails")
        registry.add("sms", "no-model", "acme:Provider", config="acme:not_a_model")
        registry.add("sms", "unsayable", "acme:Provider", config="acme:UnsayableConfig")
        registry.add("store", "wrong", "acme:not_a_model")

    return make.manager(make.EntryPoint("acme", make.module(roomkit_register=register)))


def test_a_component_is_built_from_its_settings(manager: PluginManager) -> None:
    """Validated by its model, which is handed over as `config`."""
    provider = manager.create("sms", "acme", {"token": "t", "retries": 5})

    assert isinstance(provider, Provider)
    assert provider.config == Config(token=SecretStr("t"), retries=5)


def test_settings_become_keyword_arguments_where_there_is_no_config(manager: PluginManager) -> None:
    """A channel takes what it takes in Python; its id comes from the caller, its parts from their tables."""
    settings = {"greeting": "hi", "provider": {"plugin": "acme", "token": "t"}}
    line = manager.create("channel", "line", settings, channel_id="support")

    assert isinstance(line, Line)
    assert (line.channel_id, line.greeting) == ("support", "hi")
    assert isinstance(line.provider, Provider)


def test_what_is_wrong_with_settings_is_told_without_their_values(manager: PluginManager) -> None:
    """All of it, with the nearest key; a secret is never shown, not even in the chain of causes."""
    with pytest.raises(ConfigError) as raised:
        manager.create("sms", "acme", {"tokn": "canary", "retries": "canary"})

    assert raised.value.problems == (
        "sms:acme.tokn is unknown; did you mean 'token'?",
        "sms:acme.token: Field required",
        "sms:acme.retries: Input should be a valid integer, unable to parse string as an integer",
    )
    assert "canary" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_component_without_settings_takes_none(manager: PluginManager) -> None:
    with pytest.raises(ConfigError, match=r"locks:memory\.ttl is unknown"):
        manager.create("locks", "memory", {"ttl": 3})


def test_a_constructor_that_needs_more_says_what(manager: PluginManager) -> None:
    """Such as a channel without an id."""
    with pytest.raises(ConfigError, match="missing a required argument: 'channel_id'"):
        manager.create("channel", "line")


def test_a_missing_sdk_keeps_its_own_error_as_cause(manager: PluginManager) -> None:
    """The user reads which module is missing."""
    with pytest.raises(PluginBrokenError, match="sms:no-sdk of plugin 'acme' cannot be built") as raised:
        manager.create("sms", "no-sdk")
    assert isinstance(raised.value.__cause__, ModuleNotFoundError)


def test_a_config_that_is_no_model_is_the_plugins_fault(manager: PluginManager) -> None:
    """It is said so, with the plugin's name."""
    with pytest.raises(ConfigError, match="config model of sms:no-model, from plugin 'acme'") as raised:
        manager.create("sms", "no-model")
    assert isinstance(raised.value.__cause__, PluginBrokenError)


async def test_building_on_the_loop_is_refused(manager: PluginManager) -> None:
    with pytest.raises(BlockingImportError):
        manager.create("sms", "acme", {"token": "t"})

    provider = await manager.acreate("sms", "acme", {"token": "t"})
    assert isinstance(provider, Provider)
    assert provider.thread != threading.get_ident()


async def test_a_plan_is_built_whole(manager: PluginManager) -> None:
    """Each part has the type of its role; what the plan leaves out is left to the kit."""
    parts = await build_components(
        load_config(
            {
                "kit": {"max_chain_depth": 2},
                "store": {"plugin": "memory"},
                "channels": {"support": {"plugin": "line", "provider": {"plugin": "acme", "token": "t"}}},
                "agents": {"front": {"plugin": "line"}},
            }
        ),
        manager,
    )

    assert isinstance(parts, KitParts)
    assert isinstance(parts.store, ConversationStore)
    assert parts.locks is None
    assert list(parts.channels) == ["support"]
    assert parts.agents["front"].channel_id == "front"
    assert parts.options.given() == {"max_chain_depth": 2}


async def test_nothing_is_built_if_anything_is_wrong(manager: PluginManager) -> None:
    """All problems of all tables, each with its place; the first cause is chained."""
    plan = load_config(
        {
            "store": {"plugin": "postgres"},
            "channels": {
                "good": {"plugin": "line", "provider": {"plugin": "acme", "token": "t"}},
                "bad": {"plugin": "line", "greting": "x", "provider": 7},
                "worse": {"plugin": "line", "provider": {"plugin": "acm"}},
            },
        }
    )
    with pytest.raises(ConfigError) as raised:
        await build_components(plan, manager)

    assert raised.value.problems == (
        "store: store 'postgres' comes with roomkit-postgres, which is not installed: "
        "it is not on a package index yet; run `uv build --all-packages -o dist && pip install dist/*.whl` "
        "in a checkout of RoomKit",
        'channels.bad.provider names no sms; write { plugin = "...", ... }',
        "channels.bad.greting is unknown; did you mean 'greeting'?",
        "channels.worse.provider: there is no sms 'acm'. Did you mean 'acme'?",
    )
    assert isinstance(raised.value.__cause__, ComponentNotFoundError)
    assert Provider.built == []


async def test_a_component_of_the_wrong_type_is_the_plugins_fault(manager: PluginManager) -> None:
    with pytest.raises(PluginBrokenError, match="built a dict, which is no ConversationStore"):
        await build_components(load_config({"store": {"plugin": "wrong"}}), manager)


def test_a_reference_fills_settings_that_are_no_secret(
    manager: PluginManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plugin gets the plain text where it asks for plain text, and a secret where it asks for one."""
    monkeypatch.setenv("ACME_SENDER", "+15550199")
    monkeypatch.setenv("ACME_TOKEN", "t")
    monkeypatch.setenv("ACME_RETRIES", "7")
    plan = load_config(
        {
            "channels": {
                "support": {
                    "plugin": "acme",
                    "sender": "env:ACME_SENDER",
                    "token": "env:ACME_TOKEN",
                    "retries": "env:ACME_RETRIES",
                }
            }
        }
    )
    provider = manager.create("sms", "acme", plan.channels["support"].settings)

    assert isinstance(provider, Provider)
    assert provider.config == Config(token=SecretStr("t"), sender="+15550199", retries=7)


def test_the_schema_describes_what_is_installed(manager: PluginManager) -> None:
    """Each component's own settings, its parts, and nothing else; secrets are marked."""
    schema: Any = json_schema(manager)

    line = schema["$defs"]["channel:line"]
    assert set(line["properties"]) == {"plugin", "greeting", "extra", "provider", "binding"}
    assert line["additionalProperties"] is False
    assert {"$ref": "#/$defs/sms:acme"} in line["properties"]["provider"]["anyOf"][1]["oneOf"]
    acme = schema["$defs"]["sms:acme"]
    assert acme["required"] == ["plugin", "token"]
    assert acme["properties"]["token"]["format"] == "password"
    assert acme["description"] == "Acme SMS."


@pytest.mark.parametrize("component", ["sms:no-model", "sms:unsayable"])
def test_settings_that_cannot_be_described_spoil_only_their_own(
    manager: PluginManager, component: str
) -> None:
    """The rest of the schema is there, and the component's name with the reason."""
    schema: Any = json_schema(manager)

    assert "cannot be described" in schema["$defs"][component]["description"]
    assert list(schema["$defs"][component]["properties"]) == ["plugin"]


def references(schema: Any) -> Iterator[str]:
    """Yield every reference of a schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        schema = list(schema.values())
    if isinstance(schema, list):
        for each in schema:
            yield from references(each)


def test_every_reference_of_the_schema_leads_to_a_definition(manager: PluginManager) -> None:
    """Those of the kit's own options too."""
    schema: Any = json_schema(manager)
    found = set(references(schema))

    assert {"#/$defs/kit.RetryPolicy", "#/$defs/kit.RateLimit"} <= found
    assert {each.removeprefix("#/$defs/") for each in found} <= schema["$defs"].keys()
