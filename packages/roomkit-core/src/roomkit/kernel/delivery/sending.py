"""One step of a lane: transcode, split, pace, deliver, try again by error class, and write it down."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from roomkit.abc.attributes import mistyped, read, read_attribute, unreadable
from roomkit.abc.channel import Channel
from roomkit.abc.errors import (
    ErrorCode,
    ForeignCodeError,
    NoHomeError,
    ProviderError,
    RoomKitError,
    StoreError,
)
from roomkit.abc.log import get_logger
from roomkit.authoring.retry import pause_before
from roomkit.kernel.delivery.consent_check import OPTED_OUT
from roomkit.kernel.delivery.failover import Failover
from roomkit.kernel.delivery.lengths import Takes, in_parts
from roomkit.kernel.delivery.outcome import (
    TEXT,
    SendOutcome,
    as_provider_error,
    checked_content,
    delivery_span,
    error_of,
    not_registered,
    note_outcome,
    outcome_unknown,
    row,
    take_output,
    without_frames,
)
from roomkit.kernel.delivery.transcode import DefaultContentTranscoder, carries
from roomkit.kernel.delivery.vendor_ids import is_about_another, target_of
from roomkit.kernel.flow.context import RecordContext
from roomkit.kernel.flow.contract import attempt_seconds_of, owner_of, provider_of
from roomkit.kernel.media.contents import referred
from roomkit.kernel.runtime.deadline import Cause, cause_of, ends_task
from roomkit.kernel.runtime.supervisor import Overdue
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import EventContent, TextContent
from roomkit.models.delivery import Delivery, DeliveryError
from roomkit.models.enums import ChannelMediaType, DeliveryState, EventType, LengthPolicy, MediaForm
from roomkit.models.media import MEDIA_TYPES
from roomkit.models.values import error_text, message_of

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore
    from roomkit.abc.transcoder import ContentTranscoder
    from roomkit.kernel.delivery.breaker import Breakers, CircuitBreaker
    from roomkit.kernel.delivery.consent_check import ConsentCheck
    from roomkit.kernel.delivery.pacing import Pacing
    from roomkit.kernel.delivery.vendor_ids import VendorIds
    from roomkit.kernel.flow.job import Job
    from roomkit.kernel.following.follows import Follows
    from roomkit.kernel.media.files import Files
    from roomkit.kernel.runtime.deadline import Deadline
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.lease import Lease
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.kernel.runtime.tracing import ConfiguredTelemetry
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent
    from roomkit.models.options import KitOptions

__all__ = ["Deliverer", "fits", "resume"]

_log = get_logger("roomkit.kernel")
_SECONDS = frozenset({int, float})
_LONGEST_PROBE = 60.0
"""Seconds that a delivery waits for another one's probe before that counts as a retry."""


class _Tries:
    """What the attempts at one piece have come to."""

    retry = 0
    others_sent: float = math.inf
    in_doubt: ProviderError | None = None
    """The failure after which the vendor may have the message."""
    probe: tuple[ProviderError, asyncio.Event] | None = None
    """The failure of an open circuit whose probe is under way, and that probe."""


class Deliverer:
    """Carries events to transports."""

    def __init__(
        self,
        *,
        settings: KitOptions,
        store: ConversationStore,
        lease: Lease,
        tracing: ConfiguredTelemetry | None,
        transcoder: ContentTranscoder,
        supervisor: Supervisor,
        events: FrameworkEvents,
        pacing: Pacing,
        breakers: Breakers,
        agreed: ConsentCheck,
        follows: Follows,
        files: Files,
        ids: VendorIds,
    ) -> None:
        self._settings = settings
        self._store = store
        self._lease = lease
        self._tracing = tracing
        self._transcoder = transcoder
        self._supervisor = supervisor
        self._events = events
        self._pacing = pacing
        self._breakers = breakers
        self._agreed = agreed
        self._follows = follows
        self._files = files
        self._ids = ids

    async def deliver(self, job: Job, deadline: Deadline) -> SendOutcome:
        """Carry the job's event to its binding; every failure comes back in the outcome."""
        binding, channel = job.target.binding, job.target.channel
        outcome = SendOutcome()
        if channel is None:
            return outcome.failed(not_registered(binding))
        event = job.run.event
        record, target = job.run.record, binding.channel_id
        reading = "provider_name"
        try:
            outcome.provider = channel.provider_name
            reading = "rate_limit"
            is_limited = channel.rate_limit is not None
            reading = "delivery_timeout"
            seconds = channel.delivery_timeout
            reading = "provider_names"
            names = channel.provider_names
            reading = "follows_rooms"
            if channel.follows_rooms:
                self._follows.announce(event, target)
                outcome.attempts = 1
                return outcome
            reading = "provider_names"
            if names:
                names = _text_names(names, target)
            if seconds is not None and type(seconds) not in _SECONDS:
                reading = "delivery_timeout"
                raise mistyped(owner_of(target), reading, seconds, float)
        except ForeignCodeError as wrong:
            return outcome.failed(DeliveryError(code=wrong.code, message=message_of(wrong)))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  # a property may raise anything: the delivery fails
            failure = unreadable(owner_of(target), reading, error)
            return outcome.failed(DeliveryError(code=failure.code, message=message_of(failure)))
        if outcome.provider is not None and type(outcome.provider) is not str:
            outcome.provider = provider_of(channel, target)
        outcome.seconds = self._settings.delivery_timeout if seconds is None else seconds
        if names:
            outcome.failover = Failover(names, job.claimed, partial(self._record, job, outcome))
            outcome.provider = outcome.failover.name
        context = RecordContext(record, binding, event, target)
        is_apart = event.parent_event_id is None and event.type is not EventType.REACTION
        if (
            fits(event.content, binding)
            and type(channel).takes_text is Channel.takes_text
            and (is_apart or not is_about_another(event, binding))
        ):
            begun = job.begun
            await self._send(event, channel, binding, context, deadline, outcome, is_limited, begun)
            return outcome
        try:
            if is_about_another(event, binding):
                shown = await self._placed(event, channel, binding, context)
                if shown is None:
                    return outcome.skipped("target_unknown")
                binding = shown
            if event.content.type in MEDIA_TYPES:
                event = await self._with_files_shown(event, channel, binding)
            pieces = await self._pieces(event, job, binding, outcome)
        except ProviderError as error:
            return outcome.failed(error_of(error))
        except RoomKitError as error:
            return outcome.failed(DeliveryError(code=error.code, message=message_of(error)))
        if len(pieces) == 1:
            binding = job.target.binding
            await self._send(pieces[0], channel, binding, context, deadline, outcome, is_limited)
            return outcome
        await self._send_parts(pieces, job, channel, context, deadline, outcome, is_limited)
        return outcome

    async def _send_parts(
        self,
        pieces: list[RoomEvent],
        job: Job,
        channel: Channel,
        whole: RecordContext,
        deadline: Deadline,
        outcome: SendOutcome,
        is_limited: bool,
    ) -> None:
        """Send an event in several messages, from the first that was not sent before; record each."""
        binding, record = job.target.binding, job.run.record
        resume(outcome, job.claimed)
        for part in range(outcome.sent_parts, len(pieces)):
            context = RecordContext(record, binding, job.run.event, binding.channel_id)
            context.part = part  # each has a context of its own, which keeps its key
            context.about, context.answered = whole.about, whole.answered if part == 0 else ()
            await self._send(pieces[part], channel, binding, context, deadline, outcome, is_limited)
            if outcome.state is not DeliveryState.SENT:
                break
            outcome.sent_parts = part + 1
            if outcome.failover is not None:
                outcome.failover.is_fixed = True
            if outcome.sent_parts < len(pieces):
                await self._record(job, outcome, outcome.provider)

    async def _placed(
        self, event: RoomEvent, channel: Channel, binding: ChannelBinding, context: RecordContext
    ) -> ChannelBinding | None:
        """Note how the vendor knows what the event is about; return the binding as it can carry the event.

        None for a reaction to a message that the vendor has no id of. Looked up again while the store fails.
        """
        if not read_attribute(owner_of(binding.channel_id), channel, "needs_vendor_ids", bool):
            return binding
        target = target_of(event)
        if target is None and event.type is not EventType.REACTION:
            assert event.parent_event_id is not None
            context.answered = await self._patiently(
                partial(self._ids.of, event.parent_event_id, binding), binding
            )
            return binding
        if target is not None:
            context.about = await self._patiently(partial(self._ids.of, target, binding), binding)
        if context.about:
            return binding
        if event.type is EventType.REACTION:
            return None
        less = binding.capabilities.replace(supports_edit=False, supports_delete=False)
        return binding.replace(capabilities=less)

    async def _with_files_shown(
        self, event: RoomEvent, channel: Channel, binding: ChannelBinding
    ) -> RoomEvent:
        """Show the event's files as the channel takes them; retried while they cannot be read.

        That is neither an attempt of the channel's nor a failure of its provider.
        """
        form = read_attribute(owner_of(binding.channel_id), channel, "media_form", MediaForm)
        try:
            content = await self._patiently(partial(self._files.shown, event.content, form), binding)
        except (StoreError, OSError) as error:
            raise _unreadable_files(error) from error
        return event if content is event.content else event.replace(content=content)

    async def _patiently[Found](
        self, read_store: Callable[[], Awaitable[Found]], binding: ChannelBinding
    ) -> Found:
        """Return what a store has, asked again while it fails, as often as a delivery is retried."""
        policy, retry = binding.retry_policy or self._settings.retry_policy, 0
        while True:
            try:
                return await read_store()
            except (StoreError, OSError) as error:
                if retry >= policy.max_retries:
                    raise
                await self._pacing.sit_out(binding, pause_before(retry, policy, error))
                retry += 1

    async def _record(self, job: Job, outcome: SendOutcome, provider: str | None) -> bool:
        """Record in its pending row how far a delivery has come, and by whom; return whether it was done."""
        pending = replace(row(job, outcome, 0.0, None), provider=provider)
        try:
            completed = await self._store.complete((pending,), worker_id=self._lease.worker_id)
        except StoreError:
            _log.warning("how far delivery %s has come was not recorded", job.delivery_id, exc_info=True)
            return False
        return not completed.refused

    def late(self, job: Job) -> SendOutcome:
        """Return the outcome of a delivery whose task ignored that its time was up, and was abandoned."""
        channel, outcome = job.target.channel, SendOutcome()
        outcome.attempts = 1
        assert channel is not None
        channel_id = job.target.binding.channel_id
        with suppress(ForeignCodeError):  # its failure is that it is late
            outcome.provider = provider_of(channel, channel_id)
        seconds = self._settings.delivery_timeout
        with suppress(ForeignCodeError):
            seconds = attempt_seconds_of(channel, channel_id) or seconds
        error = _late(channel_id, seconds)
        self._count(error, channel_id, outcome.provider)
        self._pacing.abandon(job.target.binding)
        return outcome.failed(error_of(error))

    async def _pieces(
        self, event: RoomEvent, job: Job, binding: ChannelBinding, outcome: SendOutcome
    ) -> list[RoomEvent]:
        """Return the event as the channel takes it, in as many pieces as its length asks for."""
        content = event.content
        if not carries(binding.capabilities, content):
            source = job.run.record.bindings.get(event.source.channel_id)
            fitted = await self._transcoded(content, source, binding)
            if fitted is None:
                raise ProviderError(
                    f"channel {binding.channel_id!r} carries neither {content.type} content nor a substitute",
                    error_code=ErrorCode.UNSUPPORTED_CONTENT,
                )
            content = checked_content(fitted, type(self._transcoder).__name__)
            if not _may_hold_files(content, job.run.event.content):
                outcome.rendered = content
            event = event.replace(content=content)
        assert job.target.channel is not None
        parts = in_parts(content, binding, _taking(job.target.channel, binding))
        if parts != [content] and binding.length_policy is LengthPolicy.TRUNCATE:
            outcome.rendered = parts[0]
        return [event if part is content else event.replace(content=part) for part in parts]

    async def _transcoded(
        self, content: EventContent, source: ChannelBinding | None, binding: ChannelBinding
    ) -> EventContent | None:
        transcoder, seconds = self._transcoder, self._settings.delivery_timeout
        work = transcoder.transcode(content, source, binding)
        if type(transcoder) is DefaultContentTranscoder:
            return await work
        try:
            return await self._supervisor.call(work, f"transcoder for {binding.channel_id}", seconds)
        except Overdue as late:
            raise ProviderError(
                f"the content for channel {binding.channel_id!r} was not transcoded within {seconds} s",
                error_code=ErrorCode.TIMEOUT,
                retryable=False,
            ) from late

    async def _send(
        self,
        event: RoomEvent,
        channel: Channel,
        binding: ChannelBinding,
        context: RecordContext,
        deadline: Deadline,
        outcome: SendOutcome,
        is_limited: bool,
        begun: Callable[[], Awaitable[ChannelOutput]] | None = None,
    ) -> None:
        """Try until it is sent, skipped, or failed for good; `begun` has the outcome of the first attempt."""
        pacing, tries, turn = self._pacing, _Tries(), None
        if outcome.failover is not None:
            context.provider = outcome.failover.name
        needs_consent = type(channel).consent_purpose is not Channel.consent_purpose
        while True:
            if (
                pacing.lines
                or binding.rate_limit is not None
                or is_limited
                or binding.recipient_rate_limit is not None
            ):
                turn = await pacing.enter(channel, binding, event, turn)
            why_not = await self._agreed(event, channel, binding, context) if needs_consent else None
            if why_not is not None:
                if turn is not None:
                    pacing.leave(turn, binding, went_well=False)
                if isinstance(why_not, str):
                    outcome.skipped(why_not)
                else:
                    outcome.failed(why_not)
                return
            breaker = self._breakers.get((binding.channel_id, outcome.provider))
            if breaker is not None and not breaker.allow_request():
                error = _circuit_open(binding.channel_id, outcome.provider, breaker, tries)
                if turn is not None:
                    pacing.leave(turn, binding, went_well=False)
            else:
                went_well = False
                outcome.attempts += 1
                outer = deadline.enter(None if outcome.seconds == math.inf else outcome.seconds)
                try:
                    if self._tracing is not None:
                        output = await self._traced(
                            self._tracing, event, channel, binding, context, outcome.provider
                        )
                    elif begun is not None:
                        attempt, begun = begun, None
                        output = await attempt()
                    else:
                        output = await channel.deliver(event, binding, context)
                    take_output(output, outcome, binding.channel_id)
                except BaseException as raised:  # a channel may raise anything
                    failed = _failure_of(raised, deadline, outcome, binding.channel_id, breaker)
                    if failed is None:
                        raise
                    error = without_frames(failed)
                else:
                    went_well = True
                    if breaker is not None and breaker.record_success():
                        self._note_recovery(binding.channel_id, outcome.provider)
                    return
                finally:
                    deadline.leave(outer)
                    if turn is not None:
                        pacing.leave(turn, binding, went_well=went_well)
                self._count(error, binding.channel_id, outcome.provider)
                if error.retry_after and error.error_code is ErrorCode.RATE_LIMIT:
                    before = tries.others_sent
                    tries.others_sent = self._throttle(event, channel, binding, error.retry_after)
                    # Refused because others went first: no retry of its own is used up by that.
                    tries.retry -= tries.others_sent > before
            if not await self._waited_to_retry(error, tries, channel, binding, outcome):
                if outcome.error is not None and outcome.error.code == ErrorCode.OUTCOME_UNKNOWN:
                    _note_key(channel, context, outcome, binding.channel_id)
                return
            if outcome.failover is not None:
                outcome.provider = context.provider = outcome.failover.name

    async def _waited_to_retry(
        self,
        error: ProviderError,
        tries: _Tries,
        channel: Channel,
        binding: ChannelBinding,
        outcome: SendOutcome,
    ) -> bool:
        """Choose the next provider, or wait for the next try; False once it has failed for good."""
        failover = outcome.failover
        if error.accepted is None and error.error_code is not ErrorCode.UNKNOWN:
            tries.in_doubt = error
            if not _says(channel, "is_idempotent", binding.channel_id, outcome.provider):
                outcome.failed(outcome_unknown(error, outcome.provider))
                return False
            if failover is not None:
                failover.is_fixed = True
        if error.error_code is ErrorCode.OPTED_OUT:  # at the vendor; no fallback may write to them either
            outcome.skipped(OPTED_OUT)
            return False
        if failover is not None:
            if await failover.next_after(error):
                return True
            error = failover.end_round(error)
        probe, tries.probe = tries.probe, None
        if probe is not None and probe[0] is error and await self._outwaited(probe[1], binding):
            if failover is not None:
                await failover.start_round()
            return True
        policy = binding.retry_policy or self._settings.retry_policy
        if not error.retryable or tries.retry >= policy.max_retries:
            is_known = tries.in_doubt is None or outcome.provider is None
            outcome.failed(error_of(error) if is_known else outcome_unknown(error, outcome.provider))
            return False
        await self._pacing.sit_out(binding, pause_before(tries.retry, policy, error))
        tries.retry += 1
        if failover is not None:
            await failover.start_round()
        return True

    async def _outwaited(self, probe: asyncio.Event, binding: ChannelBinding) -> bool:
        """Wait for another delivery's probe, which uses up no retry; return whether it ended in time."""
        return await self._pacing.sit_out(binding, _LONGEST_PROBE, until=probe)

    @staticmethod
    async def _traced(
        tracing: ConfiguredTelemetry,
        event: RoomEvent,
        channel: Channel,
        binding: ChannelBinding,
        context: RoomContext,
        provider: str | None,
    ) -> ChannelOutput:
        with delivery_span(tracing, binding, provider) as span:
            output = await channel.deliver(event, binding, context)
            note_outcome(tracing, span, output)
            return output

    def _throttle(self, event: RoomEvent, channel: Channel, binding: ChannelBinding, seconds: float) -> int:
        """Have all sends under the pace key wait as long as the vendor asks; return how many went well."""
        line = self._pacing.throttled(channel, binding, event, seconds)
        self._events.emit("sending_paused", channel_id=binding.channel_id, pace_key=line.key, seconds=seconds)
        return line.successes

    def _note_recovery(self, channel_id: str, provider: str | None) -> None:
        self._events.emit("circuit_breaker_closed", channel_id=channel_id, provider=provider)

    def _count(self, error: ProviderError, channel_id: str, provider: str | None) -> None:
        """Count a failure against the provider when it is the provider's."""
        breaker = self._breakers.of(channel_id, provider)
        if not error.error_code.blames_provider:
            breaker.record_abandoned()
        elif breaker.record_failure():
            self._events.emit("circuit_breaker_opened", channel_id=channel_id, provider=provider)


def fits(content: EventContent, binding: ChannelBinding) -> bool:
    """Whether plain text goes out as it is; everything else is looked at more closely."""
    if type(content) is not TextContent:
        return False
    capabilities = binding.capabilities
    most = capabilities.max_length
    return ChannelMediaType.TEXT in capabilities.media_types and (most is None or len(content.body) <= most)


def _failure_of(
    raised: BaseException,
    deadline: Deadline,
    outcome: SendOutcome,
    channel_id: str,
    breaker: CircuitBreaker | None,
) -> ProviderError | None:
    """Return the failure of an attempt; None for an error that ends it without being one, and is raised."""
    if not isinstance(raised, asyncio.CancelledError | NoHomeError):
        return None if ends_task(raised) else as_provider_error(raised)
    if breaker is not None:
        breaker.record_abandoned()
    if isinstance(raised, NoHomeError):
        outcome.attempts -= 1
        return None
    match cause_of(raised, deadline):
        case Cause.FAILED:
            return as_provider_error(raised)
        case Cause.LATE:
            return _late(channel_id, outcome.seconds)
        case Cause.STOPPED:
            return None


def _late(channel_id: str, seconds: float) -> ProviderError:
    return ProviderError(
        f"channel {channel_id!r} did not deliver within {seconds} s", error_code=ErrorCode.TIMEOUT
    )


def _text_names(names: object, channel_id: str) -> tuple[str, ...]:
    """Return the names of a channel's several providers. Raises ForeignCodeError."""
    if not isinstance(names, list | tuple) or not TEXT.issuperset(map(type, names)):
        raise mistyped(owner_of(channel_id), "provider_names", names, tuple)
    return tuple(names)


def resume(outcome: SendOutcome, claimed: Delivery | None) -> None:
    """Continue from the parts that an earlier attempt sent."""
    if claimed is not None and claimed.sent_parts:
        outcome.sent_parts = claimed.sent_parts
        outcome.message_ids = claimed.vendor_ids
        outcome.provider = claimed.provider


def _says(channel: Channel, name: str, channel_id: str, provider: str | None) -> bool:
    """Return what a channel says of a provider's keys; False if it cannot say."""
    try:
        return bool(read(owner_of(channel_id), f"{name}()", lambda: getattr(channel, name)(provider), bool))
    except ForeignCodeError as error:
        _log.warning("a message whose outcome is unknown is not sent again, nor found by its key: %s", error)
        return False


def _note_key(channel: Channel, context: RecordContext, outcome: SendOutcome, channel_id: str) -> None:
    """Have receipts find a message whose outcome is unknown by its key, if they bring that back."""
    delivery = context.delivery
    if delivery is not None and _says(channel, "returns_key", channel_id, outcome.provider):
        outcome.message_ids = (*outcome.message_ids, delivery.id)


def _may_hold_files(content: EventContent, said: EventContent) -> bool:
    """Whether a content for an event may hold files as bytes, or URLs that expire, which are not recorded."""
    return content.type in MEDIA_TYPES and (content.type != "rich" or bool(referred(said)))


def _unreadable_files(error: Exception) -> StoreError:
    if isinstance(error, StoreError):
        return error
    return StoreError(f"the media store cannot read the event's files: {error_text(error)}; retry_delivery")


def _circuit_open(
    channel_id: str, provider: str | None, breaker: CircuitBreaker, tries: _Tries
) -> ProviderError:
    """Return the error of an open circuit; its probe under way, if there is one, is noted in `tries`."""
    when = "a probe is under way" if breaker.probe else f"next attempt in {breaker.retry_after:.0f} s"
    error = ProviderError(
        f"circuit open for channel {channel_id!r}: provider {provider or channel_id!r} is failing, {when}",
        error_code=ErrorCode.CIRCUIT_OPEN,
        retry_after=breaker.retry_after,
    )
    if breaker.probe is not None:
        tries.probe = (error, breaker.probe)
    return error


def _taking(channel: Channel, binding: ChannelBinding) -> Takes | None:
    """Return what says whether a channel takes a text as one message; None if only its length counts."""
    if type(channel).takes_text is Channel.takes_text:
        return None
    owner = owner_of(binding.channel_id)
    return lambda text: bool(read(owner, "takes_text()", lambda: channel.takes_text(text), bool))
