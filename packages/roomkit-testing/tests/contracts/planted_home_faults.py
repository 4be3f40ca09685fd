"""Stores with one fault each, and the contract test that must find it.

Here: homes and followers.

Not collected: `test_planted_faults.py` runs it in a process of its own.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from planting import planted

from roomkit.abc.store import Commit, Committed, HomeRecord
from roomkit.memory.store import InMemoryStore
from roomkit_plugins.testing.contracts import ConversationStoreContract

pytestmark = pytest.mark.virtual_time  # a fault that hangs is found in no time

found_by = partial(planted, ConversationStoreContract)


# -- homes ------------------------------------------------------------------------------------------


@found_by("test_each_new_holder_gets_a_higher_token")
class CountsNoHolders(InMemoryStore):
    async def take_home(self, *args: Any, **options: Any) -> HomeRecord:
        return replace(await super().take_home(*args, **options), token=1)


@found_by("test_one_worker_has_a_home_until_it_leaves")
class GivesAHomeToEveryone(InMemoryStore):
    async def take_home(self, room_id: str | None, name: str, worker_id: str, **options: Any) -> HomeRecord:
        holder = await self.get_home(room_id, name)
        if holder is not None and holder.worker_id is not None:
            await self.leave_home(room_id, name, holder.worker_id)
        return await super().take_home(room_id, name, worker_id, **options)


@found_by("test_a_free_lane_goes_to_the_home_of_its_channel")
class DeliversWhereItCommits(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        self._homes.holder = lambda *_args, **_options: None  # type: ignore[method-assign]
        return await super().commit(commit)


@found_by("test_agents_are_placed_with_a_home_of_the_room")
class PlacesNoAgents(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        return await super().commit(replace(commit, agents=()))


@found_by("test_a_lane_is_yielded_to_the_holder_whole_and_in_order")
class YieldsNothing(InMemoryStore):
    async def yield_lane(self, room_id: str, channel_id: str, *_args: Any, **_options: Any) -> Any:
        return await self.get_home(room_id, channel_id)


@found_by("test_a_lane_of_a_lost_home_is_released_for_its_grace")
class GivesNoGrace(InMemoryStore):
    async def yield_lane(self, *args: Any, **options: Any) -> Any:
        return await super().yield_lane(*args, **{**options, "grace": 0.0})


# -- followers --------------------------------------------------------------------------------------


@found_by("test_a_follower_begins_after_the_index_it_names")
class SkipsAnEventForReaders(InMemoryStore):
    async def list_events(self, *args: Any, **options: Any) -> Any:
        events = await super().list_events(*args, **options)
        return events[1:] if options.get("reader") is not None else events


@found_by("test_the_loss_of_the_room_ends_a_follower[detached]")
class KeepsDetachedBindings(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        return await super().commit(replace(commit, unbind=()))
