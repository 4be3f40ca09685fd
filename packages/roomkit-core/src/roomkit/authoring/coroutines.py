"""Coroutines that never wait, and those that may."""

from __future__ import annotations

import asyncio
import dis
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import CodeType, CoroutineType, coroutine
from typing import Any

__all__ = ["at_once", "in_time", "may_wait"]

# By the code's address, as its hash is dear; the code is kept, so that no other gets its address.
_PROMPT: dict[int, CodeType] = {}  # bound: the program's own functions
_WAITING: dict[int, CodeType] = {}  # bound: likewise


def may_wait(fn: Callable[..., object]) -> bool:
    """Return whether a coroutine function can ever wait for something; see `waits`."""
    code = getattr(fn, "__code__", None)
    return id(code) not in _PROMPT and waits(code)


def waits(code: object) -> bool:
    """Return whether a coroutine of that code can ever wait for something; True where it cannot be read.

    One without an `await` in its own body cannot: it runs from its start to its end in the caller's
    step of the loop, so no deadline can cut it and it needs no task of its own (measured: 0.1
    microseconds against 0.9).
    """
    if id(code) in _PROMPT:
        return False
    if id(code) in _WAITING or type(code) is not CodeType or not code.co_flags & inspect.CO_COROUTINE:
        return True
    # Every `await`, `async for` and `async with` compiles to SEND.
    is_waiting = any(step.opname == "SEND" for step in dis.get_instructions(code))
    (_WAITING if is_waiting else _PROMPT)[id(code)] = code
    return is_waiting


def at_once[T](work: Awaitable[T]) -> T:
    """Return the result of a coroutine that does not wait, as `waits` says of its code."""
    try:
        work.send(None)  # type: ignore[attr-defined]  # a coroutine
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()  # type: ignore[attr-defined]  # likewise
    raise RuntimeError(f"{work!r} waits, although its code has no await")


async def in_time[T](work: Awaitable[T], seconds: float | None, late: Callable[[], Exception]) -> T:
    """Return the result of `work`, which has so many seconds; None: no deadline.

    Raises what `late` returns once they are over. One that never waits costs no timer.
    """
    waited: object = None
    if type(work) is CoroutineType:
        try:
            waited = work.send(None)
        except StopIteration as done:
            result: T = done.value
            return result
        work = _rest(work, waited)
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            return await work
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise late() from error


@coroutine
def _rest[T](work: Coroutine[Any, Any, T], waited: object) -> Generator[object, None, T]:
    """Go on with a coroutine that waits for `waited`."""
    try:
        while True:
            try:
                yield waited
            except GeneratorExit:
                work.close()
                raise
            except BaseException as error:  # noqa: BLE001  # an exception thrown into a wait is the coroutine's
                waited = work.throw(error)
            else:
                waited = work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
