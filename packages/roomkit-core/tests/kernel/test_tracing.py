"""Telemetry as the configuration wants it: sampled, filtered, labelled; and never with anybody's words."""

from __future__ import annotations

from typing import Any

import pytest

from roomkit import TelemetryConfig
from roomkit.kernel.tracing import ConfiguredTelemetry
from roomkit.models import Attr, HookResult, HookTrigger, SpanKind
from roomkit_plugins.testing import MockTelemetryProvider

pytestmark = pytest.mark.virtual_time


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

    names = [span.name for span in provider.completed_spans]
    assert names == ["hook.sync.gate", "framework.delivery", "framework.inbound"]
    assert provider.get_active_spans() == []
    assert provider.get_spans(SpanKind.DELIVERY)[0].channel_id == "bob"
    assert provider.get_spans(SpanKind.HOOK_SYNC)[0].attributes[Attr.HOOK_TRIGGER] == "before_broadcast"
    assert "canary" not in repr(provider.spans)


async def test_only_the_wanted_kinds_are_recorded_with_the_labels(staging: Any) -> None:
    """`enabled_spans` and `metadata`."""
    provider = MockTelemetryProvider()
    config = TelemetryConfig(
        provider=provider, enabled_spans=frozenset({SpanKind.DELIVERY}), metadata={"service": "shop"}
    )
    await traced(staging, config)

    assert [span.kind for span in provider.spans] == [SpanKind.DELIVERY]
    assert provider.spans[0].attributes["service"] == "shop"


async def test_hooks_of_suppressed_triggers_leave_none(staging: Any) -> None:
    """Levels of sound would be thousands."""
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
    monkeypatch.setattr("roomkit.kernel.tracing.random.random", lambda: next(draws))
    provider = MockTelemetryProvider()
    await traced(staging, TelemetryConfig(provider=provider, sample_rate=share), messages=4)

    traced_messages = {0.0: 0, 0.3: 2, 1.0: 4}[share]
    for kind in (SpanKind.INBOUND_PIPELINE, SpanKind.HOOK_SYNC, SpanKind.DELIVERY):
        assert len(provider.get_spans(kind)) == traced_messages


def test_a_share_is_a_share() -> None:
    """From none to all."""
    with pytest.raises(ValueError, match=r"sample_rate is 1\.5; it is a share, from 0 to 1"):
        TelemetryConfig(sample_rate=1.5)


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


async def test_without_a_provider_nothing_is_even_asked(staging: Any) -> None:
    """The kernel builds no span for nobody."""
    assert not ConfiguredTelemetry(MockTelemetryProvider(), TelemetryConfig(sample_rate=0)).enabled
    async with staging(telemetry=TelemetryConfig()) as stage:
        assert not stage.kit.telemetry.enabled
