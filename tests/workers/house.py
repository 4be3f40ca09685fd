"""The house that workers belong to: it gives them work, is their vendor, ends them, and judges."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from roomkit.models.enums import DeliveryState
from roomkit.models.event import RoomEvent
from roomkit_plugins.testing.forks import forks_with
from roomkit_plugins.testing.history import Recipient, Sending, assert_history, ledger_violations
from tests.workers import program
from tests.workers.program import CARRIERS, Fault, WorkerOptions
from tests.workers.webhooks import post

__all__ = ["KILLS", "LEASE", "SEED", "House", "Version", "has_commit", "is_shallow"]

KILLS = int(os.environ.get("ROOMKIT_KILLS", "6"))
"""How many kills a test does; `nox -s kill` does 200."""
SEED = int(os.environ.get("ROOMKIT_KILL_SEED", "7"))
LEASE = 1.0

_FORKS = forks_with("tests.workers.program", "tests.workers.preload")
_ANSWER_SECONDS = 20.0
_ROOT = Path(__file__).parents[2]


@dataclass(eq=False)
class Worker:
    """One worker process, as the house knows it."""

    name: str
    process: Any
    ready: asyncio.Future[None]
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    writer: asyncio.StreamWriter | None = None
    paused: bool = False
    waiting: dict[str, asyncio.Future[bool]] = field(default_factory=dict)  # bound: the rooms
    webhooks: int = 0
    """The port on which it takes webhooks."""
    accepted: asyncio.Condition = field(default_factory=asyncio.Condition)
    requests: int = 0
    """How many webhooks have come to it."""

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        if self.process.is_alive():
            os.kill(self.process.pid, number)


class OldProcess:
    """A process that was started from a folder of its own; what `Worker` needs of one."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid
        self.join = process.wait

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None


def has_commit(commit: str) -> bool:
    """Return whether the repository holds a commit."""
    return _git("cat-file", "-e", f"{commit}^{{commit}}").returncode == 0


def is_shallow() -> bool:
    """Return whether the repository is a clone without its history."""
    return _git("rev-parse", "--is-shallow-repository").stdout.strip() == "true"


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False)


class Version:
    """An earlier commit of this repository, in a folder: its workers run in today's environment."""

    def __init__(self, commit: str, folder: Path) -> None:
        archive = subprocess.run(
            ["git", "archive", commit, "packages", "tests"], cwd=_ROOT, capture_output=True, check=True
        )
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        sources = [str(each) for each in sorted(folder.glob("packages/*/src"))]
        self._env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sources])}
        self._folder = folder

    def start(self, **options: Any) -> OldProcess:
        """Start a worker."""
        arguments = self._command("program.main(program.WorkerOptions(**given))", options)
        return OldProcess(subprocess.Popen(arguments, cwd=self._folder, env=self._env))

    def prepare(self, store: Mapping[str, Any], rooms: Sequence[str]) -> None:
        """Make the rooms, in a store of that version's schema."""
        given = {"store": dict(store), "rooms": list(rooms)}
        arguments = self._command("asyncio.run(program.prepare(given['store'], given['rooms']))", given)
        subprocess.run(arguments, cwd=self._folder, env=self._env, check=True)

    def _command(self, work: str, given: Mapping[str, Any]) -> list[str]:
        lines = (
            "import asyncio, sys, json, roomkit",
            "from tests.workers import program",
            f"assert roomkit.__file__.startswith({str(self._folder)!r}), roomkit.__file__",
            "given = json.loads(sys.argv[1])",
            work,
        )
        return [sys.executable, "-c", "\n".join(lines), json.dumps(given)]


class House:
    """Workers on one store, and everything that they said and delivered.

    Each room has one person, who says the next thing when the last one was acknowledged, and says it again
    to another worker, under the same key, when the one that was asked is gone.
    """

    def __init__(
        self,
        store: Mapping[str, Any],
        *,
        rooms: int,
        lease_seconds: float,
        seed: int,
        way: Mapping[str, Any] | None = None,
        clock_spread: float = 0.0,
        fault: Fault | None = None,
        by_webhook: bool = False,
    ) -> None:
        self.store = store
        self.way = way or store
        """How workers come to the store: through something that cuts connections, maybe."""
        self.rooms = [f"room-{number}" for number in range(rooms)]
        self.lease_seconds = lease_seconds
        self.clock_spread = clock_spread
        self.fault = fault
        self.plays_trees = False
        self.most_behind = 40
        """How far the workers may be behind what people say."""
        self.by_webhook = by_webhook
        """Whether what people say comes to the workers by a vendor's webhooks, up to three messages each."""
        self.redelivered = 0
        self.chance = random.Random(seed)
        self.acknowledged: dict[str, list[str]] = defaultdict(list)
        self.sent: dict[tuple[str, str], list[Sending]] = defaultdict(list)
        self.observed: dict[str, int] = defaultdict(int)
        self.refused: list[str] = []  # bound: the life of a test
        self.workers: list[Worker] = []  # bound: those started
        self._coming: dict[str, Worker] = {}
        self._names = count(1)
        self._server: asyncio.Server | None = None
        self._talking: list[asyncio.Task[None]] = []  # bound: the rooms
        self._enough = asyncio.Event()

    # -- workers ------------------------------------------------------------------------------

    async def start(self, way: Mapping[str, Any] | None = None) -> Worker:
        """Start a worker and wait until it is at work; `way` is how it alone comes to the store."""
        assert self._server is not None
        name = f"w{next(self._names)}"
        options = WorkerOptions(
            name=name,
            port=self._server.sockets[0].getsockname()[1],
            store=way or self.way,
            clock_spread=self.clock_spread,
            fault=self.fault,
            plays_trees=self.plays_trees,
            lease_seconds=self.lease_seconds,
            seed=self.chance.getrandbits(32),
        )
        process = _FORKS.Process(target=program.main, args=(options,), name=name, daemon=True)
        process.start()
        return await self._came(name, process)

    async def start_of(self, version: Version) -> Worker:
        """Start a worker of another version, and wait until it is at work."""
        assert self._server is not None
        name = f"w{next(self._names)}"
        port = self._server.sockets[0].getsockname()[1]
        process = version.start(
            name=name,
            port=port,
            store=dict(self.way),
            lease_seconds=self.lease_seconds,
            seed=self.chance.getrandbits(32),
        )
        return await self._came(name, process)

    async def _came(self, name: str, process: Any) -> Worker:
        worker = Worker(name, process, asyncio.get_running_loop().create_future())
        self._coming[name] = worker
        async with asyncio.timeout(_ANSWER_SECONDS):
            await worker.ready
        self.workers.append(worker)
        return worker

    async def kill(self, worker: Worker) -> None:
        """End a worker as a power cut would."""
        self.workers.remove(worker)
        worker.signal(signal.SIGKILL)
        async with asyncio.timeout(_ANSWER_SECONDS):
            await worker.lost.wait()
        await asyncio.to_thread(worker.process.join)

    async def retire(self, worker: Worker) -> None:
        """Ask a worker nothing more, and kill it when it has acknowledged what it was asked."""
        worker.paused = True

        async def answered() -> bool:
            return not worker.waiting

        await self._wait(answered, _ANSWER_SECONDS)
        await self.kill(worker)

    def pause(self, worker: Worker) -> None:
        """Stop a worker where it is."""
        worker.paused = True
        worker.signal(signal.SIGSTOP)

    def resume(self, worker: Worker) -> None:
        """Let a paused worker go on, as if no time had passed."""
        worker.paused = False
        worker.signal(signal.SIGCONT)

    async def _on_connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        worker: Worker | None = None
        try:
            while line := await reader.readline():
                message = json.loads(line)
                if "hello" in message:
                    worker = self._coming.pop(message["hello"])
                    worker.writer = writer
                    worker.webhooks = message.get("webhooks", 0)
                    worker.ready.set_result(None)
                elif "send" in message:
                    self._send(writer, message)
                elif "observed" in message:
                    self.observed[message["observed"]] += 1
                elif "accepted" in message and worker is not None:
                    await self._accepted(worker)
                elif worker is not None:
                    self._heard(worker, message)
        except (ConnectionError, json.JSONDecodeError):
            pass  # killed in the middle of a line
        finally:
            writer.close()
            if worker is not None:
                worker.lost.set()
                for waiting in worker.waiting.values():
                    if not waiting.done():
                        waiting.set_result(False)

    @staticmethod
    async def _accepted(worker: Worker) -> None:
        async with worker.accepted:
            worker.requests += 1
            worker.accepted.notify_all()

    @staticmethod
    async def accepts(worker: Worker, number: int) -> None:
        """Wait until so many more webhooks have come to a worker: the last is not answered yet."""
        wanted = worker.requests + number
        async with asyncio.timeout(_ANSWER_SECONDS), worker.accepted:
            await worker.accepted.wait_for(lambda: worker.requests >= wanted)

    def _send(self, writer: asyncio.StreamWriter, message: Mapping[str, Any]) -> None:
        room_id, channel_id = message["room"], message["channel"]
        self.sent[room_id, channel_id].append(Sending(channel_id, message["event"], message["send"]))
        writer.write(json.dumps({"sent": message["send"]}).encode() + b"\n")

    def _heard(self, worker: Worker, message: Mapping[str, Any]) -> None:
        key = message.get("ack") or message["refused"]
        if "refused" in message:
            self.refused.append(f"{worker.name}: {key}: {message['why']}")
        waiting = worker.waiting.pop(key, None)
        if waiting is not None and not waiting.done():
            waiting.set_result("ack" in message)

    # -- messages -----------------------------------------------------------------------------

    @asynccontextmanager
    async def at_work(self, workers: int, *, version: Version | None = None) -> AsyncIterator[None]:
        """Make the rooms, start workers, and have the rooms' people talk; in the end let it all settle.

        The rooms are made by another version if one is given.
        """
        if version is None:
            await program.prepare(self.store, self.rooms)
        else:
            await asyncio.to_thread(version.prepare, self.store, self.rooms)
        self._server = await asyncio.start_server(self._on_connect, "127.0.0.1", 0)
        try:
            for _ in range(workers):
                await self.start()
            self._talking = [asyncio.create_task(each) for each in self._talks()]
            yield
            self._enough.set()
            async with asyncio.timeout(_ANSWER_SECONDS * 3):
                await asyncio.gather(*self._talking)
        finally:
            for task in self._talking:
                task.cancel()
            for worker in list(self.workers):
                worker.signal(signal.SIGCONT)
                await self.kill(worker)
            self._server.close()

    def _talks(self) -> Iterable[Coroutine[Any, Any, None]]:
        """Return the work under way at the workers, all at the same time."""
        return [self._talk(room_id) for room_id in self.rooms]

    async def _talk(self, room_id: str) -> None:
        numbers = count()
        while not self._enough.is_set():
            batch = self.chance.randint(1, 3) if self.by_webhook else 1
            keys = [f"{room_id}:{next(numbers)}" for _ in range(batch)]
            say = (
                partial(self._call, room_id, keys) if self.by_webhook else partial(self._say, room_id, *keys)
            )
            await self._wait(say, _ANSWER_SECONDS * 3)
            self.acknowledged[room_id] += keys
            await self._wait(self._keeps_up, _ANSWER_SECONDS * 3)

    async def _keeps_up(self) -> bool:
        """Whether the workers are not far behind: each message is observed, and the answer to it.

        A worker that is killed before it gets anything done makes its deliveries look like poison.
        """
        return self._enough.is_set() or self._behind() < self.most_behind

    def allow(self, further: int) -> None:
        """Let people go on speaking until the workers are so much further behind than they are now."""
        self.most_behind = self._behind() + further

    def _behind(self) -> int:
        return 2 * sum(map(len, self.acknowledged.values())) - len(self.observed)

    async def _call(self, room_id: str, keys: list[str]) -> bool:
        """Send a webhook once; return whether it was answered with 2xx."""
        able = [worker for worker in self.workers if not worker.paused and not worker.lost.is_set()]
        if not able:
            return False
        worker = self.chance.choice(able)
        try:
            async with asyncio.timeout(self.lease_seconds * 4):
                status = await post(worker.webhooks, f"/{keys[0]}", {"room": room_id, "keys": keys})
        except (OSError, TimeoutError):
            status = 0
        self.redelivered += status != 200
        return status == 200

    async def _say(self, room_id: str, key: str) -> bool:
        """Say something once; return whether it was acknowledged."""
        able = [worker for worker in self.workers if not worker.paused and not worker.lost.is_set()]
        if not able:
            return False
        worker = self.chance.choice(able)
        assert worker.writer is not None
        worker.waiting[key] = asyncio.get_running_loop().create_future()
        worker.writer.write(json.dumps({"say": key, "room": room_id}).encode() + b"\n")
        try:
            async with asyncio.timeout(self.lease_seconds * 4):
                return await worker.waiting[key]
        except TimeoutError:
            return False
        finally:
            worker.waiting.pop(key, None)

    async def said(self, number: int) -> None:
        """Wait until so many more messages were acknowledged."""
        wanted = sum(map(len, self.acknowledged.values())) + number

        async def enough() -> bool:
            return sum(map(len, self.acknowledged.values())) >= wanted

        await self._wait(enough, _ANSWER_SECONDS * 3)

    @staticmethod
    async def _wait(done: Callable[[], Awaitable[bool]], seconds: float) -> None:
        """Ask again and again, every few milliseconds. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while True:
                if await done():
                    return
                await asyncio.sleep(0.005)  # other processes

    async def settle(self) -> None:
        """Have everybody stop talking, and wait until no delivery and no timer is open."""
        self._enough.set()
        async with asyncio.timeout(_ANSWER_SECONDS * 3):
            await asyncio.gather(*self._talking)
        if not any(not worker.paused for worker in self.workers):
            await self.start()
        store, parts = program.build(self.store)
        try:
            await self._wait(lambda: self._nothing_open(store), self.lease_seconds * 10 + _ANSWER_SECONDS * 3)
        except TimeoutError:
            rows = await store.list_deliveries(state=DeliveryState.PENDING, limit=5)
            for worker in self.workers:
                worker.signal(signal.SIGUSR1)
            await asyncio.sleep(0.5)  # other processes
            timers = [timer for room_id in self.rooms for timer in await store.list_timers(room_id)]
            raise AssertionError(f"still open: {rows} and {timers[:5]}") from None
        finally:
            await store.close()
            for part in parts.values():
                if hasattr(part, "close"):
                    await part.close()

    async def _nothing_open(self, store: Any) -> bool:
        if await store.list_deliveries(state=DeliveryState.PENDING, limit=1):
            return False
        timers = [await store.list_timers(room_id) for room_id in self.rooms]
        return not any(timers)

    # -- the verdict --------------------------------------------------------------------------

    async def judge(self) -> str:
        """Raise AssertionError with all that is wrong; return what there was, in one line."""
        store, parts = program.build(self.store)
        events = repeated = 0
        try:
            for room_id in self.rooms:
                timeline = await store.list_events(room_id, limit=1_000_000)
                room = await store.get_room(room_id)
                rows = await store.list_deliveries(room_id, limit=1_000_000)
                bindings = await store.list_bindings(room_id)
                keys = [event.idempotency_key for event in timeline if event.idempotency_key is not None]
                assert len(set(keys)) == len(keys), f"a message is twice in {room_id}"
                said = {key.removeprefix("in:person:") for key in keys}
                lost = set(self.acknowledged[room_id]) - said
                assert not lost, f"acknowledged and not there: {sorted(lost)}"
                numbers = [int(key.rpartition(":")[2]) for key in keys if key.startswith("in:person:")]
                assert numbers == sorted(numbers), f"the messages of {room_id} are out of order: {numbers}"
                assert room is not None
                assert room.event_count == len(timeline)
                assert [event.index for event in timeline] == list(range(len(timeline)))
                known = {event.id: event for event in timeline}
                for binding in bindings:
                    if binding.channel_id in CARRIERS:
                        sent = self.sent[room_id, binding.channel_id]
                        seen = [known[each.event_id] for each in sent if each.event_id in known]
                        assert len(seen) == len(sent), "something was sent that was never committed"
                        assert_history(timeline, [Recipient(binding, seen, at_least_once=True)])
                        repeated += len(sent) - len({each.key for each in sent})
                sendings = [each for name in CARRIERS for each in self.sent[room_id, name]]
                wrong = ledger_violations(rows, sendings, carriers=CARRIERS)
                assert not wrong, "\n".join(map(str, wrong))
                failed = [row for row in rows if row.state is DeliveryState.FAILED]
                assert not failed, failed
                self._judge_answers(timeline)
                events += len(timeline)
        finally:
            await store.close()
            for part in parts.values():
                if hasattr(part, "close"):
                    await part.close()
        acknowledged = sum(map(len, self.acknowledged.values()))
        return (
            f"{acknowledged} messages acknowledged, {events} events, "
            f"{sum(map(len, self.sent.values()))} deliveries, {repeated} of them repeated under their key, "
            f"{len(self.refused) + self.redelivered} refused or unanswered, and said again"
        )

    def _judge_answers(self, timeline: list[RoomEvent]) -> None:
        """Each message was answered once by the agent, and shown to observers, as each answer was."""
        said = [event.id for event in timeline if event.source.channel_id == "person"]
        answered = [event.correlation_id for event in timeline if event.source.channel_id == "agent"]
        assert sorted(answered, key=str) == sorted(said), "an answer is missing, or there are two"
        unseen = [
            event.id
            for event in timeline
            if event.source.channel_id in ("person", "agent") and not self.observed[event.id]
        ]
        assert not unseen, f"no observer saw {unseen}"
