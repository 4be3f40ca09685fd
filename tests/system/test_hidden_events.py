"""What an agent may not see changes no byte of what its model is asked, on every store, with every memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit import (
    AIChannel,
    BudgetAwareMemory,
    CompactingMemory,
    MockAIProvider,
    RetrievalMemory,
    RoomKit,
    SlidingWindowMemory,
    SQLiteStore,
)
from roomkit.abc import ConversationStore, MemoryProvider
from roomkit.abc.memory import MemoryResult
from roomkit.memory.store import InMemoryStore
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.testing import RecordingChannel
from roomkit_plugins.postgres import PostgresStore
from roomkit_plugins.testing.contracts.strategies import examples

VISIBLE = 75
"""More than a context shows, so that every window but the smallest has to reach back."""

type Hidden = tuple[int, str]
"""Before which visible message a hidden one is said, and by whom."""

RUNS = st.lists(
    st.tuples(st.integers(0, VISIBLE), st.sampled_from(["ann", "bob", "mallory"]), st.integers(1, 60)),
    min_size=1,
    max_size=3,
).map(lambda runs: [(place, who) for place, who, times in runs for _ in range(times)])


class RecentMemory(MemoryProvider):
    """What another's memory may do: take what the context shows."""

    async def retrieve(self, room_id, current_event, context, *, channel_id=None):
        return MemoryResult(events=[event for event in context.recent_events if event.id != current_event.id])


def memories() -> dict[str, MemoryProvider]:
    return {
        "few": SlidingWindowMemory(3),
        "default": SlidingWindowMemory(50),
        "large": SlidingWindowMemory(200),
        "budget": BudgetAwareMemory(SlidingWindowMemory(70), 900),
        "compact": CompactingMemory(SlidingWindowMemory(70), MockAIProvider(["In short."]), 900),
        "recent": RecentMemory(),
        "retrieval": RetrievalMemory(SlidingWindowMemory(3)),
    }


async def asked(store: ConversationStore, room_id: str, hidden: Sequence[Hidden]) -> dict[str, object]:
    """Return what each agent's model is asked in a room with these hidden messages."""
    models = {name: MockAIProvider(["Fine."]) for name in memories()}
    async with RoomKit(store, single_process=True) as kit:
        kit.register_channel(RecordingChannel("web"))
        kit.register_channel(RecordingChannel("staff"))
        await kit.create_room(room_id)
        for channel_id in ("web", "staff"):
            await kit.attach_channel(room_id, channel_id)
        for name, memory in memories().items():
            kit.register_channel(AIChannel(name, models[name], memory=memory))
            await kit.attach_channel(room_id, name, visibility="transport")

        async def say(channel_id: str, who: str, text: str, **how: object) -> None:
            message = InboundMessage(
                channel_id=channel_id, sender_id=who, content=TextContent(body=text), **how
            )
            assert not (await kit.process_inbound(message, room_id=room_id)).blocked

        for number in range(VISIBLE + 1):
            for place, who in hidden:
                if place == number:
                    await say("staff", who, "between us", visibility="staff", addressed_to=())
            if number < VISIBLE:
                text = "m9, between" if number == 9 else f"m{number}"
                await say("web", "ann" if number % 3 else "bob", text, addressed_to=())
        await say("web", "ann", "What was between?")
    return {name: (model.calls[0].system_prompt, model.calls[0].messages) for name, model in models.items()}


@examples(4)
@given(hidden=RUNS)
async def test_hidden_events_change_nothing(hidden: Sequence[Hidden]) -> None:
    """At any position, in any number, and by any author."""
    expected = await asked(InMemoryStore(), "plain", [])
    assert await asked(InMemoryStore(), "hidden", hidden) == expected


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ConversationStore:
    """Return a store of each durable kind."""
    if request.param == "postgres":
        return PostgresStore(request.getfixturevalue("postgres_store_dsn"))
    return SQLiteStore(tmp_path / "rooms.db")


async def test_every_store_shows_the_same(store: ConversationStore) -> None:
    """With as many hidden events as fill the window, the last words before the question."""
    hidden = [(3, "bob"), *[(VISIBLE, "mallory")] * 60]
    assert await asked(store, "r", hidden) == await asked(InMemoryStore(), "r", [])


async def test_a_window_is_as_large_as_it_says() -> None:
    """And the default one as ever: 50 before the message that is answered."""
    found = await asked(InMemoryStore(), "r", [])
    words = {name: messages[0].content.count("m") for name, (_, messages) in found.items()}
    assert (words["few"], words["default"], words["large"]) == (3, 50, VISIBLE)


async def test_the_words_of_one_speaker_are_not_labelled_for_a_hidden_one() -> None:
    """A person whose only message is hidden gives no names to the others."""

    async def first_message(visibility: str | None) -> object:
        model = MockAIProvider(["Fine."])
        async with RoomKit() as kit:
            kit.register_channel(RecordingChannel("web"))
            kit.register_channel(AIChannel("agent", model))
            await kit.create_room("r")
            await kit.attach_channel("r", "web")
            await kit.attach_channel("r", "agent")
            for who, text in (("mallory", "psst"), ("ann", "Hello")):
                if who == "ann" or visibility is not None:
                    how = {"visibility": visibility, "addressed_to": ()} if who == "mallory" else {}
                    message = InboundMessage(
                        channel_id="web", sender_id=who, content=TextContent(body=text), **how
                    )
                    await kit.process_inbound(message, room_id="r")
        return model.calls[0].messages

    assert await first_message("web") == await first_message(None)


class CountingStore(InMemoryStore):
    """Counts the pages of a timeline that are read."""

    pages = 0

    async def list_events(self, *args, **kwargs):
        self.pages += 1
        return await super().list_events(*args, **kwargs)


@pytest.mark.parametrize(
    ("window", "hidden", "pages"), [(50, 0, 0), (10, 0, 0), (50, 1, 1), (10, 1, 1), (70, 0, 1)]
)
async def test_the_store_is_read_only_when_the_window_does_not_suffice(
    window: int, hidden: int, pages: int
) -> None:
    """An ordinary turn reads nothing more, in a room of any length."""
    store, model = CountingStore(), MockAIProvider(["Fine."])
    async with RoomKit(store) as kit:
        kit.register_channel(RecordingChannel("web"))
        kit.register_channel(AIChannel("agent", model, max_context_events=window))
        await kit.create_room("r")
        await kit.attach_channel("r", "web")
        await kit.attach_channel("r", "agent")
        for number in range(VISIBLE + hidden):
            how = {"visibility": "web"} if number >= VISIBLE else {}
            message = InboundMessage(
                channel_id="web", sender_id="ann", content=TextContent(body="m"), addressed_to=(), **how
            )
            await kit.process_inbound(message, room_id="r")
        store.pages = 0
        message = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body="Well?"))
        await kit.process_inbound(message, room_id="r")
    assert len(model.calls) == 1
    assert store.pages == pages
