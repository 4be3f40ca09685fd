"""What it takes until something works: imports, the first message, sixty installed plugins."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Effort, Figure, Findings

__all__ = ["FIRST", "FIRST_FLOOR", "first_message", "importing", "plugins", "resident"]

PLUGINS = 60
BYTECODE = {
    "PYTHONDONTWRITEBYTECODE": "",
    "PYTHONPYCACHEPREFIX": str(Path(__file__).parent.parent.resolve() / "build/bytecode"),
}
"""Where bytecode is forbidden, each interpreter would compile all its imports, as no user's does."""

_IMPORT = "import roomkit; import sys; assert 'pydantic' not in sys.modules"
FIRST = """
import asyncio
from roomkit import InboundMessage, RoomKit, TextContent, WebSocketChannel
async def send(connection_id, event): assert event.json_bytes
async def main():
    async with RoomKit() as kit:
        channel = WebSocketChannel("ws")
        kit.register_channel(channel)
        await kit.create_room(room_id="r")
        await kit.attach_channel("r", "ws")
        channel.register_connection("bob", send, room_id="r", participant_id="bob")
        message = InboundMessage(channel_id="ws", sender_id="alice", content=TextContent(body="hello"))
        result = await kit.process_inbound(message, room_id="r")
        assert not result.blocked and result.event.index >= 0, result
asyncio.run(main())
"""
FIRST_FLOOR = """
import asyncio
from pydantic import BaseModel
class Message(BaseModel):
    channel_id: str
    sender_id: str
    body: str
async def main():
    message = Message(channel_id="ws", sender_id="alice", body="hello")
    assert message.model_dump_json()
asyncio.run(main())
"""
_SCAN = "from roomkit.plugins import PluginManager; assert len(PluginManager().plugins()) >= {least}"
_SCAN_FLOOR = "import pluggy, importlib_metadata; importlib_metadata.entry_points(group='roomkit')"
_PLUGIN = """
from roomkit.plugins import hookimpl

@hookimpl
def roomkit_register(registry):
    registry.add("sms", "vendor{number}", "vendor{number}.sms:Provider", config="vendor{number}.sms:Config")
    registry.add("rcs", "vendor{number}", "vendor{number}.rcs:Provider")
"""


@dataclass(frozen=True, slots=True)
class _Run:
    """One interpreter from start to end, in milliseconds."""

    wall: float
    cpu: float


async def importing(effort: Effort) -> Findings:
    """`import roomkit`, beside an interpreter that does nothing."""
    best = _contest({"import": [_IMPORT], "bare": ["pass"]}, effort.rounds(25))
    return Findings(
        [
            Figure("import roomkit, wall", best["import"].wall, "ms", best["bare"].wall, 45.0),
            Figure(
                "import roomkit, wall beyond a bare interpreter",
                best["import"].wall - best["bare"].wall,
                "ms",
                aim=3.0,
            ),
        ]
    )


async def first_message(effort: Effort) -> Findings:
    """From the start of the interpreter to the end of it, one message in between."""
    best = _contest({"first": [FIRST], "floor": [FIRST_FLOOR]}, effort.rounds(25))
    first, floor = best["first"], best["floor"]
    return Findings(
        [
            Figure(
                "first message handled, wall from interpreter start to exit",
                first.wall,
                "ms",
                floor.wall,
                260.0,
            ),
            Figure("the same, CPU", first.cpu, "ms", floor.cpu),
            Figure("the same, resident", resident(FIRST) / 2**20, "MiB", resident(FIRST_FLOOR) / 2**20),
        ]
    )


async def plugins(effort: Effort) -> Findings:
    """What sixty installed plugins add to a start that looks for them."""
    with tempfile.TemporaryDirectory() as folder:
        none, all_of_them = Path(folder, "none"), Path(folder, "all")
        _lay_out(none, 0)
        _lay_out(all_of_them, PLUGINS)
        best = _contest(
            {
                "none": [_SCAN.format(least=0), none],
                "sixty": [_SCAN.format(least=PLUGINS), all_of_them],
                "floor none": [_SCAN_FLOOR, none],
                "floor sixty": [_SCAN_FLOOR, all_of_them],
            },
            effort.rounds(12),
        )
    added = best["sixty"].cpu - best["none"].cpu
    floor = max(best["floor sixty"].cpu - best["floor none"].cpu, 0.1)
    return Findings([Figure("sixty installed plugins add, CPU", added, "ms", floor, 60.0)])


def _lay_out(folder: Path, plugins: int) -> None:
    folder.mkdir()
    for number in range(plugins):
        _install(folder, number)


def _install(folder: Path, number: int) -> None:
    """Lay a distribution out as pip would: an entry point, a range on the core, two components."""
    package = folder / f"vendor{number}"
    package.mkdir()
    (package / "__init__.py").write_text('"""A vendor."""\n')
    (package / "plugin.py").write_text(_PLUGIN.format(number=number))
    info = folder / f"vendor{number}-1.0.dist-info"
    info.mkdir()
    requirements = "".join(f"Requires-Dist: dependency{each}>=1\n" for each in range(4))
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: vendor{number}\nVersion: 1.0\nRequires-Dist: roomkit-core>=1.0,<2\n"
        f"{requirements}\n{'A long description, as they have. ' * 60}\n"
    )
    (info / "entry_points.txt").write_text(f"[roomkit]\nvendor{number} = vendor{number}.plugin\n")


def _contest(cases: Mapping[str, Sequence[str | Path]], rounds: int) -> dict[str, _Run]:
    """Run interpreters in turns and return the best of each figure; the first round fills caches."""
    runs: dict[str, list[_Run]] = {name: [] for name in cases}
    for turn in range(rounds + 1):
        for name, (code, *path) in cases.items():
            run = _run([sys.executable, "-c", str(code)], *map(str, path))
            if turn:
                runs[name].append(run)
    return {
        name: _Run(min(run.wall for run in found), min(run.cpu for run in found))
        for name, found in runs.items()
    }


def _run(command: Sequence[str], path: str = "") -> _Run:
    environment = {**os.environ, **BYTECODE, "PYTHONPATH": path}
    began = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return _Run(1000 * wall, 1000 * (used.ru_utime + used.ru_stime))


def resident(code: str) -> int:
    """Return the most bytes an interpreter that runs `code` has resident (Linux only).

    Not `ru_maxrss`: a child begins with its parent's.
    """
    told = f"{code}\nprint(*[line for line in open('/proc/self/status') if line.startswith('VmHWM')])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    output = subprocess.run([sys.executable, "-c", told], env=environment, check=True, stdout=subprocess.PIPE)
    return 1024 * int(output.stdout.split()[-2])
