"""The options of the kit and of bindings, each seen in what a room does with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, override

from pydantic import SecretStr

from roomkit import (
    HookResult,
    Identity,
    InboundMessage,
    InMemoryLockManager,
    InMemoryStore,
    RoomKit,
    TextContent,
)
from roomkit.abc.errors import ErrorCode, ProviderError, RoomKitError
from roomkit.abc.identity import IdentityResolver
from roomkit.memory.media import InMemoryMediaStore
from roomkit.models import (
    HookTrigger,
    IdentificationStatus,
    IdentityResult,
    LocalTime,
    RoomTimers,
    WebhookRequest,
)
from roomkit.plugins import PluginManager
from roomkit.plugins.config import load_config
from roomkit_plugins.sms import SMSChannel
from roomkit_plugins.testing import (
    Hang,
    MockSMSProvider,
    RecordingChannel,
    ScriptedIntelligence,
    SharedRealtime,
    SharedStore,
    VirtualClock,
)
from roomkit_plugins.twilio import TwilioConfig, TwilioSMSProvider
from tests.options.mechanism import Change, Observe, Settings, Subject

__all__ = ["ANN", "KIT", "a_kit", "now", "say", "shared_parts"]

ANN = "+14165550123"
_ACCOUNT = TwilioConfig(account_sid=f"AC{0:032}", auth_token=SecretStr("token"))


@asynccontextmanager
async def a_kit(settings: Settings, *channels: Any, **parts: Any) -> AsyncIterator[RoomKit]:
    """Open a kit of a table `kit`, with a room and channels in it."""
    plan = load_config({"kit": settings})
    given = {"clock": VirtualClock(), "plugins": PluginManager(entry_points=()), **plan.kit.given(), **parts}
    async with RoomKit(**given) as kit:
        await kit.create_room("r")
        for channel in channels:
            kit.register_channel(channel)
            await kit.attach_channel("r", channel.channel_id, metadata={"phone_number": ANN})
        yield kit


async def say(
    kit: RoomKit, text: str = "hello", channel_id: str = "ann", *, sender_id: str = "ann", **options: Any
) -> Any:
    """Take in a message of a person, and return the result."""
    message = InboundMessage(channel_id=channel_id, sender_id=sender_id, content=TextContent(body=text))
    return await kit.process_inbound(message, room_id="r", **options)


def now() -> float:
    return asyncio.get_running_loop().time()


async def _slow_gate(settings: Settings) -> object:
    async with a_kit(settings, RecordingChannel("ann")) as kit:

        @kit.hook(HookTrigger.BEFORE_BROADCAST, timeout=100)
        async def slow(event: Any, context: Any) -> HookResult:
            await asyncio.sleep(20)  # virtual time
            return HookResult.allow()

        result = await say(kit)
        return result.blocked, result.reason


async def _two_agents(settings: Settings) -> object:
    agents = [ScriptedIntelligence(name, ["again"] * 20) for name in ("a1", "a2")]
    async with a_kit(settings, RecordingChannel("ann"), *agents) as kit:
        await say(kit)
        return [len(agent.seen) for agent in agents]


class _SlowResolver(IdentityResolver):
    def __init__(self) -> None:
        self.asked: list[str] = []  # bound: one observation

    @override
    async def resolve(self, message: InboundMessage, context: Any) -> IdentityResult:
        self.asked.append(message.channel_id)
        await asyncio.sleep(5)  # virtual time
        ann = Identity(id="i1", display_name="Ann")
        return IdentityResult(status=IdentificationStatus.IDENTIFIED, identity=ann)


async def _identified(settings: Settings) -> object:
    resolver = _SlowResolver()
    async with a_kit(settings, RecordingChannel("ann"), identity_resolver=resolver) as kit:
        await say(kit)
        (event,) = [each for each in await kit.get_timeline("r") if each.source.channel_id == "ann"]
        return resolver.asked, event.source.participant_id


async def _burst(settings: Settings) -> object:
    async with a_kit(settings, RecordingChannel("ann")) as kit:
        return [(await say(kit, str(number))).reason for number in range(5)]


async def _failing(settings: Settings) -> object:
    """Deliver by a carrier that fails at first, and say when it was asked."""
    bob = RecordingChannel("bob", script=[ProviderError("away", error_code=ErrorCode.TIMEOUT)] * 2)
    async with a_kit(settings, RecordingChannel("ann"), bob) as kit:
        await say(kit)
        return len(bob.attempts)


async def _slow_carrier(settings: Settings) -> object:
    bob = RecordingChannel("bob", delay=20)
    async with a_kit(settings, RecordingChannel("ann"), bob) as kit:
        result = await say(kit)
        return result.delivery_results["bob"].success


async def _slow_agent(settings: Settings) -> object:
    agent = ScriptedIntelligence("agent", ["well"], delay=120)
    async with a_kit(settings, RecordingChannel("ann"), agent) as kit:
        result = await say(kit)
        return result.error is None, agent.cancelled


async def _closing(settings: Settings) -> object:
    bob = RecordingChannel("bob", script=[Hang()])
    async with a_kit(settings, RecordingChannel("ann"), bob, retry_policy=None) as kit:
        await say(kit, wait="committed")
        await asyncio.sleep(0.1)  # virtual time
        begun = now()
        with suppress(RoomKitError):
            await kit.close()
        return round(now() - begun)


async def _deaf_carrier(settings: Settings) -> object:
    """Deliver by a carrier that swallows its cancellation, and say when the caller is free."""

    class Deaf(RecordingChannel):
        async def deliver(self, *given: Any) -> Any:
            end = now() + 40
            while (left := end - now()) > 0:
                try:
                    await asyncio.sleep(left)  # virtual time
                except asyncio.CancelledError:
                    continue
            return await super().deliver(*given)

    async with a_kit(settings, RecordingChannel("ann"), Deaf("bob")) as kit:
        begun = now()
        await say(kit)
        freed = now() - begun
        await asyncio.sleep(100)  # virtual time
        return round(freed)


async def _idle_room(settings: Settings) -> object:
    async with a_kit(settings) as kit:
        await kit.create_room("idle", timers=RoomTimers(inactive_after_seconds=60))
        await asyncio.sleep(200)  # virtual time
        return str((await kit.store.get_room("idle")).status)


class _Leases(SharedStore):
    def __init__(self) -> None:
        super().__init__()
        self.seconds: set[float] = set()

    @override
    async def open_lease(self, seconds: float, **options: Any) -> str:
        self.seconds.add(seconds)
        return await super().open_lease(seconds, **options)


def shared_parts(store: InMemoryStore | None = None) -> dict[str, Any]:
    """Return the parts of a worker that has others beside it."""
    return {
        "store": store or SharedStore(),
        "lock_manager": InMemoryLockManager(),
        "realtime": SharedRealtime(),
        "single_process": True,
    }


async def _lease(settings: Settings) -> object:
    store = _Leases()
    async with a_kit(settings, **shared_parts(store)):
        return store.seconds


async def _poisonous_timer(settings: Settings) -> object:
    """Claim a timer that three workers began and did not survive."""
    store, fired = SharedStore(), []

    async def handle(timer: Any) -> None:
        fired.append(timer.id)

    async with a_kit(settings, **shared_parts(store)) as kit:
        at = kit.clock.now().replace(hour=1)
        await kit.services.timers.set("call", at, id="c1", data={})
        (timer,) = await store.find_timers()
        await store.set_timer(timer.replace(claims=2, data={**timer.data, "begun": 3}))
        kit.services.timers.on("call", handle)
        await asyncio.sleep(4000)  # virtual time
        return fired, len(await store.find_timers())


async def _unclaimed(settings: Settings) -> object:
    """Leave a delivery of a channel that no worker has."""
    parts = shared_parts()
    async with a_kit({}, RecordingChannel("ann"), RecordingChannel("bob"), **parts):
        pass
    plan = load_config({"kit": settings}).kit.given()
    plugins = PluginManager(entry_points=())
    async with RoomKit(clock=VirtualClock(), plugins=plugins, **parts, **plan) as kit:
        kit.register_channel(RecordingChannel("ann"))
        await say(kit, wait="committed")
        await asyncio.sleep(300)  # virtual time
        return [str(row.state) for row in await kit.list_deliveries("r", channel_id="bob")]


async def _old_event(settings: Settings) -> object:
    async with a_kit(settings, RecordingChannel("ann")) as kit:
        return (await kit.get_room("r")).retention_seconds


async def _backlog(settings: Settings) -> object:
    bob = RecordingChannel("bob", script=[hang := Hang()])
    async with a_kit(settings, RecordingChannel("ann"), bob) as kit:
        for number in range(6):
            await say(kit, str(number), wait="committed")
        await asyncio.sleep(1)  # virtual time
        hang.release()
        await asyncio.sleep(1)  # virtual time
        return bob.texts()


async def _outage(settings: Settings) -> object:
    """Let deliveries wait for a channel that hangs; say how many are read again from the store."""

    class Counting(SharedStore):
        read = 0

        async def read_lane(self, *args: Any, **options: Any) -> Any:
            rows = await super().read_lane(*args, **options)
            Counting.read += len(rows)
            return rows

    bob = RecordingChannel("bob", script=[hang := Hang()])
    async with a_kit(settings, RecordingChannel("ann"), bob, store=Counting(), single_process=True) as kit:
        for number in range(6):
            await say(kit, str(number), wait="committed")
        await asyncio.sleep(1)  # virtual time
        hang.release()
        await asyncio.sleep(1)  # virtual time
        return Counting.read, bob.texts()


async def _large_webhook(settings: Settings) -> object:
    async with a_kit(settings, SMSChannel("sms", provider=TwilioSMSProvider(_ACCOUNT))) as kit:
        request = WebhookRequest(
            method="POST", url="https://x/", headers={}, body=b"x" * 5000, received_at=0.0
        )
        return (await kit.process_webhook(request, "sms")).answer.status


async def _file(settings: Settings) -> object:
    """Store a file, and ask for its URL."""
    async with a_kit(settings, RecordingChannel("ann"), media=InMemoryMediaStore()) as kit:
        try:
            kept = await kit.media.put("r", b"x" * 5000, mime_type="text/plain")
            url = await kit.media.url(kept.id)
        except RoomKitError as error:
            return error.code
        return url.replace(kept.id, "ID").partition("?")[0]


async def _signed(settings: Settings) -> object:
    """Return whether another worker, with the store's own key, takes this one's URL."""
    parts = {"store": InMemoryStore(), "media": InMemoryMediaStore()}
    async with a_kit({"media_url": "https://kit.example"}, **parts) as other:
        plan = load_config({"kit": settings}).kit.given()
        one = RoomKit(clock=VirtualClock(), plugins=PluginManager(entry_points=()), **parts, **plan)
        kept = await one.media.put("r", b"hello", mime_type="text/plain")
        path, _, query = (await one.media.url(kept.id)).removeprefix("https://kit.example").partition("?")
        sent: list[Mapping[str, Any]] = []

        async def send(message: Mapping[str, Any]) -> None:
            sent.append(message)

        async def receive() -> Mapping[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        scope = {"type": "http", "method": "GET", "path": path, "headers": []}
        assert other.media_app is not None
        await other.media_app({**scope, "query_string": query.encode()}, receive, send)
        await one.close()
        return sent[0]["status"]


async def _home(settings: Settings) -> object:
    """Return what another worker is notified of the one that has a call."""
    parts = shared_parts()
    async with a_kit(settings, voice := RecordingChannel("voice"), **parts) as kit:
        assert voice.services is not None
        await voice.services.homes.take("r")
        other = RoomKit(clock=VirtualClock(), plugins=PluginManager(entry_points=()), **parts)
        other.register_channel(theirs := RecordingChannel("voice"))
        await other.start()
        try:
            assert theirs.services is not None
            await theirs.services.homes.take("r")
        except RoomKitError as error:
            return getattr(error, "url", None), kit.settings.worker_url
        finally:
            await other.close()
    return "taken"


async def _opted_in(settings: Settings) -> object:
    carrier = MockSMSProvider()
    async with a_kit(settings, SMSChannel("sms", provider=carrier)) as kit:
        await kit.send_event("r", "system", TextContent(body="hello"))
        return carrier.texts


async def _suppressed(settings: Settings) -> object:
    store = InMemoryStore()
    async with a_kit(settings, store=store) as kit:
        await kit.set_consent("phone", ANN, "revoked")
        (kept,) = await store.list_values("core.consent", ("phone",))
        return kept.key


async def _local_time(settings: Settings) -> object:
    async with a_kit(settings, RecordingChannel("ann")) as kit:
        await kit.send_event("r", "ann", TextContent(body="morning"), at=LocalTime("09:00"))
        return [each.due_at for each in await kit.list_scheduled("r")]


async def _shared_store(settings: Settings) -> object:
    parts = {**shared_parts()}
    del parts["single_process"]
    try:
        async with a_kit(settings, **parts):
            return "started"
    except RoomKitError as error:
        return error.code


_KIT: dict[str, tuple[object, Observe, Settings]] = {
    "max_chain_depth": (2, _two_agents, {}),
    "process_timeout": (5.0, _slow_gate, {}),
    "identity_timeout": (2.0, _identified, {}),
    "identity_channel_types": (["email"], _identified, {}),
    "inbound_rate_limit": ({"max_per_minute": 2}, _burst, {}),
    "agent_response_policy": ("addressed_only", _two_agents, {}),
    "retry_policy": ({"max_retries": 0}, _failing, {}),
    "delivery_timeout": (5.0, _slow_carrier, {"retry_policy": {"max_retries": 0}}),
    "agent_timeout": (60.0, _slow_agent, {}),
    "close_timeout": (3.0, _closing, {"delivery_timeout": 300.0}),
    "abandon_after": (15.0, _deaf_carrier, {"delivery_timeout": 5.0, "retry_policy": {"max_retries": 0}}),
    "sweep_interval": (30.0, _idle_room, {}),
    "lease_seconds": (9.0, _lease, {}),
    "max_claims": (1, _poisonous_timer, {}),
    "unclaimed_after": (100.0, _unclaimed, {}),
    "retention": ("1h", _old_event, {}),
    "max_lane_backlog": (2, _backlog, {}),
    "max_waiting_in_memory": (2, _outage, {}),
    "max_webhook_bytes": (1000, _large_webhook, {}),
    "media_url": ("https://kit.example", _file, {}),
    "media_limit": (1000, _file, {"media_url": "https://kit.example"}),
    "media_key": ("a key of its own", _signed, {"media_url": "https://kit.example"}),
    "worker_url": ("https://worker-1.example", _home, {}),
    "require_opt_in": (["all"], _opted_in, {}),
    "suppression_key": ("another key", _suppressed, {"suppression_key": "one key"}),
    "timezone": ("Asia/Tokyo", _local_time, {}),
    "single_process": (True, _shared_store, {}),
}

KIT = Subject("kit", {name: Change(value, base, observe) for name, (value, observe, base) in _KIT.items()})
