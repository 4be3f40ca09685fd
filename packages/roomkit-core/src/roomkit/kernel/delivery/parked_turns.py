"""Continuing parked turns, once, and finding whose answer a message is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from pydantic import ValidationError

from roomkit.abc.errors import (
    CallExpiredError,
    InvalidInputError,
    RoomClosedError,
    RoomKitError,
    RoomNotFoundError,
    StaleValueError,
    TurnNotParkedError,
)
from roomkit.abc.records import problems_of
from roomkit.kernel.delivery.parked_rounds import PARKED, head_data, key_of, timer_of, turn_in
from roomkit.kernel.flow.cascade import Cascade
from roomkit.kernel.flow.continuation import continuation
from roomkit.kernel.flow.draft import Draft
from roomkit.kernel.flow.timers import TimerOutcome, room_of
from roomkit.models.base import new_id
from roomkit.models.content import text_of
from roomkit.models.enums import DeliveryState, EventStatus

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.commit.writer import Writer
    from roomkit.kernel.delivery.parked_rounds import ParkedRounds
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.models.event import RoomEvent
    from roomkit.models.parking import ParkedCall, ParkedTurn
    from roomkit.models.participant import Participant
    from roomkit.models.timer import Timer
    from roomkit.models.value import Value

__all__ = ["ParkedTurns"]

_TRIES = 64
_PAGE = 100


class ParkedTurns:
    """Takes the results of parked calls. Every step can be repeated by another worker.

    Results are put by the revision of the turn's value, so each call gets one. The last one names the event
    by which the turn continues, and that is committed under a key of the turn, with the delivery to its
    agent. A worker that is killed in between leaves it to the turn's timer.
    """

    def __init__(
        self,
        *,
        store: ConversationStore,
        clock: Clock,
        writer: Writer,
        rounds: ParkedRounds,
        events: FrameworkEvents,
        expect: Callable[[datetime], None],
        retry_seconds: float,
    ) -> None:
        self._store = store
        self._clock = clock
        self._writer = writer
        self._rounds = rounds
        self._events = events
        self._expect = expect
        self._retry = timedelta(seconds=retry_seconds)
        """When to check on a turn that continues: its worker may have been killed."""

    # -- resuming -----------------------------------------------------------------------------

    async def resume(self, room_id: str, turn_id: str, results: Mapping[str, str | RoomKitError]) -> bool:
        """Take results of calls; return whether the turn continues now."""
        await self._check_open(room_id)
        turn = await self._take(room_id, turn_id, results)
        if turn.resumed_as is None:
            return False
        self._expect(self._clock.now() + self._retry)  # should what follows fail
        await self._continue(turn)
        return True

    async def store_results(
        self, room_id: str, turn_id: str, results: Mapping[str, str | RoomKitError]
    ) -> bool:
        """Take results of calls; return whether the turn continues, on a worker that finds its timer due."""
        await self._check_open(room_id)
        turn = await self._take(room_id, turn_id, results)
        if turn.resumed_as is None:
            return False
        await self._store.set_timer(timer_of(turn, self._clock.now()))
        return True

    async def cancel(self, room_id: str, turn_id: str) -> bool:
        """Drop a turn that waits; False when none does. The timer finishes it for a worker that is killed."""
        for _ in range(_TRIES):
            head = await self._rounds.head(room_id, turn_id)
            if head is None or (turn := turn_in(head)).resumed_as is not None:
                return False
            cancelled = turn.replace(resumed_as=new_id(), is_cancelled=True)
            await self._store.set_timer(timer_of(turn, self._clock.now() + self._retry))
            try:
                await self._store.put_value(_changed(head, cancelled), if_revision=head.revision)
            except StaleValueError:
                continue
            await self._dropped(cancelled, "cancelled")
            return True
        raise StaleValueError(
            f"turn {turn_id!r} was not cancelled: others changed it {_TRIES} times in between; try again"
        )

    async def _check_open(self, room_id: str) -> None:
        record = await self._store.load(room_id)
        if record is None:
            raise RoomNotFoundError(f"no room {room_id!r}: its parked turns went with it")
        if not record.status.is_open:
            raise RoomClosedError(f"room {room_id!r} is {record.status}: its parked turns do not continue")

    async def _take(
        self, room_id: str, turn_id: str, results: Mapping[str, str | RoomKitError]
    ) -> ParkedTurn:
        """Keep results with their turn; return it as it is then."""
        for _ in range(_TRIES):
            head = await self._rounds.head(room_id, turn_id)
            turn = None if head is None else turn_in(head)
            if head is None or turn is None or turn.resumed_as is not None:
                raise TurnNotParkedError(
                    f"no turn {turn_id!r} waits in room {room_id!r}: it was resumed, expired or dropped; "
                    "list_parked_turns shows those that wait"
                )
            changed = _with_results(turn, results)
            if not changed.waiting:
                # Due before the result is kept: a worker killed after that leaves it to the timer.
                await self._store.set_timer(timer_of(changed, self._clock.now() + self._retry))
            try:
                await self._store.put_value(_changed(head, changed), if_revision=head.revision)
            except StaleValueError:
                continue
            return changed
        raise StaleValueError(
            f"no result of turn {turn_id!r} was taken: others changed it {_TRIES} times in between; try again"
        )

    async def _continue(self, turn: ParkedTurn) -> bool:
        """Commit the event by which a turn continues; False if its agent or room takes no more turns."""
        if turn.is_cancelled:
            await self._dropped(turn, "cancelled")
            return False
        question = await self._store.get_event(turn.event_id)
        if question is None or question.deleted or turn.resumed_as is None:
            await self._dropped(turn, "question_deleted")
            return False

        def plan(draft: Draft, record: RoomRecord) -> Draft | None:
            return draft if turn.channel_id in record.bindings else None

        (name,) = key_of(turn.turn_id)
        event = continuation(turn, question, key=f"resume:{name}")
        draft = Draft(
            event=event,
            cascade=Cascade(),
            gated=False,
            activity=False,
            targets=(turn.channel_id,),
            plan=plan,
        )
        written = await self._writer.write(draft)
        if written.event is None or written.blocked:
            await self._dropped(turn, written.reason or "channel_detached")
            return False
        if not written.duplicate:
            self._events.emit(
                "turn_resumed",
                room_id=turn.room_id,
                channel_id=turn.channel_id,
                event_id=event.id,
                turn_id=turn.turn_id,
            )
        return True

    async def _dropped(self, turn: ParkedTurn, reason: str) -> None:
        await self._rounds.forget(turn)
        self._events.emit(
            "turn_dropped",
            room_id=turn.room_id,
            channel_id=turn.channel_id,
            event_id=turn.event_id,
            turn_id=turn.turn_id,
            reason=reason,
        )

    # -- the timer ----------------------------------------------------------------------------

    async def fire(self, timer: Timer) -> TimerOutcome:
        """Look after a turn: expire its calls, finish the work of a killed worker, remove finished turns."""
        head = await self._rounds.head(room_of(timer), str(timer.data.get("turn_id")))
        if head is None:
            return TimerOutcome(None)
        turn = turn_in(head)
        if turn.resumed_as is None:
            turn = await self._expired(turn)
        if turn.resumed_as is None:
            return TimerOutcome(turn.deadline)
        if await self._store.get_event(turn.resumed_as) is None:
            goes_on = await self._continue(turn)
            return TimerOutcome(self._clock.now() + self._retry if goes_on else None, changed=True)
        row = await self._store.get_delivery(f"{turn.resumed_as}:{turn.channel_id}")
        if row is not None and row.state is DeliveryState.PENDING:
            return TimerOutcome(self._clock.now() + self._retry)
        await self._rounds.forget(turn)
        return TimerOutcome(None)

    async def _expired(self, turn: ParkedTurn) -> ParkedTurn:
        """Give the calls whose time is over an error as their result."""
        now = self._clock.now()
        late: dict[str, str | RoomKitError] = {
            call.call_id: CallExpiredError(
                f"{call.name} got no answer by {call.deadline.isoformat(timespec='seconds')}: {call.reason}"
            )
            for call in turn.waiting
            if call.deadline <= now
        }
        if not late:
            return turn
        try:
            return await self._take(turn.room_id, turn.turn_id, late)
        except (TurnNotParkedError, InvalidInputError):  # answered in between
            head = await self._rounds.head(turn.room_id, turn.turn_id)
            return turn if head is None else turn_in(head)

    # -- finding ------------------------------------------------------------------------------

    async def list(
        self, room_id: str | None, *, organization_id: str | None = None, limit: int = 100
    ) -> list[ParkedTurn]:
        """Return turns that wait: in a room, in those of an organization, or in all; at most `limit`."""
        if room_id is not None:
            turns = self._rounds.of_room(room_id)
        elif organization_id is not None:
            turns = self._rounds.of_organization(organization_id)
        else:
            turns = self._everywhere()
        found: list[ParkedTurn] = []  # bound: limit
        async for turn in turns:
            if len(found) >= limit:
                break
            if turn.resumed_as is None:
                found.append(turn)
        return found

    async def _everywhere(self) -> AsyncIterator[ParkedTurn]:
        """Yield the parked turns of all rooms, in the order of their timers' ids."""
        after: str | None = None
        while page := await self._store.find_timers(PARKED, after=after, limit=_PAGE):
            for timer in page:
                head = await self._rounds.head(room_of(timer), str(timer.data.get("turn_id")))
                if head is not None:
                    yield turn_in(head)
            after = page[-1].id

    async def asked(self, event: RoomEvent) -> Sequence[tuple[ParkedTurn, ParkedCall]]:
        """Return the waiting calls that an event answers: its sender was asked, and it says which."""
        sender = event.source.participant_id
        if sender is None or event.status is EventStatus.BLOCKED:
            return ()
        record = await self._store.load(event.room_id)
        person = None if record is None else record.participants.get(sender)
        if record is None or person is None:
            return ()
        names = await self._names(person)
        found: dict[tuple[str, str], tuple[ParkedTurn, ParkedCall]] = {}  # bound: what they were asked
        for name in sorted(names):
            async for turn in self._rounds.asking(name, record.room.organization_id):
                for call in turn.waiting:
                    if call.asked != name or not _is_named(call, event):
                        continue
                    if name == person.identity_id or await self._is_same(call, turn, person):
                        found[turn.turn_id, call.call_id] = (turn, call)
        return tuple(found.values())

    async def _names(self, person: Participant) -> set[str]:
        """Return the ids by which a person may have been asked: here, by identity, in their other rooms."""
        names = {person.id}
        if person.identity_id is not None:
            names.add(person.identity_id)
            others = await self._store.find_participants(identity_id=person.identity_id, limit=_PAGE)
            names.update(each.id for each in others)
        return names

    async def _is_same(self, call: ParkedCall, turn: ParkedTurn, person: Participant) -> bool:
        """Return whether a person is the participant who was asked: an id is a person's in its room alone."""
        request = None if call.request is None else await self._store.get_event(call.request)
        room_id = turn.room_id if request is None else request.room_id
        if person.room_id == room_id:
            return person.id == call.asked
        record = await self._store.load(room_id)
        asked = None if record is None else record.participants.get(call.asked or "")
        return asked is not None and asked.identity_id is not None and asked.identity_id == person.identity_id


def _is_named(call: ParkedCall, event: RoomEvent) -> bool:
    """Whether an event says that it answers a call: it replies to the request, or has the call's code."""
    if event.parent_event_id is not None and call.request is not None:
        return event.parent_event_id == call.request
    return call.code is not None and call.code.casefold() in text_of(event.content).casefold().split()


def _with_results(turn: ParkedTurn, results: Mapping[str, str | RoomKitError]) -> ParkedTurn:
    waiting = {call.call_id for call in turn.waiting}
    unknown = sorted(set(results) - waiting)
    if unknown or not results:
        raise InvalidInputError(
            f"turn {turn.turn_id!r} of room {turn.room_id!r} has no waiting call "
            f"{', '.join(unknown) or 'named'}: give results for {', '.join(sorted(waiting)) or 'none'}"
        )
    calls = tuple(
        _answered(call, results[call.call_id]) if call.call_id in results else call for call in turn.calls
    )
    changed = turn.replace(calls=calls)
    return changed if changed.waiting else changed.replace(resumed_as=new_id())


def _answered(call: ParkedCall, result: str | RoomKitError) -> ParkedCall:
    if isinstance(result, RoomKitError):
        return call.replace(result=f"{result.code}: {result}", is_error=True)
    if not isinstance(result, str):
        raise InvalidInputError(
            f"the result of call {call.call_id!r} is {type(result).__name__}: give text, or a RoomKitError"
        )
    return call.replace(result=result)


def _changed(head: Value, turn: ParkedTurn) -> Value:
    try:
        return type(head).model_validate({**head.__dict__, "data": head_data(turn, head.data["pieces"])})
    except ValidationError as wrong:
        raise InvalidInputError(
            f"the results of turn {turn.turn_id!r} were not taken: {problems_of(wrong)}; give shorter ones"
        ) from None
