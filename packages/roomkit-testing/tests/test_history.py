"""The history checker, on a clean history and on planted faults."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from roomkit.models.base import utcnow
from roomkit.models.channel import ChannelBinding
from roomkit.models.content import TextContent
from roomkit.models.delivery import Delivery
from roomkit.models.enums import Access, ChannelType, DeliveryState, EventStatus, EventType
from roomkit.models.event import Amendment, EventSource, RoomEvent
from roomkit_plugins.testing.history import (
    Recipient,
    Sending,
    assert_history,
    ledger_violations,
    violations,
)


def event(index: int, *, sender: str = "alice", visibility: str = "all", **fields: object) -> RoomEvent:
    """Build one entry of a timeline."""
    made = RoomEvent(
        id=f"event-{index}",
        room_id="room",
        index=index,
        source=EventSource(channel_id=sender, channel_type=ChannelType.SMS),
        content=TextContent(body=f"number {index}"),
        status=EventStatus.DELIVERED,
        visibility=visibility,
    )
    return made.replace(**fields)


def binding(channel_id: str, **fields: object) -> ChannelBinding:
    """Build the binding of a recipient."""
    made = ChannelBinding(channel_id=channel_id, room_id="room", channel_type=ChannelType.SMS)
    return made.replace(**fields)


TIMELINE = [
    event(0),
    event(1, sender="bob"),
    event(2, visibility="carol"),
    event(4, status=EventStatus.BLOCKED),  # 3 is a hole: legal
    event(5, type=EventType.SYSTEM),
    event(6),
]
BOB = Recipient(binding("bob"), [TIMELINE[0], TIMELINE[5]])
CAROL = Recipient(binding("carol"), [TIMELINE[0], TIMELINE[1], TIMELINE[2], TIMELINE[5]])


def kinds(recipient: Recipient, timeline: list[RoomEvent] = TIMELINE) -> list[str]:
    """List the kinds of violations for one recipient."""
    return [violation.kind for violation in violations(timeline, [recipient])]


def test_a_clean_history_passes() -> None:
    """Holes, hidden, blocked, own and non-message entries are all in order."""
    assert_history(TIMELINE, [BOB, CAROL])


def test_a_lost_event_is_found() -> None:
    """What should have been seen and was not is named."""
    assert kinds(replace(CAROL, seen=CAROL.seen[:-1])) == ["lost"]


def test_a_repeated_event_is_found_unless_repetition_is_allowed() -> None:
    """At-least-once delivery may repeat, but not reorder."""
    twice = replace(BOB, seen=[*BOB.seen, BOB.seen[0]])
    assert kinds(twice) == ["twice"]
    assert kinds(replace(twice, at_least_once=True)) == []


def test_a_swapped_pair_is_found() -> None:
    """Each recipient sees the order of the timeline."""
    assert kinds(replace(BOB, seen=BOB.seen[::-1])) == ["out_of_order"]


def test_a_hidden_event_is_found() -> None:
    assert kinds(replace(BOB, seen=[TIMELINE[0], TIMELINE[2], TIMELINE[5]])) == ["betrayed"]


def test_a_blocked_event_is_found() -> None:
    assert kinds(replace(BOB, seen=[TIMELINE[0], TIMELINE[3], TIMELINE[5]])) == ["betrayed"]


def test_a_revoked_reader_sees_nothing() -> None:
    """Whatever a binding without read access sees is a betrayal, and nothing is lost to it."""
    revoked = replace(BOB, binding=binding("bob", access=Access.WRITE_ONLY))
    assert kinds(revoked) == ["betrayed", "betrayed"]
    assert kinds(replace(revoked, seen=[])) == []


def test_a_deleted_event_may_have_been_seen_and_need_not_have_been() -> None:
    gone = event(7, amendment=Amendment(deleted_at=utcnow()))
    timeline = [*TIMELINE, gone]
    assert kinds(BOB, timeline) == []
    assert kinds(replace(BOB, seen=[*BOB.seen, gone]), timeline) == []


def test_an_event_from_nowhere_is_found() -> None:
    assert kinds(replace(BOB, seen=[*BOB.seen, event(99)])) == ["unknown"]


def test_a_recipient_is_owed_only_what_came_while_it_was_attached() -> None:
    late = replace(CAROL, seen=[TIMELINE[2]], after_index=1, before_index=6)
    assert kinds(late) == []


def test_a_timeline_that_does_not_rise_is_found() -> None:
    timeline = [TIMELINE[0], TIMELINE[0]]
    assert [violation.kind for violation in violations(timeline, [])] == ["not_rising", "repeated_id"]


def test_every_violation_is_reported_together() -> None:
    with pytest.raises(AssertionError, match=r"2 violations:\ntwice: bob and event event-0.*\nlost: bob"):
        assert_history(TIMELINE, [replace(BOB, seen=[TIMELINE[0], TIMELINE[0]])])


def test_any_single_fault_in_a_long_history_is_found() -> None:
    """Dropping, repeating or swapping at any place of two hundred is never missed."""
    timeline = [event(index) for index in range(200)]
    chance = random.Random(1)
    for _ in range(100):
        place = chance.randrange(199)
        for fault in (
            [*timeline[:place], *timeline[place + 1 :]],
            [*timeline[: place + 1], *timeline[place:]],
            [*timeline[:place], timeline[place + 1], timeline[place], *timeline[place + 2 :]],
        ):
            assert kinds(replace(BOB, seen=fault), timeline)


def ended(channel_id: str, event_id: str, state: DeliveryState = DeliveryState.SENT) -> Delivery:
    """Build a row of the ledger."""
    return Delivery.planned(event(0), channel_id).replace(
        id=f"{event_id}:{channel_id}", event_id=event_id, state=state
    )


LEDGER = [ended("sms", "a"), ended("sms", "b"), ended("log", "a"), ended("sms", "c", DeliveryState.SKIPPED)]
SENT = [Sending("sms", "a", "a:sms"), Sending("sms", "b", "b:sms"), Sending("sms", "a", "a:sms")]


def test_a_clean_ledger_passes() -> None:
    """Repetitions under the same key, and channels that no one watches, are all in order."""
    assert ledger_violations(LEDGER, SENT, carriers=["sms"]) == []


def test_the_outcome_of_the_worker_that_reclaimed_is_no_late_one() -> None:
    """Though another one had sent the message before."""
    row = ended("sms", "a").replace(provider_message_id="second", claims=1)
    sent = [Sending("sms", "a", "a:sms", "first", 0), Sending("sms", "a", "a:sms", "second", 1)]
    assert ledger_violations([row], sent, carriers=["sms"]) == []


@pytest.mark.parametrize(
    ("rows", "sendings", "kind"),
    [
        ([*LEDGER, ended("sms", "d", DeliveryState.PENDING)], SENT, "open"),
        (LEDGER[1:], SENT, "unplanned"),
        (LEDGER, SENT[1:2], "unsent"),
        (LEDGER, [*SENT, Sending("sms", "a", "another")], "key_changed"),
        ([*LEDGER, ended("sms", "d")], [*SENT, Sending("sms", "d", "a:sms")], "key_shared"),
        (
            [*LEDGER, ended("sms", "d").replace(provider_message_id="first", claims=1)],
            [*SENT, Sending("sms", "d", "d:sms", "first", 0), Sending("sms", "d", "d:sms", "second", 1)],
            "late_outcome",
        ),
    ],
)
def test_each_fault_of_a_ledger_is_found(rows: list[Delivery], sendings: list[Sending], kind: str) -> None:
    """By its kind, and nothing else is complained of."""
    assert [violation.kind for violation in ledger_violations(rows, sendings, carriers=["sms"])] == [kind]
