"""A search reads back from the newest end, in pages, through a room of any length."""

from __future__ import annotations

from roomkit.models.room import Room
from roomkit_plugins.postgres import PostgresStore
from roomkit_plugins.testing.contracts.base import event

from .conftest import send


async def test_a_search_goes_on_until_it_has_found_enough(store: PostgresStore, room: Room) -> None:
    mine = (await send(store, event(room.id, "rare"))).events[0]
    await send(store, *(event(room.id, "common") for _ in range(450)))
    assert await store.search_events(room.id, "rare") == [mine]
    assert len(await store.search_events(room.id, "common", limit=300)) == 300
    assert await store.search_events(room.id, "rare common", any_word=True, limit=500) == [
        *await store.search_events(room.id, "common", limit=500),
        mine,
    ]
