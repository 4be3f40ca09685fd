"""Grows trees at random: by hypothesis, which shrinks what fails, or by a seeded `random.Random`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from roomkit_plugins.testing.trees.commands import (
    AGENT,
    CARRIER,
    PEOPLE,
    TALKERS,
    Inside,
    Kind,
    TreeCommand,
)

__all__ = ["Choose", "grow"]


class Choose(Protocol):
    """Picks one of several: `random.Random(seed).choice`, or what draws from hypothesis."""

    def __call__[T](self, options: Sequence[T], /) -> T:
        """Return one of the options; the first is the simplest."""
        ...


_TALK: tuple[Kind, ...] = ("say", "say", "say", "say", "send", "edit", "erase")
_MILD: tuple[Kind, ...] = (*_TALK, "host_edit", "host_erase", "mute", "unmute", "access", "visibility")
_STRICT: tuple[Kind, ...] = (*_MILD, "attach", "detach", "ban")
_GRAVE: tuple[Kind, ...] = (*_STRICT, "idle", "close", "delete")
_INSIDE: tuple[Inside, ...] = ("gate", "observer", "turn")
_CHANNELS = (*TALKERS, CARRIER, AGENT)
_SENDERS = (*TALKERS, AGENT, "system")
_VALUES: dict[Kind, tuple[str, ...]] = {
    "access": ("read_write", "read_only", "write_only", "none"),
    "visibility": ("all", "transport", CARRIER, "internal", f"{TALKERS[1]},{CARRIER}"),
    "idle": ("paused", "closed"),
}
_MOST_DEPTH = 2


def grow(choose: Choose, *, branches: int = 3, length: int = 5) -> tuple[tuple[TreeCommand, ...], ...]:
    """Return the branches of a tree: `branches` at most, `length` commands long at most.

    One in four may end its rooms: mostly a room lives on, so that there is something to judge.
    """
    kinds = choose((_MILD, _STRICT, _STRICT, _GRAVE))
    return tuple(
        tuple(_command(choose, kinds) for _ in range(choose(range(1, length + 1))))
        for _ in range(choose(range(1, branches + 1)))
    )


def _command(
    choose: Choose, kinds: Sequence[Kind], within: TreeCommand | None = None, depth: int = 0
) -> TreeCommand:
    kind = choose(kinds)
    # A gate holds its room: it changes no other, or two of them would wait for each other.
    room = within.room if within is not None and within.inside == "gate" else choose((0, 0, 1))
    command = TreeCommand(
        kind=kind,
        room=room,
        channel=choose(_channels(kind)),
        person=choose(PEOPLE),
        target=choose(range(4)),
        elsewhere=kind in ("edit", "host_edit") and choose((False, False, False, True)),
        value=choose(_VALUES.get(kind, ("",))),
        inside="outside" if within is None else within.inside,
    )
    return _with_insides(choose, kinds, command, depth) if kind in ("say", "send") else command


def _channels(kind: Kind) -> tuple[str, ...]:
    if kind in ("say", "edit", "erase"):
        return TALKERS
    return _SENDERS if kind == "send" else _CHANNELS


def _with_insides(choose: Choose, kinds: Sequence[Kind], command: TreeCommand, depth: int) -> TreeCommand:
    children: list[TreeCommand] = []  # bound: a few
    if depth < _MOST_DEPTH:
        for _ in range(choose((0, 0, 0, 1, 2))):
            inside = choose(_INSIDE)
            place = TreeCommand(kind="say", room=command.room, inside=inside)
            children.append(_command(choose, kinds, place, depth + 1))
    return TreeCommand(
        kind=command.kind,
        room=command.room,
        channel=command.channel,
        person=command.person,
        inside=command.inside,
        settled=choose((False, False, True)),
        vetoed=choose((False,) * 9 + (True,)),
        answered=choose((False, True)),
        again=command.kind == "say" and choose((False, False, False, True)),
        children=tuple(children),
    )
