"""The contract of a whole kit on a store: random trees of commands, judged by a model."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roomkit.abc.channel import Channel
from roomkit.abc.store import ConversationStore
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.models.base import new_id
from roomkit.models.channel import RetryPolicy
from roomkit.plugins import PluginManager
from roomkit_plugins.testing.contracts.base import PATIENCE
from roomkit_plugins.testing.contracts.store.base import StoreSuite
from roomkit_plugins.testing.history import Sending
from roomkit_plugins.testing.mocks.channels import RecordingChannel
from roomkit_plugins.testing.trees import (
    CommandOutcome,
    Ghost,
    Player,
    Tree,
    TreeAgent,
    TreeCommand,
    grow,
    judge,
    play,
    settle,
    watch,
)
from roomkit_plugins.testing.trees.commands import CARRIER, TALKERS

if TYPE_CHECKING:
    from roomkit import RoomKit

__all__ = ["TreeStage", "TreesContract", "kits_on"]


class TreeStage:
    """Kits on one store, on which one tree after another is played, each in rooms of its own."""

    def __init__(self, store: ConversationStore, patience: float = PATIENCE) -> None:
        self.store = store
        self.kits: list[RoomKit] = []  # bound: the workers of a test
        self._players: list[Player] = []  # bound: the kits
        self._patience = patience
        self._reported: dict[str, CommandOutcome] = {}  # bound: one tree
        self._sendings: MutableMapping[str, list[Sending]] = {}  # bound: one tree

    def add(self, kit: RoomKit, carrier: Channel, recipient: Mapping[str, Any]) -> None:
        """Furnish a kit with the channels of a tree, and have it take its share of the branches."""
        for name in TALKERS:
            kit.register_channel(RecordingChannel(name, streaming=True))
        agent = TreeAgent(streaming=len(self.kits) % 2 == 1)  # the other worker's answers stream
        kit.register_channel(watch(carrier, self._sendings))
        kit.register_channel(agent)
        agent.player = Player(kit, self._report, recipient)
        self.kits.append(kit)
        self._players.append(agent.player)

    async def check(self, tree: Tree) -> None:
        """Play a tree, and raise AssertionError with all that is wrong then."""
        self._reported.clear()
        self._sendings.clear()
        ghosts: list[Ghost] = []  # bound: one

        async def haunt() -> None:
            if tree.haunted:
                ghosts.append(await Ghost.holding(self.store, tree.room_ids[0]))

        story = await play(tree, self._perform, self._reported, self._sendings, haunt)
        await settle(self.store, tree.room_ids, self._patience)  # open deliveries are in the verdict
        for ghost in ghosts:
            await ghost.come_back()
        found = await judge(self.store, story)
        if found:
            raise AssertionError(f"{len(found)} violations:\n" + "\n".join(map(str, found)))
        for room_id in tree.room_ids:
            await self.store.delete_room(room_id)

    async def _perform(self, place: int, command: TreeCommand) -> CommandOutcome:
        return await self._players[place % len(self._players)].perform(command)

    def _report(self, outcome: CommandOutcome) -> None:
        self._reported[outcome.label] = outcome


class TreesContract(StoreSuite):
    """Whatever is done to rooms at once, from outside and from inside, a kit keeps its word.

    Two kits are on the store, as two workers, where there is a `sibling` or the store can be shared as it
    is. For a channel: give it as the fixture `carrier`, with `recipient`, and as `factory` the class
    `SharedStore`. A tree that fails is shrunk, and shown as the arguments of `check`.
    """

    @property
    def trees(self) -> int:
        """How many trees are played; `ROOMKIT_TREES` sets another number."""
        return int(os.environ.get("ROOMKIT_TREES", "12"))

    @property
    def recipient(self) -> Mapping[str, Any]:
        """What the metadata of the carrier's binding say: the recipient's address, for most channels."""
        return {}

    @pytest.fixture
    def carrier(self) -> Callable[[str], Channel]:
        """Return a function from an id to the transport under test."""
        return RecordingChannel

    @pytest.fixture
    async def stage(
        self, store: ConversationStore, other: ConversationStore, carrier: Callable[[str], Channel]
    ) -> AsyncIterator[TreeStage]:
        """Return kits on the store."""
        stage = TreeStage(store)
        for kit in kits_on([store] if other is store and store.is_process_local else [store, other]):
            stage.add(kit, carrier(CARRIER), self.recipient)
            await kit.start()
        yield stage
        for kit in stage.kits:
            await kit.close()

    async def test_any_tree_of_commands_keeps_what_is_promised(self, stage: TreeStage) -> None:
        """Hypothesis grows trees, and shrinks the one that does not."""
        loop = asyncio.get_running_loop()

        @settings(
            max_examples=self.trees,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(_branches(), st.sampled_from([False] * 9 + [True]))
        def check(branches: tuple[tuple[TreeCommand, ...], ...], haunted: bool) -> None:
            tree = Tree.named(new_id(), branches, haunted=haunted and len(stage.kits) > 1)
            asyncio.run_coroutine_threadsafe(stage.check(tree), loop).result()

        await asyncio.to_thread(check)


@st.composite
def _branches(draw: st.DrawFn) -> tuple[tuple[TreeCommand, ...], ...]:
    def choose[T](options: Sequence[T]) -> T:
        return draw(st.sampled_from(options))

    return grow(choose)


def kits_on(stores: Sequence[ConversationStore]) -> list[RoomKit]:
    """Return kits on stores that share their data: two of them are two workers."""
    from roomkit import RoomKit

    plugins = PluginManager(entry_points=())
    plugins.scan()
    parts: dict[str, Any] = {}
    if stores[0].make_lock_manager() is None:
        parts = {
            "lock_manager": InMemoryLockManager(),
            "realtime": InMemoryRealtime(),
            "single_process": True,
        }
    quick = RetryPolicy(max_retries=2, base_delay_seconds=0.001)
    return [
        RoomKit(store, plugins=plugins, lease_seconds=3.0, retry_policy=quick, **parts) for store in stores
    ]
