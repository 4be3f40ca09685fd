"""Gates that write to each other's rooms: the one that would close a circle of waits is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from roomkit.abc.errors import InvalidInputError
from roomkit.kernel.runtime.scope import innermost_gate

__all__ = ["GateWaits"]


class GateWaits:
    """Which rooms' gates wait for which other room's lock, in this process.

    A gate holds its own room's lock. Over several workers, and for locks that are held otherwise, the
    deadline of the message ends such a wait.
    """

    def __init__(self) -> None:
        self._waits: list[tuple[str, str]] = []  # bound: calls from inside gates

    @contextmanager
    def waiting(self, room_id: str) -> Iterator[Callable[[], None]]:
        """Wait for a room's lock inside; call the yielded function as soon as it is held.

        Raises InvalidInputError if a gate of that room waits, directly or not, for the room whose gate
        the caller is part of.
        """
        gate = innermost_gate()
        with ExitStack() as wait:
            if gate is not None:
                self._refuse_circle(gate.room_id, room_id)
                entry = (gate.room_id, room_id)
                self._waits.append(entry)
                wait.callback(self._waits.remove, entry)
            yield wait.close

    def _refuse_circle(self, room_id: str, wanted: str) -> None:
        reached, ahead = set[str](), [wanted]
        while ahead:
            place = ahead.pop()
            if place == room_id:
                raise InvalidInputError(
                    f"a gate of room {room_id!r} cannot write to room {wanted!r}: a gate there waits to "
                    f"write to room {room_id!r}; write from an AFTER_BROADCAST observer, which holds no lock"
                )
            if place not in reached:
                reached.add(place)
                ahead += (other for holder, other in self._waits if holder == place)
