"""`roomkit turns list|show|resume|cancel`: agents' turns that wait for results of their tools."""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC
from typing import TYPE_CHECKING

from roomkit.models.parking import ParkedTurn
from roomkit_plugins.cli.cancelling import Kind, add_cancel, add_list, add_one, cancel, listed, one_of
from roomkit_plugins.cli.confirmation import counted
from roomkit_plugins.cli.main import OK
from roomkit_plugins.cli.stores import choose_store
from roomkit_plugins.cli.terminal import CommandError, Terminal

if TYPE_CHECKING:
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.parking import ParkedCall

__all__ = ["configure_cancel", "configure_list", "configure_resume", "configure_show"]


async def _find(kit: RoomKit, options: argparse.Namespace, limit: int) -> list[ParkedTurn]:
    view = kit.for_organization(options.organization) if options.organization else kit
    return await view.list_parked_turns(options.room, limit=limit)


async def _cancel(kit: RoomKit, turn: ParkedTurn) -> bool:
    return await kit.cancel_turn(turn.room_id, turn.turn_id)


_TURNS = Kind(
    group="turns",
    one="parked turn",
    code="turn_not_parked",
    find=_find,
    id_of=lambda turn: turn.turn_id,
    cancel=_cancel,
)


def configure_list(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit turns list`."""
    parser.description = (
        "Shows the turns of agents that wait for results of their tools, with what they wait for."
    )
    add_list(parser, _TURNS)
    parser.set_defaults(run=run_list)


def configure_show(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit turns show`."""
    add_one(parser, "TURN")
    parser.add_argument("--json", action="store_true", help="write one JSON document: the turn")
    parser.set_defaults(run=run_show)


def configure_resume(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit turns resume`."""
    parser.description = (
        "Stores results of calls that wait. With the last one the turn continues on a running worker that "
        "has its agent; without one it waits for the next that starts."
    )
    add_one(parser, "TURN")
    parser.add_argument(
        "--result",
        action="append",
        required=True,
        metavar="CALL=TEXT",
        help="the result of one call; may be given again for others",
    )
    parser.add_argument("--json", action="store_true", help="write one JSON document: turn_id, continues")
    parser.set_defaults(run=run_resume)


def configure_cancel(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit turns cancel`."""
    parser.description = "Drops turns that wait: their agents do not continue them, and say nothing more."
    add_cancel(parser, "TURN")
    parser.set_defaults(run=lambda options: cancel(_TURNS, options))


def run_list(options: argparse.Namespace) -> int:
    """Show turns."""
    turns, more = listed(_TURNS, options)
    terminal = Terminal(as_json=options.json)
    if options.json:
        terminal.document({"turns": [each.model_dump(mode="json") for each in turns], "more": more})
        return OK
    terminal.line(counted(len(turns), _TURNS.one) + (", and more: raise --limit" if more else ""))
    for turn in turns:
        terminal.line(f"  {turn.turn_id}  room {turn.room_id}, agent {turn.channel_id}")
        for call in turn.waiting:
            terminal.line(f"    {_call(call)}")
    return OK


def run_show(options: argparse.Namespace) -> int:
    """Show one turn, whole."""
    turn, terminal = one_of(_TURNS, options), Terminal(as_json=options.json)
    if options.json:
        terminal.document(turn.model_dump(mode="json"))
        return OK
    for name, value in turn.model_dump(mode="json", exclude={"calls"}, exclude_none=True).items():
        terminal.line(f"  {name:<16} {value}")
    for call in turn.calls:
        terminal.line(f"  {_call(call)}")
        terminal.line(f"    arguments      {dict(call.arguments)}")
        if not call.waits:
            terminal.line(f"    {'error' if call.is_error else 'result':<14} {call.result}")
    return OK


def run_resume(options: argparse.Namespace) -> int:
    """Store results."""
    results = dict(_result(each) for each in options.result)
    turn, terminal = one_of(_TURNS, options), Terminal(as_json=options.json)
    chosen = choose_store(options)

    async def work() -> bool:
        async with chosen.kit() as kit:
            return await kit.resume_turn(turn.room_id, turn.turn_id, results, continue_here=False)

    continues = asyncio.run(work())
    if options.json:
        terminal.document({"turn_id": turn.turn_id, "continues": continues})
    elif continues:
        terminal.line("the turn continues on a running worker; without one it waits for the next that starts")
    else:
        terminal.line("the result is stored; the turn continues when all of its calls have theirs")
    return OK


def _result(given: str) -> tuple[str, str]:
    call_id, is_given, text = given.partition("=")
    if not is_given or not call_id:
        raise CommandError(
            f"{given!r} is not a result of a call",
            next_step="write --result CALL=TEXT, with the id that `roomkit turns show` names",
            code="wrong_usage",
        )
    return call_id, text


def _call(call: ParkedCall) -> str:
    asked = f", asked {call.asked}" if call.asked else ""
    until = f" until {call.deadline.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if call.waits else ""
    return f"call {call.call_id} of {call.name}{until}: {call.reason}{asked}"
