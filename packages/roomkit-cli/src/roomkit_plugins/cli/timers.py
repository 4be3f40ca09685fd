"""`roomkit timers list|retry|drop`: timers of a store, and those that kept killing their workers."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from roomkit.abc.errors import RoomKitError
from roomkit.abc.store import ConversationStore
from roomkit.models.base import utcnow
from roomkit.models.timer import DEAD, Timer
from roomkit_plugins.cli.confirmation import Intent, add_confirmation, confirmed, counted
from roomkit_plugins.cli.main import FAILED, OK
from roomkit_plugins.cli.refusals import spoken
from roomkit_plugins.cli.stores import ChosenStore, add_store_options, choose_store
from roomkit_plugins.cli.terminal import CommandError, Terminal

__all__ = ["configure_drop", "configure_list", "configure_retry"]

_PAGE = 100


def configure_list(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit timers list`."""
    parser.description = "Shows the timers that are dead: they killed worker after worker, and are kept."
    parser.add_argument("--all", action="store_true", help="those that wait, too")
    parser.add_argument("--limit", type=int, default=_PAGE, metavar="N", help=f"at most so many ({_PAGE})")
    parser.add_argument(
        "--after", metavar="TIMER", help="continue after this one, the last of the page before"
    )
    add_store_options(parser)
    parser.add_argument("--json", action="store_true", help="write one JSON document: timers, after")
    parser.set_defaults(run=run_list)


def configure_retry(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit timers retry`."""
    parser.description = "Has dead timers fired again, at once, by a running worker that handles their kind."
    _which(parser)
    add_store_options(parser)
    parser.add_argument("--json", action="store_true", help="write one JSON document: retried, refused")
    parser.set_defaults(run=run_retry)


def configure_drop(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit timers drop`."""
    parser.description = "Removes dead timers for good: what they were set for is not done."
    _which(parser)
    add_confirmation(parser)
    add_store_options(parser)
    parser.add_argument("--json", action="store_true", help="write one JSON document: dropped, refused")
    parser.set_defaults(run=run_drop)


def _which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("timers", metavar="TIMER", nargs="*")
    parser.add_argument("--all", action="store_true", help="all that are dead")


def run_list(options: argparse.Namespace) -> int:
    """Show timers."""
    chosen, terminal = choose_store(options), Terminal(as_json=options.json)

    async def read() -> list[Timer]:
        async with chosen.opened() as store:
            kind = None if options.all else DEAD
            return await store.find_timers(kind, after=options.after, limit=options.limit + 1)

    found = asyncio.run(read())
    after = found[options.limit - 1].id if len(found) > options.limit else None
    found = found[: options.limit]
    if options.json:
        terminal.document({"timers": [each.model_dump(mode="json") for each in found], "after": after})
        return OK
    terminal.line(counted(len(found), "timer", "timers") + (", and more" if after else ""))
    for each in found:
        state = "dead" if each.is_dead else "due"
        kind = each.data.get("kind") if each.is_dead else each.kind
        terminal.line(f"  {state} {each.due_at.isoformat()}  {each.id}  {kind}  room {each.room_id or '-'}")
    if after:
        terminal.line(f"continue with --after {after}")
    return OK


def run_retry(options: argparse.Namespace) -> int:
    """Set dead timers again."""
    _check_named(options)

    async def revive(store: ConversationStore, timer: Timer) -> None:
        await store.set_timer(timer.revived(utcnow()))

    return _report(options, "retried", asyncio.run(_change(choose_store(options), options, revive)))


def run_drop(options: argparse.Namespace) -> int:
    """Remove dead timers."""
    _check_named(options)
    terminal = Terminal(as_json=options.json)
    ids = asyncio.run(_ids(choose_store(options), options))
    subject = counted(len(ids), "timer", "timers")
    goes = f"{subject} would be removed: {', '.join(ids[:_PAGE])}"
    if not confirmed(Intent(subject, "Drop", goes, {"drops": ids}), options, terminal):
        return OK
    options.timers, options.all = ids, False  # those shown, not later ones

    async def remove(store: ConversationStore, timer: Timer) -> None:
        await store.delete_timer(timer.id)

    return _report(options, "dropped", asyncio.run(_change(choose_store(options), options, remove)))


def _check_named(options: argparse.Namespace) -> None:
    if bool(options.timers) == options.all:
        raise CommandError(
            "name timers, or say --all: one of the two",
            next_step="`roomkit timers list` shows them",
            code="wrong_usage",
        )


def _report(options: argparse.Namespace, verb: str, outcome: tuple[list[str], list[dict[str, str]]]) -> int:
    changed, refused = outcome
    terminal = Terminal(as_json=options.json)
    if options.json:
        terminal.document({verb: changed, "refused": refused})
    else:
        terminal.line(f"{counted(len(changed), 'timer', 'timers')} {verb}")
        for each in refused:
            terminal.line(f"  {each['id']}: {each['message']}")
    return FAILED if refused else OK


async def _ids(chosen: ChosenStore, options: argparse.Namespace) -> list[str]:
    if not options.all:
        return list(dict.fromkeys(options.timers))
    async with chosen.opened() as store:
        return [timer.id async for timer in _dead(store)]


async def _change(
    chosen: ChosenStore,
    options: argparse.Namespace,
    change: Callable[[ConversationStore, Timer], Awaitable[None]],
) -> tuple[list[str], list[dict[str, str]]]:
    """Change each dead timer that is meant; return the ids changed, and why others were not."""
    changed: list[str] = []  # bound: the named timers
    refused: list[dict[str, str]] = []  # bound: likewise
    async with chosen.opened() as store:
        dead = {timer.id: timer async for timer in _dead(store)}
        for timer_id in dead if options.all else dict.fromkeys(options.timers):
            if timer_id not in dead:
                message = "no dead timer has that id; `roomkit timers list` shows them"
                refused.append({"id": timer_id, "code": "timer_not_found", "message": message})
                continue
            try:
                await change(store, dead[timer_id])
                changed.append(timer_id)
            except RoomKitError as error:
                message = ": ".join(filter(None, spoken(error)))
                refused.append({"id": timer_id, "code": error.code, "message": message})
    return changed, refused


async def _dead(store: ConversationStore) -> AsyncIterator[Timer]:
    after: str | None = None
    while page := await store.find_timers(DEAD, after=after, limit=_PAGE):
        for timer in page:
            yield timer
        after = page[-1].id
