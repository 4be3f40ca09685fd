"""What a plugin's properties and plain methods raise, or return wrongly, fails what needed it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from roomkit.abc import (
    Channel,
    Clock,
    ConversationStore,
    RealtimeBackend,
    RoomLockManager,
    SourceProvider,
    TelemetryProvider,
)
from roomkit.abc.errors import ForeignCodeError, RoomKitError
from roomkit.authoring.source import BaseSourceProvider
from roomkit.kernel.kit import RoomKit
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.memory.store import InMemoryStore
from roomkit.memory.telemetry import ConsoleTelemetryProvider
from roomkit.models.channel import RateLimit
from roomkit.models.enums import DeliveryState, SourceStatus
from roomkit.models.trace import ProtocolTrace
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence, VirtualClock

pytestmark = pytest.mark.virtual_time


class Wrong:
    """A value of a type that no contract has."""


def _raises(error: type[BaseException]) -> Callable[..., Any]:
    def act(*_: Any, **__: Any) -> Any:
        raise error("broken")

    return act


FAULTS: dict[str, Callable[..., Any]] = {
    "ValueError": _raises(ValueError),
    "CancelledError": _raises(asyncio.CancelledError),
    "GeneratorExit": _raises(GeneratorExit),
    "None": lambda *_, **__: None,
    "wrong type": lambda *_, **__: Wrong(),
}
NULLABLE = {
    "delivery_timeout",
    "organization",
    "provider_name",
    "rate_limit",
    "services",
    "resolve_trace_room",
    "typing_seconds",
}
"""None is an answer of these."""
OWN = {"on_trace", "emit_trace", "extract_text", "trace_enabled", "info"}
"""Called by the channel and its program, not by the kit."""


def plain_names(contract: type) -> Iterator[str]:
    """Yield the public properties, attributes and plain methods of a contract."""
    for name, value in {**vars(contract), **inspect.get_annotations(contract)}.items():
        if not name.startswith("_") and not inspect.iscoroutinefunction(value):
            yield name


def is_method(contract: type, name: str) -> bool:
    return inspect.isfunction(getattr(contract, name, None))


def broken(plugin: Any, contract: type, name: str, fault: str) -> Callable[[], None]:
    """Break an attribute of a plugin; return what mends it."""
    act, kind = FAULTS[fault], type(plugin)
    body = {name: act if is_method(contract, name) else property(act, lambda *_: None)}
    plugin.__class__ = type(kind.__name__, (kind,), body)

    def mend() -> None:
        plugin.__class__ = kind

    return mend


CHANNEL_NAMES = sorted({*plain_names(Channel), "channel_id"} - OWN)
every_name = pytest.mark.parametrize("name", CHANNEL_NAMES)
every_fault = pytest.mark.parametrize("fault", FAULTS)
LATER = {
    "address_of",
    "consent_purpose",
    "admit",
    "bind",
    "binding_state",
    "can_stream",
    "event_of",
    "file_headers",
    "first_binding",
    "is_idempotent",
    "merged_state",
    "normalize",
    "pace_key",
    "resolve_trace_room",
    "returns_key",
    "services",
    "takes_text",
    "webhooks",
}
"""Attributes that are not checked before they are used."""


USED_BY_ITS_OWN_CODE = {"channel_id", "channel_type", "event_of", "provider_name", "services"}
"""What `handle_inbound` of the base class reads."""


def is_fault(name: str, fault: str) -> bool:
    return not (fault == "None" and name in NULLABLE)


@every_fault
@every_name
async def test_a_channel_that_breaks_its_contract_is_not_registered(
    stage: Any, name: str, fault: str
) -> None:
    """The error names the channel and the attribute; a whole channel can be registered under its id then."""
    channel = RecordingChannel("dave")
    mend = broken(channel, Channel, name, fault)
    raises = fault not in ("None", "wrong type")
    if not is_fault(name, fault) or (name in LATER and not (name == "bind" and raises)):
        stage.kit.register_channel(channel)
    else:
        with pytest.raises(RoomKitError, match="channel") as caught:
            stage.kit.register_channel(channel)
        if name != "channel_id" or raises:
            assert isinstance(caught.value, ForeignCodeError)
            assert name in str(caught.value)
        assert "dave" not in stage.kit.channels
    mend()
    stage.kit.register_channel(channel)
    await stage.kit.attach_channel("r1", "dave")


@every_fault
@every_name
async def test_a_channel_that_breaks_later_fails_its_own_deliveries_only(
    stage: Any, name: str, fault: str
) -> None:
    """Its rows say which attribute broke; the other channels, rooms and later messages are undisturbed."""
    await stage.socket("alice")
    await stage.socket("carol", streaming=True)
    bob = RecordingChannel("bob", streaming=True)
    bob.rate_limit = RateLimit(max_per_second=100)
    await stage.join(bob)
    await stage.agent("bot", ["an answer"] * 5, streaming=True)
    await stage.kit.create_room("r2")
    await stage.kit.attach_channel("r2", "alice")
    await stage.kit.attach_channel("r2", "carol")
    mend = broken(bob, Channel, name, fault)
    result = await stage.say("hello")
    assert result.error is None
    assert result.delivery_results["carol"].success
    at_once = {"provider_name", "rate_limit", "pace_key", "provider_names", "delivery_timeout"}
    if name in at_once and is_fault(name, fault) and (name, fault) != ("provider_names", "None"):
        assert not result.delivery_results["bob"].success
    assert (await stage.say("elsewhere", room="r2")).delivery_results["carol"].success
    try:
        assert not (await stage.say("by the broken one", channel="bob")).blocked
    except RoomKitError as error:
        assert "channel" in str(error)
        assert "bob" in str(error)
    except (ValueError, AttributeError):
        assert name in USED_BY_ITS_OWN_CODE  # an error of handle_inbound, which is its caller's to see
    await stage.idle()
    mend()
    assert (await stage.say("after")).delivery_results["bob"].success
    await stage.idle()
    rows = await stage.kit.list_deliveries("r1", limit=1000)
    assert not [row for row in rows if row.state is DeliveryState.PENDING]
    for row in rows:
        if row.state is DeliveryState.FAILED:
            assert (row.channel_id, row.error.code) == ("bob", "foreign_code_failed")
            named = "pace_key" if name == "channel_id" else name  # which reads it
            assert named in row.error.message
            assert "channel 'bob'" in row.error.message


@every_fault
async def test_a_channel_that_cannot_name_its_webhooks_is_asked_again(stage: Any, fault: str) -> None:
    """By the vendor, whose request is not lost; the error names the channel and the method."""
    bob = await stage.socket("bob")
    broken(bob, Channel, "webhooks", fault)
    request = WebhookRequest(method="POST", url="https://example.org", headers={})
    outcome = await stage.kit.process_webhook(request, "bob")
    assert (outcome.status, type(outcome.error)) == (503, ForeignCodeError)
    assert "webhooks() of channel 'bob'" in str(outcome.error)


@every_fault
@pytest.mark.parametrize("name", ["responds_to", "delivers_to_source", "provider_name", "rate_limit"])
async def test_an_agent_that_breaks_later_fails_its_own_turn_only(stage: Any, name: str, fault: str) -> None:
    """The others are delivered to, and it answers again once it is whole."""
    await stage.socket("alice")
    await stage.socket("carol")
    bot: ScriptedIntelligence = await stage.agent("bot", ["one", "two", "three"])
    mend = broken(bot, Channel, name, fault)
    result = await stage.say("hello")
    assert result.delivery_results["carol"].success
    mend()
    assert (await stage.say("after")).delivery_results["bot"].success
    failed = [
        row
        for row in await stage.kit.list_deliveries("r1", limit=1000)
        if row.state is not DeliveryState.SENT
    ]
    assert all(row.channel_id == "bot" and name in row.error.message for row in failed)
    if name in ("responds_to", "provider_name") and is_fault(name, fault):
        assert len(failed) == 1


@every_fault
async def test_a_trace_whose_room_cannot_be_resolved_is_reported(stage: Any, fault: str) -> None:
    """It does not reach the channel's own code."""
    bob = await stage.socket("bob")
    broken(bob, Channel, "resolve_trace_room", fault)

    @stage.kit.hook("on_protocol_trace")
    async def observer(trace: Any, context: Any) -> None:
        """Look on."""

    bob.emit_trace(
        ProtocolTrace(
            channel_id="bob", direction="inbound", protocol="sip", summary="INVITE", session_id="s1"
        )
    )
    await stage.idle()
    assert bool(stage.facts("background_error")) == is_fault("resolve_trace_room", fault)


PARTS: list[tuple[str, type, Callable[[], Any]]] = [
    ("store", ConversationStore, InMemoryStore),
    ("lock_manager", RoomLockManager, InMemoryLockManager),
    ("realtime", RealtimeBackend, InMemoryRealtime),
    ("clock", Clock, VirtualClock),
    ("telemetry", TelemetryProvider, ConsoleTelemetryProvider),
]
FLAGS = [
    (option, contract, make, name)
    for option, contract, make in PARTS
    for name in plain_names(contract)
    if not is_method(contract, name)
]


@every_fault
@pytest.mark.parametrize(
    ("option", "contract", "make", "name"), FLAGS, ids=[f"{each[0]}.{each[3]}" for each in FLAGS]
)
async def test_a_backend_that_breaks_its_contract_makes_no_kit(
    option: str, contract: type, make: Callable[[], Any], name: str, fault: str
) -> None:
    """The error names the backend's class and the attribute."""
    part = make()
    broken(part, contract, name, fault)
    with pytest.raises(ForeignCodeError, match=rf"{name} of {type(part).__name__}"):
        RoomKit(**{option: part})


class _Source(BaseSourceProvider):
    name = "a feed"

    async def start(self, emit: Any) -> None:
        await self._stop_event.wait()


@every_fault
@pytest.mark.parametrize("name", ["bind", "name", "status"])
async def test_a_source_that_breaks_its_contract_is_alone(stage: Any, name: str, fault: str) -> None:
    """One that cannot be named or bound is not attached; one without a status has that of a failed one."""
    assert {"bind", "name", "status"} == set(plain_names(SourceProvider)) - {"start", "services", "home"}
    if name == "bind" and fault in ("None", "wrong type"):
        return  # what it returns is not looked at
    await stage.socket("alice")
    await stage.socket("bob")
    whole, bad = _Source(), _Source()
    await stage.kit.attach_source("alice", whole)
    mend = broken(bad, SourceProvider, name, fault)
    if name in ("bind", "name"):
        with pytest.raises(ForeignCodeError, match=rf"{name}.* of source of channel 'bob'"):
            await stage.kit.attach_source("bob", bad)
        assert set(stage.kit.list_sources()) == {"alice"}
    else:
        await stage.kit.attach_source("bob", bad)
        statuses = stage.kit.list_sources()
        assert statuses["bob"] is SourceStatus.ERROR
        assert statuses["alice"] is not SourceStatus.ERROR
        mend()
        await stage.kit.detach_source("bob")
    await stage.kit.detach_source("alice")
