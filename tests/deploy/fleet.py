"""Workers as compose.yaml starts them, on one PostgreSQL behind a balancer, and clients that do not stop."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.deploy.files import DEPLOY, compose, environment_of

__all__ = ["Balancer", "Clients", "Fleet", "Worker", "wait_until"]

_KEY = "b" * 32
_CHECK = 0.05
"""Seconds between two checks of the balancer."""


async def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what other processes bring about. Raises TimeoutError after 100 seconds."""
    async with asyncio.timeout(100):
        while not holds():  # noqa: ASYNC110  # other processes set no event here
            await asyncio.sleep(_CHECK)  # other processes


@dataclass
class Worker:
    """One process of `roomkit serve`."""

    process: asyncio.subprocess.Process
    port: int
    is_ready: bool = False

    async def stop(self) -> int:
        """Send SIGTERM, and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            return await self.process.wait()


class Fleet:
    """Starts workers by the service `worker` of compose.yaml, on this machine and free ports."""

    def __init__(self, folder: Path, dsn: str) -> None:
        services = compose()["services"]
        given = {"POSTGRES_PASSWORD": "unused", "BACKEND_KEY": _KEY, "MONITORING_KEY": "m" * 32}
        environment = environment_of(services["worker"], {**given, "PUBLIC_URL": "http://bot.example"})
        self._env = {**os.environ, **environment, "DATABASE_URL": dsn}
        self._commands: Mapping[str, list[str]] = {
            name: services[name]["command"] for name in ("worker", "migrate")
        }
        self._folder = folder
        shutil.copy(DEPLOY / "roomkit.toml", folder)

    def migrate(self) -> None:
        """Run the service `migrate`."""
        command = [sys.executable, "-m", "roomkit_plugins.cli", *self._commands["migrate"]]
        subprocess.run(command, cwd=self._folder, env=self._env, check=True, timeout=60)

    async def start(self, version: Mapping[str, str] | None = None) -> Worker:
        """Start a worker, of another version where its environment is given."""
        command = [*self._commands["worker"]]
        command[command.index("--host") + 1] = "127.0.0.1"
        command[command.index("--port") + 1] = "0"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "roomkit_plugins.cli", *command, "--json"),
            cwd=self._folder,
            env={**self._env, **(version or {})},
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        async with asyncio.timeout(60):
            started = json.loads(await process.stdout.readline())
        return Worker(process, int(started["url"].rpartition(":")[2]))


class Balancer:
    """Hands each connection to the worker that is ready and has fewest, as haproxy.cfg does."""

    def __init__(self) -> None:
        self.workers: list[Worker] = []  # bound: one test
        self._open: dict[int, int] = {}  # bound: one test
        self._links: set[asyncio.Task[None]] = set()  # bound: one test

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Listen; yield the URL."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        checking = asyncio.create_task(self._check())
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            checking.cancel()
            server.close()
            for link in self._links:
                link.cancel()
            await asyncio.gather(checking, *self._links, return_exceptions=True)

    async def add(self, worker: Worker) -> Worker:
        """Take a worker in; return once it is ready."""
        self.workers.append(worker)
        await wait_until(lambda: worker.is_ready)
        return worker

    async def _check(self) -> None:
        async with httpx2.AsyncClient(timeout=5) as client:
            while True:
                for worker in self.workers:
                    worker.is_ready = await _is_ready(client, worker.port)
                await asyncio.sleep(_CHECK)  # other processes

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        try:
            await self._link(reader, writer)
        finally:
            self._links.discard(task)
            writer.close()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ready = [worker for worker in self.workers if worker.is_ready]
        for worker in sorted(ready, key=lambda each: self._open.get(each.port, 0)):
            try:
                theirs, ours = await asyncio.open_connection("127.0.0.1", worker.port)
            except OSError:
                continue
            self._open[worker.port] = self._open.get(worker.port, 0) + 1
            try:
                await asyncio.gather(_pipe(reader, ours), _pipe(theirs, writer))
            finally:
                self._open[worker.port] -= 1
                ours.close()
            return


async def _is_ready(client: httpx2.AsyncClient, port: int) -> bool:
    try:
        return (await client.get(f"http://127.0.0.1:{port}/health/ready")).status_code == 200
    except httpx2.HTTPError:
        return False


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


@dataclass
class Clients:
    """Back ends that say something in their room, again and again, each by a connection of its own."""

    url: str
    said: dict[str, list[str]] = field(default_factory=dict)
    """The acknowledged messages, by room, in order. bound: one test"""
    failures: list[str] = field(default_factory=list)
    """Whatever was not answered with 2xx. bound: one test"""

    @asynccontextmanager
    async def talking(self, rooms: int) -> AsyncIterator[None]:
        """Talk in so many rooms until the block ends."""
        async with self._client() as client:
            for _ in range(rooms):
                room = (await client.post("/v1/rooms", json={})).json()["id"]
                await client.put(f"/v1/rooms/{room}/channels/web", json={})
                self.said[room] = []
            stopping = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                for room in self.said:
                    group.create_task(self._talk(client, room, stopping))
                try:
                    yield
                finally:
                    stopping.set()

    async def more(self, number: int) -> None:
        """Wait until so much more is acknowledged."""
        target = self.count + number
        await wait_until(lambda: self.count >= target)

    @property
    def count(self) -> int:
        return sum(map(len, self.said.values()))

    async def _talk(self, client: httpx2.AsyncClient, room: str, stopping: asyncio.Event) -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            body = {"content": {"type": "text", "body": str(number)}}
            try:
                answer = await client.post(f"/v1/rooms/{room}/events", json=body)
            except httpx2.HTTPError as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                continue
            if answer.is_success:
                self.said[room].append(str(number))
            else:
                self.failures.append(f"{answer.status_code} {answer.text}")

    async def kept(self) -> dict[str, list[str]]:
        """Return what each room's timeline holds."""
        found: dict[str, list[str]] = {}
        async with self._client() as client:
            for room in self.said:
                texts: list[str] = []
                cursor: dict[str, Any] = {"limit": 500}
                while page := (await client.get(f"/v1/rooms/{room}/events", params=cursor)).json()["items"]:
                    texts += [each["content"]["body"] for each in page if each["content"]["type"] == "text"]
                    cursor["after"] = page[-1]["index"]
                found[room] = texts
        return found

    def _client(self) -> httpx2.AsyncClient:
        limits = httpx2.Limits(max_keepalive_connections=0)
        headers = {"Authorization": f"Bearer {_KEY}"}
        return httpx2.AsyncClient(base_url=self.url, headers=headers, limits=limits, timeout=60)
