"""`roomkit scheduled list|show|cancel`: events that are sent later."""

from __future__ import annotations

import argparse
from datetime import UTC
from typing import TYPE_CHECKING

from roomkit.models.content import text_of
from roomkit.models.scheduling import ScheduledSend
from roomkit_plugins.cli.cancelling import Kind, add_cancel, add_list, add_one, cancel, listed, one_of
from roomkit_plugins.cli.confirmation import counted
from roomkit_plugins.cli.main import OK
from roomkit_plugins.cli.terminal import Terminal

if TYPE_CHECKING:
    from roomkit.kernel.kit import RoomKit

__all__ = ["configure_cancel", "configure_list", "configure_show"]


async def _find(kit: RoomKit, options: argparse.Namespace, limit: int) -> list[ScheduledSend]:
    view = kit.for_organization(options.organization) if options.organization else kit
    return await view.list_scheduled(options.room, limit=limit)


async def _cancel(kit: RoomKit, send: ScheduledSend) -> bool:
    return await kit.cancel_scheduled(send.event.room_id, send.event.id)


_SENDS = Kind(
    group="scheduled",
    one="scheduled send",
    code="event_not_found",
    find=_find,
    id_of=lambda send: send.event.id,
    cancel=_cancel,
)


def configure_list(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit scheduled list`."""
    parser.description = "Shows events that are sent later, by when they are due."
    add_list(parser, _SENDS)
    parser.set_defaults(run=run_list)


def configure_show(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit scheduled show`."""
    add_one(parser, "EVENT")
    parser.add_argument("--json", action="store_true", help="write one JSON document: the scheduled send")
    parser.set_defaults(run=run_show)


def configure_cancel(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit scheduled cancel`."""
    parser.description = "Removes events that wait to be sent; one whose sending has begun stays."
    add_cancel(parser, "EVENT")
    parser.set_defaults(run=lambda options: cancel(_SENDS, options))


def run_list(options: argparse.Namespace) -> int:
    """Show scheduled sends."""
    sends, more = listed(_SENDS, options)
    terminal = Terminal(as_json=options.json)
    if options.json:
        terminal.document({"sends": [each.model_dump(mode="json") for each in sends], "more": more})
        return OK
    terminal.line(counted(len(sends), _SENDS.one) + (", and more: raise --limit" if more else ""))
    for send in sends:
        terminal.line(f"  {_due(send)}  {send.event.id}")
        terminal.line(f"    room {send.event.room_id}, channel {send.event.source.channel_id}")
    return OK


def run_show(options: argparse.Namespace) -> int:
    """Show one, with its words."""
    send, terminal = one_of(_SENDS, options), Terminal(as_json=options.json)
    if options.json:
        terminal.document(send.model_dump(mode="json"))
        return OK
    terminal.line(f"{_due(send)}{', is being sent' if send.is_being_sent else ''}")
    event = send.event
    shown = {
        "id": event.id,
        "room_id": event.room_id,
        "channel_id": event.source.channel_id,
        "participant_id": event.source.participant_id,
        "type": event.type,
        "timezone": send.timezone and f"{send.timezone}, of the {send.timezone_from}",
        "window": send.window and " to ".join(f"{each:%H:%M}" for each in send.window),
        "text": text_of(event.content),
    }
    for name, value in shown.items():
        if value:
            terminal.line(f"  {name:<16} {value}")
    return OK


def _due(send: ScheduledSend) -> str:
    return f"{send.due_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
