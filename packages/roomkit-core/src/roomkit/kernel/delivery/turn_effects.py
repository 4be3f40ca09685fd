"""What a turn leaves behind besides its words, and how it loses its voice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import InvalidInputError, RoomNotFoundError
from roomkit.kernel.flow.draft import Written
from roomkit.kernel.flow.effects import wrong_effect
from roomkit.kernel.flow.quiet import QuietCommit
from roomkit.kernel.flow.voices import voice_lost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.commit.observers import Observers
    from roomkit.kernel.delivery.parked_rounds import ParkedRounds
    from roomkit.kernel.flow.job import Job
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.parking import ParkedRound
    from roomkit.models.timer import Timer

__all__ = ["TurnEffects", "refusal_of", "voice_lost_by"]

_NO_ENTRY = {
    "channel_detached": "detached",
    "channel_not_attached": "detached",
    "participant_banned": "interrupted",
}
"""Why an answer has no entry at all, where the writer has another word for it."""


class TurnEffects:
    """Stores what a turn leaves behind besides its words."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        clock: Clock,
        observers: Observers,
        rounds: ParkedRounds,
        expect: Callable[[Iterable[Timer]], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._observers = observers
        self._rounds = rounds
        self._expect = expect

    def with_parked(
        self,
        effects: Mapping[str, Any],
        refused: InvalidInputError | None,
        parked: Sequence[ParkedRound],
        job: Job,
        record: RoomRecord,
    ) -> tuple[dict[str, Any], InvalidInputError | None]:
        """Return the effects of a turn with the round that it parks, or why that cannot be stored."""
        try:
            kept = self._rounds.parked(parked, job, record)
        except InvalidInputError as error:
            return dict(effects), refused or error
        job.parked = True
        return {**effects, **kept}, refused

    async def keep(self, effects: Mapping[str, Any], job: Job, record: RoomRecord) -> None:
        """Store the effects of a turn besides text."""
        event = job.run.event
        commit = QuietCommit(room_id=event.room_id, at=self._clock.now(), **effects)
        try:
            await self._store.commit(commit)
        except RoomNotFoundError:
            return  # deleted in the turn, with all that belongs to it
        self._expect(commit.timers)
        self._observers.side_effects(event, commit.tasks, commit.observations, record, job.run.cascade)


def refusal_of(effects: Mapping[str, Any], binding: ChannelBinding) -> InvalidInputError | None:
    """Return the error for a turn's effects that no store can hold, None if there are none."""
    wrong = wrong_effect(effects.get("tasks"), effects.get("observations"), effects.get("metadata"))
    if wrong is None:
        return None
    return InvalidInputError(
        f"what agent {binding.channel_id!r} returned beside its words in room {binding.room_id!r} was not "
        f"stored: {wrong}; return JSON values, Tasks and Observations"
    )


def voice_lost_by(refused: Written) -> str | None:
    """Return by which loss of its agent's voice, or its room, an answer was refused; None for a gate's."""
    event = refused.event
    if event is None:
        return _NO_ENTRY.get(refused.reason or "", refused.reason)
    if event.blocked_by not in ("source_muted", "source_read_only"):
        return None
    return (
        "muted"
        if refused.run is None
        else voice_lost(refused.run.record, event.source.channel_id, event.source)
    )
