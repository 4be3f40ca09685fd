"""The work of lanes: deliver to transports, ask intelligences to answer, and settle each job."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from roomkit.abc.channel import SupportsParking, SupportsSteering
from roomkit.abc.errors import (
    ErrorCode,
    ForeignCodeError,
    LockLostError,
    NoHomeError,
    ProviderError,
    RoomKitError,
    StoreBusyError,
    StoreError,
    StoreLockedError,
    StoreUnavailableError,
)
from roomkit.abc.log import get_logger
from roomkit.kernel.delivery.lanes import Executor
from roomkit.kernel.delivery.outcome import (
    SendOutcome,
    as_provider_error,
    delivery_span,
    error_of,
    note_outcome,
    row,
    take_output,
)
from roomkit.kernel.delivery.sending import Deliverer, resume
from roomkit.kernel.delivery.start_wait import wait_for_start
from roomkit.kernel.delivery.streamed_turn import close_stream
from roomkit.kernel.flow.context import RECENT_EVENTS, RecordContext
from roomkit.kernel.flow.continuation import continues
from roomkit.kernel.flow.contract import RAISED, idle_seconds_of, provider_of
from roomkit.kernel.flow.deferred import Deferred
from roomkit.kernel.flow.job import Undone
from roomkit.kernel.flow.poison import Handling, handling_of
from roomkit.kernel.flow.voices import may_answer
from roomkit.kernel.runtime.deadline import Abandoned, Cause, cause_of, ends_task
from roomkit.kernel.runtime.supervisor import Overdue
from roomkit.models.content import SystemContent, text_of
from roomkit.models.delivery import DeliveryError
from roomkit.models.enums import ChannelDirection, DeliveryState, EventType, HookTrigger
from roomkit.models.steering import InjectMessage
from roomkit.models.telemetry import Attr
from roomkit.models.values import error_text

if TYPE_CHECKING:
    from roomkit.abc.channel import Channel
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.commit.hooks import HookEngine
    from roomkit.kernel.commit.observers import Observers
    from roomkit.kernel.delivery.answers import Answers
    from roomkit.kernel.delivery.hearing import Hearings
    from roomkit.kernel.delivery.homes import HeldHomes
    from roomkit.kernel.delivery.lanes import Lane
    from roomkit.kernel.delivery.learnt_state import LearntState
    from roomkit.kernel.delivery.parked_rounds import ParkedRounds
    from roomkit.kernel.delivery.settling import Settling
    from roomkit.kernel.delivery.shown_signals import ShownSignals
    from roomkit.kernel.flow.job import Job
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.lease import Lease
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.kernel.runtime.tracing import ConfiguredTelemetry
    from roomkit.models.channel import ChannelBinding, ChannelOutput
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent
    from roomkit.models.options import KitOptions

__all__ = ["LaneExecutor"]

_log = get_logger("roomkit.kernel")
_TRANSIENT = (LockLostError, StoreBusyError, StoreLockedError, StoreUnavailableError)


class LaneExecutor(Executor):
    """Carries out the jobs of all lanes; each gets an outcome in the ledger, whatever happens."""

    def __init__(
        self,
        *,
        settings: KitOptions,
        store: ConversationStore,
        tracing: ConfiguredTelemetry | None,
        supervisor: Supervisor,
        hooks: HookEngine,
        events: FrameworkEvents,
        lease: Lease,
        channels: Channels,
        settling: Settling,
        observers: Observers,
        answers: Answers,
        deliverer: Deliverer,
        homes: HeldHomes,
        hearings: Hearings,
        learnt: LearntState,
        shown: ShownSignals,
        note_fallback: Callable[[Job, SendOutcome], Awaitable[None]],
        rounds: ParkedRounds,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._store = store
        self._tracing = tracing
        self._supervisor = supervisor
        self._hooks = hooks
        self._events = events
        self._lease = lease
        self._channels = channels
        self._settling = settling
        self._observers = observers
        self._answers = answers
        self._clock = clock
        self._deliverer = deliverer
        self._note_fallback = note_fallback
        self._rounds = rounds
        self._homes = homes
        self._hearings = hearings
        self._learnt = learnt
        self._shown = shown

    async def deliver(self, job: Job, lane: Lane) -> None:
        """Carry an event to a transport, or finish the stream it was shown by."""
        started = asyncio.get_running_loop().time()
        assert lane.deadline is not None
        if job.overdue:
            self._end(job, self._deliverer.late(job), None)
            return
        if job.claimed is not None and await self._is_quarantined(job):
            return
        if self._learnt.written:
            await self._learnt.refresh(job)
        if job.target.failure is not None:
            self._end(job, SendOutcome().failed(_unexpected(job.target.failure)), None)
            return
        if (self._channels.starts or self._channels.left) and not await self._is_started(job):
            return
        try:
            if job.recipient is not None:
                outcome = await self._finish_stream(job, lane)
            else:
                outcome = await self._deliverer.deliver(job, lane.deadline)
        except NoHomeError:
            outcome = await self._without_home(job)
        except asyncio.CancelledError as cancelled:
            if cause_of(cancelled, lane.deadline) is not Cause.FAILED:
                raise
            outcome = SendOutcome().failed(error_of(as_provider_error(cancelled)))
        except BaseException as error:  # any failure is an outcome in the ledger
            if ends_task(error):
                raise
            # Not the channel's doing (those come back in the outcome): the transcoder's, or ours.
            outcome = SendOutcome().failed(_unexpected(error))
        says_less = job.recipient is not None and job.recipient.heard_chars is not None
        if says_less or outcome.heard is not None or job.run.partly_heard:
            await self._hearings.note(job, outcome)
        if outcome.binding_state:
            await self._learnt.keep(job, outcome.binding_state)
        if job.target.binding.fallback is not None:
            await self._note_fallback(job, outcome)
        self._end(job, outcome, started)

    async def _without_home(self, job: Job) -> SendOutcome:
        """Pass on a delivery to a live thing that this worker lacks. Raises Undone."""
        try:
            outcome = await self._homes.without(job)
            resume(outcome, await self._store.get_delivery(job.delivery_id))  # from the parts that were sent
            return outcome
        except StoreError as error:
            if self._lease.worker_id is None:
                return SendOutcome().failed(_unexpected(error))
            # Not the delivery's fault: it is re-run when the store is available again.
            self._lease.found_expired()
            raise Undone from error

    async def _finish_stream(self, job: Job, lane: Lane) -> SendOutcome:
        """Give the recipient of a stream the committed event, in its turn, and wait for its end."""
        recipient, outcome = job.recipient, SendOutcome()
        assert recipient is not None
        assert recipient.task is not None
        assert lane.deadline is not None
        channel = job.target.channel
        outcome.attempts = 1
        recipient.commit(job.run.event)
        provider: object
        try:
            try:
                provider = None if channel is None else channel.provider_name
            except RAISED as error:
                provider = error
            if provider is not None and type(provider) is not str:
                provider = provider_of(channel, job.target.binding.channel_id)
            outcome.provider = provider
            assert channel is not None
            seconds = idle_seconds_of(channel, job.target.binding.channel_id)
            idle = None if seconds == math.inf else seconds
            work = self._supervisor.finish(recipient.task, idle, lambda: recipient.moved_at)
            if self._tracing is None:
                output = await work
            else:
                with delivery_span(self._tracing, job.target.binding, outcome.provider) as span:
                    output = await work
                    note_outcome(self._tracing, span, output)
        except asyncio.CancelledError as cancelled:
            if cause_of(cancelled, lane.deadline) is not Cause.FAILED:
                raise
            return outcome.failed(error_of(as_provider_error(cancelled)))
        except Overdue:
            return outcome.failed(
                DeliveryError(
                    code=ErrorCode.TIMEOUT,
                    message=f"the stream to {job.target.binding.channel_id!r} made no progress in time",
                    retryable=False,
                )
            )
        except BaseException as error:  # any failure is an outcome in the ledger
            if ends_task(error):
                raise
            if isinstance(error, NoHomeError):
                raise
            # The answer broke off: the recipient saw the text that was committed.
            return outcome if recipient.broke_off(error) else outcome.failed(_stream_failure(error))
        try:
            take_output(output, outcome, job.target.binding.channel_id)
        except (ForeignCodeError, ProviderError) as error:
            return outcome.failed(error_of(as_provider_error(error)))
        return outcome

    async def answer(self, job: Job, lane: Lane) -> None:
        """Have an intelligence answer, under the time an agent is given."""
        started = asyncio.get_running_loop().time()
        outcome = SendOutcome()
        assert lane.deadline is not None
        if job.overdue:
            await self._settle_overdue(job, lane, started)
            return
        if job.claimed is not None and await self._is_quarantined(job):
            return
        if (self._channels.starts or self._channels.left) and not await self._is_started(job):
            return
        seconds = self._settings.agent_timeout
        failure: Exception | None = None
        outer = lane.deadline.enter(seconds)
        lane.answering = True
        try:
            await self._ask(job, lane, outcome)
        except asyncio.CancelledError as cancelled:
            reason = lane.interrupted
            if lane.was_interrupted():
                outcome.skipped(reason)
            else:
                match cause_of(cancelled, lane.deadline):
                    case Cause.FAILED:
                        failure = as_provider_error(cancelled)
                    case Cause.LATE:
                        failure = self._no_answer(job)
                    case Cause.STOPPED:
                        raise
        except _TRANSIENT as error:
            if self._lease.worker_id is None:
                failure = error
            else:
                # Not the agent's fault: the turn is re-run when the store, or the lock, is available again.
                self._lease.found_expired()
                raise Undone from error
        except Undone:
            raise
        except BaseException as error:  # any failure is an outcome in the ledger
            if ends_task(error):
                raise
            failure = error if isinstance(error, Exception) else as_provider_error(error)
        finally:
            lane.answering = False
            lane.deadline.leave(outer)
            if self._shown.turns:
                self._shown.end(job.run.event.room_id, job.target.binding.channel_id)
        if lane.interrupted is not None:
            lane.was_interrupted()  # taken back, should the agent have swallowed it
        if failure is not None:
            await self._failed(job, failure, outcome)
        self._end(job, outcome, started)
        if job.run.event.type is EventType.SYSTEM and continues(job.run.event):
            self._supervisor.start(self._clear(job.run.event), "removal of a parked turn")

    async def _clear(self, event: RoomEvent) -> None:
        """Remove a parked turn whose continuation has its outcome; if that fails, its timer does it."""
        try:
            found = await self._rounds.continued(event)
            if found is not None:
                await self._rounds.forget(found[0])
        except StoreError:
            _log.warning("a turn of room %s that continued was not cleared", event.room_id, exc_info=True)

    def _no_answer(self, job: Job) -> ProviderError:
        seconds = self._settings.agent_timeout
        return ProviderError(
            f"agent {job.target.binding.channel_id!r} did not answer within {seconds} s",
            error_code=ErrorCode.TIMEOUT,
        )

    async def _settle_overdue(self, job: Job, lane: Lane, started: float) -> None:
        """Settle a turn whose own task was abandoned, with what people saw of its answer."""
        if job.stream is not None:
            await job.stream.break_off("the turn was abandoned")
        outcome, reason = SendOutcome(), lane.interrupted
        outcome.attempts = 1
        lane.interrupted, lane.over, lane.finish = None, False, None
        if reason is None:
            await self._failed(job, self._no_answer(job), outcome)
        else:
            outcome.skipped(reason)
        self._end(job, outcome, started)

    async def _ask(self, job: Job, lane: Lane, outcome: SendOutcome) -> None:
        event, channel_id = job.run.event, job.target.binding.channel_id
        if job.target.failure is not None:
            raise job.target.failure
        channel = self._channels.get(channel_id)  # it may have been unregistered since, or replaced
        if channel is None:
            if job.target.channel is not None and self._lease.worker_id is not None:
                # Unregistered since it was planned: another worker may have it.
                self._channels.left.add((event.room_id, channel_id))
                raise Undone
            outcome.failed(
                DeliveryError(
                    code="channel_not_registered",
                    message=f"agent {channel_id!r} is attached to the room but not registered with the kit: "
                    "register_channel it at start-up",
                )
            )
            return
        record = await self._store.load(event.room_id, recent=RECENT_EVENTS)
        binding = record.bindings.get(channel_id) if record is not None else None
        if record is None or binding is None:
            outcome.skipped("room_deleted" if record is None else "channel_detached")
            return
        if (silent := may_answer(binding)) is not None:
            outcome.skipped(silent)
            return
        if not record.status.is_open:
            outcome.skipped(f"room_{record.status}")
            return
        if job.claimed is not None and await self._answers.answered(job):
            return
        provider: object
        try:
            provider = channel.provider_name
        except RAISED as error:
            provider = error
        if provider is not None and type(provider) is not str:
            provider = provider_of(channel, channel_id)
        held = job.held
        if held is not None and held.channel is channel and held.error is None:
            assert lane.scope is not None
            turn = held.output(lane.scope)
        else:
            context = RecordContext(
                record,
                reader=binding,
                event=event,
                target=channel_id,
                hidden=lane.waiting_event_ids,
                store=self._store,
            )
            if context.fix():  # messages that arrive during the turn get turns of their own
                await context.fill()
            if event.type is EventType.SYSTEM and continues(event):
                continued = await self._continued(event, channel, binding, context, outcome)
                if continued is None:
                    return
                turn = continued
            else:
                turn = channel.on_event(event, binding, context)
        outcome.provider = provider
        outcome.attempts = 1
        if self._channels.typists:
            self._shown.begin(binding, event, record)
        if self._tracing is None:
            output = await self._in_time(turn, lane)
            lost = await self._answers.take(output, job, binding, record, lane)
            if lost is not None:
                outcome.skipped(lost)
            return
        with delivery_span(self._tracing, binding, outcome.provider) as span:
            output = await self._in_time(turn, lane)
            lost = await self._answers.take(output, job, binding, record, lane)
            if lost is not None:
                outcome.skipped(lost)
            self._tracing.set_attribute(span, Attr.DELIVERY_SUCCESS, lost is None)

    async def _continued(
        self,
        event: RoomEvent,
        channel: Channel,
        binding: ChannelBinding,
        context: RoomContext,
        outcome: SendOutcome,
    ) -> Awaitable[ChannelOutput] | None:
        """Return the continuation of a parked turn; None, with an outcome, if that was dropped."""
        found = await self._rounds.continued(event)
        question = None if found is None else await self._store.get_event(found[0].event_id)
        if found is None or question is None or question.deleted:
            outcome.skipped("turn_dropped")
            return None
        if not isinstance(channel, SupportsParking):
            raise ForeignCodeError(
                f"agent {binding.channel_id!r} has a parked turn and no on_resume: register the channel that "
                "parked it"
            )
        return channel.on_resume(found[1], question, binding, context)

    async def _in_time(self, turn: Awaitable[ChannelOutput], lane: Lane) -> ChannelOutput:
        """Await an agent's turn; what it returns after it was cancelled is ignored, and closed."""
        deadline = lane.deadline
        assert deadline is not None
        deadline.foreign = True
        output = await turn
        deadline.foreign = False
        if deadline.abandoned:
            raise Abandoned
        if deadline.fired or lane.over:
            stream = getattr(output, "response_stream", None)
            if stream is not None:
                await close_stream(stream)
            raise asyncio.CancelledError
        return output

    async def _failed(self, job: Job, error: Exception, outcome: SendOutcome) -> None:
        """Report an agent's failure to the caller, the observers and the ledger."""
        record, event = job.run.record, job.run.event
        channel_id = job.target.binding.channel_id
        failure = error_of(error) if isinstance(error, ProviderError) else _unexpected(error)
        outcome.failed(failure)
        job.run.cascade.failed(error)
        self._events.emit(
            "agent_failed",
            room_id=event.room_id,
            channel_id=channel_id,
            event_id=event.id,
            code=failure.code,
            error=failure.message,
        )
        await self._observe_error(job, record, channel_id, error, failure)

    async def _observe_error(
        self, job: Job, record: RoomRecord, channel_id: str, error: Exception, failure: DeliveryError
    ) -> None:
        event = job.run.event
        if not self._hooks.has_hooks(HookTrigger.ON_ERROR, event.room_id):
            return
        source = event.source.replace(
            channel_id=channel_id,
            channel_type=job.target.binding.channel_type,
            direction=ChannelDirection.OUTBOUND,
            participant_id=None,
        )
        payload = event.replace(
            type=EventType.SYSTEM,
            source=source,
            visibility="internal",
            content=SystemContent(
                body="an intelligence failed to answer",
                code="agent_failed",
                data={
                    "event_id": event.id,
                    "error": failure.message,
                    "error_type": type(error).__name__,
                    "error_category": failure.code,
                    "retryable": failure.retryable,
                },
            ),
        )
        await self._observers.observe(HookTrigger.ON_ERROR, payload, record, job.run.cascade, source)

    async def steer(self, job: Job, lane: Lane) -> bool:
        """Hand the job's event to the agent's running work, if it comes from the person that work is for.

        Tools run with the rights of the person being answered: other people's words wait their turn.
        """
        channel: object = job.target.channel
        event = job.run.event
        answered = lane.busy.run.event if lane.busy is not None else None
        if answered is None or answered.source.participant_id != event.source.participant_id:
            return False
        if not isinstance(channel, SupportsSteering):
            return False
        return await channel.steer(InjectMessage(text_of(event.content)), room_id=event.room_id)

    async def _is_quarantined(self, job: Job) -> bool:
        """Return whether a claimed job is a poison message, which is settled as failed.

        A job that was claimed while the program still starts waits for its channel to be registered.
        """
        assert job.claimed is not None
        settings, target = self._settings, job.target
        if target.channel is None:
            target.channel = await self._channels.registered(
                target.binding.channel_id, settings.lease_seconds
            )
        match handling_of(job.claimed.claims, job.claimed.attempts, settings.max_claims):
            case Handling.RUN:
                return False
            case Handling.RECORD_START:
                job.claimed = job.claimed.replace(attempts=job.claimed.attempts + 1)
                await self._store.complete((job.claimed.outcome(),), worker_id=self._lease.worker_id)
                return False
        error = DeliveryError(
            code="worker_lost",
            message=f"delivery quarantined after {job.claimed.claims} workers died with it: check their "
            "logs, then retry_delivery or drop_delivery",
        )
        self._end(job, SendOutcome().failed(error), None)
        return True

    async def _is_started(self, job: Job) -> bool:
        """Wait until the job's channel has started; settle the job as failed if it takes too long."""
        error = await wait_for_start(self._channels, job.target.binding, self._settings)
        if error is not None:
            self._end(job, SendOutcome().failed(error), None)
        return error is None

    def skip(self, job: Job, reason: str) -> None:
        """Settle a job as skipped."""
        self._end(job, SendOutcome().skipped(reason), None)

    def refuse(self, job: Job) -> None:
        """Settle a job whose lane is full."""
        backlog = self._settings.max_lane_backlog
        error = DeliveryError(
            code=ErrorCode.OVERLOADED,
            message=f"{backlog} deliveries already wait for channel {job.target.binding.channel_id!r} ",
            retryable=True,
        )
        self._end(job, SendOutcome().failed(error), None)

    def abandon(self, job: Job | Deferred) -> None:
        """Release a job: the ledger keeps it as pending."""
        if isinstance(job, Deferred):
            job.remainder.abandoned = True
            return
        if job.held is not None:
            job.held.drop()
        if job.settled is not None:
            job.settled.set()
        if job.recipient is not None and job.recipient.task is not None:
            job.recipient.task.cancel()
        self._settling.abandoned(job.run)

    def _end(self, job: Job, outcome: SendOutcome, started: float | None) -> None:
        if job.held is not None:
            job.held.drop()
        if job.parked and outcome.state is DeliveryState.SENT:
            outcome.reason = "parked"
        if job.stream is not None and outcome.error is None:
            outcome.error = job.stream.unrecorded
        if job.settled is not None:
            job.settled.set()
        seconds = 0.0 if started is None else asyncio.get_running_loop().time() - started
        self._settling.ended(job.run, row(job, outcome, seconds, self._clock.now()))


def _unexpected(error: BaseException) -> DeliveryError:
    code = error.code if isinstance(error, RoomKitError) else ErrorCode.UNKNOWN
    return DeliveryError(code=code, message=error_text(error))


def _stream_failure(error: BaseException) -> DeliveryError:
    if isinstance(error, ForeignCodeError):
        return _unexpected(error)
    return error_of(as_provider_error(error))
