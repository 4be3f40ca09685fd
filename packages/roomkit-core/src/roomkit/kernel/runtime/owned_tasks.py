"""The tasks of one owner, which end with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, override

from roomkit.abc.errors import InvalidInputError
from roomkit.abc.services.tasks import OwnerTasks

if TYPE_CHECKING:
    from roomkit.kernel.runtime.supervisor import Supervisor

__all__ = ["SupervisedTasks"]


class SupervisedTasks(OwnerTasks):
    """Runs tasks under the kit's supervisor, and remembers which are the owner's."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._served: set[asyncio.Task[Any]] = set()  # bound: what the owner runs
        self._spawned: set[asyncio.Task[Any]] = set()  # bound: likewise

    @override
    def serve(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        self._run(self._served, self._supervisor.serve, work, name)

    @override
    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        self._run(self._spawned, self._supervisor.start, work, name)

    def _run(
        self,
        running: set[asyncio.Task[Any]],
        run: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
        work: Coroutine[Any, Any, None],
        name: str,
    ) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            work.close()
            raise InvalidInputError(
                f"task {name!r} was not started: no event loop runs here; begin it in start(), not in bind()"
            ) from None
        task = run(work, name)
        if not task.done():
            running.add(task)
            task.add_done_callback(running.discard)

    async def end_served(self) -> None:
        """Cancel the endless tasks and wait for their end, before the owner is closed."""
        await self._end(self._served)

    async def end(self) -> None:
        """Cancel what the owner has left running when it is closed, and wait for its end."""
        await self._end(self._served | self._spawned)

    async def _end(self, running: set[asyncio.Task[Any]]) -> None:
        """Cancel tasks and wait for their end; one that ignores its cancellation is abandoned."""
        mine = running - {asyncio.current_task()}
        for task in mine:
            task.cancel()
        if mine:
            await asyncio.wait(mine, timeout=self._supervisor.abandon_after)
        for task in mine:
            if not task.done():
                self._supervisor.abandon(task)
