"""A house whose workers play random trees of commands, while they are killed."""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Mapping
from functools import partial
from itertools import count
from typing import Any, override

from roomkit_plugins.testing.history import Sending
from roomkit_plugins.testing.trees import CommandOutcome, Story, Tree, TreeCommand, grow, judge, play
from roomkit_plugins.testing.trees.commands import KEYED
from tests.workers import program
from tests.workers.house import House, Worker

__all__ = ["Grove"]

_REPEATED = KEYED | {"open"}
_PATIENCE = 60.0


class Grove(House):
    """Each of its gardeners plays one tree after another; a command goes to any worker.

    A command with a key is repeated to another worker until it is answered, as a vendor does; the
    outcome of another command that died with its worker is unknown to the verdict.
    """

    def __init__(self, store: Mapping[str, Any], *, gardeners: int, lease_seconds: float, seed: int) -> None:
        super().__init__(store, rooms=0, lease_seconds=lease_seconds, seed=seed)
        self.plays_trees = True
        self.stories: list[Story] = []  # bound: the life of a test
        self._gardeners = gardeners
        self._reported: dict[str, CommandOutcome] = {}  # bound: the commands of a test
        self._sendings: dict[str, list[Sending]] = defaultdict(list)  # bound: the rooms of a test

    @override
    def _talks(self) -> Iterable[Coroutine[Any, Any, None]]:
        return [self._tend(number) for number in range(self._gardeners)]

    async def _tend(self, gardener: int) -> None:
        chance = random.Random(self.chance.getrandbits(32))
        for number in count():
            if self._enough.is_set():
                return
            tree = Tree.named(f"t{gardener}-{number}", grow(chance.choice, length=8))
            self.rooms += tree.room_ids
            self.stories.append(await play(tree, self._perform, self._reported, self._sendings))

    async def _perform(self, _: int, command: TreeCommand) -> CommandOutcome | None:
        if command.kind in _REPEATED:
            await self._wait(partial(self._do, command), _PATIENCE)
        elif not await self._do(command):
            return None
        self.acknowledged[command.room_id()].append(command.label)
        return self._reported[command.label]

    async def _do(self, command: TreeCommand) -> bool:
        """Have a worker carry out a command; return whether it reported the outcome."""
        able = [worker for worker in self.workers if not worker.paused and not worker.lost.is_set()]
        if not able:
            return False
        worker = self.chance.choice(able)
        assert worker.writer is not None
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        worker.waiting[command.label] = answer
        worker.writer.write(json.dumps({"do": command.as_json()}).encode() + b"\n")
        try:
            async with asyncio.timeout(self.lease_seconds * 8):
                return await answer
        except TimeoutError:
            return False
        finally:
            worker.waiting.pop(command.label, None)

    @override
    def _heard(self, worker: Worker, message: Mapping[str, Any]) -> None:
        label = message["did"]
        self._reported[label] = CommandOutcome(**message["outcome"])
        answer = worker.waiting.pop(label, None)
        if answer is not None and not answer.done():
            answer.set_result(True)

    @override
    def _send(self, writer: asyncio.StreamWriter, message: Mapping[str, Any]) -> None:
        sending = Sending(message["channel"], message["event"], message["send"])
        self._sendings[message["room"]].append(sending)
        super()._send(writer, message)

    @override
    async def judge(self) -> str:
        """Raise AssertionError with all that is wrong; return what there was, in one line."""
        store, parts = program.build(self.store)
        try:
            for story in self.stories:
                found = await judge(store, story, repeats=True)
                assert not found, f"{story.tree}:\n" + "\n".join(map(str, found))
        finally:
            await store.close()
            for part in parts.values():
                if hasattr(part, "close"):
                    await part.close()
        sent = [each.key for room in self._sendings.values() for each in room]
        given = sum(len(story.attempts) for story in self.stories)
        unknown = sum(each.outcome is None for story in self.stories for each in story.attempts)
        return (
            f"{len(self.stories)} trees, {given} commands from outside and {len(self._reported)} outcomes in "
            f"all, {unknown} unknown, {len(sent)} deliveries, {len(sent) - len(set(sent))} of them repeated "
            "under their key"
        )
