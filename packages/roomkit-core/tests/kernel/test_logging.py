"""Hostile ids, names and errors in every place from which the kernel logs: no line of the log is theirs."""

from __future__ import annotations

import io
import logging

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.memory.telemetry import ConsoleTelemetryProvider
from roomkit.models.channel import RetryPolicy
from roomkit.models.delivery import DeliveryStatus
from roomkit.models.enums import HookTrigger
from roomkit.models.hook import HookResult
from roomkit_plugins.testing import MockIdentityResolver, ScriptedSource

pytestmark = pytest.mark.virtual_time

SAID = "my card is 4111"
FORGED = "\n2026-11-29 CRITICAL auth: forged \x1b[2J\x9b2J\u202e\u2028."
NO_RETRY = RetryPolicy(max_retries=0)


@pytest.fixture
def log():
    """All that is logged, as a file would have it."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(taskName)s: %(message)s"))
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield out
    root.removeHandler(handler)
    root.setLevel(before)


async def failing(*_args, **_named):
    raise ValueError(SAID + FORGED)


async def deliver_fails(stage):
    await stage.socket("bob", script=[ValueError(SAID + FORGED)], retry_policy=NO_RETRY)
    await stage.say()
    return "delivery_failed"


async def vendor_refuses(stage):
    error = ProviderError(SAID + FORGED, error_code=ErrorCode.INVALID_RECIPIENT, vendor_code=FORGED)
    await stage.socket("bob", script=[error], retry_policy=NO_RETRY)
    await stage.say()
    return "code=invalid_recipient"


async def ids_are_hostile(stage):
    room = "r" + FORGED
    await stage.kit.create_room(room)
    await stage.kit.attach_channel(room, "alice")
    await stage.socket("c" + FORGED, script=[KeyError("x"), KeyError("x")], retry_policy=NO_RETRY)
    await stage.kit.attach_channel(room, "c" + FORGED, retry_policy=NO_RETRY)
    await stage.say(room=room, by="s" + FORGED, external_id="e" + FORGED, idempotency_key="k" + FORGED)
    return r"room r\n2026"


async def agent_fails(stage):
    await stage.agent("bot" + FORGED, [ValueError(SAID + FORGED)])
    await stage.say()
    return "agent_failed"


async def gate_fails(stage):
    stage.kit.hook(HookTrigger.BEFORE_BROADCAST, name="gate" + FORGED)(failing)
    await stage.say()
    return r"hook gate\n2026"


async def gate_answers_nonsense(stage):
    @stage.kit.hook(HookTrigger.BEFORE_BROADCAST)
    async def gate(event, context):
        return type("Answer" + FORGED, (), {})()

    await stage.say()
    return "not HookResult"


async def gate_refuses(stage):
    @stage.kit.hook(HookTrigger.BEFORE_BROADCAST)
    async def gate(event, context):
        return HookResult.block(SAID + FORGED)

    await stage.say()
    return ""


async def observer_fails(stage):
    stage.kit.hook(HookTrigger.AFTER_BROADCAST, name="watch" + FORGED)(failing)
    await stage.say()
    return r"hook watch\n2026"


async def framework_handler_fails(stage):
    async def handler(event):
        raise ValueError(SAID + FORGED)

    handler.__name__ = "handler" + FORGED
    stage.kit.on("event_processed")(handler)
    await stage.say()
    await stage.idle()
    return r"framework event handler handler\n2026"


async def receipt_matches_nothing(stage):
    status = DeliveryStatus(
        provider="p" + FORGED, message_id="m" + FORGED, status="delivered", channel_id="alice"
    )
    await stage.kit.process_delivery_status(status)
    return r"delivery_status_unmatched"


async def background_work_fails(stage):
    stage.kit._kernel.ground.supervisor.start(failing(), "work" + FORGED)
    await stage.idle()
    return r"background work work\n2026"


async def misspelt_event(stage):
    stage.kit.on("delivery_failedd" + "\x1b")(failing)
    return "did you mean"


async def source_breaks(stage):
    class Named(ScriptedSource):
        name = "source" + FORGED

    source = Named([ValueError(SAID + FORGED)])
    await stage.kit.attach_source("alice", source, auto_restart=False)
    await stage.idle()
    return r"source source\n2026"


CASES = [
    deliver_fails,
    vendor_refuses,
    ids_are_hostile,
    agent_fails,
    gate_fails,
    gate_answers_nonsense,
    gate_refuses,
    observer_fails,
    framework_handler_fails,
    receipt_matches_nothing,
    background_work_fails,
    misspelt_event,
    source_breaks,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_the_log_has_what_failed_and_nobody_elses_words(staging, log, case):
    """With telemetry on the console too, which logs the same ids."""
    async with staging(telemetry=ConsoleTelemetryProvider()) as stage:
        await stage.socket("alice")
        expected = await case(stage)
        await stage.idle()
    written = log.getvalue()
    assert expected in written
    assert SAID not in written
    for line in written.splitlines():
        assert line.isprintable(), line
        assert not line.startswith("2026-11-29")


async def test_a_resolver_and_its_hook_that_fail_quote_nothing(staging, log):
    async with staging(identity_resolver=_Broken()) as stage:
        await stage.socket("alice")

        async def hook(event, context, result):
            raise ValueError(SAID + FORGED)

        hook.__name__ = "hook" + FORGED
        stage.kit.identity_hook(HookTrigger.ON_IDENTITY_UNKNOWN)(hook)
        await stage.say()
    written = log.getvalue()
    assert "identity resolution on channel alice: ValueError" in written
    assert r"identity hook hook\n2026" in written
    assert SAID not in written


class _Broken(MockIdentityResolver):
    async def resolve(self, message, context):
        raise ValueError(SAID + FORGED)
