"""`roomkit deliveries list|show|retry|drop`: the ledger, and retries of failed deliveries."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from roomkit.abc.errors import RoomKitError
from roomkit.models.enums import DeliveryState
from roomkit_plugins.cli.confirmation import Intent, add_confirmation, confirmed, counted
from roomkit_plugins.cli.main import FAILED, OK
from roomkit_plugins.cli.progress import Progress
from roomkit_plugins.cli.refusals import spoken
from roomkit_plugins.cli.stores import ChosenStore, add_store_options, choose_store
from roomkit_plugins.cli.terminal import CommandError, Terminal

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore
    from roomkit.models.delivery import Delivery

__all__ = ["configure_drop", "configure_list", "configure_retry", "configure_show"]

_STYLES = {
    DeliveryState.SENT: "green",
    DeliveryState.PENDING: "yellow",
    DeliveryState.SKIPPED: "dim",
    DeliveryState.FAILED: "red",
}
_PAGE = 500
_SHOWN = 10


def configure_list(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit deliveries list`."""
    parser.description = "Shows rows of the ledger, the newest first. `--state failed` is the dead letters."
    parser.add_argument("--state", choices=[str(each) for each in DeliveryState])
    parser.add_argument("--room", metavar="ID")
    parser.add_argument("--channel", metavar="ID")
    parser.add_argument("--organization", metavar="ID")
    parser.add_argument(
        "--limit", type=_positive, default=100, metavar="N", help="at most so many (default: 100)"
    )
    parser.add_argument(
        "--after", metavar="DELIVERY", help="continue after this one, the last of the page before"
    )
    add_store_options(parser)
    parser.add_argument("--json", action="store_true", help="write one JSON document: deliveries, after")
    parser.set_defaults(run=run_list)


def configure_show(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit deliveries show`."""
    parser.add_argument("delivery", metavar="DELIVERY")
    add_store_options(parser)
    parser.add_argument("--json", action="store_true", help="write one JSON document: the delivery")
    parser.set_defaults(run=run_show)


def configure_retry(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit deliveries retry`."""
    parser.description = (
        "Puts failed deliveries into their lanes again. A running worker carries them out, under their own "
        "idempotency keys; without one they wait for the next that starts. Exit code 1 if one could not be."
    )
    _which(parser)
    add_store_options(parser)
    parser.add_argument("--json", action="store_true", help="write one JSON document: reopened, refused")
    parser.set_defaults(run=run_retry)


def configure_drop(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit deliveries drop`."""
    parser.description = "Gives failed deliveries up: they are skipped from then on, for a reason you give."
    _which(parser)
    parser.add_argument("--reason", required=True, metavar="WHY", help="why, for the readers of the ledger")
    add_confirmation(parser)
    add_store_options(parser)
    parser.add_argument("--json", action="store_true", help="write one JSON document: dropped, refused")
    parser.set_defaults(run=run_drop)


def _which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("deliveries", metavar="DELIVERY", nargs="*")
    parser.add_argument("--all", action="store_true", help="all that have failed")
    parser.add_argument("--room", metavar="ID", help="with --all: of this room only")


def run_list(options: argparse.Namespace) -> int:
    """Show rows."""
    chosen, terminal = choose_store(options), Terminal(as_json=options.json)

    async def read() -> tuple[list[Delivery], dict[str, int]]:
        async with chosen.opened() as store:
            rows = await store.list_deliveries(
                options.room,
                channel_id=options.channel,
                state=None if options.state is None else DeliveryState(options.state),
                organization_id=options.organization,
                limit=options.limit + 1,
                after=options.after,
                newest_first=True,
            )
            return rows, await store.count_unclaimed()

    rows, unclaimed = asyncio.run(read())
    after = rows[options.limit - 1].id if len(rows) > options.limit else None
    rows = rows[: options.limit]
    if options.json:
        shown = [row.model_dump(mode="json") for row in rows]
        terminal.document({"deliveries": shown, "after": after, "unclaimed": unclaimed})
        return OK
    terminal.line(counted(len(rows), "delivery", "deliveries") + (", and more" if after else ""))
    for row in rows:
        terminal.line(f"  {_state(terminal, row)}  {row.created_at:%Y-%m-%d %H:%M:%S} UTC  {row.id}")
        place = f"room {row.room_id}, channel {row.channel_id}"
        terminal.line(f"           {place}{_why(row)}")
    if after:
        terminal.line(f"more: --after {after}")
    for channel_id, number in unclaimed.items():
        waiting = counted(number, "delivery waits", "deliveries wait")
        terminal.line(f"{waiting} for channel {channel_id}: no running worker has registered it")
    return OK


def run_show(options: argparse.Namespace) -> int:
    """Show one row, whole."""
    chosen, terminal = choose_store(options), Terminal(as_json=options.json)

    async def read() -> Delivery | None:
        async with chosen.opened() as store:
            return await store.get_delivery(options.delivery)

    row = asyncio.run(read())
    if row is None:
        raise CommandError(
            f"delivery {options.delivery!r} not found",
            next_step="`roomkit deliveries list` shows what there is",
            code="delivery_not_found",
        )
    if options.json:
        terminal.document(row.model_dump(mode="json"))
        return OK
    terminal.line(f"{_state(terminal, row)}{_why(row)}")
    for name, value in row.model_dump(mode="json").items():
        if value not in (None, "", [], {}) and name not in ("state", "error"):
            terminal.line(f"  {name:<20} {value}")
    if row.error is not None:
        for name, value in row.error.model_dump(mode="json", exclude_none=True).items():
            terminal.line(f"  error.{name:<14} {value}")
    return OK


def run_retry(options: argparse.Namespace) -> int:
    """Reopen rows, for a worker to carry out."""
    _check_named(options)
    reopened, refused = _change(options, lambda store, row_id: store.reopen_delivery(row_id))
    terminal = Terminal(as_json=options.json)
    if options.json:
        terminal.document({"reopened": reopened, "refused": refused})
    else:
        terminal.line(f"{counted(len(reopened), 'delivery', 'deliveries')} reopened")
        if reopened:
            terminal.line("a running worker carries them out; without one they wait for the next that starts")
        _show_refused(terminal, refused)
    return FAILED if refused else OK


def run_drop(options: argparse.Namespace) -> int:
    """Give rows up."""
    _check_named(options)
    terminal = Terminal(as_json=options.json)
    ids = asyncio.run(_ids(choose_store(options), options))
    subject = counted(len(ids), "delivery", "deliveries")
    goes = f"{subject} would be dropped and never sent: {', '.join(ids[:_SHOWN])}"
    goes += f" and {len(ids) - _SHOWN:,} more" if len(ids) > _SHOWN else ""
    if not confirmed(Intent(subject, "Drop", goes, {"drops": ids}), options, terminal):
        return OK
    options.deliveries, options.all = ids, False  # those shown, not later failures
    dropped, refused = _change(options, lambda store, row_id: store.drop_delivery(row_id, options.reason))
    if options.json:
        terminal.document({"dropped": dropped, "refused": refused})
    else:
        terminal.line(f"{counted(len(dropped), 'delivery', 'deliveries')} dropped")
        _show_refused(terminal, refused)
    return FAILED if refused else OK


async def _ids(chosen: ChosenStore, options: argparse.Namespace) -> list[str]:
    async with chosen.opened() as store:
        return [row_id async for row_id in _meant(store, options)]


def _check_named(options: argparse.Namespace) -> None:
    if bool(options.deliveries) == options.all or (options.room and not options.all):
        raise CommandError(
            "name deliveries, or say --all (with --room, all of a room): one of the two",
            next_step="`roomkit deliveries list --state failed` shows them",
            code="wrong_usage",
        )


def _change(
    options: argparse.Namespace, change: Callable[[ConversationStore, str], Awaitable[object]]
) -> tuple[list[str], list[dict[str, str]]]:
    """Change each row that is meant; return the ids changed, and those that were not, with the reason."""
    chosen = choose_store(options)
    changed: list[str] = []  # bound: the named deliveries
    refused: list[dict[str, str]] = []  # bound: likewise

    async def work() -> None:
        async with chosen.opened() as store:
            with Progress("deliveries", as_json=options.json) as progress:
                async for row_id in _meant(store, options):
                    try:
                        await change(store, row_id)
                        changed.append(row_id)
                    except RoomKitError as error:
                        message = ": ".join(filter(None, spoken(error)))
                        refused.append({"id": row_id, "code": error.code, "message": message})
                    progress.step()

    asyncio.run(work())
    return changed, refused


async def _meant(store: ConversationStore, options: argparse.Namespace) -> AsyncIterator[str]:
    for row_id in dict.fromkeys(options.deliveries):
        yield row_id
    after: str | None = None
    while options.all:
        page = await store.list_deliveries(options.room, state=DeliveryState.FAILED, limit=_PAGE, after=after)
        for row in page:
            yield row.id
        if len(page) < _PAGE:
            return
        after = page[-1].id


def _show_refused(terminal: Terminal, refused: Sequence[dict[str, str]]) -> None:
    for each in refused:
        terminal.line(f"  {terminal.style('refused', 'red')}  {each['message']}")


def _state(terminal: Terminal, row: Delivery) -> str:
    return terminal.style(f"{row.state:<7}", _STYLES[row.state])


def _why(row: Delivery) -> str:
    if row.error is not None:
        return f": {row.error.code} after {counted(row.attempts, 'attempt', 'attempts')}"
    return f": {row.reason}" if row.reason else ""


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
