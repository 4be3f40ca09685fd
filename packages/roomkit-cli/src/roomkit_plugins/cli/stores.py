"""The store that an operator's command works on: found by name, as a configuration file finds it."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from roomkit.abc.locks import RoomLockManager
from roomkit.abc.store import ConversationStore
from roomkit.kernel.kit import RoomKit
from roomkit.plugins import PluginManager, default_manager
from roomkit.plugins.config import ComponentPlan, load_config
from roomkit.plugins.construction import config_model
from roomkit_plugins.cli.terminal import CommandError

__all__ = [
    "DEFAULT_FILE",
    "ChosenStore",
    "PlannedMigration",
    "SupportsBackup",
    "SupportsCheck",
    "SupportsOpening",
    "add_store_options",
    "choose_store",
]

DEFAULT_FILE = "roomkit.toml"
"""The configuration that a command finds by itself: in the folder where it is called."""


class PlannedMigration(Protocol):
    """What opening a store would do: bring it from version `found` (0: nothing there yet) to `wanted`."""

    @property
    def found(self) -> int: ...  # noqa: D102  # named in the class
    @property
    def wanted(self) -> int: ...  # noqa: D102  # likewise
    @property
    def steps(self) -> tuple[str, ...]: ...  # noqa: D102  # what each version adds, in words
    @property
    def rows(self) -> Mapping[str, int]: ...  # noqa: D102  # what there is now, by table


@runtime_checkable
class SupportsBackup(Protocol):
    """A store that can copy itself while it is in use."""

    async def backup(self, path: Path) -> None:
        """Write everything, as of now, to a new file. Raises StoreError when the file is there."""


@runtime_checkable
class SupportsCheck(Protocol):
    """A store that can look for damage in what it keeps, while it is in use."""

    async def check(self) -> None:
        """Read everything. Raises StoreCorruptError."""


@runtime_checkable
class SupportsOpening(Protocol):
    """A store that is opened before its first call on demand: it makes or migrates its tables then."""

    async def open(self) -> object:
        """Open it. Raises StoreError."""


@dataclass(frozen=True, slots=True)
class ChosenStore:
    """A store that was asked for, and how to say which it is. Nothing is opened yet."""

    name: str
    store: ConversationStore
    locks: RoomLockManager | None
    where: object
    """What says where its data is: its path, or its whole configuration."""

    async def plan(self) -> PlannedMigration | None:
        """Return the migration that opening it would make; None from a store without migrations."""
        planned = getattr(type(self.store), "plan_migration", None)
        return None if planned is None else await planned(self.where)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[ConversationStore]:
        """Lend the store, which must hold data already: a misspelt path is not to make a new one."""
        try:
            plan = await self.plan()
            if plan is not None and plan.found == 0:
                raise CommandError(
                    f"there is nothing in the store {self.name} yet",
                    next_step="check its path or address: a kit makes the tables at its first start",
                    code="store_empty",
                )
            yield self.store
        finally:
            await self.store.close()

    @asynccontextmanager
    async def kit(self) -> AsyncIterator[RoomKit]:
        """Lend a kit on the store that is not started: it holds no lanes, and delivers nothing."""
        async with self.opened() as store:
            kit = RoomKit(
                store,
                lock_manager=self.locks,
                single_process=True,  # workers beside it are reckoned with: see `DataSubjectRequests`
                plugins=PluginManager(entry_points=()),
            )
            try:
                yield kit
            finally:
                await kit.close()


def add_store_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which store is meant."""
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--store",
        metavar="NAME:WHERE",
        help="the store, as sqlite:rooms.db or postgres:env:DATABASE_URL (WHERE is its first setting)",
    )
    chosen.add_argument(
        "--config",
        metavar="FILE",
        help=f"take the [store] of this configuration file (default: {DEFAULT_FILE})",
    )
    parser.add_argument(
        "--profile",
        metavar="NAME",
        help="lay this profile over the file (default: what ROOMKIT_PROFILE says)",
    )


def choose_store(options: argparse.Namespace) -> ChosenStore:
    """Build the store that the options name, off any event loop. Raises CommandError, PluginError."""
    manager = default_manager()
    if options.store:
        plan = load_config({"store": _table(manager, options.store)})
    else:
        file = Path(options.config or DEFAULT_FILE)
        if not options.config and not file.is_file():
            raise CommandError(
                f"there is no {DEFAULT_FILE} here to say which store is meant",
                next_step="add --store sqlite:FILE, or --config FILE",
                code="no_store",
            )
        plan = load_config(file, profile=options.profile)
    if plan.store is None:
        raise CommandError(
            f"{plan.source} has no [store]: its rooms are in memory, and gone with their process",
            next_step='add a table [store] with plugin = "sqlite" to it',
            code="no_store",
        )
    store = manager.create("store", plan.store.plugin, plan.store.settings)
    if not isinstance(store, ConversationStore) or store.is_process_local:
        raise CommandError(
            f"the store {plan.store.plugin!r} ends with its process: there is nothing to be found in it",
            next_step="name a store that lasts, as sqlite:FILE",
            code="no_store",
        )
    locks = None if plan.locks is None else manager.create("locks", plan.locks.plugin, plan.locks.settings)
    assert locks is None or isinstance(locks, RoomLockManager)
    return ChosenStore(plan.store.plugin, store, locks, _where(manager, plan.store))


def _table(manager: PluginManager, text: str) -> dict[str, Any]:
    """Return the [store] table that `NAME:WHERE` stands for."""
    name, _, where = text.partition(":")
    table: dict[str, Any] = {"plugin": name}
    model = config_model(manager.find("store", name))
    if where and model is not None:
        table[next(iter(model.model_fields))] = where
    elif where:
        raise CommandError(
            f"the store {name!r} takes no settings, so {where!r} says nothing",
            next_step=f"write --store {name}",
            code="wrong_usage",
        )
    return table


def _where(manager: PluginManager, plan: ComponentPlan) -> object:
    model = config_model(manager.find("store", plan.plugin))
    if model is None:
        return None
    config = model.model_validate(dict(plan.settings))
    return getattr(config, "path", config)
