"""All that the core declares is done: each trigger, framework event, refusal and error is seen here once."""

from __future__ import annotations

import ast
import asyncio
import inspect
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from roomkit.abc import errors
from roomkit.abc.errors import (
    CloseError,
    ErrorCode,
    FetchRefusedError,
    InvalidInputError,
    ProviderError,
    RoomKitError,
    StoreError,
    WebhookRejected,
)
from roomkit.abc.services.fetch import Fetched, GuardedFetch
from roomkit.authoring.turns.queue import TurnOptions
from roomkit.authoring.turns.wire import agent_key
from roomkit.kernel.flow import permissions
from roomkit.kernel.runtime.framework_events import FRAMEWORK_EVENTS
from roomkit.memory.executor import InMemoryTurnExecutor
from roomkit.memory.media import InMemoryMediaStore
from roomkit.memory.store import InMemoryStore
from roomkit.models.base import utcnow
from roomkit.models.channel import ChannelCapabilities, ChannelOutput, RateLimit, RetryPolicy
from roomkit.models.content import DeleteContent, EditContent, MediaContent, RichContent, TextContent
from roomkit.models.delivery import DeliveryStatus, InboundMessage, InboundResult, ProviderResult
from roomkit.models.enums import (
    Access,
    ChannelMediaType,
    DeleteType,
    EventType,
    HookTrigger,
    IdentificationStatus,
    LengthPolicy,
    ParticipantStatus,
)
from roomkit.models.event import RoomEvent
from roomkit.models.generation import AIContext
from roomkit.models.hook import GATES, HookResult, InjectedEvent
from roomkit.models.identity import Identity, IdentityHookResult
from roomkit.models.invoke import WebhookInvoke
from roomkit.models.parking import ParkedCall, ParkedRound
from roomkit.models.room import RoomTimers
from roomkit.models.task import Observation, Task
from roomkit.models.timer import Timer
from roomkit.models.trace import ProtocolTrace
from roomkit.models.webhook import UnparsedPart, WebhookRequest
from roomkit_plugins.testing import (
    Hang,
    MockIdentityResolver,
    RecordingChannel,
    ScriptedIntelligence,
    ScriptedSource,
    run_virtual,
)

FIRED_BY_OTHERS = {
    "roomkit-ai": {"ON_AI_THINKING", "BEFORE_TOOL_USE", "ON_TOOL_CALL"},
    "roomkit-agents": {
        "ON_PHASE_TRANSITION",
        "ON_HANDOFF",
        "ON_HANDOFF_REJECTED",
        "ON_TASK_DELEGATED",
        "ON_TASK_COMPLETED",
    },
    "roomkit-voice": {
        "ON_SPEECH_START",
        "ON_SPEECH_END",
        "ON_TRANSCRIPTION",
        "ON_PARTIAL_TRANSCRIPTION",
        "ON_VAD_SILENCE",
        "ON_VAD_AUDIO_LEVEL",
        "ON_INPUT_AUDIO_LEVEL",
        "ON_OUTPUT_AUDIO_LEVEL",
        "BEFORE_TTS",
        "AFTER_TTS",
        "ON_TTS_CANCELLED",
        "ON_BARGE_IN",
        "ON_SPEAKER_CHANGE",
        "ON_DTMF",
        "ON_TURN_COMPLETE",
        "ON_TURN_INCOMPLETE",
        "ON_BACKCHANNEL",
        "ON_RECORDING_STARTED",
        "ON_RECORDING_STOPPED",
        "BEFORE_BRIDGE_AUDIO",
    },
    "roomkit-realtime-voice": {"ON_REALTIME_TOOL_CALL", "ON_REALTIME_TEXT_INJECTED"},
}
"""Triggers that the text side of the core does not fire, and the distribution that does or will."""

RAISED_BY_OTHERS = {
    "VoiceNotConfiguredError": "roomkit-voice",
    "VoiceBackendNotConfiguredError": "roomkit-voice",
    "LockLostError": "roomkit-redis, roomkit-postgres",
    "WebhookRejected": "the providers that take webhooks",
    "ProviderError": "the providers; the kernel turns it into a row of the ledger",
    "UnknownToolError": "handlers of tools",
    "CallExpiredError": "none: its code and words are the result of the call",
    "StaleValueError": "the stores; the kernel claims again",
    "HomeLostError": "the stores, for a value that a former holder writes",
    "NoHomeError": "channels of live things; the kernel hands the delivery over",
    "StoreError": "the stores",
    "StoreFullError": "the stores",
    "StoreReadOnlyError": "the stores",
    "StoreLockedError": "the stores",
    "StoreCorruptError": "the stores",
    "StoreUnavailableError": "the stores",
    "StoreAccessError": "the stores",
    "StoreSchemaError": "the stores",
    "StoreBusyError": "the stores",
    "StoreClosedError": "the stores",
    "StaleRoomError": "the stores; the kernel plans again",
    "DuplicateEventError": "the stores; the kernel returns the first event",
    "MediaTooLargeError": "the media stores, by Intake",
    "MediaTypeRefusedError": "the guarded fetch",
    "FetchRefusedError": "the guarded fetch",
    "FetchFailedError": "the guarded fetch",
}
"""Errors that the kernel hands on or takes in, and who raises them."""

REASONS = {
    "rate_limited",
    "process_timeout",
    "room_closed",
    "room_archived",
    "room_moving",
    "hook_failed",
    "hook_timeout",
    "event_chain_depth_limit",
    "identity_rejected",
    "unknown_sender",
    "identity_challenge_sent",
    "identity_hook_failed",
    "internal_error",
    "source_detached",
}
"""Codes of refusals, besides those of `permissions`, which are read from its source."""

CODES = {
    ErrorCode.TIMEOUT,
    ErrorCode.UNKNOWN,
    ErrorCode.UNSUPPORTED_CONTENT,
    ErrorCode.TOO_LONG,
    ErrorCode.CIRCUIT_OPEN,
    ErrorCode.OVERLOADED,
    ErrorCode.SERVER,
    ErrorCode.INVALID_REQUEST,
}
"""What the core itself puts into the ledger; the other codes are the vendors'."""

ONCE = RetryPolicy(max_retries=0)


class Sight:
    """The declared things seen over all scenes."""

    def __init__(self):
        self.triggers = set()
        self.framework_events = set()
        self.reasons = set()
        self.codes = set()
        self.errors = set()

    def watch(self, stage):
        """Note everything that happens on a stage."""

        def observing(trigger):
            async def observer(payload, context):
                self.triggers.add(trigger)

            return observer

        for trigger in set(HookTrigger) - GATES:
            stage.kit.hook(trigger, name=f"watch {trigger}")(observing(trigger))

        async def gate(payload, context):
            self.triggers.add(HookTrigger.BEFORE_BROADCAST)
            return HookResult.allow()

        stage.kit.hook(HookTrigger.BEFORE_BROADCAST, priority=-99)(gate)

        async def handler(event):
            self.framework_events.add(event.type)

        stage.kit.on("*")(handler)

    def note(self, outcome):
        """Note what a call came to."""
        if isinstance(outcome, RoomKitError):
            self.errors.add(type(outcome).__name__)
            if outcome.code in ("internal_error",):
                self.reasons.add(outcome.code)
        elif isinstance(outcome, InboundResult):
            if outcome.reason is not None:
                self.reasons.add(outcome.reason)
            if outcome.error is not None:
                self.note(outcome.error)
            self.codes |= {end.error.code for end in outcome.delivery_results.values() if end.error}

    async def trying(self, call):
        """Await a call and note its result or its error."""
        try:
            outcome = await call
        except RoomKitError as error:
            outcome = error
        self.note(outcome)
        return outcome


async def scene_life_of_rooms(stage, sight):
    """A room, its channels, its people and its end."""
    kit = stage.kit
    alice = await stage.socket("alice")
    await stage.socket("bob")
    await kit.mute("r1", "bob")
    await kit.unmute("r1", "bob")
    await kit.detach_channel("r1", "bob")
    await sight.trying(kit.mute("r1", "bob"))
    await sight.trying(stage.say(channel="bob"))
    await stage.say()
    await kit.store.create_identity(Identity(id="person"))
    await kit.resolve_participant("r1", "alice", "person")
    await sight.trying(kit.resolve_participant("r1", "stranger", "person"))
    await sight.trying(kit.resolve_participant("r1", "alice", "stranger"))
    await sight.trying(kit.create_room("r1"))
    await sight.trying(kit.create_room(" "))
    await sight.trying(kit.get_room("nowhere"))
    await sight.trying(kit.list_deliveries(after="nothing"))
    await sight.trying(kit.mark_read("r1", "alice", "nothing"))
    with suppress(RoomKitError):
        kit.register_channel(alice)
    await sight.trying(raising(lambda: kit.register_channel(RecordingChannel("alice"))))
    await sight.trying(raising(lambda: kit.hook(HookTrigger.BEFORE_BROADCAST)(lambda event, context: None)))
    await sight.trying(stage.say(channel="unknown"))
    await kit.close_room("r1")
    await sight.trying(stage.say())
    await sight.trying(kit.send_event("r1", "alice", TextContent(body="x")))
    await kit.archive_room("r1")
    await sight.trying(stage.say())
    await sight.trying(kit.retry_delivery("nothing"))
    await kit.delete_room("r1")
    await kit.unregister_channel("bob")
    await kit.create_room("timed", timers=RoomTimers(inactive_after_seconds=5))
    await kit.attach_channel("timed", "alice")
    await stage.say(room="timed")
    await asyncio.sleep(10)  # virtual time
    await kit.sweep_room_timers()
    await stage.say(room="timed")
    await kit.create_room("brief", retention="30min")
    await kit.attach_channel("brief", "alice")
    await asyncio.sleep(1801)  # virtual time
    await kit.sweep_room_timers()


async def raising(act):
    """Do something synchronous in a coroutine."""
    act()


async def scene_strangers(stage, sight):
    """Messages that find no room, or several."""
    stage.kit.register_channel(RecordingChannel("sms"))
    for sender in ("+1", "+2"):
        await stage.say(channel="sms", by=sender, room=None)


async def scene_permissions(stage, sight):
    """Every way not to be allowed something."""
    kit = stage.kit
    for name in ("alice", "bob"):
        await stage.socket(name)
    own = (await stage.say("own")).event.id
    theirs = (await stage.say("theirs", channel="bob")).event.id
    hosts = (await kit.send_event("r1", "alice", TextContent(body="host"))).id
    new = TextContent(body="x")
    edits = [
        (EditContent(target_event_id=theirs, new_content=new), EventType.EDIT),
        (EditContent(target_event_id="nothing", new_content=new), EventType.EDIT),
        (EditContent(target_event_id=hosts, new_content=new), EventType.EDIT),
        (EditContent(target_event_id=own, new_content=new), EventType.MESSAGE),
        (DeleteContent(target_event_id=own, delete_type=DeleteType.SYSTEM), EventType.DELETE),
        (DeleteContent(target_event_id=own), EventType.DELETE),
        (DeleteContent(target_event_id=own), EventType.DELETE),
    ]
    for content, kind in edits:
        await sight.trying(stage.say(content, event_type=kind))
    await kit.mute("r1", "bob")
    await sight.trying(stage.say(channel="bob"))
    await kit.set_access("r1", "bob", Access.READ_ONLY)
    await kit.unmute("r1", "bob")
    await sight.trying(stage.say(channel="bob"))
    await kit.remove_participant("r1", "alice", banned=True)
    await sight.trying(stage.say())
    # An agent that was never attached has no place to speak from.
    late = await kit._kernel.timeline.writer.write(_draft(stage.event("x", channel="ghost")))
    sight.reasons.add(late.reason)
    await kit.erase_person(participant_id="alice")


def _draft(event):
    from roomkit.kernel.flow.cascade import Cascade
    from roomkit.kernel.flow.draft import Draft

    return Draft(event=event, cascade=Cascade())


async def scene_gates(stage, sight):
    """Gates that refuse, break and come late."""
    await stage.socket("alice")

    @stage.kit.hook(HookTrigger.BEFORE_BROADCAST, timeout=1)
    async def gate(event, context):
        if event.content.body == "broken":
            raise ValueError("a bug")
        if event.content.body == "late":
            await asyncio.sleep(5)  # virtual time
        return HookResult.block("spam")

    for text in ("spam", "broken", "late"):
        await sight.trying(stage.say(text))
    async with stage.kit.lock_manager.locked("r1"):
        await sight.trying(stage.say())
        await sight.trying(stage.kit.send_event("r1", "alice", TextContent(body="x")))


async def scene_deliveries(stage, sight):
    """Deliveries that end in every way."""
    kit = stage.kit
    await stage.socket("alice")
    refused = [ChannelOutput(provider_result=ProviderResult(success=False, retryable=one)) for one in (0, 1)]
    sent = ChannelOutput(provider_result=ProviderResult(success=True, provider_message_id="m1"))
    throttled = ProviderError("slow down", error_code=ErrorCode.RATE_LIMIT, retry_after=1)
    learnt = ChannelOutput(binding_state={"too": "much" * 2000})
    script = [
        *refused,
        ValueError("a bug"),
        ChannelOutput.skipped("offline"),
        Hang(),
        throttled,
        sent,
        learnt,
    ]
    await stage.join(Named("vendor", script=script), retry_policy=ONCE)
    text = RecordingChannel("x").capabilities()
    audio = text.replace(media_types=(ChannelMediaType.AUDIO,))
    await stage.socket("audio", capabilities=audio)
    short = text.replace(max_length=2)
    await stage.socket("short", capabilities=short, length_policy=LengthPolicy.ERROR)
    for _ in range(6):
        await sight.trying(stage.say())
    await kit.process_delivery_status(DeliveryStatus(provider="vendor", message_id="m1", status="delivered"))
    await kit.process_delivery_status(DeliveryStatus(provider="vendor", message_id="m9", status="delivered"))
    down = [ProviderError("down", error_code=ErrorCode.SERVER)] * 5
    await stage.socket("down", script=down, retry_policy=ONCE)
    for _ in range(6):
        await sight.trying(stage.say(RichContent(body="x")))
    await asyncio.sleep(60)  # virtual time
    await stage.say()
    await stage.socket("stuck", script=[Hang()])
    talking = [stage.saying(str(number)) for number in range(5)]
    for one in talking:
        await sight.trying(one)
    deaf = await stage.socket("deaf")
    deaf.deliver = ignoring
    await sight.trying(stage.say())


async def ignoring(event, binding, context):
    """Deliver nothing for an hour, whatever is said about it."""
    until = asyncio.get_running_loop().time() + 3600
    while (left := until - asyncio.get_running_loop().time()) > 0:
        with suppress(BaseException):  # the fault that is abandoned
            await asyncio.sleep(left)  # virtual time
    return ChannelOutput.empty()


class Named(RecordingChannel):
    """A transport with a provider that receipts can name."""

    provider_name = "vendor"


async def scene_agents(stage, sight):
    """Agents that leave things behind, break, and answer each other too often."""
    await stage.socket("alice")
    output = ChannelOutput(
        tasks=[Task(id="t", room_id="r1", title="call")],
        observations=[Observation(id="o", room_id="r1", channel_id="bot", content="sad")],
    )
    await stage.agent("bot", [output, ValueError("a bug")])
    await stage.say()
    await sight.trying(stage.say())
    for name in ("ping", "pong"):
        await stage.join(ScriptedIntelligence(name, (f"{name} {number}" for number in range(99))))
    await stage.say()
    sight.reasons |= {reason for _, reason in await stage.refused()}
    await stage.kit.add_task(Task(id="t9", room_id="r1", title="call back"))
    await stage.kit.update_task("t9", lambda task: task.replace(title="call again"))
    await sight.trying(stage.kit.update_task("nothing", lambda task: task))
    services = stage.kit.get_channel("bot").services
    services.trace(
        ProtocolTrace(channel_id="bot", direction="outbound", protocol="http", summary="POST", room_id="r1")
    )


async def scene_identity(stage, sight):
    """Senders who are known, unknown, asked, refused, and a resolver that fails."""
    kit = stage.kit
    kit._kernel.entry.desk.resolver = resolver = MockIdentityResolver(
        {"known": Identity(id="k")}, {"two": [Identity(id="a"), Identity(id="b")]}, script=[]
    )
    await stage.socket("alice")
    answers = {"rejected": IdentityHookResult.reject("identity_rejected")}

    @kit.identity_hook(HookTrigger.ON_IDENTITY_UNKNOWN)
    async def decide(event, context, result):
        if result.address == "broken":
            raise ValueError("a bug")
        if result.address == "asked":
            return IdentityHookResult.challenge(InjectedEvent(stage.event("who?"), ["alice"]))
        return answers.get(result.address)

    for sender in ("known", "two", "rejected", "asked", "broken", "stranger"):
        await sight.trying(stage.say(by=sender))
    resolver._unknown_status = IdentificationStatus.REJECTED
    await sight.trying(stage.say(by="refused"))
    resolver._unknown_status = IdentificationStatus.UNKNOWN
    from roomkit_plugins.testing.mocks.script import Script

    resolver._script = Script([ValueError("a bug"), Hang()])
    for sender in ("three", "four"):
        await sight.trying(stage.say(by=sender))


class Kept(ScriptedSource):
    """A source that keeps what it emits with."""

    async def start(self, emit):
        self.kept = emit
        await super().start(emit)


async def scene_sources(stage, sight):
    """Sources that come, break, are given up, and end."""
    kit = stage.kit
    await stage.socket("alice")
    message = InboundMessage(channel_id="alice", sender_id="a", content=TextContent(body="x"))
    unknown = message.replace(channel_id="unknown")
    source = Kept([message, unknown, OSError("gone"), OSError("gone")])
    await kit.attach_source("alice", source, max_restart_attempts=2, restart_delay=1)
    await sight.trying(kit.attach_source("alice", ScriptedSource()))
    await asyncio.sleep(10)  # virtual time
    for result in source.results:
        sight.note(result)
    await kit.detach_source("alice")
    sight.note(await source.kept(message))
    await sight.trying(kit.detach_source("alice"))
    ending = ScriptedSource()
    await kit.attach_source("alice", ending)
    await ending.stop()
    await asyncio.sleep(1)  # virtual time

    async def broken(message, context):
        raise OSError("a bug")

    kit.get_channel("alice").handle_inbound = broken
    failing = ScriptedSource([message])
    await kit.attach_source("alice", failing)
    await asyncio.sleep(1)  # virtual time
    for result in failing.results:
        sight.note(result)

    async def cancels_itself(message, context):
        raise asyncio.CancelledError

    kit.get_channel("alice").handle_inbound = cancels_itself
    await sight.trying(kit.process_inbound(message))

    async def closes_itself(message, context):
        raise GeneratorExit

    kit.get_channel("alice").handle_inbound = closes_itself
    await sight.trying(kit.process_inbound(message))


class Vendor:
    """A provider that brings an invoke and a notice, or refuses."""

    name = "vendor"

    async def webhook(self, request, *, channel_id):
        if request.body:
            raise WebhookRejected("forged")
        message = InboundMessage(channel_id=channel_id, sender_id="a", content=TextContent(body="x"))
        notice = UnparsedPart(channel_id=channel_id, reason="a notice", raw={"kind": "quota"})
        return [WebhookInvoke(message=message, name="fetch"), notice]


class Away(InMemoryStore):
    """A store that fails to commit the next message of `zoe`."""

    failures = 1

    async def commit(self, commit):
        if self.failures and commit.entries and commit.entries[0].event.source.participant_id == "zoe":
            self.failures -= 1
            raise StoreError("away")
        return await super().commit(commit)


async def scene_source_that_waits(stage, sight):
    """A message that the store can only keep later."""
    await stage.socket("alice")
    message = InboundMessage(channel_id="alice", sender_id="zoe", room_id="r1", content=TextContent(body="x"))
    await stage.kit.attach_source("alice", ScriptedSource([message]))
    await asyncio.sleep(5)  # virtual time
    await stage.kit.detach_source("alice")


class Garbled(ScriptedSource):
    """A source that gets something which is no message."""

    async def start(self, emit):
        self.services.report(
            "source_unparsed", channel_id="alice", source_name=self.name, error="no JSON", bytes=3, unparsed=1
        )
        await super().start(emit)


async def scene_source_that_reports(stage, sight):
    """Messages are reported, as the sources of plugins do it."""
    await stage.socket("alice")
    await stage.kit.attach_source("alice", Garbled([]))
    await asyncio.sleep(1)  # virtual time
    await stage.kit.detach_source("alice")


async def scene_meeting_rooms(stage, sight):
    """Two rooms that meet, and a message in between."""
    await stage.open("other")
    await stage.open("third")
    await stage.socket("alice")
    await stage.kit.attach_channel("other", "alice")
    event = (await stage.say("hi", channel="alice", room="other")).event
    await stage.kit.split_room("other", event_ids=[event.id], into="r1")
    await stage.kit.move_channel("alice", "other", "third")
    await stage.join(ScriptedIntelligence("slow", ["yes"], delay=2.0), "other")
    asking = asyncio.create_task(stage.kit.send_event("other", "system", TextContent(body="well?")))
    await asyncio.sleep(1)  # virtual time
    merging = asyncio.create_task(stage.kit.merge_rooms("other", "r1"))
    await asyncio.sleep(0.1)  # virtual time
    await sight.trying(stage.say("now", channel="alice"))
    await sight.trying(stage.kit.send_event("r1", "system", TextContent(body="now")))
    await merging
    await asking


async def scene_homes(stage, sight):
    """A call that another worker has."""
    alice, store = await stage.socket("alice"), stage.kit.store
    await store.take_home("r1", "alice", await store.open_lease(3600))
    await sight.trying(alice.services.homes.take("r1", "alice"))


class Asks(ScriptedIntelligence):
    """An agent that parks each turn and says nothing when it continues."""

    async def on_event(self, event, binding, context):
        deadline = datetime(2199, 1, 1, tzinfo=UTC)
        call = ParkedCall(call_id="c1", name="ask", reason="why", deadline=deadline)
        return ChannelOutput(parked=[ParkedRound([call])])

    async def on_resume(self, parked, event, binding, context):
        return ChannelOutput.empty()


async def scene_parked_turns(stage, sight):
    """A turn that is resumed, again, and one whose room is closed."""
    await stage.socket("alice")
    await stage.join(Asks("asks"))
    for _ in range(2):
        await stage.say()
    first, second = await stage.kit.list_parked_turns("r1")
    for _ in range(2):
        await sight.trying(stage.kit.resume_turn("r1", first.turn_id, {"c1": "yes"}))
    await stage.kit.delete_event("r1", second.event_id)
    await stage.kit.resume_turn("r1", second.turn_id, {"c1": "yes"})


async def scene_executed_turns(stage, sight):
    """Executor processes that are lost: one in the middle of an answer, one before it began."""
    options = TurnOptions(lease_seconds=1, max_attempts=1)
    for frames in (['{"version":1,"items":[],"last":false}'], []):
        executor = InMemoryTurnExecutor(options)
        executor.bind(stage.kit.services)
        asking = asyncio.ensure_future(sight.trying(executor.generate("bot", AIContext())))
        await asyncio.sleep(0.1)  # virtual time
        (claim,) = await executor.queue.claim([agent_key("bot")], 1)
        for number, frame in enumerate(frames, 1):
            await executor.queue.append(claim, number, frame)
        await asking
        await executor.close()


async def scene_followers(stage, sight):
    """A follower of a room that is deleted."""
    alice = await stage.socket("alice")

    async def show(event):
        """Take it."""

    follow = alice.services.homes.follow("r1", "alice", show)
    await follow.begun()
    await stage.kit.delete_room("r1")
    await sight.trying(follow.wait())


async def scene_scheduled(stage, sight):
    """Something to be said in a room that is closed by then."""
    await stage.socket("alice")
    due = stage.kit.clock.now() + timedelta(seconds=5)
    await stage.kit.send_event("r1", "alice", TextContent(body="later"), at=due)
    await stage.kit.close_room("r1")
    await asyncio.sleep(10)  # virtual time


async def scene_webhooks(stage, sight):
    """A forged request, and an invoke that no gate answers in the end."""
    alice = await stage.socket("alice")
    alice.provider = Vendor()

    @stage.kit.hook(HookTrigger.ON_INVOKE)
    async def gate(invoke, context):
        sight.triggers.add(HookTrigger.ON_INVOKE)
        return HookResult.block("not yours")

    for body in (b"", b"forged"):
        await stage.kit.process_webhook(
            WebhookRequest(method="POST", url="https://example.org", headers={}, body=body), "alice"
        )


class Socket(RecordingChannel):
    """A channel of connections."""

    def register_connection(self, connection_id, send_fn, **options): ...

    def unregister_connection(self, connection_id):
        return True


async def scene_connections_and_trouble(stage, sight):
    """Sockets, slow handlers, background work that fails."""
    kit = stage.kit
    await stage.join(Socket("ws"))
    await kit.connect_websocket("ws", "c1", None)
    await kit.disconnect_websocket("ws", "c1")
    await kit.remove_participant("r1", "ann")
    message = InboundMessage(
        channel_id="ws", sender_id="ann", connection_id="c1", content=TextContent(body="x")
    )
    await sight.trying(kit.process_inbound(message, room_id="r1"))
    load = kit.store.load

    async def removed_meanwhile(room_id, **options):
        ann = await kit.store.get_participant(room_id, "ann")
        await kit.store.update_participant(ann.replace(status=ParticipantStatus.LEFT))
        return await load(room_id, **options)

    kit.store.load = removed_meanwhile
    await sight.trying(kit.connect_websocket("ws", "c3", None, room_id="r1", participant_id="ann"))
    kit.store.load = load
    await kit.remove_participant("r1", "eve", banned=True)
    await sight.trying(kit.connect_websocket("ws", "c2", None, room_id="r1", participant_id="eve"))

    async def fails():
        raise OSError("a bug")

    await kit._kernel.cluster.keeper._release()  # how it comes to that is in test_workers
    kit._kernel.cluster.reclaim._unclaimed._report("gone", 1)  # likewise
    kit.get_channel("ws").services.tasks.spawn(fails(), name="failing")

    dead = Timer(id="t1", kind="acme.call", due_at=kit.clock.now())
    await kit._kernel.ground.timers._bury(dead)  # how it comes to that is in test_plugin_timers
    kit._kernel.ground.timers._report_unclaimed(dead)  # likewise

    class Broken(RecordingChannel):
        async def start(self):
            raise ValueError("no such account")

    kit.register_channel(Broken("broken"))
    hang = Hang()

    @kit.on("channel_registered")
    async def slow(event):
        await hang.wait()

    for _ in range(1100):
        kit._kernel.ground.events.emit("channel_registered", channel_id="x")
    hang.release()
    await asyncio.sleep(1)  # virtual time


class Choosy(InMemoryStore):
    """Outlives its workers; it takes no vendor's ids, and no outcome at all of one channel."""

    write_delay = 0.5

    @property
    def is_process_local(self):
        return False

    async def commit(self, commit):
        self._refuse(commit.completed)
        return await super().commit(commit)

    async def complete(self, outcomes, **options):
        self._refuse(outcomes)
        return await super().complete(outcomes, **options)

    def _refuse(self, rows):
        if any(row.provider_message_id is not None or row.channel_id == "never" for row in rows):
            raise InvalidInputError("an outcome cannot be stored; nothing was stored")


async def scene_refused_outcomes(stage, sight):
    """A store that refuses what became of deliveries."""
    sent = ChannelOutput(provider_result=ProviderResult(success=True, provider_message_id="m1"))
    await stage.socket("alice")
    await stage.socket("vendor", script=[sent] * 3)
    await stage.socket("never")
    for _ in range(3):
        await sight.trying(stage.say(wait="committed"))
    await asyncio.sleep(5)  # virtual time


async def scene_fallbacks(stage, sight):
    """A channel that stands in for another, and one that is not there."""
    wrong = ProviderError("planted", error_code=ErrorCode.INVALID_RECIPIENT)
    await stage.socket("alice")
    await stage.socket("first", script=[wrong], fallback="second")
    await stage.socket("second", script=[wrong], fallback="third")
    await sight.trying(stage.say())


async def scene_speculation(stage, sight):
    """Answers prepared to a message that comes as expected, and to one that does not."""
    await stage.socket("alice")
    await stage.say()
    agent = await stage.agent("bot", ["yes", "no", "no"])
    agent.speculates = True
    for said in ("hello", "something else"):
        expected = InboundMessage(channel_id="alice", sender_id="alice", content=TextContent(body="Hello?"))
        speculation = await stage.kit.services.turns.speculate("r1", expected)
        await speculation.confirm(expected.replace(content=TextContent(body=said)), wait="settled")


async def scene_signals(stage, sight):
    """Typing that a channel's vendor does not show."""

    async def broken(signal, binding, context):
        raise ProviderError("planted", error_code=ErrorCode.SERVER)

    channel = RecordingChannel("far", capabilities=ChannelCapabilities(supports_typing=True))
    channel.typing_seconds, channel.show_signal = 5.0, broken
    await stage.join(channel)
    await stage.kit.publish_typing("r1", "ann")
    await asyncio.sleep(1)  # virtual time


class Elsewhere(GuardedFetch):
    """Has one file, and refuses every other."""

    async def __call__(self, url, **options):
        if url != "https://files.example/a.txt":
            raise FetchRefusedError("planted")
        return Fetched(url=url, mime_type="text/plain", data=b"hi")


async def scene_files(stage, sight):
    """A file that nothing refers to, one that is imported, one that cannot be, and one that is gone."""
    await stage.socket("alice")
    kit = stage.kit
    for name in ("a", "b"):
        url = f"https://files.example/{name}.txt"
        content = MediaContent(url=url, mime_type="text/plain")
        await kit.media.import_later((await kit.send_event("r1", "alice", content)).id)
    await asyncio.sleep(5)  # virtual time
    await kit.store.register_media("r1", ["left"], unused_at=utcnow())
    await kit._kernel.ground.files.media.put(
        lines(b"hi"), mime_type="text/plain", room_id="r1", limit=9, media_id="left"
    )
    await kit._kernel.operations.sweeper.fire(None)
    await sight.trying(kit.media.find("left"))
    await sight.trying(kit.media.url((await kit.media.put("r1", b"", mime_type="text/plain")).id))


async def lines(*data):
    for each in data:
        yield each


SCENES = [value for name, value in globals().items() if name.startswith("scene_")]
OPTIONS = {
    "scene_files": {"media": InMemoryMediaStore(), "fetch": Elsewhere()},
    "scene_deliveries": {"delivery_timeout": 1, "max_lane_backlog": 2},
    "scene_gates": {"process_timeout": 3},
    "scene_identity": {"identity_timeout": 1},
    "scene_source_that_waits": {"store": Away()},
    "scene_refused_outcomes": {"store": Choosy(), "single_process": True},
}


@pytest.fixture(scope="module")
def sight():
    """Play every scene once and return the sightings."""
    return Sight()


@pytest.fixture
def seen(sight, bare_stage):
    """Return the sightings; the first to ask plays the scenes."""

    async def play(scene):
        stage = bare_stage(**OPTIONS.get(scene.__name__, {}))
        sight.watch(stage)
        await stage.open()
        await scene(stage, sight)
        await stage.idle_or(10)
        await sight.trying(stage.kit.close())
        await sight.trying(stage.say())

    async def limited():
        stage = bare_stage(inbound_rate_limit=RateLimit(max_per_hour=1))
        await stage.open()
        await stage.socket("alice")
        for _ in "12":
            await sight.trying(stage.say())

        async def broken():
            raise OSError("the socket")

        stage.kit.get_channel("alice").close = broken
        with suppress(CloseError):
            await stage.kit.close()
        sight.errors.add("CloseError")

    if not sight.triggers:
        for scene in SCENES:
            run_virtual(play(scene))
        run_virtual(limited())
    return sight


LATER = {name: by for by, names in FIRED_BY_OTHERS.items() for name in names}


@pytest.mark.parametrize("trigger", [one for one in HookTrigger if one.name not in LATER])
def test_every_trigger_is_fired(seen, trigger):
    """A hook on it runs in at least one scene."""
    assert trigger in seen.triggers


def test_a_trigger_is_fired_here_or_named_as_anothers(seen):
    """None is both, and the list of others names only triggers that exist."""
    assert set(LATER) <= {one.name for one in HookTrigger}
    assert {one.name for one in seen.triggers} & set(LATER) == set()


@pytest.mark.parametrize("kind", sorted(FRAMEWORK_EVENTS))
def test_every_framework_event_is_emitted(seen, kind):
    """A handler of it hears it in at least one scene."""
    assert kind in seen.framework_events


def test_no_framework_event_is_emitted_undeclared(seen):
    assert seen.framework_events <= set(FRAMEWORK_EVENTS)


def refusals_of_permissions():
    """Return every code that `permissions` can answer with."""
    tree = ast.parse(inspect.getsource(permissions))
    return {
        constant.value
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and function.name.startswith(("may_", "_is_"))
        for answer in ast.walk(function)
        if isinstance(answer, ast.Return)
        for constant in ast.walk(answer)
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str) and constant.value
    }


@pytest.mark.parametrize("reason", sorted(REASONS | refusals_of_permissions()))
def test_every_refusal_is_met(seen, reason):
    """A message is refused for it in at least one scene."""
    assert reason in seen.reasons


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_of_the_core_is_in_a_ledger(seen, code):
    """A delivery fails with it in at least one scene."""
    assert code in seen.codes


def declared_errors():
    return {
        name: kind
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, RoomKitError) and kind is not RoomKitError
    }


@pytest.mark.parametrize("name", sorted(set(declared_errors()) - set(RAISED_BY_OTHERS)))
def test_every_error_of_the_kernel_is_raised(seen, name):
    """A caller meets it in at least one scene."""
    assert name in seen.errors


def test_every_error_has_a_code_of_its_own():
    """Codes are stable names, so no two errors share one."""
    codes = [kind.code for kind in declared_errors().values()]
    assert len(codes) == len(set(codes))
    assert "roomkit_error" not in codes


def test_an_event_made_for_a_scene_is_a_room_event(bare_stage):
    """The scenes inject what a hook could inject."""

    async def make():
        stage = bare_stage()
        assert isinstance(stage.event("x"), RoomEvent)
        await stage.kit.close()

    run_virtual(make())
