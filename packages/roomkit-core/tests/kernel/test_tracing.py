"""Telemetry as the configuration wants it: sampled, filtered, labelled; and never with anybody's words."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomkit import InvalidInputError, TelemetryConfig
from roomkit.kernel.runtime.tracing import ConfiguredTelemetry, under
from roomkit.memory.store import InMemoryStore
from roomkit.models import (
    Attr,
    ChannelOutput,
    HookResult,
    HookTrigger,
    InjectedEvent,
    ProviderResult,
    RetryPolicy,
    Span,
    SpanKind,
    TextContent,
)
from roomkit_plugins.testing import Hang, MockTelemetryProvider

pytestmark = pytest.mark.virtual_time
NO_RETRY = RetryPolicy(max_retries=0)
SENT = ProviderResult(success=True, provider_message_id="v1")


async def traced(staging: Any, telemetry: Any, messages: int = 1) -> None:
    async with staging(telemetry=telemetry) as stage:

        async def gate(event: Any, context: Any) -> HookResult:
            return HookResult.allow()

        stage.kit.hook(HookTrigger.BEFORE_BROADCAST)(gate)
        await stage.socket("alice")
        await stage.socket("bob")
        for number in range(messages):
            await stage.say(f"canary {number}")


async def test_a_message_leaves_its_spans(staging: Any) -> None:
    """Its pipeline, its hooks and its deliveries, none left open, and no word of it."""
    provider = MockTelemetryProvider()
    await traced(staging, provider)

    names = [span.name for span in provider.completed_spans if span.kind is not SpanKind.STORE_QUERY]
    assert names == ["hook.sync.gate", "framework.delivery", "framework.broadcast", "framework.inbound"]
    assert provider.get_active_spans() == []
    assert provider.get_spans(SpanKind.DELIVERY)[0].channel_id == "bob"
    assert provider.get_spans(SpanKind.HOOK_SYNC)[0].attributes[Attr.HOOK_TRIGGER] == "before_broadcast"
    assert "canary" not in repr(provider.spans)


async def test_only_the_wanted_kinds_are_recorded_with_the_labels(staging: Any) -> None:
    provider = MockTelemetryProvider()
    config = TelemetryConfig(
        provider=provider, enabled_spans=frozenset({SpanKind.DELIVERY}), metadata={"service": "shop"}
    )
    await traced(staging, config)

    assert [span.kind for span in provider.spans] == [SpanKind.DELIVERY]
    assert provider.spans[0].attributes["service"] == "shop"


async def test_hooks_of_suppressed_triggers_leave_none(staging: Any) -> None:
    provider = MockTelemetryProvider()
    suppressed = frozenset({HookTrigger.BEFORE_BROADCAST})
    await traced(staging, TelemetryConfig(provider=provider, suppressed_hook_triggers=suppressed))

    assert provider.get_spans(SpanKind.HOOK_SYNC) == []
    assert provider.get_spans(SpanKind.DELIVERY) != []


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
async def test_a_message_is_traced_whole_or_not_at_all(
    staging: Any, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decision is made once, for all that follows from it, its deliveries included."""
    draws = iter([0.1, 0.5, 0.2, 0.9])
    monkeypatch.setattr("roomkit.kernel.runtime.tracing.random.random", lambda: next(draws))
    provider = MockTelemetryProvider()
    await traced(staging, TelemetryConfig(provider=provider, sample_rate=share), messages=4)

    traced_messages = {0.0: 0, 0.3: 2, 1.0: 4}[share]
    for kind in (SpanKind.INBOUND_PIPELINE, SpanKind.HOOK_SYNC, SpanKind.DELIVERY):
        assert len(provider.get_spans(kind)) == traced_messages


def test_a_share_is_a_share() -> None:
    with pytest.raises(ValueError, match=r"sample_rate is 1\.5; it is a share, from 0 to 1"):
        TelemetryConfig(sample_rate=1.5)


class Tree:
    """The spans of a provider, as the tree they make."""

    def __init__(self, provider: MockTelemetryProvider) -> None:
        self.spans = {span.id: span for span in provider.spans}
        assert provider.get_active_spans() == []

    @property
    def roots(self) -> list[Span]:
        return [span for span in self.spans.values() if span.parent_id is None]

    def path(self, span: Span) -> list[str]:
        """Return the names from the root down to the span; every parent has to be there."""
        names = [span.name]
        while span.parent_id is not None:
            span = self.spans[span.parent_id]
            names.append(span.name)
        return names[::-1]

    def paths(self, kind: SpanKind) -> list[list[str]]:
        return [self.path(span) for span in self.spans.values() if span.kind is kind]

    def are_whole(self, roots: int = 1) -> None:
        """Every span hangs on one of so many roots, which are inbound messages, with one trace id each."""
        assert [span.kind for span in self.roots] == [SpanKind.INBOUND_PIPELINE] * roots
        for span in self.spans.values():
            top = span
            while top.parent_id is not None:
                top = self.spans[top.parent_id]
            assert span.attributes[Attr.TRACE_ID] == top.attributes[Attr.TRACE_ID]
        assert len({span.attributes[Attr.TRACE_ID] for span in self.roots}) == roots


INBOUND, BROADCAST = "framework.inbound", "framework.broadcast"
DELIVERED = [INBOUND, BROADCAST, "framework.delivery"]


async def plain(stage: Any) -> None:
    """A gate, an observer, two recipients, one of which fails."""
    stage.kit.hook(HookTrigger.BEFORE_BROADCAST, name="gate")(allowing)
    stage.kit.hook(HookTrigger.AFTER_BROADCAST, name="watch")(allowing)
    await stage.socket("alice")
    await stage.socket("bob", script=[ChannelOutput(provider_result=SENT)])
    await stage.socket("eve", script=[ValueError("canary")], retry_policy=NO_RETRY)


async def answered(stage: Any) -> None:
    """An agent whose answer is a broadcast of its own, below the turn that made it."""
    await stage.socket("alice")
    await stage.agent("bot", ["an answer"])


async def streamed(stage: Any) -> None:
    """The same, as a stream."""
    await stage.socket("alice", streaming=True)
    await stage.agent("bot", ["an answer"], streaming=True)


async def injecting(stage: Any) -> None:
    """A gate that adds an event, and an observer that says something."""

    async def gate(event: Any, context: Any) -> HookResult:
        return HookResult(injected_events=[InjectedEvent(stage.event("added"), ["bob"])])

    async def speaking(event: Any, context: Any) -> None:
        if event.source.channel_id == "alice":
            await stage.kit.send_event("r1", "system", TextContent(body="canary"))

    stage.kit.hook(HookTrigger.BEFORE_BROADCAST, name="gate", channel_ids={"alice"})(gate)
    stage.kit.hook(HookTrigger.AFTER_BROADCAST, name="watch")(speaking)
    await stage.socket("alice")
    await stage.socket("bob")


async def chained(stage: Any) -> None:
    """Two agents who answer each other."""
    await stage.socket("alice")
    await stage.agent("bot", ["one", "three"])
    await stage.agent("bat", ["two", "four"])


SCENARIOS = [plain, answered, streamed, injecting, chained]


async def allowing(event: Any, context: Any) -> HookResult:
    return HookResult.allow()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("wait", ["settled", "committed"])
@pytest.mark.parametrize("routed", [True, False], ids=["routed", "named"])
async def test_one_message_is_one_tree(staging: Any, scenario: Any, wait: str, routed: bool) -> None:
    """All that follows from it, however it follows; the root knows the room, and no span has a word."""
    provider = MockTelemetryProvider()
    async with staging(telemetry=provider) as stage:
        await scenario(stage)
        provider.reset()
        await stage.say("canary", wait=wait, room=None if routed else "r1")
        await stage.idle()
    tree = Tree(provider)
    tree.are_whole()
    assert tree.roots[0].room_id is not None
    assert "canary" not in repr(provider.spans)
    for kind, above in ((SpanKind.BROADCAST, INBOUND), (SpanKind.DELIVERY, BROADCAST)):
        assert tree.paths(kind)
        assert all(path[0] == INBOUND and above in path[:-1] for path in tree.paths(kind))
    assert bool(tree.paths(SpanKind.ROUTE)) == routed


async def test_what_is_nested_is_below(staging: Any) -> None:
    """The gates under the message, deliveries and observers under its broadcast, an answer under its turn."""
    provider = MockTelemetryProvider()
    async with staging(telemetry=provider) as stage:
        await plain(stage)
        await stage.agent("bot", ["an answer"])
        provider.reset()
        await stage.say("canary")
    tree = Tree(provider)
    assert [INBOUND, "hook.sync.gate"] in tree.paths(SpanKind.HOOK_SYNC)
    assert [INBOUND, BROADCAST, "hook.async.watch"] in tree.paths(SpanKind.HOOK_ASYNC)
    assert [*DELIVERED, BROADCAST, "framework.delivery"] in tree.paths(SpanKind.DELIVERY)
    assert [*DELIVERED, "hook.sync.gate"] in tree.paths(SpanKind.HOOK_SYNC)  # the answer's gate
    assert [INBOUND, BROADCAST, "store.commit"] in tree.paths(SpanKind.STORE_QUERY)


async def test_a_busy_lane_keeps_the_traces_apart(staging: Any) -> None:
    """One task carries out deliveries of many messages; each is put where its message is."""
    provider, hang = MockTelemetryProvider(), Hang()
    async with staging(telemetry=provider) as stage:
        await stage.socket("alice")
        await stage.socket("bob", script=[hang, None, None])
        provider.reset()
        first = stage.saying()
        await hang.reached.wait()
        others = [stage.saying(), stage.saying()]
        await asyncio.sleep(1)
        hang.release()
        await asyncio.gather(first, *others)
    tree = Tree(provider)
    tree.are_whole(roots=3)
    delivered = [span for span in provider.spans if span.kind is SpanKind.DELIVERY]
    assert len({span.attributes[Attr.TRACE_ID] for span in delivered}) == 3


async def test_spans_say_how_it_went(staging: Any) -> None:
    """A delivery with the vendor's id or a code, a hook with its verdict, all with their time."""
    provider = MockTelemetryProvider()
    async with staging(telemetry=provider) as stage:
        await plain(stage)
        await stage.say("canary")
    good, bad = (
        next(span for span in provider.get_spans(SpanKind.DELIVERY) if span.channel_id == who)
        for who in ("bob", "eve")
    )
    assert (good.attributes[Attr.DELIVERY_SUCCESS], good.status) == (True, "ok")
    assert good.attributes[Attr.DELIVERY_MESSAGE_ID] == "v1"
    assert (bad.attributes[Attr.DELIVERY_SUCCESS], bad.status) == (False, "error")
    assert bad.attributes[Attr.DELIVERY_ERROR] == "ValueError"
    (gate,) = provider.get_spans(SpanKind.HOOK_SYNC)
    assert gate.attributes[Attr.HOOK_RESULT] == "allow"
    ended = [span for span in provider.completed_spans if span.kind is not SpanKind.BROADCAST]
    assert all(span.attributes[Attr.DURATION_MS] >= 0 for span in ended)


async def test_a_trace_goes_on_at_the_worker_that_delivers(staging: Any) -> None:
    store, first, second = InMemoryStore(), MockTelemetryProvider(), MockTelemetryProvider()
    async with staging(telemetry=first, store=store) as stage:
        await stage.socket("alice")
        event = (await stage.say("canary")).event
        stored = await store.get_event(event.id)
    (broadcast,) = first.get_spans(SpanKind.BROADCAST)
    trace_id = broadcast.attributes[Attr.TRACE_ID]
    assert stored.trace_parent == f"00-{trace_id}-{broadcast.id}-01"
    telemetry = ConfiguredTelemetry(second, TelemetryConfig())
    with under(stored.trace_parent), telemetry.span(SpanKind.DELIVERY, "there"):
        pass
    (there,) = second.spans
    assert (there.parent_id, there.attributes[Attr.TRACE_ID]) == (broadcast.id, trace_id)


@pytest.mark.parametrize(
    "damaged", [None, "", "00-1-2-01", "zz" * 30, "01-" + "a" * 32 + "-" + "b" * 16 + "-01"]
)
def test_a_place_that_cannot_be_read_is_a_new_trace(damaged: str | None) -> None:
    """It comes from a store, and costs no message."""
    provider = MockTelemetryProvider()
    telemetry = ConfiguredTelemetry(provider, TelemetryConfig())
    with under(damaged), telemetry.span(SpanKind.CUSTOM, "alone"):
        pass
    assert provider.spans[0].parent_id is None


async def test_a_commit_that_does_not_come_about_ends_its_broadcast(staging: Any) -> None:
    """With the class of the error, and nothing left open."""
    provider = MockTelemetryProvider()
    async with staging(telemetry=provider) as stage:

        async def gate(event: Any, context: Any) -> HookResult:
            return HookResult(injected_events=[InjectedEvent(stage.event("added", room_id="r2"), ["alice"])])

        stage.kit.hook(HookTrigger.BEFORE_BROADCAST)(gate)
        await stage.socket("alice")
        with pytest.raises(InvalidInputError):
            await stage.say()
    (broadcast,) = provider.get_spans(SpanKind.BROADCAST)
    assert (broadcast.status, broadcast.error_message) == ("error", "InvalidInputError")
    assert provider.get_active_spans() == []


async def test_what_is_not_sampled_is_not_sampled_elsewhere(staging: Any, monkeypatch: Any) -> None:
    """The event says so, to other lanes and other workers."""
    monkeypatch.setattr("roomkit.kernel.runtime.tracing.random.random", lambda: 0.9)
    provider = MockTelemetryProvider()
    async with staging(telemetry=TelemetryConfig(provider=provider, sample_rate=0.5)) as stage:
        await answered(stage)
        event = (await stage.say("canary")).event
    assert provider.spans == []
    assert event.trace_parent.endswith("-0000000000000000-00")


async def test_without_telemetry_no_event_is_marked(stage: Any) -> None:
    """And a client never sees the mark."""
    await stage.socket("alice")
    event = (await stage.say()).event
    assert event.trace_parent is None
    marked = event.replace(trace_parent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    assert "trace_parent" not in marked.client_view()
    assert b"trace_parent" not in marked.json_bytes


async def test_everything_else_goes_to_the_provider(staging: Any) -> None:
    """Metrics, attributes, flush, close, reset and its name."""
    provider = MockTelemetryProvider()
    configured = ConfiguredTelemetry(provider, TelemetryConfig(enabled_spans=frozenset({SpanKind.CUSTOM})))

    with configured.span(SpanKind.CUSTOM, "kept") as kept:
        configured.set_attribute(kept, "size", 3)
    with configured.span(SpanKind.DELIVERY, "left out") as left_out:
        configured.set_attribute(left_out, "size", 3)
    with pytest.raises(ValueError, match="no"), configured.span(SpanKind.CUSTOM, "failed"):
        raise ValueError("no")
    configured.record_metric("m", 1, unit="s")
    await configured.flush()
    await configured.close()

    assert configured.name == "MockTelemetryProvider"
    assert [(span.name, span.status) for span in provider.completed_spans] == [
        ("kept", "ok"),
        ("failed", "error"),
    ]
    assert provider.completed_spans[0].attributes == {"size": 3}
    assert [metric.name for metric in provider.metrics] == ["m"]
    assert provider.flushed == 1
    assert provider.closed
    configured.reset()
    assert provider.spans == []


async def test_the_kit_gives_back_the_provider_it_was_given(staging: Any) -> None:
    """So that a program can read it."""
    provider = MockTelemetryProvider()
    async with staging(telemetry=provider) as stage:
        assert stage.kit.telemetry is provider
    async with staging() as stage:
        assert type(stage.kit.telemetry).__name__ == "NoopTelemetryProvider"


async def test_without_a_provider_nothing_is_even_asked(staging: Any) -> None:
    assert not ConfiguredTelemetry(MockTelemetryProvider(), TelemetryConfig(sample_rate=0)).enabled
    async with staging(telemetry=TelemetryConfig()) as stage:
        assert not stage.kit.telemetry.enabled
