"""A search uses the file's index of words, and reads no more than it returns."""

from __future__ import annotations

import pytest

from roomkit.models.room import Room
from roomkit_plugins.sqlite import SQLiteStore
from roomkit_plugins.testing.contracts.base import event

from .conftest import Steps, say


@pytest.mark.parametrize("any_word", [False, True])
@pytest.mark.parametrize("word", ["common", "rare"])
async def test_a_search_does_not_read_other_rooms(
    store: SQLiteStore, room: Room, word: str, any_word: bool
) -> None:
    """A word of many rooms is found in a small one without walking through the others."""
    steps = await Steps().watch(store)
    (mine,) = await say(store, event(room.id, "common rare"))
    crowd = await store.create_room(Room())
    for _ in range(20):
        await say(store, *(event(crowd.id, "common") for _ in range(100)))
    steps.since_last()
    assert await store.search_events(room.id, word, any_word=any_word) == [mine]
    assert steps.since_last() < 1000  # of which most are the index's own, however large it is
