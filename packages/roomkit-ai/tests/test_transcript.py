"""Messages that an agent keeps of a room are those that it would make of the events now."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.models.content import MediaContent, TextContent
from roomkit.models.enums import ChannelCategory, EventStatus
from roomkit.models.event import Amendment, Generation, Heard
from roomkit_plugins.ai import AIChannel
from roomkit_plugins.ai import transcript as transcript_module
from roomkit_plugins.ai.transcript import Transcript
from roomkit_plugins.testing.contracts.strategies import examples

WINDOW = 6


def say(stage, text, by, channel="ws"):
    stage.event(text, by=by, channel=channel)


def edit(stage, place, **changes):
    """Replace an event of the timeline, as a store does."""
    if stage.events:
        at = place % len(stage.events)
        stage.events[at] = stage.events[at].replace(**changes)


def answer_as_heard(stage, place, chars):
    heard = (Heard(channel_id="ws", chars=chars),)
    edit(stage, place, generation=Generation(heard=heard), content=TextContent(body="Good morning."))


CHANGES = {
    "words of a person": lambda stage, n: say(stage, f"words {n}", ["alice", "bob", None][n % 3]),
    "words of the agent": lambda stage, n: say(stage, f"answer {n}", None, "agent"),
    "words of another agent": lambda stage, n: say(stage, "beep", None, "other"),
    "blanks": lambda stage, n: say(stage, "  ", "alice"),
    "a picture": lambda stage, n: stage.event(
        MediaContent(url="https://a.test/b.png", mime_type="image/png")
    ),
    "hidden words": lambda stage, n: stage.event("secret", visibility="transport"),
    "an edit": lambda stage, n: edit(stage, n, content=TextContent(body=f"edited {n}")),
    "a deletion": lambda stage, n: edit(stage, n, amendment=Amendment(deleted_at="2026-01-01T00:00:00Z")),
    "a verdict": lambda stage, n: edit(stage, n, status=EventStatus.BLOCKED),
    "a hearing": lambda stage, n: answer_as_heard(stage, n, n % 14),
    "a removal": lambda stage, n: stage.events and stage.events.pop(n % len(stage.events)),
    "a name": lambda stage, n: stage.person("bob", display=["Bob", "Robert", None][n % 3]),
    "a name of who asks": lambda stage, n: stage.person("alice", display=["Alice", None][n % 2]),
    "a channel": lambda stage, n: stage.others.append(stage.socket(f"ws{n}")),
    "a channel of an agent": lambda stage, n: stage.others.append(
        stage.socket("ws").replace(category=ChannelCategory.INTELLIGENCE)
    ),
}
MOVES = st.lists(st.tuples(st.sampled_from(list(CHANGES)), st.integers(0, 11)), max_size=14)


async def asked(stage, agent, provider):
    """Return the messages of the request for one more question, which leaves no trace in the room."""
    await stage.ask(agent, "Now?")
    stage.events.pop()
    return provider.calls[-1].messages


async def compare(stage, moves):
    provider = stage.provider(vision=True)
    old = stage.agent(provider, max_context_events=WINDOW)
    for name, number in moves:
        CHANGES[name](stage, number)
        new = stage.agent(provider, max_context_events=WINDOW)
        assert await asked(stage, old, provider) == await asked(stage, new, provider)


@pytest.mark.parametrize(
    "moves",
    [
        ["words of a person", "words of a person", "a name"],
        ["a name of who asks", "blanks", "words of a person", "words of a person"],
        ["words of a person", "a channel of an agent"],
        ["words of a person", "words of the agent", "a hearing"],
        ["words of a person", "words of a person", "an edit"],
        ["words of a person", "words of a person", "a removal"],
    ],
    ids=lambda moves: moves[-1],
)
async def test_an_agent_at_work_reads_what_changed(new_stage, moves):
    """Names, rights and words of events before are not those of the turn before."""
    stage = new_stage()
    provider = stage.provider()
    agent = stage.agent(provider)
    for number, name in enumerate(moves[:-1]):
        CHANGES[name](stage, number + 1)
        before = await asked(stage, agent, provider)
    CHANGES[moves[-1]](stage, 1)
    now = await asked(stage, agent, provider)
    assert now != before
    assert now == await asked(stage, stage.agent(provider), provider)


@given(MOVES)
@examples(40)
def test_an_agent_at_work_asks_as_one_that_is_new(new_stage, moves):
    """Whatever happened in the room since the turn before."""
    asyncio.run(compare(new_stage(), moves))


async def test_a_turn_makes_messages_of_new_events_only(stage, monkeypatch):
    """Of the question and the answer since; the window may move over the rest."""
    made: list[str] = []
    make = Transcript._message

    def counting(transcript, event):
        made.append(event.content.body)
        return make(transcript, event)

    monkeypatch.setattr(Transcript, "_message", counting)
    provider = stage.provider()
    agent = stage.agent(provider, max_context_events=WINDOW)
    for number in range(10):
        await stage.ask(agent, f"question {number}")
        stage.event(f"answer {number}", channel="agent")
    assert made == [
        "question 0",
        *(text for number in range(9) for text in (f"answer {number}", f"question {number + 1}")),
    ]
    assert len(provider.calls[-1].messages) == WINDOW + 1


@pytest.fixture
def kept_rooms(monkeypatch):
    monkeypatch.setattr(transcript_module, "MAX_TRANSCRIPTS", 3)
    return 3


async def test_messages_are_kept_for_the_rooms_that_spoke_last(kept_rooms, new_stage):
    """The model hears of a room that was omitted as before."""
    first = new_stage("r0")
    provider = first.provider()
    agent = AIChannel("agent", provider)
    stages = [first, *(new_stage(f"r{number}") for number in range(1, 6))]
    for stage in stages:
        stage.event("Hi")
        await stage.ask(agent, "Now?")
    assert list(agent._transcripts.rooms) == ["r3", "r4", "r5"]
    await first.ask(agent, "And now?")
    assert list(agent._transcripts.rooms) == ["r4", "r5", "r0"]
    assert [message.content for message in provider.calls[-1].messages] == ["Hi\nNow?\nAnd now?"]
