"""Messages over real sockets: what they cost the server, which is a process of its own."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import quantiles

from benchmarks.report import Curve, Effort, Figure, Findings
from benchmarks.socket_clients import Crowd
from benchmarks.socket_servers import Served, server

__all__ = ["real_sockets"]

_FLOORS = {"RoomKit behind Starlette": "Starlette by hand", "RoomKit's own server": "websockets by hand"}
_MEASURED = (*_FLOORS, *_FLOORS.values())
_ACKNOWLEDGED = frozenset(_FLOORS)
"""The servers that acknowledge a message, which is a frame more."""
_ONE = {"RoomKit behind Starlette": 125.0, "RoomKit's own server": None}
_MANY = {"RoomKit behind Starlette": 13.0, "RoomKit's own server": 9.0}


@dataclass(frozen=True, slots=True)
class _Round:
    """Seconds of the server's CPU for a message, that of its own code, and how long each message took."""

    cpu: float
    user: float
    took: Sequence[float]


type _Rounds = Mapping[tuple[str, int], Sequence[_Round]]
"""By server and number of listeners."""


async def real_sockets(effort: Effort) -> Findings:
    """A message from one client to one, and to a thousand; the server's CPU, and how long it takes."""
    sizes = effort.sizes(1, 10, 100, 300, 1000)
    found: dict[tuple[str, int], list[_Round]] = defaultdict(list)  # bound: the scenarios
    async with AsyncExitStack() as stack:
        started = await asyncio.gather(*(stack.enter_async_context(server(name)) for name in _MEASURED))
        served = dict(zip(_MEASURED, started, strict=True))
        for size in sizes:
            items = max(2, effort.items(40_000) // (size + 79))
            await asyncio.to_thread(_measure, served, size, items, effort.rounds(8), found)
    return Findings([*_costs(found, sizes[-1]), *_times(found, sizes)], [_curve(found, sizes)])


def _measure(
    served: Mapping[str, Served],
    size: int,
    items: int,
    rounds: int,
    found: Mapping[tuple[str, int], list[_Round]],
) -> None:
    """Have the same crowd at each server, in turns."""
    with_crowds = {name: (each, Crowd(each.port, size)) for name, each in served.items()}
    for turn in range(rounds + 1):
        for name, (each, crowd) in with_crowds.items():
            before = each.spent()
            took = crowd.say(items, acknowledged=name in _ACKNOWLEDGED)
            after = each.spent()
            if turn:  # the first fills caches
                cpu, user = after.all - before.all, after.user - before.user
                found[name, size].append(_Round(cpu / items, user / items, took))
    for _, crowd in with_crowds.values():
        crowd.close()


def _best(rounds: Sequence[_Round]) -> float:
    return min(each.cpu for each in rounds) * 1e6


def _costs(found: _Rounds, most: int) -> list[Figure]:
    figures = []  # bound: servers
    for name, floor in _FLOORS.items():
        one, many = _best(found[name, 1]), _best(found[name, most]) / most
        least = _best(found[floor, 1]), _best(found[floor, most]) / most
        figures += [
            Figure(f"1 to 1, {name}", one, "µs", least[0], _ONE[name]),
            Figure(f"1 to {most:,}, per socket, {name}", many, "µs", least[1], _MANY[name]),
        ]
    return figures


def _times(found: _Rounds, sizes: Sequence[int]) -> list[Figure]:
    """Return how long it takes until the last listener has a message, in the middle and of the slowest."""
    figures = []  # bound: servers
    for size in dict.fromkeys((sizes[0], sizes[-1])):
        for name, floor in _FLOORS.items():
            ours, least = _percentiles(found[name, size]), _percentiles(found[floor, size])
            for rank, (mine, theirs) in zip(("p50", "p99"), zip(ours, least, strict=True), strict=True):
                figures.append(
                    Figure(f"1 to {size:,}, until all have it, {rank}, {name}", mine, "ms", theirs)
                )
    return figures


def _percentiles(rounds: Sequence[_Round]) -> tuple[float, float]:
    took = quantiles([each for one in rounds for each in one.took], n=100, method="inclusive")
    return took[49] * 1e3, took[98] * 1e3


def _curve(found: _Rounds, sizes: Sequence[int]) -> Curve:
    lines = {name: [(float(size), _best(found[name, size])) for size in sizes] for name in _MEASURED}
    return Curve("real-sockets", "listening sockets", "µs of the server's CPU per message", lines)
