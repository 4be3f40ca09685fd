"""`roomkit turns serve`: ask the models of a file's agents for workers on other machines."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from roomkit.abc.errors import CloseError
from roomkit.kernel.kit import RoomKit
from roomkit.models.values import message_of
from roomkit.plugins import default_manager
from roomkit.plugins.config import read_config
from roomkit.plugins.construction import build_components
from roomkit_plugins.ai.executed import ExecutedProvider
from roomkit_plugins.cli.confirmation import counted
from roomkit_plugins.cli.main import OK
from roomkit_plugins.cli.stores import DEFAULT_FILE
from roomkit_plugins.cli.terminal import CommandError, Terminal

if TYPE_CHECKING:
    from roomkit.abc.channel import Channel

__all__ = ["configure"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit turns serve`."""
    parser.description = (
        "Asks the models of the agents that have an executor in a configuration file, for the workers that "
        "have their rooms, until it is ended. It opens no store and no other channel. The first Ctrl-C or "
        "SIGTERM lets the turns that run end, for drain_seconds at most."
    )
    parser.add_argument(
        "--config", metavar="FILE", default=DEFAULT_FILE, help=f"the file (default: {DEFAULT_FILE})"
    )
    parser.add_argument(
        "--profile",
        metavar="NAME",
        help="lay this profile over the file (default: what ROOMKIT_PROFILE says)",
    )
    parser.add_argument(
        "--agent", metavar="ID", action="append", help="serve only this agent; may be repeated"
    )
    parser.add_argument(
        "--limit", metavar="N", type=int, default=8, help="turns of an agent at once (default: 8)"
    )
    parser.add_argument("--json", action="store_true", help="write one JSON object per line")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until a signal comes."""
    return asyncio.run(_run(options))


async def _run(options: argparse.Namespace) -> int:
    manager = default_manager()
    plan = read_config(options.config, profile=options.profile)
    built = await build_components(plan, manager, has_store=True)  # it opens none
    channels = {**built.channels, **built.agents}
    served = _served(channels.values())
    if missing := [agent for agent in options.agent or () if agent not in served]:
        there = ", ".join(served) or "none"
        raise CommandError(
            f"{options.config} has no agent {missing[0]!r} with an executor; there are {there}",
            next_step="name one of them, or give the agent's table an executor",
            code="no_agent",
        )
    served = {agent: served[agent] for agent in options.agent or served}
    if not served:
        raise CommandError(
            f"no agent of {options.config} has an executor",
            next_step='add to its table: executor = { plugin = "postgres", dsn = "env:DATABASE_URL" }',
            code="no_agent",
        )
    kit = RoomKit(plugins=manager, telemetry=built.telemetry)
    try:
        for agent in served:
            kit.register_channel(channels[agent])  # binds the providers; the kit itself is not started
        await _serve(served, options)
    finally:
        await kit.close()
    return OK


def _served(channels: Iterable[Channel]) -> dict[str, ExecutedProvider]:
    found = {channel.channel_id: getattr(channel, "provider", None) for channel in channels}
    return {agent: each for agent, each in found.items() if isinstance(each, ExecutedProvider)}


async def _serve(served: dict[str, ExecutedProvider], options: argparse.Namespace) -> None:
    """Serve each agent by its executor until one fails, or a signal comes; then let their turns end."""
    tasks = [
        asyncio.create_task(  # supervised: awaited below
            each.executor.serve({agent: each.described}, limit=options.limit), name=f"serving {agent}"
        )
        for agent, each in served.items()
    ]
    terminal = Terminal(as_json=options.json)
    if options.json:
        terminal.document({"serving": [*served], "limit": options.limit})
    else:
        terminal.line(f"Serving {counted(len(served), 'agent')}: {', '.join(served)}. End with Ctrl-C.")
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        closing = (each.executor.close() for each in served.values())
        closed = await asyncio.gather(*closing, return_exceptions=True)
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    _raise_all([error for error in (*ended, *closed) if isinstance(error, Exception)])


def _raise_all(errors: Sequence[Exception]) -> None:
    if len(errors) == 1:
        raise errors[0]
    if errors:
        texts = "; ".join(map(message_of, errors))
        raise CloseError(f"{len(errors)} steps of serving failed: {texts}", errors)
