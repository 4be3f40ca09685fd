"""A message through a room: alone, with hooks, in many rooms at once."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial

from benchmarks.floor import HandWritten
from benchmarks.harness import Case, contest
from benchmarks.report import Effort, Figure, Findings
from benchmarks.world import ROOM, Sink, inbound, kit_of, open_kit, seed_rooms, send
from roomkit.models.context import RoomContext
from roomkit.models.enums import HookExecution, HookTrigger
from roomkit.models.event import RoomEvent
from roomkit.models.hook import HookResult
from roomkit_plugins.websocket import WebSocketChannel

__all__ = ["concurrent", "hooks", "message"]


async def message(effort: Effort) -> Findings:
    """A message to two listeners: on two channels, on one, and as far as the commit."""
    items, sink = effort.items(400), Sink()
    async with AsyncExitStack() as stack:
        two_channels = await stack.enter_async_context(kit_of(1, 1))
        one_channel = await stack.enter_async_context(kit_of(2))
        one_listener = await stack.enter_async_context(kit_of(0, 1))
        unheard = await stack.enter_async_context(kit_of(0))
        found = await contest(
            {
                "two channels": Case(partial(send, two_channels), items),
                "floor": Case(HandWritten([sink.send, sink.send]).messages, items),
                "one channel": Case(partial(send, one_channel), items),
                "one listener": Case(partial(send, one_listener), items),
                "unheard": Case(partial(send, unheard), items),
                "floor unheard": Case(HandWritten([]).messages, items),
            },
            effort.rounds(60),
        )
    floor = found["floor"].best
    return Findings(
        [
            Figure(
                "message, two channels with a listener each", found["two channels"].best, "µs", floor, 36.0
            ),
            Figure("message, one channel with two listeners", found["one channel"].best, "µs", floor, 36.0),
            Figure("message, sender's channel and another with one listener", found["one listener"].best),
            Figure("message, without listeners", found["unheard"].best, "µs", found["floor unheard"].best),
        ]
    )


async def hooks(effort: Effort) -> Findings:
    """What one gate, and one observer, adds to a message."""

    async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
        return HookResult.allow()

    async def observer(event: RoomEvent, context: RoomContext) -> None:
        return None

    async def bare(items: int) -> None:
        for _ in range(items):
            await gate(None, None)  # type: ignore[arg-type]  # it looks at neither

    async with AsyncExitStack() as stack:
        kits = [await stack.enter_async_context(kit_of(1, 1)) for _ in range(5)]
        _, gated, gated_ten, observed, observed_ten = kits
        gated.hook(HookTrigger.BEFORE_BROADCAST)(gate)
        for number in range(11):
            gated_ten.hook(HookTrigger.BEFORE_BROADCAST, name=f"gate {number}")(gate)
        observed.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC)(observer)
        for number in range(11):
            observed_ten.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC, name=f"observer {number}")(
                observer
            )
        items = effort.items(400)
        names = ("plain", "gated", "ten more gates", "observed", "ten more observers")
        cases = {name: Case(partial(send, kit), items) for name, kit in zip(names, kits, strict=True)}
        found = await contest({**cases, "floor": Case(bare, items * 10)}, effort.rounds(60))
    plain_cost, floor = found["plain"].best, found["floor"].best
    gates = (found["ten more gates"].best - found["gated"].best) / 10
    observers = (found["ten more observers"].best - found["observed"].best) / 10
    return Findings(
        [
            Figure("the first gate adds", found["gated"].best - plain_cost, "µs", floor),
            Figure("each further gate adds", gates, "µs", floor, 0.8),
            Figure("the first observer adds", found["observed"].best - plain_cost, "µs", floor),
            Figure("each further observer adds", observers, "µs", floor, 1.5),
        ]
    )


async def concurrent(effort: Effort) -> Findings:
    """A hundred rooms, whose senders all write at once; and ten senders who crowd one room."""
    rooms, senders = effort.items(100), 4
    sink = Sink()
    names = [f"{ROOM}-{number}" for number in range(rooms)]
    hands = {name: HandWritten([sink.send, sink.send]) for name in names}

    async with open_kit() as kit:
        channels = [WebSocketChannel(f"ws{number}") for number in range(2)]
        for channel in channels:
            kit.register_channel(channel)
        await seed_rooms(kit.store, names, [channel.channel_id for channel in channels])
        for name in names:
            for channel in channels:
                channel.register_connection(f"{channel.channel_id} {name}", sink.send, room_id=name)

        async def together(items: int) -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(items):
                    group.create_task(kit.process_inbound(inbound(), room_id=names[number % rooms]))

        async def crowded(items: int) -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(10):
                    group.create_task(send(kit, max(1, items // 10), names[0]))

        async def by_hand(items: int) -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(items):
                    group.create_task(hands[names[number % rooms]].messages(1))

        found = await contest(
            {
                "together": Case(together, rooms * senders),
                "floor": Case(by_hand, rooms * senders),
                "crowded": Case(crowded, effort.items(400) // 10 * 10 or 10),
            },
            effort.rounds(30),
        )
    return Findings(
        [
            Figure(
                f"message, {senders} senders in each of 100 rooms at once",
                found["together"].best,
                "µs",
                found["floor"].best,
                60.0,
            ),
            Figure("message, ten senders crowd one room", found["crowded"].best, "µs", found["floor"].best),
        ]
    )
