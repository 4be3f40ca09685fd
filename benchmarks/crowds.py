"""Many rooms in one process: what each keeps resident, idle and with an agent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from benchmarks.agents import Scripted
from benchmarks.report import Curve, Effort, Figure, Findings
from benchmarks.rooms import by_hand, kept, talked
from benchmarks.starting import resident
from benchmarks.world import ROOM, inbound, kit_of
from roomkit_plugins.ai import AIChannel

__all__ = ["answered", "crowds"]

_IDLE, _ANSWERED = "idle rooms after one message", "rooms with an agent, after one answer"
_BUILDERS: Mapping[str, str] = {
    _IDLE: "benchmarks.rooms.talked",
    _ANSWERED: "benchmarks.crowds.answered",
    "the same values by hand": "benchmarks.rooms.by_hand",
}


async def crowds(effort: Effort) -> Findings:
    """What a hundred thousand idle rooms keep, and ten thousand with an agent."""
    idle, busy = effort.sizes(1, 1_000, 10_000, 100_000), effort.sizes(1, 1_000, 10_000)
    sizes = dict(zip(_BUILDERS, (idle, busy, idle), strict=True))
    lines = {what: await asyncio.to_thread(_line, name, sizes[what]) for what, name in _BUILDERS.items()}
    least = lines["the same values by hand"][-1][1]
    rooms = effort.items(2_000)
    figures = [
        Figure(f"{idle[-1]:,} {_IDLE}, resident each", lines[_IDLE][-1][1], "bytes", least),
        Figure(f"{busy[-1]:,} {_ANSWERED}, resident each", lines[_ANSWERED][-1][1], "bytes", least),
        Figure(f"{_IDLE}, allocated each", await kept(talked, rooms), "bytes", await kept(by_hand, rooms)),
        Figure(f"{_ANSWERED}, allocated each", await kept(answered, rooms), "bytes"),
    ]
    return Findings(figures, [Curve("resident-memory", "rooms", "resident bytes per room", lines)])


async def answered(rooms: int) -> object:
    """Keep rooms in which an agent answered one message: four events each."""
    async with kit_of(0) as kit:
        kit.register_channel(AIChannel("agent", Scripted()))
        for number in range(rooms):
            name = f"{ROOM}-{number}"
            await kit.create_room(room_id=name)
            await kit.attach_channel(name, "ws0")
            await kit.attach_channel(name, "agent")
            await kit.process_inbound(inbound(), room_id=name)
        return kit.store


def _line(builder: str, sizes: Sequence[int]) -> list[tuple[float, float]]:
    """Return the resident bytes of each room, beyond those of a process that has the first of `sizes`."""
    module, _, name = builder.rpartition(".")
    code = f"import asyncio; from {module} import {name} as build; kept = asyncio.run(build({{}}))"
    first, *others = sizes
    few = resident(code.format(first))
    points = [(float(size), (resident(code.format(size)) - few) / (size - first)) for size in others]
    return points or [(float(first), float(few))]
