"""A worker that merges rooms one after the other, until it is killed."""

from __future__ import annotations

import asyncio
import json
import sys

from roomkit import RoomKit
from roomkit.abc.errors import RoomBusyError
from roomkit.kernel.meeting import moves, plans
from tests.workers.program import build

BATCH = 4
LEASE = 1.0


async def merge(store_options: dict[str, str], sources: list[str], into: str) -> None:
    """Merge each source into the room; say so on the standard output before each."""
    moves.AT_ONCE = plans.AT_ONCE = BATCH
    store, options = build(store_options)
    async with RoomKit(store=store, lease_seconds=LEASE, **options) as kit:
        for source in sources:
            sys.stdout.write(f"{source}\n")
            sys.stdout.flush()
            while True:
                try:
                    await kit.merge_rooms(source, into)
                    break
                except RoomBusyError:  # marked by a worker that was killed
                    await asyncio.sleep(0.05)  # other processes


if __name__ == "__main__":
    asyncio.run(merge(json.loads(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]))
