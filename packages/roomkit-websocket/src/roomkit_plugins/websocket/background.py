"""What a channel sets going that no caller waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roomkit.abc.channel import Channel

__all__ = ["Background"]


class Background:
    """Runs tasks and reports events by the kit, once the channel is registered with one.

    Before that tasks are kept here, because the loop would not keep them alive, and reports go nowhere.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run `work`."""
        if (services := self._channel.services) is not None:
            services.tasks.spawn(work, name=name)
        else:
            self._keep(asyncio.Task(work))

    def supervise(self, task: asyncio.Task[None], name: str) -> None:
        """See to the end of a task that was begun elsewhere."""
        if (services := self._channel.services) is not None:
            services.tasks.spawn(_see_to(task), name=name)
        else:
            self._keep(task)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def report(self, kind: str, connection_id: str, reason: str, room_id: str | None = None) -> None:
        """Publish a framework event about a connection of the channel."""
        if (services := self._channel.services) is not None:
            services.report(
                kind,
                room_id=room_id,
                channel_id=self._channel.channel_id,
                connection_id=connection_id,
                reason=reason,
            )


async def _see_to(task: asyncio.Task[None]) -> None:
    """Wait until `task` has ended, and end it when cancelled."""
    try:
        await asyncio.wait((task,))
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait((task,))
        raise
