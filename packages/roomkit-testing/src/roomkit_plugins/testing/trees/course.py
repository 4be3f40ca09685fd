"""Plays a tree: its branches at the same time; records each command's result in the order of the clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from roomkit.abc.store import ConversationStore
from roomkit.kernel.flow.timers import AFTER_BROADCAST
from roomkit.models.enums import DeliveryState
from roomkit_plugins.testing.history import Sending
from roomkit_plugins.testing.trees.commands import CommandOutcome, Tree, TreeCommand

__all__ = ["CommandRun", "Perform", "Story", "play", "settle"]

type Perform = Callable[[int, TreeCommand], Awaitable[CommandOutcome | None]]
"""Runs a command of a branch, on any kit; None when its result is unknown."""

_LOOK_AGAIN = 0.005


@dataclass(slots=True)
class CommandRun:
    """One command, when it was begun and when it had ended; None for one without a known result."""

    command: TreeCommand
    started: int
    ended: int | None = None
    outcome: CommandOutcome | None = None


@dataclass(slots=True)
class Story:
    """A played tree: its attempts, the reports from inside, and the sends of its channels."""

    tree: Tree
    attempts: list[CommandRun] = field(default_factory=list)
    reported: Mapping[str, CommandOutcome] = field(default_factory=dict)
    sendings: Mapping[str, Sequence[Sending]] = field(default_factory=dict)


async def play(
    tree: Tree,
    perform: Perform,
    reported: MutableMapping[str, CommandOutcome],
    sendings: Mapping[str, Sequence[Sending]],
    opened: Callable[[], Awaitable[None]] | None = None,
) -> Story:
    """Open the rooms of a tree, then run its branches; return when each command has ended.

    `opened` is called between the two.
    """
    story, clock = Story(tree, reported=reported, sendings=sendings), count()

    async def run(place: int, branch: Sequence[TreeCommand]) -> None:
        for command in branch:
            attempt = CommandRun(command, next(clock))
            story.attempts.append(attempt)
            attempt.outcome = await perform(place, command)
            attempt.ended = None if attempt.outcome is None else next(clock)

    for command in tree.opening:
        await perform(0, command)
    if opened is not None:
        await opened()
    async with asyncio.TaskGroup() as branches:
        for place, branch in enumerate(tree.branches):
            branches.create_task(run(place, branch), name=f"branch {place} of {tree.name}")
    return story


async def settle(store: ConversationStore, room_ids: Collection[str], patience: float) -> bool:
    """Wait until no delivery and no observer of the rooms is left to do; False when they are not by then."""
    try:
        async with asyncio.timeout(patience):
            while await _is_busy(store, room_ids):  # noqa: ASYNC110  # other processes, too
                await asyncio.sleep(_LOOK_AGAIN)
    except TimeoutError:
        return False
    return True


async def _is_busy(store: ConversationStore, room_ids: Collection[str]) -> bool:
    for room_id in room_ids:
        if await store.list_deliveries(room_id, state=DeliveryState.PENDING, limit=1):
            return True
        if any(timer.kind == AFTER_BROADCAST for timer in await store.list_timers(room_id)):
            return True
    return False
