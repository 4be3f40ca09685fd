"""The history before the current event: filtered once, and again after a memory of another author."""

from __future__ import annotations

from dataclasses import replace

import pytest

from roomkit.abc.memory import MemoryProvider, MemoryResult
from roomkit.models import visibility
from roomkit.models.enums import EventStatus
from roomkit.models.event import Amendment, RoomEvent
from roomkit_plugins.ai import AIChannel, BudgetAwareMemory, CompactingMemory, SlidingWindowMemory
from roomkit_plugins.ai import history as history_module
from roomkit_plugins.testing import MockAIProvider


class Foreign(MemoryProvider):
    """Another's memory over ours: `change` makes what it returns of what ours found."""

    def __init__(self, change, inner=None):
        self.inner = inner or SlidingWindowMemory(50)
        self.change = change

    async def retrieve(self, room_id, current_event, context, *, channel_id=None):
        found = await self.inner.retrieve(room_id, current_event, context, channel_id=channel_id)
        return self.change(found)


class Kept(MemoryProvider):
    """A foreign memory that returns the events of its first turn to every agent, for ever."""

    def __init__(self):
        self.found = None

    async def retrieve(self, room_id, current_event, context, *, channel_id=None):
        if self.found is None:
            inner = SlidingWindowMemory(50)
            self.found = await inner.retrieve(room_id, current_event, context, channel_id=channel_id)
        return self.found


HIDDEN = [
    {"visibility": "none"},
    {"visibility": "transport"},
    {"status": EventStatus.BLOCKED},
    {"amendment": Amendment(deleted_at="2026-01-01T00:00:00Z")},
]
CHANGES = {
    "a new list": lambda found, more: MemoryResult(found.messages, [*found.events, *more]),
    "a new tuple": lambda found, more: MemoryResult(found.messages, (*found.events, *more)),
    "a sum": lambda found, more: replace(found, events=found.events + tuple(more)),
    "a sum after a slice": lambda found, more: replace(found, events=found.events[:1] + tuple(more)),
    "a generator's": lambda found, more: replace(found, events=tuple(e for e in (*more, *found.events))),
    "twice": lambda found, more: replace(found, events=(*found.events, *more, *found.events, *more)),
}
WRAPPED = {
    "alone": lambda memory: memory,
    "within a budget": lambda memory: BudgetAwareMemory(memory, 100_000),
    "compacted": lambda memory: CompactingMemory(memory, MockAIProvider(["never asked"]), 100_000),
}


def lines(provider):
    """Return what the model was asked last, line by line."""
    return [message.content for message in provider.calls[-1].messages]


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("wrap", WRAPPED)
async def test_what_a_foreign_memory_adds_is_filtered(stage, wrap, change, hidden):
    """However it puts it beside what the agent may see, and whatever of ours is around it."""
    stage.event("Hi")
    secret = stage.event("the secret", **hidden)
    provider = stage.provider()
    memory = WRAPPED[wrap](Foreign(lambda found: CHANGES[change](found, [secret])))
    await stage.ask(stage.agent(provider, memory=memory), "Now?")
    assert lines(provider) == ["Hi\nNow?"]


async def test_a_budget_is_not_used_up_by_hidden_events(stage):
    """A foreign memory's hidden events cost those that are shown nothing."""
    secrets = [stage.event("the secret " * 50, visibility="none") for _ in range(10)]
    shown = [stage.event(f"m{number}") for number in range(10)]
    foreign = Foreign(lambda found: MemoryResult(events=[*shown, *secrets]))
    provider = stage.provider()
    memory = BudgetAwareMemory(foreign, 400, min_events=0)
    await stage.ask(stage.agent(provider, memory=memory), "Now?")
    assert lines(provider) == ["\n".join([*(f"m{number}" for number in range(10)), "Now?"])]


async def test_no_hidden_event_is_summarised_or_counted(stage):
    """The summary's model is a model too, and its failure says how many messages were omitted."""
    secrets = [stage.event("the secret", visibility="none") for _ in range(5)]
    shown = [stage.event(f"m{number} " + "x" * 400) for number in range(10)]
    foreign = Foreign(lambda found: MemoryResult(events=[*secrets, *shown]))
    summing = MockAIProvider(["In short."])
    provider = stage.provider()
    await stage.ask(stage.agent(provider, memory=CompactingMemory(foreign, summing, 800)), "Now?")
    asked = summing.calls[0].messages[0].content
    assert "the secret" not in asked
    assert "m0" in asked


async def test_what_another_agent_was_shown_is_filtered_for_this_one(stage):
    """A memory that keeps what it found for one reader gives it to a reader with fewer rights."""
    stage.event("for the first", visibility="agent")
    stage.event("Hi")
    memory = Kept()
    first, second = stage.provider(), stage.provider()
    await stage.ask(stage.agent(first, memory=memory), "Now?")
    binding = stage.binding.replace(channel_id="second")
    stage.binding = binding
    other = AIChannel("second", second, memory=memory)
    other.bind(stage.services)
    await stage.ask(other, "And now?")
    assert lines(first) == ["for the first\nHi\nNow?"]
    assert lines(second) == ["Hi\nAnd now?"]


async def test_the_current_event_is_not_its_own_history_however_it_comes_back(stage):
    """A memory that keeps what it found has it among the events of a later turn that asks again."""
    stage.event("Hi")
    later = stage.event("Later.")
    memory = Kept()
    provider = stage.provider()
    agent = stage.agent(provider, memory=memory)
    await stage.ask(agent, "Now?")
    await stage.ask(agent, later)
    assert lines(provider) == ["Hi\nLater."]


@pytest.mark.parametrize(
    "memory",
    [
        SlidingWindowMemory(50),
        BudgetAwareMemory(SlidingWindowMemory(50), 100_000),
        CompactingMemory(SlidingWindowMemory(50), MockAIProvider(["never asked"]), 100_000),
    ],
    ids=lambda memory: type(memory).__name__,
)
async def test_an_event_of_the_history_is_judged_once(stage, memory, monkeypatch):
    """By the context that shows it, and by no memory of ours after that."""
    asked: list[str] = []

    def counting(filter_, place):
        def judged(*arguments):
            asked.append(f"{place}: {next(one.id for one in arguments if isinstance(one, RoomEvent))}")
            return filter_(*arguments)

        return judged

    monkeypatch.setattr("roomkit.models.context.sees", counting(visibility.sees, "context"))
    for name in ("sees", "presentable"):
        monkeypatch.setattr(history_module, name, counting(getattr(history_module, name), "memory"))
    said = [stage.event(f"m{number}") for number in range(20)]
    current = stage.event("Now?")
    provider = stage.provider()
    await stage.ask(stage.agent(provider, memory=memory), current)
    assert sorted(asked) == sorted(f"context: {event.id}" for event in [*said, current])
    assert lines(provider) == ["\n".join([*(f"m{number}" for number in range(20)), "Now?"])]


@pytest.mark.parametrize("other", ["current", "reader"])
async def test_a_history_is_for_one_event_and_one_reader(stage, other):
    """With either of them different it is filtered again; with both the same it is returned as it is."""
    stage.event("for the agent", visibility="agent")
    stage.event("Hi")
    later, current = stage.event("Later."), stage.event("Now?")
    view = stage.context()
    mine = history_module.window_of(await view.history(9), current, view)
    assert history_module.history_of(mine, current, stage.binding.replace()) is mine
    if other == "current":
        again = history_module.history_of(mine, later, stage.binding)
        assert [event.content.body for event in again] == ["for the agent", "Hi"]
    else:
        again = history_module.history_of(mine, current, stage.binding.replace(channel_id="second"))
        assert [event.content.body for event in again] == ["Hi", "Later."]


async def test_a_slice_of_a_history_is_one_and_an_item_is_an_event(stage):
    """So that a memory of ours may shorten it."""
    stage.event("Hi")
    view, current = stage.context(), stage.event("Now?")
    whole = history_module.window_of(await view.history(9), current, view)
    assert whole[:1].is_for(current, stage.binding)
    assert whole[0] is stage.events[0]
