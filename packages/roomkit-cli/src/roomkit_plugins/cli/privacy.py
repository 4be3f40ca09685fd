"""`roomkit privacy export|erase|retain`: what people may ask for, and how long it is kept at all."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypedDict

from roomkit.abc.duration import seconds_of
from roomkit_plugins.cli.confirmation import Intent, add_confirmation, confirmed, counted
from roomkit_plugins.cli.durations import in_words
from roomkit_plugins.cli.main import OK
from roomkit_plugins.cli.progress import Progress
from roomkit_plugins.cli.stores import ChosenStore, add_store_options, choose_store
from roomkit_plugins.cli.terminal import CommandError, Terminal, json_line

if TYPE_CHECKING:
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.rights import ErasureReceipt, ExportLine

__all__ = ["configure_erase", "configure_export", "configure_retain"]


def configure_export(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit privacy export`."""
    parser.description = (
        "Writes everything that is kept of a room or of a person, one JSON object per line: "
        '{"kind": ..., "record": {...}}.'
    )
    _of_whom(parser)
    parser.add_argument("--output", metavar="FILE", help="write a new file, for its owner only")
    add_store_options(parser)
    parser.add_argument(
        "--json", action="store_true", help="with --output: write a JSON document: file, lines"
    )
    parser.set_defaults(run=run_export)


def configure_erase(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit privacy erase`."""
    parser.description = (
        "Erases a room, or a person in all their rooms, and writes a receipt. It cannot be undone. "
        "Run an interrupted command again to finish it."
    )
    _of_whom(parser)
    add_confirmation(parser)
    add_store_options(parser)
    parser.add_argument("--json", action="store_true", help="write one JSON document: the receipt")
    parser.set_defaults(run=run_erase)


def configure_retain(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit privacy retain`."""
    parser.description = (
        "Sets how long a room keeps its events. A running worker removes those that are older, now and from "
        "then on; it cannot be undone."
    )
    parser.add_argument("room", metavar="ROOM")
    parser.add_argument("term", metavar="TERM", help="as 180d, 36h, 90min, 2w, 6mo (of 30 days); or forever")
    add_confirmation(parser)
    add_store_options(parser)
    parser.add_argument(
        "--json", action="store_true", help="write a JSON document: room_id, retention_seconds"
    )
    parser.set_defaults(run=run_retain)


def _of_whom(parser: argparse.ArgumentParser) -> None:
    whom = parser.add_mutually_exclusive_group(required=True)
    whom.add_argument("--room", metavar="ID", help="a room, with everything in it")
    whom.add_argument("--person", metavar="ID", help="a person: the id of an identity, else of a participant")
    parser.add_argument("--organization", metavar="ID", help="only this organization's data")


def run_export(options: argparse.Namespace) -> int:
    """Write the lines."""
    chosen, terminal = choose_store(options), Terminal(as_json=options.json)
    with _output(options.output, terminal) as out, Progress("records", as_json=options.json) as progress:

        async def work() -> None:
            async with chosen.kit() as kit:
                async for line in await _lines(kit, options):
                    out.write(f"{json_line(line.model_dump_json())}\n")
                    progress.step()

        asyncio.run(work())
    if options.output and options.json:
        terminal.document({"file": options.output, "lines": progress.count})
    elif options.output:
        terminal.line(f"{progress.count:,} records are in {options.output}")
    return OK


def run_erase(options: argparse.Namespace) -> int:
    """Erase, once it is sure that it is meant."""
    whom = f"the room {options.room!r}" if options.room else f"the person {options.person!r}"
    terminal = Terminal(as_json=options.json)
    if not confirmed(asyncio.run(_erasure(choose_store(options), options, whom)), options, terminal):
        return OK
    chosen = choose_store(options)

    async def work() -> ErasureReceipt:
        async with chosen.kit() as kit:
            if options.room:
                return await kit.privacy.erase_room(options.room, organization_id=options.organization)
            with Progress("pages of events", as_json=options.json) as progress:
                return await kit.privacy.erase_person(
                    **await _person(kit, options), watch=lambda _room_id: progress.step()
                )

    receipt = asyncio.run(work())
    if options.json:
        terminal.document({**receipt.model_dump(mode="json"), "found_nothing": receipt.found_nothing})
        return OK
    if receipt.found_nothing:
        terminal.line(f"nothing to erase: {whom} is unknown, or was erased before")
        return OK
    terminal.line(f"{whom} was erased; receipt {receipt.id}")
    for done in receipt.erased:
        where = f" in room {done.room_id}" if done.room_id is not None else ""
        terminal.line(f"  {done.action} {done.count:,} x {done.kind}{where}")
    terminal.line("what stays:")
    for left in receipt.retained:
        terminal.line(f"  {left.kind}: {left.why}")
    return OK


def run_retain(options: argparse.Namespace) -> int:
    """Set the term."""
    terminal = Terminal(as_json=options.json)
    seconds = None if options.term == "forever" else seconds_of(options.term)
    if seconds is not None:
        intent = asyncio.run(_term(choose_store(options), options, seconds))
        if not confirmed(intent, options, terminal):
            return OK
    chosen = choose_store(options)

    async def work() -> None:
        async with chosen.kit() as kit:
            await kit.privacy.set_retention(options.room, seconds)

    asyncio.run(work())
    if options.json:
        terminal.document({"room_id": options.room, "retention_seconds": seconds})
    elif seconds is None:
        terminal.line(f"room {options.room} keeps its events for as long as it is there")
    else:
        terminal.line(f"room {options.room} keeps its events for {in_words(seconds)}")
        terminal.line(
            "a running worker removes the older ones; without one it is done by the next that starts"
        )
    return OK


async def _erasure(chosen: ChosenStore, options: argparse.Namespace, whom: str) -> Intent:
    """Return what an erasure would touch now."""
    async with chosen.kit() as kit:
        if options.room:
            counts = await kit.privacy.count_room(options.room, organization_id=options.organization)
        else:
            with Progress("pages of events", as_json=options.json) as progress:
                counts = await kit.privacy.count_person(
                    **await _person(kit, options), watch=lambda _room_id: progress.step()
                )
    found = ", ".join(f"{number:,} x {kind}" for kind, number in counts.items() if number)
    goes = f"{whom}: {found or 'nothing'} to erase"
    document = {"room" if options.room else "person": options.room or options.person, "erases": dict(counts)}
    return Intent(whom, "Erase", goes, document)


async def _term(chosen: ChosenStore, options: argparse.Namespace, seconds: float) -> Intent:
    """Return what a term would remove now."""
    async with chosen.kit() as kit:
        older, of = await kit.privacy.count_older(options.room, seconds)
    subject = f"the room {options.room!r}"
    goes = (
        f"{subject} would keep its events for {in_words(seconds)}: of {counted(of, 'event')} "
        f"{older:,} are older and go now, the others when they are as old"
    )
    document = {"room_id": options.room, "retention_seconds": seconds, "removes": older, "events": of}
    return Intent(subject, "Set the term of", goes, document)


async def _lines(kit: RoomKit, options: argparse.Namespace) -> AsyncIterator[ExportLine]:
    if options.room:
        if options.organization:
            await kit.for_organization(options.organization).get_room(options.room)
        return kit.privacy.exports.room_lines(options.room)
    return kit.privacy.exports.person_lines(**await _person(kit, options))


class _Whom(TypedDict, total=False):
    identity_id: str
    participant_id: str
    organization_id: str | None


async def _person(kit: RoomKit, options: argparse.Namespace) -> _Whom:
    """Return by which id the person is known: an identity's, where there is one."""
    store, person, organization_id = kit.store, options.person, options.organization
    is_identity = bool(
        await store.get_identity(person, organization_id=organization_id)
        or await store.find_participants(identity_id=person, organization_id=organization_id, limit=1)
    )
    if is_identity:
        return {"identity_id": person, "organization_id": organization_id}
    return {"participant_id": person, "organization_id": organization_id}


@contextmanager
def _output(name: str | None, terminal: Terminal) -> Iterator[TextIO]:
    """Lend a new file that appears when it is complete, and that its owner alone may read."""
    if name is None:
        yield terminal.out
        return
    path, partial = Path(name), Path(f"{name}.partial")
    try:
        with _opened(partial) as out:
            yield out
        try:
            os.link(partial, path)  # unlike a rename, it replaces nothing
        except OSError as error:
            raise _not_written(name, error) from error
    finally:
        partial.unlink(missing_ok=True)


def _opened(path: Path) -> TextIO:
    try:
        path.unlink(missing_ok=True)  # what an interrupted export left
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        raise _not_written(str(path), error) from error
    return open(descriptor, "w", encoding="utf-8", newline="\n")


def _not_written(name: str, error: OSError) -> CommandError:
    return CommandError(
        f"{name!r} cannot be written: {error.strerror or error}",
        next_step="choose a new file, in a folder that is there",
        code="output_failed",
    )
