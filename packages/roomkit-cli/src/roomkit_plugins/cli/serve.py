"""`roomkit serve`: the kit of a configuration file on the network, until a signal ends it."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from roomkit.kernel.kit import RoomKit
from roomkit.plugins import default_manager
from roomkit.plugins.config import load_config
from roomkit.plugins.errors import ComponentNotFoundError
from roomkit.plugins.production import PRODUCTION
from roomkit_plugins.cli.configuration import add_config_options, config_file
from roomkit_plugins.cli.main import OK
from roomkit_plugins.cli.terminal import CommandError, Terminal, complain
from roomkit_plugins.server import KitServer, create_app

if TYPE_CHECKING:
    from pathlib import Path

    from roomkit_plugins.server import ServerConfig

__all__ = ["configure"]

_DATABASE = "roomkit.db"
_RARER = 10
"""How many times rarer; garbage of others' code, in circles of references, is kept as much longer."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit serve`."""
    parser.description = (
        "Serves the kit of a configuration file: webhooks, the API, web sockets, health and metrics, as its "
        "table [server] says. Without a [store] everything is kept in roomkit.db beside the file, for this "
        "one process. SIGTERM and Ctrl-C stop it in order: requests under way are answered, and deliveries "
        "completed in time."
    )
    add_config_options(parser)
    parser.add_argument("--host", metavar="ADDRESS", help="listen there, whatever the file says")
    parser.add_argument("--port", metavar="PORT", type=int, help="listen there; 0 for a free one")
    parser.add_argument("--json", action="store_true", help="write one JSON object per line")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until a signal comes."""
    if not options.verbose:
        logging.root.setLevel(logging.WARNING)  # a server runs unattended: only its log is left
    return asyncio.run(_run(options))


async def _run(options: argparse.Namespace) -> int:
    file = config_file(options)
    store = await _default_store(file, options.profile)
    kit = await RoomKit.from_config(file, profile=options.profile, **store)
    async with kit:
        server = KitServer(kit, _config(kit, options))
        try:
            await server.start()
        except OSError as error:
            raise CommandError(
                f"port {server.port} cannot be listened on: {error.strerror}",
                next_step="end the program that uses it, or choose another one by --port",
                code="address_unavailable",
            ) from error
        try:
            with _rare_full_collections():
                _announce(Terminal(as_json=options.json), server, kit)
                await server.wait()
        finally:
            await server.close()
    return OK


@contextmanager
def _rare_full_collections() -> Iterator[None]:
    """Have full collections of garbage a tenth as often, and none look at what was imported.

    A full collection looks at every object: with a thousand sockets and two hundred rooms the server answers
    nothing for 0.2 s. RoomKit's own objects end with their last reference, and do not need it.
    """
    before, was_frozen = gc.get_threshold(), gc.get_freeze_count() > 0
    gc.collect()
    gc.freeze()
    gc.set_threshold(before[0], before[1], before[2] * _RARER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        if not was_frozen:  # else some of it is the program's around this command
            gc.unfreeze()


async def _default_store(file: Path, profile: str | None) -> dict[str, Any]:
    """Return the store of a file that names none; nothing where the embedded one is not installed."""
    plan = load_config(file, profile=profile)
    if plan.store is not None or plan.profile == PRODUCTION:  # there, a store is named
        return {}
    path = file.parent / _DATABASE
    try:
        store = await default_manager().acreate("store", "sqlite", {"path": str(path)})
    except ComponentNotFoundError:
        complain(
            "roomkit: rooms are kept in memory, and end with this process: pip install roomkit-sqlite, or "
            "add a [store] to the file"
        )
        return {}
    return {"store": store, "single_process": True}


def _config(kit: RoomKit, options: argparse.Namespace) -> ServerConfig:
    """Return the file's settings of the server, with those of the command line over them."""
    config = create_app(kit).config
    given = {"host": options.host, "port": options.port}
    changes = {name: value for name, value in given.items() if value is not None}
    fields = {name: getattr(config, name) for name in type(config).model_fields}
    return type(config).model_validate({**fields, **changes})


def _announce(terminal: Terminal, server: KitServer, kit: RoomKit) -> None:
    webhooks = [
        f"{server.url}/webhooks/{channel.channel_id}" for channel in kit.list_channels() if channel.webhooks()
    ]
    if terminal.as_json:
        terminal.document({"type": "started", "url": server.url, "webhooks": webhooks})
        return
    terminal.line(f"Serving {server.url}; Ctrl-C stops it.")
    for url in webhooks:
        terminal.line(f"  vendors call {url}")
