"""Foreign code may raise a BaseException, as panics of extensions do: it fails like any other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from roomkit.abc.errors import ForeignCodeError
from roomkit.abc.identity import IdentityResolver
from roomkit.abc.router import InboundRoomRouter
from roomkit.abc.transcoder import ContentTranscoder
from roomkit.authoring.source import BaseSourceProvider
from roomkit.kernel.runtime.deadline import ends_task
from roomkit.models.channel import ChannelOutput, RetryPolicy
from roomkit.models.content import MediaContent
from roomkit.models.enums import (
    ChannelCategory,
    DeliveryState,
    EventStatus,
    HookTrigger,
    IdentificationStatus,
)
from roomkit.models.hook import HookResult
from roomkit.models.identity import IdentityResult
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


# -- every place where foreign code runs ------------------------------------------------------------


class _Foreign:
    """Code that raises `panic` while the test says so, at once or after it has waited."""

    def __init__(self, panic: type[BaseException], *, waits: bool) -> None:
        self.panic = panic
        self.waits = waits
        self.raised = 0

    async def waiting(self, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0.1)
        self.raised += 1
        raise self.panic("out of bounds")

    async def prompt(self, *args: Any, **kwargs: Any) -> Any:
        """Raise without an await in the body, as code does that the kit gives no task of its own."""
        self.raised += 1
        raise self.panic("out of bounds")

    @property
    def act(self) -> Any:
        return self.waiting if self.waits else self.prompt


class _Router(InboundRoomRouter):
    def __init__(self, act: Any) -> None:
        self._act = act

    async def route(self, *args: Any, **kwargs: Any) -> Any:
        return await self._act()


class _Resolver(IdentityResolver):
    def __init__(self, act: Any) -> None:
        self.resolve = act  # type: ignore[method-assign]

    async def resolve(self, message: Any, context: Any) -> Any:
        raise NotImplementedError


class _Transcoder(ContentTranscoder):
    def __init__(self, act: Any) -> None:
        self._act = act

    async def transcode(self, *args: Any) -> Any:
        return await self._act()


class _Source(BaseSourceProvider):
    name = "broken"

    def __init__(self, act: Any) -> None:
        super().__init__()
        self._act = act

    async def start(self, emit: Any) -> None:
        await self._act()


async def _gate(stage: Any, act: Any) -> None:
    stage.kit.hook(HookTrigger.BEFORE_BROADCAST, name="foreign")(act)
    assert (await stage.say()).reason == "hook_failed"
    stage.kit._kernel.ground.hooks.unregister("foreign")


async def _segment_gate(stage: Any, act: Any) -> None:
    await stage.socket("carol", streaming=True)

    async def judge(event: Any, context: Any) -> HookResult:
        return await act() if event.generation is not None else HookResult.allow()

    stage.kit.hook(HookTrigger.BEFORE_BROADCAST)(judge)
    await stage.agent("bot", ["an answer"], streaming=True)
    await stage.say()
    assert await stage.refused() == [("judge", "hook_failed")]
    await stage.kit.detach_channel("r1", "bot")


async def _observer(stage: Any, act: Any) -> None:
    stage.kit.hook(HookTrigger.AFTER_BROADCAST, name="foreign")(act)
    assert not (await stage.say()).blocked
    assert stage.facts("hook_error")


async def _observers(stage: Any, act: Any) -> None:
    seen = stage.observe(HookTrigger.AFTER_BROADCAST)
    await _observer(stage, act)
    assert len(seen) == 1


async def _resolver(stage: Any, act: Any) -> None:
    stage.kit._kernel.entry.desk.resolver = _Resolver(act)
    assert not (await stage.say()).blocked
    assert stage.facts("identity_error")


async def _identity_hook(stage: Any, act: Any) -> None:
    async def unknown(*_: Any) -> IdentityResult:
        return IdentityResult(status=IdentificationStatus.UNKNOWN)

    stage.kit._kernel.entry.desk.resolver = _Resolver(unknown)
    stage.kit.identity_hook(HookTrigger.ON_IDENTITY_UNKNOWN)(act)
    assert (await stage.say()).reason == "identity_hook_failed"
    stage.kit._kernel.entry.desk.resolver = None


async def _router(stage: Any, act: Any) -> None:
    stage.kit._kernel.entry.inbound.finder.router = _Router(act)
    with pytest.raises(ForeignCodeError, match="router _Router raised"):
        await stage.say(room=None)


async def _route(stage: Any, act: Any) -> None:
    stage.kit.channels["alice"].route = act
    with pytest.raises(ForeignCodeError, match="route of channel alice raised"):
        await stage.say(room=None)


async def _parser(stage: Any, act: Any) -> None:
    alice = stage.kit.channels["alice"]
    alice.handle_inbound = act
    with pytest.raises(ForeignCodeError, match="handle_inbound of channel alice raised"):
        await stage.say()
    del alice.handle_inbound


async def _session(stage: Any, act: Any) -> None:
    stage.kit.channels["alice"].connect_session = act
    with pytest.raises(ForeignCodeError, match="connect_session of channel alice raised"):
        await stage.say(session=object())


async def _binding(stage: Any, act: Any) -> None:
    stage.kit.channels["bob"].update_binding = act
    with pytest.raises(ForeignCodeError, match="update_binding of channel bob raised"):
        await stage.kit.mute("r1", "bob")
    stage.kit.channels["bob"].update_binding = _nothing
    await stage.kit.unmute("r1", "bob")


async def _nothing(*_: Any) -> None:
    """Take note of nothing."""


async def _deliver(stage: Any, act: Any) -> None:
    bob = stage.kit.channels["bob"]
    bob.deliver = act
    results = await asyncio.gather(*(stage.say(word) for word in ("one", "two")))
    assert [result.delivery_results["bob"].success for result in results] == [False, False]
    del bob.deliver


async def _stream(stage: Any, act: Any) -> None:
    bob = stage.kit.channels["bob"]
    bob._streaming = True
    bob.deliver_stream = act
    await stage.agent("bot", ["an answer"], streaming=True)
    await stage.say()
    answer = (await stage.timeline())[-1]
    assert (await stage.ledger(answer))["bob"].state is DeliveryState.FAILED
    bob._streaming = False


async def _agent(stage: Any, act: Any) -> None:
    bot = await stage.agent("bot")
    bot.on_event = act
    result = await stage.say()
    assert not result.delivery_results["bot"].success
    assert len(stage.facts("agent_failed")) == 1
    await stage.kit.detach_channel("r1", "bot")


async def _agents_stream(stage: Any, act: Any) -> None:
    bob = stage.kit.channels["bob"]
    bob._streaming = True

    class Bot(ScriptedIntelligence):
        async def on_event(self, event: Any, binding: Any, context: Any) -> ChannelOutput:
            return ChannelOutput(response_stream=self.stream())

        async def stream(self) -> AsyncIterator[str]:
            yield "to begin. "
            await act()

    await stage.join(Bot("bot", ()))
    result = await stage.say()
    assert not result.delivery_results["bot"].success
    assert (await stage.texts())[-1] == "to begin. "
    bob._streaming = False
    await stage.kit.detach_channel("r1", "bot")


async def _transcoder(stage: Any, act: Any) -> None:
    stage.kit._kernel.work.lanes.executor._deliverer._transcoder = _Transcoder(act)
    picture = MediaContent(url="https://example.com/a.png", mime_type="image/png")
    assert not (await stage.say(picture)).delivery_results["bob"].success


async def _source(stage: Any, act: Any) -> None:
    await stage.kit.attach_source("alice", _Source(act), auto_restart=False)
    await asyncio.sleep(1)
    assert len(stage.facts("source_exhausted")) == 1


async def _listener(stage: Any, act: Any) -> None:
    stage.kit.on("*")(act)
    assert not (await stage.say()).blocked
    await stage.idle()


PLACES = [
    _gate,
    _segment_gate,
    _observer,
    _observers,
    _resolver,
    _identity_hook,
    _router,
    _route,
    _parser,
    _session,
    _binding,
    _deliver,
    _stream,
    _agent,
    _agents_stream,
    _transcoder,
    _source,
    _listener,
]


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "after a wait"])
@pytest.mark.parametrize("panic", [Panic, GeneratorExit])
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__.strip("_"))
async def test_what_is_no_exception_is_a_failure_of_the_code_that_raised_it(
    stage: Any, place: Any, panic: type[BaseException], waits: bool
) -> None:
    """It ends no lane, leaves no row pending and reaches no caller as it is."""
    foreign = _Foreign(panic, waits=waits)
    await stage.socket("alice")
    await stage.socket("bob")
    await place(stage, foreign.act)
    assert foreign.raised
    assert (await stage.say("next")).delivery_results["bob"].success
    await stage.idle()
    rows = await stage.kit.list_deliveries("r1", limit=1000)
    assert not [row for row in rows if row.state is DeliveryState.PENDING]


def test_a_task_that_outlived_its_loop_ends_where_it_is() -> None:
    """Its coroutine is closed: nothing it catches then is a failure of foreign code."""
    caught: list[bool] = []

    async def step() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except GeneratorExit as closed:
            caught.append(ends_task(closed))
            raise

    async def left_behind() -> Any:
        coroutine = step()
        coroutine.send(None)
        return coroutine

    asyncio.run(left_behind()).close()
    assert caught == [True]
