"""Parked rounds as values: what a turn leaves behind to be continued on any worker."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from roomkit.abc.errors import InvalidInputError
from roomkit.abc.records import checked, problems_of
from roomkit.kernel.flow.continuation import question_of
from roomkit.models.base import freeze
from roomkit.models.parking import ParkedCall, ParkedRound, ParkedTurn
from roomkit.models.timer import Timer
from roomkit.models.value import Value, fits

if TYPE_CHECKING:
    from datetime import datetime

    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.flow.job import Job
    from roomkit.models.event import RoomEvent

__all__ = ["PARKED", "ParkedRounds", "head_data", "key_of", "timer_of", "turn_in"]

_NAMESPACE = "core.turn"
PARKED = "parked_turn"
"""The kind of the timers that look after parked turns."""
_ASKED = "asked"
_PIECE = 5_000
"""Characters of state in one value: as JSON in JSON none takes more than twelve bytes."""
_PAGE = 100


def timer_of(turn: ParkedTurn, due_at: datetime) -> Timer:
    """Return the timer that looks after a parked turn."""
    (name,) = key_of(turn.turn_id)
    return Timer(
        id=f"parked:{name}",
        room_id=turn.room_id,
        kind=PARKED,
        due_at=due_at,
        data={"turn_id": turn.turn_id},
        subject=turn.participant_id,
    )


def key_of(turn_id: str) -> tuple[str]:
    """Return the key under which a turn is kept."""
    return (turn_id,) if fits((_ASKED, turn_id, "0000")) else (sha256(turn_id.encode()).hexdigest(),)


def key_of_asked(turn: ParkedTurn, number: int) -> tuple[str, ...]:
    """Return the key under which it is kept that a person was asked about the turn's call of that number."""
    return (_ASKED, *key_of(turn.turn_id), f"{number:04}")


class ParkedRounds:
    """Keeps each parked turn as one value, and the state of its round in pieces beside it.

    Only the first changes, by its revision. All are removed with the room, with the person whom the turn is
    for, and when anything of the room is erased, because the state may quote it.
    """

    def __init__(self, *, store: ConversationStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    # -- parking ------------------------------------------------------------------------------

    def parked(self, given: Sequence[ParkedRound], job: Job, record: RoomRecord) -> dict[str, Any]:
        """Return the values and the timer of a round that an intelligence parks; empty without one.

        Raises InvalidInputError for what cannot be kept.
        """
        if not given:
            return {}
        round_: object = given[-1]
        event, channel_id = job.run.event, job.target.binding.channel_id
        try:
            if not isinstance(round_, ParkedRound):
                raise TypeError(f"it is {type(round_).__name__}, not a ParkedRound")
            turn = ParkedTurn(
                turn_id=job.delivery_id,
                room_id=event.room_id,
                channel_id=channel_id,
                event_id=question_of(event),
                participant_id=event.source.participant_id or event.source.on_behalf_of,
                parked_at=self._clock.now(),
                calls=tuple(
                    checked(each, ParkedCall, f"parked by agent {channel_id!r}") for each in round_.calls
                ),
            )
            values = self._values(turn, json.dumps(freeze(round_.state)), record.room.organization_id)
        except (ValidationError, ValueError, TypeError) as error:
            why = problems_of(error) if isinstance(error, ValidationError) else str(error)
            raise InvalidInputError(
                f"the round that agent {channel_id!r} parked was not stored: {why}"
            ) from None
        due_at = turn.deadline
        if due_at is None:
            raise InvalidInputError(f"the round that agent {channel_id!r} parked has no call that waits")
        return {"values": values, "timers": [timer_of(turn, due_at)]}

    def _values(self, turn: ParkedTurn, state: str, organization_id: str | None) -> list[Value]:
        pieces = [state[at : at + _PIECE] for at in range(0, len(state), _PIECE)]
        head = self._value(turn, key_of(turn.turn_id), head_data(turn, len(pieces)), organization_id)
        return [
            head,
            *(
                self._value(turn, (*head.key, f"{number:04}"), {"state": piece}, organization_id)
                for number, piece in enumerate(pieces)
            ),
            *(
                head.replace(
                    key=key_of_asked(turn, number), data={"turn_id": turn.turn_id}, subject=call.asked
                )
                for number, call in enumerate(turn.calls)
                if call.asked is not None
            ),
        ]

    def _value(
        self, turn: ParkedTurn, key: tuple[str, ...], data: dict[str, Any], organization_id: str | None
    ) -> Value:
        return Value(
            namespace=_NAMESPACE,
            key=key,
            data=data,
            room_id=turn.room_id,
            subject=turn.participant_id,
            organization_id=organization_id,
            derived=True,
        )

    # -- reading ------------------------------------------------------------------------------

    async def head(self, room_id: str, turn_id: str) -> Value | None:
        """Return the value of a parked turn of a room."""
        room = await self._store.get_room(room_id)
        if room is None:
            return None
        value = await self._store.get_value(_NAMESPACE, key_of(turn_id), organization_id=room.organization_id)
        return None if value is None or value.room_id != room_id else value

    async def continued(self, event: RoomEvent) -> tuple[ParkedTurn, ParkedRound] | None:
        """Return the turn that an event of the form continues; None for one that was dropped."""
        turn_id = str(getattr(event.content, "data", {}).get("turn_id"))
        head = await self.head(event.room_id, turn_id)
        if head is None or (turn := turn_in(head)).resumed_as != event.id:
            return None
        pieces = [
            await self._store.get_value(
                _NAMESPACE, (*head.key, f"{number:04}"), organization_id=head.organization_id
            )
            for number in range(head.data["pieces"])
        ]
        if None in pieces:
            return None
        state = "".join(piece.data["state"] for piece in pieces if piece is not None)
        return turn, ParkedRound(turn.calls, json.loads(state))

    async def asking(self, subject: str, organization_id: str | None) -> AsyncIterator[ParkedTurn]:
        """Yield the turns with a call that the person of that id, or that identity, was asked about."""
        async for value in self._pages((_ASKED,), organization_id, subject):
            head = await self.head(str(value.room_id), str(value.data["turn_id"]))
            if head is not None:
                yield turn_in(head)

    async def of_organization(self, organization_id: str) -> AsyncIterator[ParkedTurn]:
        """Yield the parked turns of an organization, in the order of their keys."""
        async for value in self._pages((), organization_id, None):
            if len(value.key) == 1:
                yield turn_in(value)

    async def _pages(
        self, prefix: tuple[str, ...], organization_id: str | None, subject: str | None
    ) -> AsyncIterator[Value]:
        after: tuple[str, ...] | None = None
        while page := await self._store.list_values(
            _NAMESPACE, prefix, organization_id=organization_id, subject=subject, after=after, limit=_PAGE
        ):
            for value in page:
                yield value
            after = page[-1].key

    async def of_room(self, room_id: str) -> AsyncIterator[ParkedTurn]:
        """Yield the parked turns of a room, in no order."""
        after = 0
        while page := await self._store.list_room_values(room_id, after=after, limit=_PAGE):
            for value in page:
                if value.namespace == _NAMESPACE and len(value.key) == 1:
                    yield turn_in(value)
            after = page[-1].revision

    # -- removing -----------------------------------------------------------------------------

    async def forget(self, turn: ParkedTurn) -> None:
        """Remove a parked turn and its timer.

        The value that names the others goes last, and then the timer: a worker that is killed before leaves
        enough for the timer to remove the rest.
        """
        head = await self.head(turn.room_id, turn.turn_id)
        if head is not None:
            pieces = [(*head.key, f"{number:04}") for number in range(head.data["pieces"])]
            asked = [key_of_asked(turn, number) for number, call in enumerate(turn.calls) if call.asked]
            for key in (*pieces, *asked, head.key):
                await self._store.delete_value(_NAMESPACE, key, organization_id=head.organization_id)
        await self._store.delete_timer(timer_of(turn, turn.parked_at).id)

    async def drop(self, room_id: str, channel_id: str) -> None:
        """Remove the turns that an intelligence has parked in a room."""
        for turn in [each async for each in self.of_room(room_id)]:
            if turn.channel_id == channel_id:
                await self.forget(turn)


def head_data(turn: ParkedTurn, pieces: int) -> dict[str, Any]:
    """Return what the value of a turn holds."""
    return {"turn": turn.model_dump(mode="json"), "pieces": pieces}


def turn_in(head: Value) -> ParkedTurn:
    """Return the turn that a value holds."""
    return ParkedTurn.from_stored(json.dumps(head.data["turn"]))
