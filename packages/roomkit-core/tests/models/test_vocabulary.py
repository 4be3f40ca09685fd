"""Small models with rules of their own: verdicts, retries, identities, access."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from roomkit.models import (
    Access,
    ChannelBinding,
    ChannelDirection,
    ChannelOutput,
    ChannelType,
    DeliveryResult,
    DeliveryState,
    EphemeralEvent,
    EphemeralEventType,
    EventSource,
    HookResult,
    IdentificationStatus,
    Identity,
    IdentityHookResult,
    InjectedEvent,
    Observation,
    ProtocolTrace,
    RateLimit,
    RetryPolicy,
    RoomEvent,
    RoomStatus,
    RoomTimers,
    Span,
    Task,
    TextContent,
    new_id,
    utcnow,
)
from roomkit_plugins.testing.contracts.strategies import PROPERTY, records

EVENT = RoomEvent(
    room_id="r",
    source=EventSource(channel_id="ws", channel_type=ChannelType.WEBSOCKET),
    content=TextContent(body="x"),
)


def test_verdicts_say_what_they_must() -> None:
    """A block has a reason and a modification its payload, which may be empty but not missing."""
    assert HookResult.allow() is HookResult.allow()
    assert HookResult.allow([InjectedEvent(EVENT)]).injected_events == [InjectedEvent(EVENT)]
    assert HookResult.modify("").event == ""
    blocked = HookResult.block("spam", tasks=[Task(id="t", room_id="r", title="look")])
    assert (blocked.action, blocked.reason, len(blocked.tasks)) == ("block", "spam", 1)
    with pytest.raises(ValueError, match="a modify verdict needs the payload"):
        HookResult("modify")
    with pytest.raises(ValueError, match="a block verdict needs a reason"):
        HookResult.block("")
    with pytest.raises(ValueError, match="unknown verdict 'maybe': use allow, block or modify"):
        HookResult("maybe")  # type: ignore[arg-type]


@given(policy=records(RetryPolicy), retry=st.integers(0, 10_000), spread=st.floats(-1, 1))
@PROPERTY
def test_a_retry_never_waits_longer_than_the_policy_says(
    policy: RetryPolicy, retry: int, spread: float
) -> None:
    """Not even after thousands of them, where the power would overflow."""
    delay = policy.delay(retry, spread=spread)

    assert math.isfinite(delay)
    assert 0 <= delay <= policy.max_delay_seconds * (1 + policy.jitter)
    assert policy.delay(retry) <= policy.delay(retry + 1)


def test_retries_back_off_exponentially() -> None:
    """From the base to the limit, spread by the jitter."""
    policy = RetryPolicy(base_delay_seconds=1, exponential_base=2, max_delay_seconds=5, jitter=0.1)

    assert [policy.delay(retry) for retry in range(4)] == [1, 2, 4, 5]
    assert policy.delay(0, spread=1) == pytest.approx(1.1)
    assert policy.delay(0, spread=-1) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (RateLimit, {"max_per_second": 0}),
        (RateLimit, {"max_per_minute": float("inf")}),
        (RateLimit, {"burst": 0}),
        (RetryPolicy, {"max_retries": -1}),
        (RetryPolicy, {"exponential_base": 0.5}),
        (RoomTimers, {"inactive_after_seconds": -1}),
        (Observation, {"id": "o", "room_id": "r", "channel_id": "c", "content": "x", "confidence": 1.1}),
        (Task, {"id": "", "room_id": "r", "title": "x"}),
        (Identity, {"id": ""}),
    ],
)
def test_numbers_and_ids_that_cannot_work_are_refused(kind: Any, fields: dict[str, Any]) -> None:
    """When they are written down, not when they are used."""
    with pytest.raises(ValidationError):
        kind(**fields)


@pytest.mark.parametrize(
    ("access", "reads", "writes"),
    [
        (Access.READ_WRITE, True, True),
        (Access.READ_ONLY, True, False),
        (Access.WRITE_ONLY, False, True),
        (Access.NONE, False, False),
    ],
)
def test_what_a_binding_permits(access: Access, reads: bool, writes: bool) -> None:
    """A muted channel listens; an inbound one only brings in."""
    binding = ChannelBinding(channel_id="c", room_id="r", channel_type=ChannelType.SMS, access=access)

    assert (binding.can_read, binding.can_write) == (reads, writes)
    assert not binding.replace(muted=True).can_write
    assert binding.replace(muted=True).can_read is reads
    assert not binding.replace(direction=ChannelDirection.INBOUND).can_read
    assert binding.replace(direction=ChannelDirection.OUTBOUND).can_read is reads


def test_open_rooms_are_active_paused_or_moving() -> None:
    is_open = [status for status in RoomStatus if status.is_open]
    assert is_open == [RoomStatus.ACTIVE, RoomStatus.PAUSED, RoomStatus.MOVING]


def test_identity_decisions_carry_what_they_need() -> None:
    bob = Identity(id="bob")

    assert IdentityHookResult.resolved(bob).identity is bob
    assert IdentityHookResult.pending("Bob?", [bob]).candidates == (bob,)
    assert IdentityHookResult.pending().candidates is None
    assert IdentityHookResult.challenge(InjectedEvent(EVENT)).status is IdentificationStatus.CHALLENGE_SENT
    assert IdentityHookResult.reject().reason == "Unknown sender"


def test_outputs_and_results() -> None:
    """The common ones are shared or one word long."""
    assert ChannelOutput.empty() is ChannelOutput.empty()
    assert ChannelOutput.skipped("no_recipient").skip_reason == "no_recipient"
    assert DeliveryResult("c", DeliveryState.SENT).success
    assert not DeliveryResult("c", DeliveryState.SKIPPED).success


@given(event=records(EphemeralEvent))
@PROPERTY
def test_an_ephemeral_event_travels_as_a_dict(event: EphemeralEvent) -> None:
    assert EphemeralEvent.from_dict(event.to_dict()) == event


def test_a_dict_that_is_no_ephemeral_event_is_refused() -> None:
    with pytest.raises(ValidationError):
        EphemeralEvent.from_dict({"type": EphemeralEventType.CUSTOM, "room_id": "r"})


def test_a_span_knows_how_long_it_was() -> None:
    span = Span("work")
    assert span.duration_ms is None
    span.end_time = span.start_time
    assert span.duration_ms == 0


def test_a_trace_does_not_show_what_was_said() -> None:
    """Its repr may end in a log."""
    trace = ProtocolTrace(
        channel_id="c", direction="inbound", protocol="sip", summary="INVITE", raw=b"canary"
    )
    assert "canary" not in repr(trace)


def test_ids_and_times_are_what_they_say() -> None:
    """128 random bits as hexadecimal; aware, in UTC."""
    assert len({new_id() for _ in range(1000)}) == 1000
    assert all(len(made) == 32 and int(made, 16) >= 0 for made in (new_id() for _ in range(10)))
    assert utcnow().utcoffset() is not None
