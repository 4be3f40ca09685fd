"""One worker: a kit in a process of its own, told what to say and telling what it delivers.

It talks JSON lines with the house (see `house.py`): it is sent `{"say": key, "room": id}` and answers
`{"ack": key}` once that is committed; its carriers send `{"send": key, ...}` and wait for `{"sent": key}`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, override

from roomkit import RoomKit
from roomkit.abc.channel import Channel
from roomkit.abc.clock import Clock
from roomkit.abc.errors import ErrorCode, ProviderError, RoomKitError
from roomkit.models.base import utcnow
from roomkit.models.channel import ChannelBinding, ChannelOutput, RetryPolicy
from roomkit.models.content import TextContent, text_of
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage, ProviderResult
from roomkit.models.enums import ChannelCategory, ChannelType, HookTrigger
from roomkit.models.event import RoomEvent
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence
from roomkit_plugins.testing.trees import Player, TreeAgent, TreeCommand
from roomkit_plugins.testing.trees.commands import CARRIER, TALKERS
from tests.workers.webhooks import VendorChannel, Webhooks

__all__ = ["CARRIERS", "Fault", "WorkerOptions", "build", "main"]

type Fault = Literal["forgetful", "rekeying", "hasty"]

CARRIERS = ("sms", "email")
_MOST_PAUSE = 0.004


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker is made of; it travels to another process."""

    name: str
    port: int
    store: Mapping[str, Any]
    lease_seconds: float
    seed: int
    clock_spread: float = 0.0
    """By how many seconds the worker's clock is wrong at most, in either direction; it jumps all the time."""
    plays_trees: bool = False
    """Whether it carries out commands of trees (see `grove.py`), instead of taking messages."""
    fault: Fault | None = None
    """What the worker does wrong, so that the verdict is tried.

    It acknowledges messages that it does not store, or sends each delivery again under another key, or
    answers a webhook before it has committed what the webhook says.
    """


class Wire:
    """The connection to the house."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._waiting: dict[str, asyncio.Future[None]] = {}  # bound: the deliveries under way

    def tell(self, **message: Any) -> None:
        """Send one message."""
        self._writer.write(json.dumps(message).encode() + b"\n")

    async def hand_over(self, key: str, **message: Any) -> None:
        """Send what a carrier was given, and wait until it has it."""
        self._waiting[key] = asyncio.get_running_loop().create_future()
        try:
            self.tell(send=key, **message)
            await self._waiting[key]
        finally:
            self._waiting.pop(key, None)

    async def listen(self) -> Any:
        """Yield each message; what a carrier waits for is taken care of."""
        while line := await self._reader.readline():
            message = json.loads(line)
            if "sent" in message:
                waiting = self._waiting.get(message["sent"])
                if waiting is not None and not waiting.done():
                    waiting.set_result(None)
            else:
                yield message


class WrongClock(Clock):
    """A clock that is set every few readings, by up to `spread` seconds in either direction."""

    def __init__(self, spread: float, chance: random.Random) -> None:
        self._spread = spread
        self._chance = chance
        self._set()

    def _set(self) -> None:
        self._ahead = timedelta(seconds=self._chance.uniform(-self._spread, self._spread))

    @override
    def now(self) -> datetime:
        if self._chance.random() < 0.05:
            self._set()
        return utcnow() + self._ahead


class Carrier(Channel):
    """A transport whose vendor is the house; it takes idempotency keys, and is sometimes busy."""

    channel_type = ChannelType.SMS

    def __init__(self, channel_id: str, wire: Wire, chance: random.Random, *, rekeying: bool = False) -> None:
        super().__init__(channel_id)
        self._wire = wire
        self._rekeying = rekeying
        self._chance = chance

    @property
    @override
    def provider_name(self) -> str | None:
        return "house"

    @override
    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        raise NotImplementedError("no inbound message comes by a carrier here")

    @override
    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        assert context.delivery is not None
        key = context.delivery.id
        if self._chance.random() < 0.02:
            raise ProviderError("busy", error_code=ErrorCode.OVERLOADED, retry_after=0.005)
        await asyncio.sleep(self._chance.random() * _MOST_PAUSE)  # other processes
        for each in (key, f"{key}:again") if self._rekeying else (key,):
            await self._wire.hand_over(
                each, room=event.room_id, channel=self.channel_id, event=event.id, index=event.index
            )
        return ChannelOutput(provider_result=ProviderResult(success=True, provider_message_id=f"m-{key}"))


def build(store: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the store that is described, and what else of the kit goes with it."""
    if "sqlite" in store:
        from roomkit_plugins.sqlite import SQLiteConfig, SQLiteStore

        return SQLiteStore(SQLiteConfig(path=store["sqlite"], synchronous="normal")), {"single_process": True}
    from roomkit_plugins.postgres import PostgresLockManager, PostgresRealtime, PostgresStore

    dsn = store["postgres"]
    return PostgresStore(dsn), {"lock_manager": PostgresLockManager(dsn), "realtime": PostgresRealtime(dsn)}


def main(options: WorkerOptions) -> None:
    """Be a worker until killed, or told to stop."""
    logging.basicConfig(
        level=os.environ.get("ROOMKIT_WORKER_LOG", "ERROR"),
        format=f"%(asctime)s {options.name} %(levelname)s %(name)s: %(message)s",
    )
    asyncio.run(_work(options))


async def _work(options: WorkerOptions) -> None:
    chance = random.Random(options.seed)
    wire = Wire(*await asyncio.open_connection("127.0.0.1", options.port))
    plugins = PluginManager(entry_points=())
    plugins.scan()
    store, parts = build(options.store)
    quick = RetryPolicy(max_retries=5, base_delay_seconds=0.005)
    kit = RoomKit(
        store=store,
        plugins=plugins,
        lease_seconds=options.lease_seconds,
        retry_policy=quick,
        clock=WrongClock(options.clock_spread, chance) if options.clock_spread else None,
        **parts,
    )
    player = None
    if options.plays_trees:
        player = _furnish_for_trees(kit, wire, chance)
    else:
        _furnish(kit, wire, chance, options)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, _show, options.name, kit)
    await kit.start()
    entry = Webhooks(kit, wire, hasty=options.fault == "hasty")
    await entry.open()
    wire.tell(hello=options.name, pid=os.getpid(), webhooks=entry.port)
    async with asyncio.TaskGroup() as saying:
        async for message in wire.listen():
            if "stop" in message:
                break
            if player is not None:
                saying.create_task(_obey(player, message))
                continue
            if options.fault == "forgetful" and chance.random() < 0.3:
                wire.tell(ack=message["say"])
                continue
            saying.create_task(_say(kit, wire, message))
    await entry.close()
    await kit.close()


def _furnish(kit: RoomKit, wire: Wire, chance: random.Random, options: WorkerOptions) -> None:
    kit.register_channel(VendorChannel("person"))
    for name in CARRIERS:
        kit.register_channel(Carrier(name, wire, chance, rekeying=options.fault == "rekeying"))

    def answer(event: RoomEvent, _context: RoomContext) -> str:
        return f"re: {text_of(event.content)}"

    agent = ScriptedIntelligence("agent", iter(lambda: answer, None), delay=chance.random() * _MOST_PAUSE)
    kit.register_channel(agent)

    @kit.hook(HookTrigger.AFTER_BROADCAST)
    async def observed(event: RoomEvent, _context: RoomContext) -> None:
        wire.tell(observed=event.id)


def _furnish_for_trees(kit: RoomKit, wire: Wire, chance: random.Random) -> Player:
    for name in TALKERS:
        kit.register_channel(RecordingChannel(name, streaming=True))
    kit.register_channel(Carrier(CARRIER, wire, chance))
    agent = TreeAgent(streaming=chance.random() < 0.5)
    kit.register_channel(agent)
    agent.player = Player(kit, lambda outcome: wire.tell(did=outcome.label, outcome=asdict(outcome)))
    return agent.player


async def _obey(player: Player, message: Mapping[str, Any]) -> None:
    await player.perform(TreeCommand.of_json(message["do"]))


def _show(name: str, kit: RoomKit) -> None:
    """Print the worker's tasks, to debug why it does not end."""
    lease = kit._kernel.ground.lease
    sys.stderr.write(f"{name}: worker {lease.worker_id}, in force {lease.in_force}\n")
    for key, lane in kit._kernel.work.lanes._lanes.items():
        waiting = [job.delivery_id for job in lane.queue]
        busy = lane.busy.delivery_id if lane.busy is not None else None
        sys.stderr.write(f"{name}: lane {key} works {lane.working} at {busy}, then {waiting}\n")
    for task in asyncio.all_tasks():
        task.print_stack(limit=4)


async def _say(kit: RoomKit, wire: Wire, message: Mapping[str, Any]) -> None:
    key, room_id = message["say"], message["room"]
    said = InboundMessage(
        channel_id="person", sender_id="p", content=TextContent(body=key), idempotency_key=key
    )
    try:
        result = await kit.process_inbound(said, room_id=room_id, wait="committed")
    except RoomKitError as error:
        wire.tell(refused=key, why=f"{type(error).__name__}: {error}")
        return
    if result.event is None:
        wire.tell(refused=key, why=result.reason)
    else:
        wire.tell(ack=key)


async def prepare(store_options: Mapping[str, Any], rooms: list[str]) -> None:
    """Make the rooms, with everybody in them."""
    store, parts = build(store_options)
    plugins = PluginManager(entry_points=())
    plugins.scan()
    async with RoomKit(store=store, plugins=plugins, **parts) as kit:
        for name in ("person", *CARRIERS):
            kit.register_channel(RecordingChannel(name))
        kit.register_channel(ScriptedIntelligence("agent"))
        for room_id in rooms:
            await kit.create_room(room_id)
            for name in ("person", *CARRIERS):
                await kit.attach_channel(room_id, name)
            await kit.attach_channel(room_id, "agent", category=ChannelCategory.INTELLIGENCE)
