"""Rooms that meet: the texts of events that move, and the write that moves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import from_json, to_json

from roomkit.abc.errors import StoreLockedError
from roomkit.abc.moved import busy_room, moved_key
from roomkit.abc.store import Move
from roomkit_plugins.postgres import reading
from roomkit_plugins.postgres.database import Database
from roomkit_plugins.postgres.rows import encoded
from roomkit_plugins.postgres.writing import CommitParameters
from roomkit_plugins.sql.refusals import no_room

__all__ = ["MoveParameters", "move"]

_TRIES = 8
_LONG = 600.0


class MoveParameters:
    """A move with its two commits encoded."""

    def __init__(self, given: Move) -> None:
        self.source = CommitParameters(given.source)
        self.into = CommitParameters(given.into)
        self.events = list(dict.fromkeys(given.events))
        self.authors = dict(given.authors)
        self.channels = list(given.channels)
        self.everything = given.everything


async def move(database: Database, prepared: MoveParameters) -> int:
    """Write everything or raise; return how many events were moved."""
    source = prepared.source
    for _ in range(_TRIES):
        for part in (source, prepared.into):
            if part.needs_basis:
                part.on(await reading.get_basis(database, part.room_id, part.wanted))
        edition, rows = await reading.events_to_move(database, source.room_id, prepared.events)
        moved = [_moved(place, row, prepared) for place, row in enumerate(rows)]
        answer = await database.write(
            "roomkit_move($3, $4, $5, $6, $7, $8)",
            source.encoded(),
            prepared.into.encoded(),
            edition,
            encoded(moved),
            prepared.channels,
            prepared.everything,
            timeout=_LONG,
        )
        if "error" not in answer:
            return int(answer["moved"])
        if answer["error"] != "moved":
            raise _refused(prepared, answer)
    raise StoreLockedError(
        f"others change room {source.room_id!r} all the time; nothing was moved: try again"
    )


def _refused(prepared: MoveParameters, answer: Mapping[str, Any]) -> Exception:
    room_id = answer["room"]
    if answer["error"] == "busy":
        return busy_room(room_id)
    if answer["error"] == "no_room":
        return no_room(room_id)
    part = prepared.source if prepared.source.room_id == room_id else prepared.into
    return part.refused(answer)


def _moved(place: int, row: Sequence[Any], prepared: MoveParameters) -> dict[str, Any]:
    """Return what the move changes of an event; what cannot be read stays as it is."""
    own_id, index, source, more, key = row
    room_id = prepared.source.room_id
    return {
        "id": own_id,
        "i": place,
        "idx": index,
        "source": _renamed(source, prepared.authors),
        "more": _with_origin(more, room_id, index),
        "other_key": None if key is None else moved_key(room_id, key),
    }


def _renamed(source: str, authors: Mapping[str, str]) -> str:
    if not authors:
        return source
    try:
        fields: dict[str, Any] = from_json(source)
        names = {
            name: authors[fields[name]]
            for name in ("participant_id", "on_behalf_of")
            if fields.get(name) in authors
        }
        return to_json({**fields, **names}).decode() if names else source
    except (ValueError, TypeError, AttributeError):  # damaged
        return source


def _with_origin(more: str | None, room_id: str, index: int) -> str:
    fields: dict[str, Any] = {} if more is None else from_json(more)
    fields.setdefault("origin", {"room_id": room_id, "index": index})
    return to_json(fields).decode()
