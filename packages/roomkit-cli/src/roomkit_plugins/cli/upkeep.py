"""`roomkit store backup|check|plan|migrate`: what a store can do for its operator, where it can."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from roomkit_plugins.cli.main import OK
from roomkit_plugins.cli.stores import (
    ChosenStore,
    PlannedMigration,
    SupportsBackup,
    SupportsCheck,
    SupportsOpening,
    add_store_options,
    choose_store,
)
from roomkit_plugins.cli.terminal import CommandError, Terminal

__all__ = ["configure_backup", "configure_check", "configure_migrate", "configure_plan"]


def configure_backup(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit store backup`."""
    parser.description = "Copies everything, as of one moment, to a new file; the store stays in use."
    parser.add_argument("file", metavar="FILE")
    add_store_options(parser)
    parser.add_argument("--json", action="store_true", help="write one JSON document: file, bytes")
    parser.set_defaults(run=run_backup)


def configure_check(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit store check`."""
    parser.description = (
        "Reads the whole store and reports damage; changes nothing, and the store stays in use. "
        "Exit code 1 (store_corrupt) if anything is."
    )
    add_store_options(parser)
    parser.add_argument("--json", action="store_true", help="write one JSON document: store, sound")
    parser.set_defaults(run=run_check)


def configure_plan(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit store plan`."""
    parser.description = "Shows the migration that opening the store would make. Changes nothing."
    add_store_options(parser)
    parser.add_argument(
        "--json", action="store_true", help="write a JSON document: found, wanted, steps, rows"
    )
    parser.set_defaults(run=run_plan)


def configure_migrate(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit store migrate`."""
    parser.description = (
        "Makes the store, or brings it to the version that this installation works with, as its first worker "
        "would; run it as a step of its own before workers are replaced. Workers of the version before may "
        "stay in use. Calling it again changes nothing."
    )
    add_store_options(parser)
    parser.add_argument("--json", action="store_true", help="write a JSON document: found, wanted, steps")
    parser.set_defaults(run=run_migrate)


def run_backup(options: argparse.Namespace) -> int:
    """Copy the store."""
    chosen, terminal = choose_store(options), Terminal(as_json=options.json)
    target = Path(options.file)

    async def work() -> None:
        async with chosen.opened() as store:
            if not isinstance(store, SupportsBackup):
                raise _cannot(chosen, "copy itself", "use the database's own tools, such as pg_dump")
            await store.backup(target)

    asyncio.run(work())
    size = target.stat().st_size
    if options.json:
        terminal.document({"file": options.file, "bytes": size})
    else:
        terminal.line(f"{options.file} holds everything as of now ({size:,} bytes)")
    return OK


def run_check(options: argparse.Namespace) -> int:
    """Look for damage."""
    chosen, terminal = choose_store(options), Terminal(as_json=options.json)

    async def work() -> None:
        async with chosen.opened() as store:
            if not isinstance(store, SupportsCheck):
                raise _cannot(chosen, "check itself", "use the database's own tools")
            await store.check()

    asyncio.run(work())
    if options.json:
        terminal.document({"store": chosen.name, "sound": True})
    else:
        terminal.line(f"no damage was found in the structure of the store {chosen.name}")
    return OK


def run_plan(options: argparse.Namespace) -> int:
    """Show the steps of a migration."""
    chosen, terminal = choose_store(options), Terminal(as_json=options.json)

    async def read() -> PlannedMigration | None:
        try:
            return await chosen.plan()
        finally:
            await chosen.store.close()

    plan = asyncio.run(read())
    if plan is None:
        raise _cannot(chosen, "plan a migration", "read its documentation")
    if options.json:
        steps, rows = list(plan.steps), dict(plan.rows)
        terminal.document({"found": plan.found, "wanted": plan.wanted, "steps": steps, "rows": rows})
        return OK
    if plan.found == plan.wanted:
        terminal.line(f"nothing to do: the store is of version {plan.found}")
    elif plan.found == 0:
        terminal.line(f"there is nothing yet: opening it makes a store of version {plan.wanted}")
    else:
        terminal.line(f"opening it brings it from version {plan.found} to {plan.wanted}; every row stays")
        for step in plan.steps:
            terminal.line(f"  {step}")
    for table, rows_of in plan.rows.items():
        terminal.line(f"  {rows_of:>12,}  {table}")
    return OK


def run_migrate(options: argparse.Namespace) -> int:
    """Open the store, which migrates it, and say what that did."""
    chosen, terminal = choose_store(options), Terminal(as_json=options.json)

    async def work() -> PlannedMigration | None:
        try:
            plan = await chosen.plan()
            if plan is None or not isinstance(chosen.store, SupportsOpening):
                return None
            await chosen.store.open()
            return plan
        finally:
            await chosen.store.close()

    plan = asyncio.run(work())
    if plan is None:
        raise _cannot(chosen, "be migrated by this command", "read its documentation")
    if options.json:
        terminal.document({"found": plan.found, "wanted": plan.wanted, "steps": list(plan.steps)})
    elif plan.found == plan.wanted:
        terminal.line(f"nothing to do: the store is of version {plan.found}")
    elif plan.found == 0:
        terminal.line(f"made a store of version {plan.wanted}")
    else:
        terminal.line(f"brought the store from version {plan.found} to {plan.wanted}; every row stayed")
    return OK


def _cannot(chosen: ChosenStore, what: str, next_step: str) -> CommandError:
    return CommandError(f"the store {chosen.name!r} cannot {what}", next_step=next_step, code="not_supported")
