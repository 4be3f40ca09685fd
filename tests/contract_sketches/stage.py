"""Where a sketch plays: workers on one store, a vendor that outlives them, and a worker that is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from roomkit import InMemoryLockManager, RoomKit
from roomkit.abc import Channel
from roomkit.plugins import PluginManager
from roomkit.testing import SharedRealtime, SharedStore, VirtualClock
from roomkit_plugins.testing.forks import forks_with

LEASE = 6.0
"""Seconds. Hardly anything waits for it: the next worker on a SQLite file sees that a killed one is gone."""

_FORKS = forks_with("tests.contract_sketches.preload")
_PATIENCE = 20.0


@dataclass
class _EntryPoint:
    """The entry point of a sketch: its module is the plugin."""

    name: str
    module: ModuleType
    dist: None = None

    @property
    def value(self) -> str:
        return self.module.__name__

    def load(self) -> ModuleType:
        return self.module


def manager_of(**plugins: ModuleType) -> PluginManager:
    """Return a manager that finds these plugins, by name, and the core's own."""
    manager = PluginManager(entry_points=[_EntryPoint(*each) for each in plugins.items()])
    manager.scan()
    return manager


NO_PLUGINS = manager_of()


class Workers:
    """Kits over one store in memory, as workers are; each is closed in the end."""

    def __init__(self) -> None:
        self._shared: dict[str, Any] = {
            "store": SharedStore(),
            "lock_manager": InMemoryLockManager(),
            "realtime": SharedRealtime(),
            "single_process": True,
        }
        self._kits: list[RoomKit] = []  # bound: those of a test

    async def start(self, *channels: Channel, plugins: PluginManager = NO_PLUGINS, **options: Any) -> RoomKit:
        """Start one more worker."""
        kit = RoomKit(**self._shared, clock=VirtualClock(), plugins=plugins, **options)
        for channel in channels:
            kit.register_channel(channel)
        self._kits.append(kit)
        await kit.start()
        return kit

    async def close(self) -> None:
        """Close all workers."""
        for kit in self._kits:
            await kit.close()


class Vendor:
    """A vendor's API, which sends one message for each key; with a file it outlives its workers.

    `dies_at` says at which message the worker is killed: the vendor has it, and the worker does not know.
    """

    def __init__(self, file: Path | None = None, *, dies_at: int | None = None) -> None:
        self._file = file
        self._dies_at = dies_at
        self._taken: dict[str, dict[str, Any]] = {}  # bound: the messages of a test
        self._changed = asyncio.Event()
        self._asked = 0
        self.answers = asyncio.Event()
        """Cleared, it lets requests wait."""
        self.answers.set()
        for line in file.read_text().splitlines() if file is not None and file.exists() else ():
            message = json.loads(line)
            self._taken[message["key"]] = message

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What it has sent."""
        return list(self._taken.values())

    @property
    def texts(self) -> list[str]:
        """The texts of what it has sent."""
        return [message["text"] for message in self.messages]

    async def post(self, key: str | None, **message: Any) -> str:
        """Take a message; return its id."""
        await self.answers.wait()
        self._asked += 1
        message = {"key": key, "id": f"m{len(self._taken) + 1}", **message}
        key = key or message["id"]
        if key not in self._taken:
            self._taken[key] = message
            if self._file is not None:
                with self._file.open("a") as written:
                    written.write(json.dumps(message) + "\n")
            if len(self._taken) == self._dies_at:
                die()
        self._changed.set()
        return str(self._taken[key]["id"])

    async def sends(self, number: int) -> list[str]:
        """Wait until it has sent so many messages; return their texts."""
        await self._until(lambda: len(self._taken) >= number)
        return self.texts

    async def is_asked(self, number: int) -> None:
        """Wait until this worker has made so many requests."""
        await self._until(lambda: self._asked >= number)

    async def _until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(_PATIENCE):
            while not reached():
                self._changed.clear()
                await self._changed.wait()


def die() -> None:
    """End this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


async def until_killed() -> None:
    """Wait for the end."""
    await asyncio.Event().wait()


async def killed[*Ts](work: Callable[[*Ts], Coroutine[Any, Any, object]], *arguments: *Ts) -> None:
    """Run `work`, a function of a module in this folder, in a process in which it kills itself (`die`)."""
    module = work.__module__.rpartition(".")[2]
    target = f"tests.contract_sketches.{module}", work.__name__
    process = _FORKS.Process(target=_run, args=(*target, arguments), daemon=True)
    process.start()
    await asyncio.to_thread(process.join, _PATIENCE)
    assert process.exitcode == -signal.SIGKILL, f"the worker was not killed: {process.exitcode}"


def _run(module: str, name: str, arguments: Iterable[Any]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(_PATIENCE):
            await getattr(import_module(module), name)(*arguments)

    asyncio.run(bounded())


@asynccontextmanager
async def worker_on(
    folder: Path, *channels: Channel, plugins: PluginManager = NO_PLUGINS, **options: Any
) -> AsyncIterator[RoomKit]:
    """Open a worker on the store in a folder; what a killed one left is reclaimed at the start."""
    from roomkit_plugins.sqlite import SQLiteConfig, SQLiteStore

    store = SQLiteStore(SQLiteConfig(path=folder / "rooms.db", synchronous="normal"))
    kit = RoomKit(store=store, plugins=plugins, lease_seconds=LEASE, single_process=True, **options)
    for channel in channels:
        kit.register_channel(channel)
    async with kit:
        yield kit
