"""Counts the processor's instructions of a message, exactly, however busy the machine is.

`python -m tests.tree.instructions [scenario ...]` runs scenarios of `cost.py` under callgrind (of valgrind),
which takes a minute, and prints what one message costs. `--top 30` also lists the functions of the
interpreter that most of them are spent in.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from roomkit.kernel.kit import RoomKit
from tests.tree.cost import SCENARIOS, Meter, said, say

__all__ = ["counted"]

_ROUNDS = (20, 60)
"""Messages of the two rounds whose difference is counted, so that what a round costs besides drops out."""
_WARM_UP = {"agent": 60, "agent-two-tool-rounds": 60}
"""Messages before the first round: an agent's window of 50 events is full."""
_REGION = "functools_reduce"
"""The function of the interpreter in which alone is counted: nothing else here calls it."""


def counted(names: Sequence[str], folder: Path) -> dict[str, int]:
    """Return the instructions of one message of each scenario; the profiles are left in `folder`."""
    valgrind = [
        "valgrind",
        "--tool=callgrind",
        f"--toggle-collect={_REGION}",
        f"--dump-after={_REGION}",
        f"--callgrind-out-file={folder / 'profile'}",
    ]
    inside = [sys.executable, "-m", "tests.tree.instructions", "--inside", *names]
    done = subprocess.run([*valgrind, *inside], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"valgrind failed: {done.stderr[-2000:]}")
    rounds = len(_ROUNDS) * len(names)
    totals = [_total(folder / f"profile.{number}") for number in _numbers(folder)[-rounds:]]
    few, many = _ROUNDS
    return {
        name: (totals[2 * place + 1] - totals[2 * place]) // (many - few) for place, name in enumerate(names)
    }


def _numbers(folder: Path) -> list[int]:
    return sorted(int(each.suffix[1:]) for each in folder.glob("profile.*"))


def _total(profile: Path) -> int:
    found = re.search(r"^(?:totals|summary): (\d+)", profile.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def _run(names: Sequence[str]) -> None:
    """Do the rounds of each scenario; the caller counts what happens inside of `reduce`."""
    for name in names:
        with asyncio.Runner() as runner:
            scenario = SCENARIOS[name](Meter(bare=True))
            kit = runner.run(scenario.__aenter__())
            runner.run(say(kit, _WARM_UP.get(name, 20)))
            for messages in _ROUNDS:
                gc.collect()
                gc.freeze()
                functools.reduce(partial(_talk, runner, kit), (messages,), None)
            runner.run(scenario.__aexit__(None, None, None))


def _talk(runner: asyncio.Runner, kit: RoomKit, _before: None, messages: int) -> None:
    runner.run(_listen(kit, messages))


async def _listen(kit: RoomKit, messages: int) -> None:
    async for _ in said(kit, messages):
        pass


def _top(profile: Path, lines: int) -> Iterator[str]:
    done = subprocess.run(
        ["callgrind_annotate", "--auto=no", str(profile)], capture_output=True, text=True, check=True
    )
    listed = [line for line in done.stdout.splitlines() if "%)" in line]
    for line in listed[:lines]:
        yield re.sub(r"\?\?\?:|\[.*\]$", "", line) + "\n"


def main() -> None:
    """Print what one message of each scenario costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", default=["message", "message-twelve-channels"])
    parser.add_argument("--top", type=int, default=0)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        _run(given.scenarios)
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, instructions in counted(given.scenarios, Path(folder)).items():
            sys.stdout.write(f"{name:30} {instructions:>10,}\n")
        if given.top:
            for number in _numbers(Path(folder))[-2 * len(given.scenarios) :][1::2]:
                sys.stdout.writelines(_top(Path(folder) / f"profile.{number}", given.top))


if __name__ == "__main__":
    main()
