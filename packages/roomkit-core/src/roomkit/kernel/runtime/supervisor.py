"""The only place where tasks are made: each has a name, an owner and an end."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Any, Protocol

from roomkit.abc.errors import ForeignCodeError, KitClosedError, RoomKitError, SelfCancelledError
from roomkit.abc.log import get_logger
from roomkit.authoring.coroutines import waits
from roomkit.models.values import error_text

__all__ = ["Interrupted", "Overdue", "Supervisor", "SupervisorListener", "broken", "panicked"]

_log = get_logger("roomkit.kernel")


class SupervisorListener(Protocol):
    """What learns how background work ended."""

    def background_error(self, name: str, error: BaseException) -> None:
        """Note that work which no caller waits for has failed."""

    def work_abandoned(self, name: str, seconds: float) -> None:
        """Note that work was left behind: it did not end within `seconds` of its cancellation."""


class Supervisor:
    """Runs the kit's background work and ends it with the kit.

    A task starts at once, in the caller's step of the loop, so work that never waits costs no
    turn of the loop. A failure is logged and reported to the listeners, never lost.
    """

    def __init__(self, *, abandon_after: float = 5.0) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._services: set[asyncio.Task[Any]] = set()
        self._abandoned: set[asyncio.Task[Any]] = set()  # bound: foreign code that ignores cancellation
        self._listeners: list[SupervisorListener] = []  # bound: the kit's framework events
        self.abandon_after = abandon_after
        """Seconds that cancelled foreign code has to end before it is left behind."""
        self._is_ending = False
        self.abandoned = 0
        """How many tasks were left behind so far."""

    def __len__(self) -> int:
        return len(self._tasks)

    def report_to(self, listener: SupervisorListener) -> None:
        """Notify `listener` from now on, besides the log."""
        self._listeners.append(listener)

    def start[T](
        self,
        work: Coroutine[Any, Any, T],
        name: str,
        context: Context | None = None,
        *,
        eager: bool = True,
    ) -> asyncio.Task[T]:
        """Run `work` until it first waits; whatever is left of it is supervised.

        It runs in `context`, else in a copy of the caller's. Not `eager`, it begins in a turn of its own.
        """
        loop = asyncio.get_running_loop()
        task = asyncio.Task(work, loop=loop, context=context, eager_start=eager)
        if task.done():
            if not task.cancelled() and task.exception() is not None:
                self._report(name, task)
        else:
            task.set_name(name)
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        return task

    def serve(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` for as long as the kit is open: closing does not wait for it, it cancels it."""
        task = self.start(work, name)
        if not task.done():
            self._tasks.discard(task)
            self._services.add(task)
            task.add_done_callback(self._services.discard)
        return task

    def begin[T](self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Run `work` as `start` does, for a caller that takes the outcome from the task itself."""
        task = asyncio.Task(work, loop=asyncio.get_running_loop(), eager_start=True)
        task.set_name(name)
        if not task.done():
            self._tasks.add(task)
        task.add_done_callback(self._taken)
        return task

    def _taken(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not warn about an owner who stopped waiting

    async def call[T](self, work: Awaitable[T], name: str, seconds: float | None = None) -> T:
        """Await foreign `work` for at most `seconds`, in a task of its own; return its result.

        Raises Overdue when it is late, SelfCancelledError for a CancelledError of its own, and
        ForeignCodeError for what it raises that is not an Exception. Late work, and that of a cancelled
        caller, is cancelled; if it does not end within `abandon_after`, it is abandoned, and its result is
        ignored.
        """
        coroutine: Coroutine[Any, Any, T] = work if inspect.iscoroutine(work) else _waited(work)
        task: asyncio.Task[T] = asyncio.Task(coroutine, loop=asyncio.get_running_loop(), eager_start=True)
        if task.done():
            if task.cancelled():
                raise self._cancelled(name)
            try:
                return task.result()
            except (Exception, KeyboardInterrupt, SystemExit):
                raise
            except BaseException as panic:  # such as GeneratorExit: the failure of foreign code
                raise panicked(name, panic) from panic
        task.set_name(name)
        self._tasks.add(task)
        task.add_done_callback(self._taken)
        return await self.finish(task, seconds)

    async def finish[T](
        self, task: asyncio.Task[T], seconds: float | None = None, moved_at: Callable[[], float] | None = None
    ) -> T:
        """Wait for a task as `call` does for its own; with `moved_at`, for so long after that instant."""
        try:
            await asyncio.wait((task,), timeout=seconds)
            while moved_at is not None and seconds is not None and not task.done():
                left = moved_at() + seconds - asyncio.get_running_loop().time()
                if left <= 0:
                    break
                await asyncio.wait((task,), timeout=left)
        except asyncio.CancelledError:
            await self.stop(task)
            raise
        if task.done():
            if task.cancelled():
                raise self._cancelled(task.get_name())
            try:
                return task.result()
            except (Exception, KeyboardInterrupt, SystemExit):
                raise
            except BaseException as panic:  # such as GeneratorExit: the failure of foreign code
                raise panicked(task.get_name(), panic) from panic
        await self.stop(task)
        raise Overdue(f"{task.get_name()} did not end within {seconds} s")

    def _cancelled(self, name: str) -> Exception:
        """Return the failure of foreign work that ended as cancelled, though its caller was not."""
        if self._is_ending:
            return KitClosedError(f"{name} was cancelled: the kit is closing")
        return SelfCancelledError(
            f"{name} raised CancelledError although nothing cancelled it: it must not let the CancelledError "
            "of other work escape"
        )

    async def stop(self, task: asyncio.Task[Any]) -> None:
        """Cancel a task, and abandon it if it does not end."""
        task.cancel()
        try:
            await asyncio.wait((task,), timeout=self.abandon_after)
        finally:
            if not task.done():
                self.abandon(task)

    def abandon(self, task: asyncio.Task[Any]) -> None:
        """Stop waiting for a task that does not end when cancelled, and report it."""
        self._tasks.discard(task)
        self._abandoned.add(task)
        task.add_done_callback(self._abandoned.discard)
        self.abandoned += 1
        name = task.get_name()
        _log.error(
            "%s was abandoned: it did not end within %s s of its cancellation; "
            "let asyncio.CancelledError pass, and never catch BaseException around an await",
            name,
            self.abandon_after,
        )
        for listener in self._listeners:
            listener.work_abandoned(name, self.abandon_after)

    async def complete[T](self, work: Coroutine[Any, Any, T], name: str) -> T:
        """Run `work` to its end even when the caller is cancelled, for what must not be cut.

        Its outcome is the caller's. A cancellation that arrives during the work is raised afterwards as
        `Interrupted`, which carries the result; a failure outranks it.
        """
        if not waits(getattr(work, "cr_code", None)):
            return await work
        task = asyncio.Task(work, loop=asyncio.get_running_loop(), eager_start=True)
        if task.done():
            return task.result()
        task.set_name(name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait((task,))
            except asyncio.CancelledError as error:
                cancelled = error
        result = task.result()
        if cancelled is not None:
            raise Interrupted(result) from cancelled
        return result

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._report(task.get_name(), task)

    def _report(self, name: str, task: asyncio.Task[Any]) -> None:
        error = task.exception()
        assert error is not None
        self.report(name, error)

    def report(self, name: str, error: BaseException) -> None:
        """Report a failure that no caller awaits."""
        _log.error("background work %s failed", name, exc_info=error)
        for listener in self._listeners:
            listener.background_error(name, error)

    async def drain(self, seconds: float) -> bool:
        """Wait up to `seconds` for the work under way; return whether all of it ended."""
        deadline = asyncio.get_running_loop().time() + seconds
        while others := self._tasks - {asyncio.current_task()}:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return False
            await asyncio.wait(others, timeout=left)
        return True

    async def end_services(self, seconds: float) -> list[str]:
        """Cancel the services; return the names of those that did not end in time."""
        return await self._cancel(self._services, seconds)

    async def cancel(self, seconds: float) -> list[str]:
        """Cancel the remaining tasks and wait up to `seconds`; return the names of those that did not end."""
        return await self._cancel(self._tasks, seconds)

    def cancel_abandoned(self) -> None:
        """Cancel abandoned tasks again, without waiting for them."""
        for task in self._abandoned:
            task.cancel("the kit is closing")

    async def _cancel(self, tasks: set[asyncio.Task[Any]], seconds: float) -> list[str]:
        others = tasks - {asyncio.current_task()}
        self._is_ending = True
        for task in others:
            task.cancel("the kit is closing")
        if others:
            await asyncio.wait(others, timeout=seconds)
        return sorted(task.get_name() for task in others if not task.done())


def broken(name: str, error: BaseException, advice: str) -> RoomKitError:
    """Return the failure of foreign code; a CancelledError is its own, as it never waits."""
    if isinstance(error, Exception):
        # Logs withhold what other code's exceptions say: it may quote the message. The cause has it.
        return ForeignCodeError(f"{name} raised {type(error).__name__}: see its cause; {advice}")
    if not isinstance(error, asyncio.CancelledError):
        return panicked(name, error)
    return SelfCancelledError(f"{name} raised CancelledError although nothing cancelled it: {advice}")


def panicked(name: str, error: BaseException) -> ForeignCodeError:
    """Return the failure of foreign code that raised something other than an `Exception`."""
    return ForeignCodeError(f"{name} raised {error_text(error)}: let it raise subclasses of Exception")


async def _waited[T](work: Awaitable[T]) -> T:
    return await work


class Overdue(TimeoutError):
    """Foreign work did not end in time; what it may still return does not count."""


class Interrupted(asyncio.CancelledError):
    """A cancellation that arrived while work was completed; `result` is the result of that work."""

    def __init__(self, result: Any) -> None:
        super().__init__("cancelled after the work was done")
        self.result = result
