"""What an intelligence said, on its way back into the room: the same gates, permission and commit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import ForeignCodeError, RoomNotFoundError
from roomkit.abc.records import checked
from roomkit.kernel.delivery.streamed_turn import StreamedTurn, TurnParts
from roomkit.kernel.delivery.turn_effects import TurnEffects, refusal_of, voice_lost_by
from roomkit.kernel.flow.contract import RAISED, check_output, provider_of
from roomkit.kernel.flow.draft import Draft
from roomkit.models.base import new_id
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import TextContent
from roomkit.models.enums import ChannelDirection, EventStatus
from roomkit.models.event import EventSource, Generation, RoomEvent
from roomkit.models.visibility import narrowest

if TYPE_CHECKING:
    from roomkit.abc.store import RoomRecord
    from roomkit.kernel.delivery.lanes import Lane
    from roomkit.kernel.delivery.parked_rounds import ParkedRounds
    from roomkit.kernel.delivery.playbacks import Playbacks
    from roomkit.kernel.flow.job import Job
    from roomkit.models.ai import StreamEvent
    from roomkit.models.channel import ChannelBinding

__all__ = ["Answers", "answer_key"]


class Answers:
    """Brings answers into the room, whole or while they are generated."""

    def __init__(
        self, *, parts: TurnParts, effects: TurnEffects, playbacks: Playbacks, rounds: ParkedRounds
    ) -> None:
        self._parts = parts
        self._store = parts.store
        self._lease = parts.lease
        self._effects = effects
        self._playbacks = playbacks
        self._rounds = rounds

    async def take(
        self, output: ChannelOutput, job: Job, binding: ChannelBinding, record: RoomRecord, lane: Lane
    ) -> str | None:
        """Commit the intelligence's answer to the job's event.

        Returns why it was cut off or refused, if the agent lost its voice, or its room, in the turn. Raises
        the error of a generation that failed, after what recipients saw of it is committed; and
        InvalidInputError for effects that cannot be stored, after its words are committed without them.
        """
        if type(output) is not ChannelOutput or type(output.response_events) not in (list, tuple):
            check_output(output, binding.channel_id)
        lost: str | None = None
        effects: dict[str, Any] = {
            "tasks": output.tasks,
            "observations": output.observations,
            "metadata": output.metadata_updates,
        }
        refused = refusal_of(effects, binding) if any(effects.values()) else None
        if refused is not None:
            effects = {}
        if output.parked and output.response_stream is None:
            effects, refused = self._effects.with_parked(effects, refused, output.parked, job, record)
        for number, answer in enumerate(output.response_events):
            # Words of an agent that was muted since are stored as blocked by the writer.
            answer = checked(answer, RoomEvent, f"of agent {binding.channel_id!r}", ForeignCodeError)
            event = self._answer_to(job, binding, answer, number)
            try:
                written = await job.run.timeline.write(Draft(event=event, cascade=job.run.cascade, **effects))
            except RoomNotFoundError:
                return "room_deleted"
            if written.blocked:
                lost = voice_lost_by(written) or lost
            if written.event is not None:
                effects = {}
        if output.response_stream is not None:
            check_output(output, binding.channel_id)
            effects["parked"] = output.parked
            lost = await self._stream(output.response_stream, job, binding, record, lane, effects)
        elif any(effects.values()):
            await self._effects.keep(effects, job, record)
        if refused is not None:
            raise refused
        return lost

    def _answer_to(self, job: Job, binding: ChannelBinding, answer: RoomEvent, number: int = 0) -> RoomEvent:
        """Return the answer as the room takes it: who said it, and how deep in a chain, is not its to say.

        Where another worker may have the turn again, its `number`-th answer has a key of its own: it is
        said once, by the first worker to commit it.
        """
        stamps = self._stamps(job.run.event, binding, answer)
        if self._lease.worker_id is not None and answer.idempotency_key is None:
            stamps["idempotency_key"] = answer_key(job.delivery_id, number)
        return answer.replace(**stamps)

    async def answered(self, job: Job) -> bool:
        """Return whether the turn was answered or parked by a worker that died before it recorded that."""
        if await self._rounds.head(job.run.event.room_id, job.delivery_id) is not None:
            job.parked = True
            return True
        key = answer_key(job.delivery_id, 0)
        return await self._store.check_idempotency(job.run.event.room_id, key)

    def _stamps(self, trigger: RoomEvent, binding: ChannelBinding, answer: RoomEvent) -> dict[str, Any]:
        source = answer.source
        source = source.replace(
            channel_id=binding.channel_id,
            channel_type=binding.channel_type,
            direction=ChannelDirection.OUTBOUND,
            on_behalf_of=trigger.source.participant_id or trigger.source.on_behalf_of,
        )
        stamps: dict[str, Any] = {
            "room_id": trigger.room_id,
            "source": source,
            "status": EventStatus.PENDING,
            "index": -1,
            "chain_depth": trigger.chain_depth + 1,
            "correlation_id": trigger.correlation_id or trigger.id,
            "parent_event_id": answer.parent_event_id or trigger.parent_event_id,
        }
        if trigger.response_visibility is not None:
            stamps["visibility"] = trigger.response_visibility
            stamps["response_visibility"] = trigger.response_visibility
        thread_id = trigger.channel_data.thread_id
        if thread_id is not None and answer.channel_data.thread_id is None:
            stamps["channel_data"] = answer.channel_data.replace(thread_id=thread_id)
        return stamps

    # -- streaming ----------------------------------------------------------------------------

    async def _stream(
        self,
        stream: AsyncIterator[str | StreamEvent],
        job: Job,
        binding: ChannelBinding,
        record: RoomRecord,
        lane: Lane,
        effects: Mapping[str, Any],
    ) -> str | None:
        channel = job.target.channel
        provider: object
        try:
            provider = None if channel is None else channel.provider_name
        except RAISED as error:
            provider = error
        if provider is not None and type(provider) is not str:
            provider = provider_of(channel, binding.channel_id)
        event_id = new_id()
        event = RoomEvent(
            id=event_id,
            room_id=job.run.event.room_id,
            source=EventSource(
                channel_id=binding.channel_id,
                channel_type=binding.channel_type,
                direction=ChannelDirection.OUTBOUND,
                provider=provider,
            ),
            content=TextContent(body=""),
            generation=Generation(stream_id=event_id),
        )
        event = self._answer_to(job, binding, event)
        event = event.replace(visibility=narrowest(event.visibility, binding.visibility))
        on_heard = None if self._lease.worker_id is None else self._playbacks.heard
        job.stream = turn = StreamedTurn(
            self._parts, self._effects, event, binding, record, job, lane, on_heard
        )
        return await turn.run(stream, effects)


def answer_key(delivery_id: str, number: int) -> str:
    """Return the idempotency key of an answer: stable over every worker that has the turn."""
    return f"answer:{delivery_id}:{number}"
