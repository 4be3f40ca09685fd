"""What grows: channels, sockets, the length of a room, the number of rooms."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from itertools import cycle, pairwise

from benchmarks.floor import HandWritten
from benchmarks.harness import Case, contest
from benchmarks.report import Curve, Effort, Figure, Findings
from benchmarks.world import ROOM, TEXT, Sink, fill, kit_of, open_kit, seed_rooms, send
from roomkit.kernel.kit import RoomKit
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.event import RoomEvent
from roomkit_plugins.websocket import WebSocketChannel

__all__ = ["channels", "length", "rooms", "slow_socket", "sockets"]


async def channels(effort: Effort) -> Findings:
    """What each attached channel adds to a message; every channel has one listener."""
    sizes = effort.sizes(1, 10, 100, 1000)
    async with AsyncExitStack() as stack:
        cases = {}
        for size in sizes:
            kit = await stack.enter_async_context(kit_of(*[1] * size))
            cases[f"{size}"] = Case(partial(send, kit), max(1, effort.items(4000) // (size + 9)))
            by_hand = HandWritten([Sink().send] * size)
            cases[f"floor {size}"] = Case(by_hand.messages, max(1, effort.items(4000) // (size + 9)))
        found = await contest(cases, effort.rounds(20))
    return _grown("attached channel", "attached channels", sizes, {n: b.best for n, b in found.items()}, 3.0)


async def sockets(effort: Effort) -> Findings:
    """What each listening socket of one channel adds to a message."""
    sizes = effort.sizes(1, 10, 100, 300, 1000)
    async with AsyncExitStack() as stack:
        cases = {}
        for size in sizes:
            kit = await stack.enter_async_context(kit_of(size))
            cases[f"{size}"] = Case(partial(send, kit), max(1, effort.items(8000) // (size + 39)))
            by_hand = HandWritten([Sink().send] * size)
            cases[f"floor {size}"] = Case(by_hand.messages, max(1, effort.items(8000) // (size + 39)))
        found = await contest(cases, effort.rounds(20))
    return _grown("socket", "sockets of one channel", sizes, {n: b.best for n, b in found.items()}, 0.5)


def _grown(what: str, x: str, sizes: list[int], cost: dict[str, float], aim: float) -> Findings:
    """Return the marginal cost between each size and the next, and between the ends; and the curve."""
    spans = [*pairwise(sizes), (sizes[0], sizes[-1])] if len(sizes) > 2 else [(sizes[0], sizes[-1])]
    lines: dict[str, list[tuple[float, float]]] = {
        "RoomKit": [(size, cost[f"{size}"]) for size in sizes],
        "by hand": [(size, cost[f"floor {size}"]) for size in sizes],
    }
    figures = [
        Figure(
            f"each {what} adds, {least:,} to {most:,}",
            _added(cost, "", least, most),
            "µs",
            _added(cost, "floor ", least, most),
            aim,
        )
        for least, most in spans
    ]
    return Findings(
        figures,
        [Curve(x.replace(" ", "-"), x, "µs of CPU per message", lines)],
    )


def _added(cost: dict[str, float], of: str, least: int, most: int) -> float:
    return (cost[f"{of}{most}"] - cost[f"{of}{least}"]) / max(1, most - least)


async def slow_socket(effort: Effort) -> Findings:
    """What a socket that never finishes a write costs the other hundred, and whether it delays them."""

    async def never(connection_id: str, event: RoomEvent) -> None:
        await asyncio.get_running_loop().create_future()

    sink = Sink()
    listeners, items = 100, effort.items(200)
    async with kit_of(listeners) as healthy, open_kit() as kit:
        channel = WebSocketChannel("ws0", send_timeout=3600.0, backlog=1_000_000)
        kit.register_channel(channel)
        await kit.create_room(room_id=ROOM)
        await kit.attach_channel(ROOM, "ws0")
        channel.register_connection("sender", sink.send, room_id=ROOM, participant_id="alice")
        for number in range(listeners):
            write = never if number == 0 else sink.send
            channel.register_connection(f"{number}", write, room_id=ROOM, participant_id=f"{number}")
        await send(kit, 1)
        for _ in range(listeners):  # a large audience is written to in slices, a turn of the loop each
            await asyncio.sleep(0)
        if sink.writes != listeners - 1:
            raise AssertionError(f"{sink.writes} of {listeners - 1} sockets had the message at once")
        found = await contest(
            {
                "one of them stuck": Case(partial(send, kit), items),
                "all well": Case(partial(send, healthy), items),
            },
            effort.rounds(20),
        )
        channel.unregister_connection("0")
    stuck, well = found["one of them stuck"].best, found["all well"].best
    return Findings(
        [Figure("message to 100 sockets, one of them stuck / all well", stuck / well, "x", 1.0, 1.05)]
    )


async def length(effort: Effort) -> Findings:
    """A message in a room that holds more and more events."""
    sizes = effort.sizes(0, 1_000, 10_000, 50_000)
    async with AsyncExitStack() as stack:
        cases = {}
        for size in sizes:
            kit = await stack.enter_async_context(kit_of(1, 1))
            await fill(kit.store, ROOM, size)
            begin = partial(_empty_again, kit) if size == 0 else None
            cases[f"{size}"] = Case(partial(send, kit), effort.items(300), begin)
        found = await contest(cases, effort.rounds(40))
    points = [(float(size), found[f"{size}"].best) for size in sizes]
    grown = points[-1][1] / points[0][1]
    return Findings(
        [Figure("message, room of 50,000 events / empty room", grown, "x", 1.0, 1.05)],
        [Curve("room-length", "events in the room", "µs of CPU per message", {"RoomKit": points}, log=False)],
    )


async def _empty_again(kit: RoomKit) -> None:
    """Replace the room by a new one, for the same sockets; the first message makes the participant."""
    await kit.delete_room(ROOM)
    await kit.create_room(room_id=ROOM)
    for channel_id in ("ws0", "ws1"):
        await kit.attach_channel(ROOM, channel_id)
    await send(kit, 1)


async def rooms(effort: Effort) -> Findings:
    """A message among more and more rooms: to a named room, and to the room its sender is found in."""
    sizes = effort.sizes(1, 1_000, 10_000, 100_000)
    items = effort.items(300)
    async with AsyncExitStack() as stack:
        cases = {}
        for size in sizes:
            kit = await stack.enter_async_context(open_kit())
            names = [f"{ROOM}-{number}" for number in range(size)]
            sink, ws = Sink(), [WebSocketChannel("ws0"), WebSocketChannel("ws1")]
            for channel in ws:
                kit.register_channel(channel)
            await seed_rooms(kit.store, names, ["ws0", "ws1"])
            busy = names[:: max(1, size // 50)]
            for name in busy:
                for channel in ws:
                    channel.register_connection(
                        f"{channel.channel_id} {name}", sink.send, room_id=name, participant_id="bob"
                    )
            ways = cycle([(name, f"sender of {name}") for name in busy])

            cases[f"named {size}"] = Case(partial(_named, kit, ways), items)
            cases[f"routed {size}"] = Case(partial(_routed, kit, ways), items)
        found = await contest(cases, effort.rounds(12))
    lines = {
        kind: [(float(size), found[f"{kind} {size}"].best) for size in sizes] for kind in ("named", "routed")
    }
    grown = {kind: points[-1][1] / points[0][1] for kind, points in lines.items()}
    middle = sizes[min(1, len(sizes) - 1)]
    routed = found[f"routed {middle}"].best
    return Findings(
        [
            Figure(f"message, one of {middle:,} rooms, routed", routed, "µs", aim=40.0),
            Figure("message, one of 100,000 rooms / the only room, named", grown["named"], "x", 1.0, 1.05),
            Figure("message, one of 100,000 rooms / the only room, routed", grown["routed"], "x", 1.0, 1.05),
        ],
        [Curve("rooms", "rooms", "µs of CPU per message", lines)],
    )


type _Ways = Iterator[tuple[str, str]]
"""Rooms, each with its sender, round and round."""


async def _named(kit: RoomKit, ways: _Ways, items: int) -> None:
    for _ in range(items):
        room_id, sender = next(ways)
        await kit.process_inbound(_from(sender), room_id=room_id)


async def _routed(kit: RoomKit, ways: _Ways, items: int) -> None:
    for _ in range(items):
        await kit.process_inbound(_from(next(ways)[1]))


def _from(sender: str) -> InboundMessage:
    return InboundMessage(channel_id="ws0", sender_id=sender, content=TextContent(body=TEXT))
