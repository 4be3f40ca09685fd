"""Where a call to the kit comes from: outside, from a room's lane or observer, or inside its gate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Self

from roomkit.abc.errors import InvalidInputError
from roomkit.kernel.runtime.tracing import position

if TYPE_CHECKING:
    from roomkit.kernel.flow.cascade import Cascade
    from roomkit.models.event import RoomEvent

__all__ = [
    "Work",
    "check_committed",
    "gate_of",
    "innermost_gate",
    "innermost_work",
    "inside",
    "origin",
    "outside",
    "present",
    "room_at_work",
    "working_for",
]


class Work:
    """Foreign code running on behalf of a room, found through the context it runs in.

    `event` is what it works on and `cascade` what that set going: what such code writes is as deep
    in the chain as the event, one deeper in an intelligence's turn, and part of the cascade.

    A task that such code leaves behind inherits the context, but not the right: `active` ends with
    the work itself. Only the depth stays: what such a task writes is as deep as the work was, or a
    chain of answers could grow without end.

    A gate also holds the room's lock, with its `fence`; calls from inside it take turns by
    `turn` in place of that lock, and what it sets going is kept in `after` until the lock is free.
    """

    __slots__ = (
        "_token",
        "active",
        "after",
        "cascade",
        "depth",
        "event",
        "fence",
        "in_gate",
        "is_gate",
        "is_turn",
        "parent",
        "room_id",
        "speculative",
        "turn",
    )

    def __init__(
        self,
        room_id: str,
        event: RoomEvent | None = None,
        cascade: Cascade | None = None,
        *,
        is_gate: bool = False,
        after: list[Callable[[], None]] | None = None,
        fence: int | None = None,
        speculative: bool = False,
    ) -> None:
        self.room_id = room_id
        self.speculative = speculative
        """Whether it is for a message that is not committed, or never was: nothing may be written for it."""
        self.event = event
        self.is_turn = False
        self.cascade = cascade
        self.is_gate = is_gate
        self.active = True
        self.parent = parent = _active(_current.get())
        while parent is not None:
            parent.parent = _active(parent.parent)
            parent = parent.parent
        self.in_gate: bool = is_gate or (self.parent is not None and self.parent.in_gate)
        """Whether it may be part of a gate, which may be over."""
        self.depth = 0
        self.turn: asyncio.Lock | None = None
        self.after = after
        self.fence = fence
        if is_gate:
            self.turn = asyncio.Lock()
            outer = gate_of(room_id)
            self.depth = 0 if outer is None else outer.depth + 1

    @property
    def holds_caller(self) -> bool:
        """Whether the caller is part of this work."""
        work = _current.get()
        while work is not None and work is not self:
            work = work.parent
        return work is self and self.active

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        return self

    def __exit__(self, *_error: object) -> None:
        self.active = False
        _current.reset(self._token)


_current: ContextVar[Work | None] = ContextVar("roomkit_work", default=None)
present = _current.get
"""Return the work that the caller is part of, which may be over; None outside of all of it."""


def _active(work: Work | None) -> Work | None:
    """Return the innermost work that is not over, so that long-running work forgets finished parents."""
    while work is not None and not work.active:
        work = work.parent
    return work


def outside() -> Context:
    """Return a copy of the present context that belongs to no room's work, and to no trace."""
    context = copy_context()
    context.run(_current.set, None)
    context.run(position.set, None)
    return context


def inside() -> bool:
    """Return whether the caller is part of any room's work."""
    return _active(_current.get()) is not None


def origin(room_id: str) -> tuple[Work | None, Cascade | None]:
    """Return the work that something for `room_id` is written by, and the cascade it belongs to.

    The work is the innermost that is about an event, also if it is over. The cascade is that work's,
    unless the caller is part of the room's own work as well: the write waits behind that, so
    nothing may wait for it that the room's work itself may be waiting for.
    """
    innermost: Work | None = None
    cascade: Cascade | None = None
    work = _current.get()
    while work is not None:
        if work.event is not None:
            if innermost is None:
                innermost = work
            if work.active and (cascade is None or work.room_id == room_id):
                cascade = work.cascade
        work = work.parent
    return innermost, cascade


def check_committed(what: str) -> None:
    """Refuse to write for a message that is not committed. Raises InvalidInputError."""
    work = _current.get()
    while work is not None:
        if work.speculative:
            raise InvalidInputError(
                f"{what} cannot be written for room {work.room_id!r}: the message is not committed; await "
                "context.confirmed() in a turn, and do nothing in a gate while context.speculative"
            )
        work = work.parent


def innermost_work() -> Work | None:
    """Return the innermost work under way with a cascade that the caller is part of."""
    work = _active(_current.get())
    while work is not None and work.cascade is None:
        work = _active(work.parent)
    return work


def innermost_gate() -> Work | None:
    """Return the innermost gate that the caller runs inside, of any room."""
    work = _current.get()
    while work is not None and not (work.is_gate and work.active):
        work = work.parent
    return work


def working_for(room_id: str) -> bool:
    """Return whether the caller is part of the room's own work, and so must not wait for it.

    Nor must a gate of any room wait for another room to settle: it holds its own room's lock.
    """
    work = _current.get()
    while work is not None:
        if work.active and (work.is_gate or work.room_id == room_id):
            return True
        work = work.parent
    return False


def room_at_work() -> str | None:
    """Return the room whose gate, delivery, turn or observer the caller is innermost part of."""
    work = _active(_current.get())
    return None if work is None else work.room_id


def gate_of(room_id: str) -> Work | None:
    """Return the innermost gate of the room that the caller runs inside of."""
    work = _current.get()
    while work is not None:
        if work.is_gate and work.active and work.room_id == room_id:
            return work
        work = work.parent
    return None
