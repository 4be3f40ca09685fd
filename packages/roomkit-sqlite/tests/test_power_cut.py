"""A loss of power at any instant: the disk has all synced data, and any part of the rest.

The short run is part of the suite; `ROOMKIT_KILLS` opens that many crashed disks of each kind.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

from roomkit_plugins.sqlite import SQLiteConfig, SQLiteStore

from .recorded import ROOM, Op

CRASHES = int(os.environ.get("ROOMKIT_KILLS", "60"))
SEED = int(os.environ.get("ROOMKIT_KILL_SEED", "7"))
MESSAGES = 70
"""Enough for the log to be written into the file and to begin again."""
SECTOR = 512


class Disk:
    """Files as they would be found after a crash."""

    def __init__(self) -> None:
        self.synced: dict[str, bytearray] = {}
        self._pending: dict[str, list[Op]] = {}  # bound: a transaction or a checkpoint

    def do(self, op: Op) -> None:
        """Take note of one thing that was done to the disk."""
        if op.kind == "delete":
            self.synced.pop(op.file, None)
            self._pending.pop(op.file, None)
        elif op.kind == "sync":
            for each in self._pending.pop(op.file, ()):
                _apply(self.synced.setdefault(op.file, bytearray()), each)
        elif op.kind != "ack":
            self._pending.setdefault(op.file, []).append(op)

    def crashed(self, chance: Random) -> dict[str, bytes]:
        """Return the files: of the data not synced all, none, the first part, or any sectors are there."""
        files = {name: bytearray(data) for name, data in self.synced.items()}
        for name, pending in self._pending.items():
            data = files.setdefault(name, bytearray())
            for op in _survivors(pending, chance):
                _apply(data, op)
        return {name: bytes(data) for name, data in files.items()}


def _survivors(pending: Sequence[Op], chance: Random) -> Iterator[Op]:
    match chance.randrange(4):
        case 0:
            return
        case 1:
            yield from pending
        case 2:
            yield from pending[: chance.randrange(len(pending) + 1)]
        case _:
            for op in pending:
                for start in range(0, max(1, len(op.data)), SECTOR):
                    if chance.random() < 0.5:
                        yield op._replace(at=op.at + start, data=op.data[start : start + SECTOR])


def _apply(data: bytearray, op: Op) -> None:
    if op.kind == "truncate":
        del data[op.at :]
        return
    if len(data) < op.at:
        data.extend(bytes(op.at - len(data)))
    data[op.at : op.at + len(op.data)] = op.data


def recorded(folder: Path, mode: str) -> list[Op]:
    """Run a store in a process of its own, and return what it did to the disk."""
    trace = folder / "trace"
    script = Path(__file__).with_name("recorded.py")
    subprocess.run(
        [sys.executable, script, folder / "live.db", mode, str(MESSAGES), trace], check=True, timeout=200
    )
    return [Op(*each) for each in pickle.loads(trace.read_bytes())]  # our own, just written


def crashes(trace: Sequence[Op], chance: Random) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Yield crashed disks, each with how many messages had been acknowledged."""
    instants = sorted(chance.randrange(len(trace)) for _ in range(CRASHES))
    disk, acknowledged = Disk(), 0
    for position, op in enumerate(trace):
        while instants and instants[0] == position:
            del instants[0]
            yield acknowledged, disk.crashed(chance)
        disk.do(op)
        acknowledged += op.kind == "ack"


async def found(folder: Path, files: dict[str, bytes], mode: str) -> list[int]:
    """Open a crashed disk, check it whole, and return the messages that are there."""
    for old in folder.glob("live.db*"):
        old.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    store = SQLiteStore(SQLiteConfig.model_validate({"path": folder / "live.db", "synchronous": mode}))
    try:
        await store.check()
        return [int(event.content.body) for event in await store.list_events(ROOM, limit=2 * MESSAGES)]
    finally:
        await store.close()


@pytest.mark.timeout(60 + CRASHES)
async def test_what_was_acknowledged_survives_a_loss_of_power(tmp_path: Path) -> None:
    """With `synchronous="full"`: whole, in order, and no more than the one message that was under way."""
    for acknowledged, files in crashes(recorded(tmp_path, "full"), Random(SEED)):
        messages = await found(tmp_path, files, "full")
        assert messages == list(range(len(messages)))
        assert acknowledged <= len(messages) <= acknowledged + 1


@pytest.mark.timeout(60 + CRASHES)
async def test_without_syncs_the_newest_may_be_lost_and_no_more(tmp_path: Path) -> None:
    """With `synchronous="normal"` the file is whole and ends earlier, as some of these crashes show."""
    lost = 0
    for acknowledged, files in crashes(recorded(tmp_path, "normal"), Random(SEED)):
        messages = await found(tmp_path, files, "normal")
        assert messages == list(range(len(messages)))
        assert len(messages) <= acknowledged + 1
        lost += len(messages) < acknowledged
    assert lost
