"""Cancelling entries that wait in a store: some by ids, or all; reports which were cancelled."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roomkit_plugins.cli.confirmation import Intent, add_confirmation, confirmed, counted
from roomkit_plugins.cli.main import FAILED, OK
from roomkit_plugins.cli.stores import ChosenStore, add_store_options, choose_store
from roomkit_plugins.cli.terminal import CommandError, Terminal

if TYPE_CHECKING:
    from roomkit.kernel.kit import RoomKit

__all__ = ["Kind", "add_cancel", "add_list", "add_one", "cancel", "listed", "one_of"]

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Kind[T]:
    """A kind of thing that waits, and its group of commands."""

    group: str
    one: str
    code: str
    """Of the error for an id that nothing waits under."""
    find: Callable[[RoomKit, argparse.Namespace, int], Awaitable[list[T]]]
    """Those that wait, at most so many."""
    id_of: Callable[[T], str]
    cancel: Callable[[RoomKit, T], Awaitable[bool]]

    @property
    def document(self) -> str:
        """Return the name of the list in a JSON document."""
        return f"{self.one.rpartition(' ')[2]}s"

    def missing(self, id_: str) -> CommandError:
        """Return the error for an id that nothing waits under."""
        return CommandError(
            f"no {self.one} waits under the id {id_!r}",
            next_step=f"`roomkit {self.group} list` shows those that wait",
            code=self.code,
        )


def add_list[T](parser: argparse.ArgumentParser, kind: Kind[T]) -> None:
    """Add the arguments of a command that lists."""
    _add_scope(parser)
    parser.add_argument(
        "--limit", type=_positive, default=100, metavar="N", help="at most so many (default: 100)"
    )
    add_store_options(parser)
    parser.add_argument("--json", action="store_true", help=f"write one JSON document: {kind.document}, more")


def add_one(parser: argparse.ArgumentParser, metavar: str) -> None:
    """Add the id of one thing, and the arguments beside it."""
    parser.add_argument("id", metavar=metavar)
    _add_scope(parser)
    add_store_options(parser)


def add_cancel(parser: argparse.ArgumentParser, metavar: str) -> None:
    """Add the arguments of a command that cancels."""
    parser.add_argument("ids", metavar=metavar, nargs="*")
    parser.add_argument("--all", action="store_true", help="all that wait")
    _add_scope(parser)
    add_confirmation(parser)
    add_store_options(parser)
    parser.add_argument("--json", action="store_true", help="write one JSON document: cancelled, refused")


def _add_scope(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--room", metavar="ID", help="of this room only")
    parser.add_argument("--organization", metavar="ID", help="of this organization only")


def listed[T](kind: Kind[T], options: argparse.Namespace) -> tuple[list[T], bool]:
    """Return waiting entries, at most `--limit`, and whether there are more."""
    found = asyncio.run(_found(kind, choose_store(options), options, options.limit + 1))
    return found[: options.limit], len(found) > options.limit


def one_of[T](kind: Kind[T], options: argparse.Namespace) -> T:
    """Return the one that was named. Raises CommandError."""
    for each in asyncio.run(_found(kind, choose_store(options), options, sys.maxsize)):
        if kind.id_of(each) == options.id:
            return each
    raise kind.missing(options.id)


async def _found[T](kind: Kind[T], chosen: ChosenStore, options: argparse.Namespace, limit: int) -> list[T]:
    async with chosen.kit() as kit:
        return await kind.find(kit, options, limit)


def cancel[T](kind: Kind[T], options: argparse.Namespace) -> int:
    """Cancel the named turns or sends, or all, after a confirmation."""
    if bool(options.ids) == options.all:
        raise CommandError(
            f"name each {kind.one} by its id, or say --all: one of the two",
            next_step=f"`roomkit {kind.group} list` shows them",
            code="wrong_usage",
        )
    terminal = Terminal(as_json=options.json)
    ids = list(dict.fromkeys(options.ids)) or [
        kind.id_of(each) for each in asyncio.run(_found(kind, choose_store(options), options, sys.maxsize))
    ]
    subject = counted(len(ids), kind.one)
    goes = f"{subject} would be cancelled: {', '.join(ids[:_SHOWN])}"
    goes += f" and {len(ids) - _SHOWN:,} more" if len(ids) > _SHOWN else ""
    if not confirmed(Intent(subject, "Cancel", goes, {"cancels": ids}), options, terminal):
        return OK
    cancelled, missing = asyncio.run(_cancel(kind, choose_store(options), options, ids))
    _report(kind, terminal, cancelled, [kind.missing(id_) for id_ in missing], missing)
    return FAILED if missing else OK


async def _cancel[T](
    kind: Kind[T], chosen: ChosenStore, options: argparse.Namespace, ids: Iterable[str]
) -> tuple[list[str], list[str]]:
    """Cancel those that still wait; return the ids of these, and of the others."""
    cancelled: list[str] = []  # bound: the ids given
    missing: list[str] = []  # bound: likewise
    async with chosen.kit() as kit:
        waiting = {kind.id_of(each): each for each in await kind.find(kit, options, sys.maxsize)}
        for id_ in ids:
            done = id_ in waiting and await kind.cancel(kit, waiting[id_])
            (cancelled if done else missing).append(id_)
    return cancelled, missing


def _report[T](
    kind: Kind[T],
    terminal: Terminal,
    cancelled: Sequence[str],
    errors: Sequence[CommandError],
    ids: Sequence[str],
) -> None:
    if terminal.as_json:
        refused = [
            {"id": id_, "code": error.code, "message": str(error)}
            for id_, error in zip(ids, errors, strict=True)
        ]
        terminal.document({"cancelled": list(cancelled), "refused": refused})
        return
    terminal.line(f"{counted(len(cancelled), kind.one)} cancelled")
    for error in errors:
        terminal.line(f"  {terminal.style('refused', 'red')}  {error}")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
