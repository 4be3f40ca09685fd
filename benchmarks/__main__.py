"""One command: `python -m benchmarks [scenario ...] [--share PART] [--json FILE] [--plot DIR]`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

from benchmarks import (
    agents,
    crowds,
    growth,
    lasting,
    load,
    messages,
    orchestration,
    providers,
    real_sockets,
    rooms,
    sharing,
    starting,
    storing,
    workers,
)
from benchmarks.report import HEADING, Effort, Findings, as_json, as_table

type Scenario = Callable[[Effort], Coroutine[None, None, Findings]]

SCENARIOS: dict[str, Scenario] = {
    "message": messages.message,
    "hooks": messages.hooks,
    "concurrent": messages.concurrent,
    "channels": growth.channels,
    "sockets": growth.sockets,
    "real-sockets": real_sockets.real_sockets,
    "broadcasting": load.broadcasting,
    "load": load.load,
    "backlog": load.backlog,
    "providers": providers.providers,
    "slow": growth.slow_socket,
    "length": growth.length,
    "rooms": growth.rooms,
    "create": rooms.create,
    "memory": rooms.memory,
    "crowds": crowds.crowds,
    "reply": agents.reply,
    "tools": agents.tools,
    "window": agents.window,
    "stream": agents.stream,
    "handoff": orchestration.handoff,
    "fanout": orchestration.fanout,
    "sqlite": storing.sqlite,
    "postgres": storing.postgres,
    "durable-length": lasting.length,
    "recovery": lasting.recovery,
    "bytes": lasting.bytes_on_disk,
    "workers": workers.workers,
    "sharing": sharing.sharing,
    "import": starting.importing,
    "first": starting.first_message,
    "plugins": starting.plugins,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scenarios, show the results, and return 1 when an aim was missed."""
    options = _parser().parse_args(arguments)
    effort = Effort(options.quick, options.share)
    findings: dict[str, Findings] = {}
    names = options.scenario or list(SCENARIOS)
    for name in names:
        began = time.perf_counter()
        findings[name] = asyncio.run(SCENARIOS[name](effort))
        if name is names[0]:
            print(HEADING)
        print("\n".join(as_table(findings[name].figures)), flush=True)
        print(f"{name}: {time.perf_counter() - began:.1f} s", file=sys.stderr)
    figures = [figure for found in findings.values() for figure in found.figures]
    if options.json is not None:
        options.json.write_text(as_json(findings) + "\n")
    if options.plot is not None:
        from benchmarks.plots import plot

        for path in plot(findings, options.plot):
            print(path, file=sys.stderr)
    return 0 if effort.quick or all(figure.reached is not False for figure in figures) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks", description=main.__doc__)
    parser.add_argument(
        "scenario", nargs="*", choices=[*SCENARIOS, []], metavar="scenario", help=", ".join(SCENARIOS)
    )
    parser.add_argument("--quick", action="store_true", help="only prove that everything runs")
    parser.add_argument(
        "--share", type=float, default=1.0, metavar="PART", help="measure only this part of the rounds"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures and curves there")
    parser.add_argument("--plot", type=Path, metavar="DIR", help="draw what grows, as SVG files in there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
