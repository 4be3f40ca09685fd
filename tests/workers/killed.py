"""A worker that is killed at a point of its own work, forked from a process that has imported it."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any

from roomkit_plugins.testing.forks import forks_with

__all__ = ["exit_code_of"]

_FORKS = forks_with(
    "tests.workers.preload", "tests.workers.test_parked_turns", "tests.workers.test_scheduled_sends"
)
_PATIENCE = 60.0


async def exit_code_of(module: str, work: str, *arguments: Any) -> int | None:
    """Await a function of a module of `tests.workers` in a process of its own; return its exit code.

    That is minus the signal if it was killed.
    """
    process = _FORKS.Process(target=_do, args=(f"tests.workers.{module}", work, arguments), daemon=True)
    await asyncio.to_thread(process.start)  # the first one waits for the imports
    try:
        await asyncio.to_thread(process.join, _PATIENCE)
        return process.exitcode
    finally:
        process.kill()


def _do(module: str, work: str, arguments: tuple[Any, ...]) -> None:
    asyncio.run(getattr(import_module(module), work)(*arguments))
