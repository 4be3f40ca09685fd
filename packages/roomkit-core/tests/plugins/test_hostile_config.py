"""Configurations with nonsensical values: each is refused with a ConfigError in clean lines."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from roomkit.abc.errors import InvalidInputError
from roomkit.kernel.kit import RoomKit
from roomkit.plugins import ConfigError, PluginManager

HOSTILE = "x\nroomkit: all is well\x1b[2J\0\ud83d\u202e"


def nested(depth: int) -> Mapping[str, Any]:
    table: dict[str, Any] = {}
    innermost = table
    for _ in range(depth):
        innermost["a"] = innermost = {}
    return table


SOURCES: dict[str, Any] = {
    "NUL in a path": "a\0b",
    "a surrogate in a path": "\ud83d.toml",
    "a folder": "/tmp",
    "nothing": None,
    "a number": 5,
    "a list": [1],
    "an unknown table": {HOSTILE: {"plugin": "memory"}},
    "an unknown key": {"kit": {HOSTILE: 1}},
    "a key that is not text": {5: 1},
    "a number that no JSON holds": {"kit": {"max_chain_depth": 10**5000}},
    "a negative one": {"kit": {"max_lane_backlog": -(10**5000)}},
    "no finite time": {"kit": {"process_timeout": float("inf")}},
    "not a number": {"kit": {"process_timeout": float("nan")}},
    "a time too large for a float": {"kit": {"process_timeout": 10**5000}},
    "a truth for a time": {"kit": {"process_timeout": True}},
    "a text for a number": {"kit": {"max_chain_depth": "5"}},
    "a truth for a number": {"kit": {"max_chain_depth": True}},
    "a number for a truth": {"kit": {"single_process": 1}},
    "an unknown component": {"store": {"plugin": HOSTILE}},
    "an unknown setting": {"store": {"plugin": "memory", HOSTILE: 1}},
    "no variable": {"store": {"plugin": "memory", "a": f"env:{HOSTILE}"}},
    "no file": {"store": {"plugin": "memory", "a": f"file:{HOSTILE}"}},
    "too deep": {"store": {"plugin": "memory", "a": nested(100_000)}},
    "a hostile channel": {"channels": {HOSTILE: {"plugin": HOSTILE}}},
}
FILES = {
    "a number too long": b"[kit]\nmax_chain_depth = " + b"9" * 5000,
    "too deep": b"[kit]\na=" + b"[" * 100_000 + b"]" * 100_000,
    "no UTF-8": b"[kit]\na = '\xff'",
    "a byte order mark": b"\xef\xbb\xbf[kit]\n",
    "NUL": b"[kit]\na = '\0'",
}
MANAGER = PluginManager(entry_points=())


def check(error: ConfigError) -> None:
    first, *problems = str(error).split("\n")
    assert first.endswith(" cannot be used:")
    assert problems
    assert all(each.startswith("  - ") for each in problems)
    assert all(mark.isprintable() for line in (first, *problems) for mark in line)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
async def test_a_hostile_mapping_is_refused(source: Any) -> None:
    """Nothing raw, no other error, and no kit."""
    with pytest.raises(ConfigError) as caught:
        await RoomKit.from_config(source, plugins=MANAGER)
    check(caught.value)


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
async def test_a_hostile_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "roomkit.toml"
    await asyncio.to_thread(path.write_bytes, content)
    with pytest.raises(ConfigError) as caught:
        await RoomKit.from_config(path, plugins=MANAGER)
    check(caught.value)


@pytest.mark.parametrize("name", ["max_chain_depth", "max_lane_backlog"])
@pytest.mark.parametrize(
    "number", [0, -1, 2**31, 10**5000, -(10**5000)], ids=["0", "-1", "2**31", "huge", "-huge"]
)
def test_the_constructor_bounds_its_numbers_too(name: str, number: int) -> None:
    """They are stored with what they limit, so they have to be numbers that can be read back."""
    with pytest.raises(InvalidInputError, match=f"{name} is .*at least 1 and at most 2147483647"):
        RoomKit(**{name: number})


@pytest.mark.parametrize("name", ["process_timeout", "delivery_timeout", "lease_seconds", "close_timeout"])
@pytest.mark.parametrize(
    "seconds",
    [0, -1.0, float("nan"), True, 10**5000, -(10**5000)],
    ids=["0", "-1", "nan", "True", "huge", "-huge"],
)
def test_the_constructor_bounds_its_times_too(name: str, seconds: float) -> None:
    with pytest.raises(InvalidInputError, match=f"{name} is .*give it a positive number of seconds"):
        RoomKit(**{name: seconds})
