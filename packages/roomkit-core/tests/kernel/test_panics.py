"""Foreign code may raise what is no Exception, as the panics of extensions do: it fails like any other."""

from __future__ import annotations

from typing import Any

import pytest

from roomkit.models.channel import RetryPolicy
from roomkit.models.enums import ChannelCategory, DeliveryState, EventStatus, HookTrigger
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence

pytestmark = pytest.mark.virtual_time

NO_RETRY = RetryPolicy(max_retries=0)


class Panic(BaseException):
    """What an extension written in another language raises."""


async def panics(*args: Any, **kwargs: Any) -> Any:
    raise Panic("index out of bounds")


async def failed(stage: Any, channel_id: str) -> None:
    row = (await stage.ledger())[channel_id]
    assert row.state is DeliveryState.FAILED
    assert "Panic" in row.error.message
    assert not (await stage.say("and now?")).blocked


@pytest.mark.parametrize("code", ["deliver", "deliver_stream"])
async def test_a_delivery_that_panics_has_failed(stage: Any, code: str) -> None:
    """Its row says so, the caller has its result, and the lane goes on."""
    await stage.socket("alice")
    bob = RecordingChannel("bob", streaming=code == "deliver_stream")
    setattr(bob, code, panics)
    await stage.join(bob, retry_policy=NO_RETRY)
    if code == "deliver_stream":
        await stage.agent("bot", ["yes"], streaming=True)
    await stage.say("hello")
    await failed(stage, "bob")


async def test_an_agent_that_panics_has_failed(stage: Any) -> None:
    """Before it answers."""
    await stage.socket("alice")
    bot = ScriptedIntelligence("bot", ())
    bot.on_event = panics  # type: ignore[method-assign]
    await stage.join(bot, category=ChannelCategory.INTELLIGENCE)
    assert (await stage.say("hello")).error is not None
    await failed(stage, "bot")


async def test_a_gate_that_panics_blocks(stage: Any) -> None:
    """As one that raises an exception does."""
    await stage.socket("alice")
    stage.kit.hook(HookTrigger.BEFORE_BROADCAST, name="gate")(panics)
    result = await stage.say("hello")
    assert result.blocked
    assert result.event.status is EventStatus.BLOCKED


async def test_an_observer_that_panics_is_reported(stage: Any) -> None:
    """And the message is delivered all the same."""
    await stage.socket("alice")
    bob = await stage.socket("bob")
    stage.kit.hook(HookTrigger.AFTER_BROADCAST, name="observer")(panics)
    assert not (await stage.say("hello")).blocked
    assert len(bob.delivered) == 1
    assert "hook_error" in stage.kinds()
