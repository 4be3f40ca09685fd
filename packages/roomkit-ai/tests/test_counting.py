"""Tokens as the vendor counts them, for few requests; an estimate when it does not."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.content import MediaContent
from roomkit_plugins.ai import BudgetAwareMemory, CompactingMemory, SlidingWindowMemory
from roomkit_plugins.ai.counting import PAUSE, SECONDS
from roomkit_plugins.ai.tokens import of_event
from roomkit_plugins.testing import MockAIProvider

pytestmark = pytest.mark.virtual_time


class Counter(MockAIProvider):
    """Counts each character as one token, or fails, or never answers."""

    def __init__(self, failure=None):
        super().__init__(["A summary."])
        self.failure = failure
        self.asked = []

    async def count_tokens(self, context):
        self.asked.append([message.content for message in context.messages])
        if isinstance(self.failure, Exception):
            raise self.failure
        if self.failure == "hangs":
            await asyncio.Event().wait()
        return None if self.failure == "none" else sum(map(len, self.asked[-1]))


@pytest.fixture
def room(new_stage):
    return new_stage()


def budgeted(counter, tokens=1000):
    return BudgetAwareMemory(SlidingWindowMemory(), tokens, 0.0, min_events=0, counter=counter)


async def shown(memory, room):
    """Return how many events a memory shows before the newest."""
    found = await memory.retrieve("r1", room.events[-1], room.context(), channel_id="agent")
    return len(found.events)


def say(room, count, body="x" * 100):
    for _ in range(count):
        room.event(body, channel="agent" if len(room.events) % 2 else "ws")


async def test_the_vendor_counts(room):
    """Its count decides: by estimate, all of them would fit."""
    say(room, 21)
    assert sum(map(of_event, room.events)) < 1000
    assert await shown(budgeted(None), room) == 20
    assert await shown(budgeted(Counter()), room) == 9  # the current one is estimated


async def test_only_new_events_are_counted(room):
    """One request a turn for all new events together, and none without new ones."""
    counter = Counter()
    memory = budgeted(counter)
    say(room, 21)
    await shown(memory, room)
    say(room, 2)
    await shown(memory, room)
    await shown(memory, room)
    assert [len(asked) for asked in counter.asked] == [20, 2]


async def test_an_edited_event_is_counted_again(room):
    counter = Counter()
    memory = budgeted(counter)
    say(room, 21)
    await shown(memory, room)
    from roomkit.models.base import utcnow
    from roomkit.models.event import Amendment

    edited = Amendment(edited_at=utcnow())
    room.events[3] = room.events[3].model_copy(update={"amendment": edited})
    await shown(memory, room)
    assert [len(asked) for asked in counter.asked] == [20, 1]


async def test_nothing_is_asked_far_below_the_budget(room):
    counter = Counter()
    say(room, 11)
    assert await shown(budgeted(counter), room) == 10
    assert counter.asked == []


@pytest.mark.parametrize(
    "failure", [ProviderError("busy", error_code=ErrorCode.OVERLOADED), ZeroDivisionError("bug"), "hangs"]
)
async def test_a_counter_that_fails_leaves_an_estimate(room, caplog, failure):
    """It costs a turn no more than its time-out, and is not asked again for a while."""
    counter = Counter(failure)
    memory = budgeted(counter)
    say(room, 21)
    began = asyncio.get_running_loop().time()
    for _ in range(3):
        assert await shown(memory, room) == 20
    assert asyncio.get_running_loop().time() - began == (SECONDS if failure == "hangs" else 0)
    assert (memory.counter_failures, len(counter.asked)) == (1, 1)
    assert "counts no tokens" in caplog.text
    await asyncio.sleep(PAUSE)
    counter.failure = None
    assert await shown(memory, room) == 9
    assert memory.counter_failures == 1


async def test_a_provider_without_a_counter_is_asked_once(room):
    counter = Counter("none")
    memory = budgeted(counter)
    say(room, 21)
    for _ in range(3):
        assert await shown(memory, room) == 20
    assert (memory.counter_failures, len(counter.asked)) == (0, 1)


async def test_what_is_no_text_is_estimated(room):
    counter = Counter()
    room.event(MediaContent(url="https://x/p.png", mime_type="image/png"))
    say(room, 8)
    await shown(budgeted(counter, 1200), room)
    (asked,) = counter.asked
    assert len(asked) == 7


async def test_a_summary_is_made_when_the_vendor_counts_too_many(room):
    say(room, 21)
    plain = CompactingMemory(SlidingWindowMemory(), Counter(), 1000, safety_margin_ratio=0.0)
    counting = CompactingMemory(
        SlidingWindowMemory(), Counter(), 1000, safety_margin_ratio=0.0, counter=Counter()
    )
    assert await shown(plain, room) == 20
    assert await shown(counting, room) < 10
