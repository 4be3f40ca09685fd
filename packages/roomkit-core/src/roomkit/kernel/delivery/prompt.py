"""Deliveries that end in the step in which they begin: they need no lane, no task and no timer."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from roomkit.abc.channel import Channel
from roomkit.authoring.coroutines import may_wait
from roomkit.kernel.delivery.outcome import SendOutcome, row, skip_reason
from roomkit.kernel.delivery.sending import fits
from roomkit.kernel.flow.context import RecordContext
from roomkit.models.channel import ChannelOutput
from roomkit.models.enums import DeliveryState

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.kernel.delivery.breaker import Breakers
    from roomkit.kernel.delivery.learnt_state import LearntState
    from roomkit.kernel.delivery.pacing import Pacing
    from roomkit.kernel.delivery.settling import Settling
    from roomkit.kernel.flow.job import Job
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.models.channel import ChannelBinding

__all__ = ["PromptDeliveries", "PromptTime"]

_SECONDS = frozenset({int, float, type(None)})
_REASON = frozenset({str, type(None)})


_SAME_INSTANT = 0.001
"""Seconds in which one wall-clock time does for all."""


class PromptTime:
    """The time of deliveries that are made one after the other, read once for each."""

    __slots__ = ("_clock", "_known_at", "_monotonic", "_since", "at")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._monotonic = asyncio.get_running_loop().time
        self._since = self._known_at = self._monotonic()
        self.at = clock.now()
        """When the last one ended."""

    def passed(self) -> float:
        """End a delivery; return how many seconds it took."""
        now = self._monotonic()
        seconds, self._since = now - self._since, now
        if now - self._known_at > _SAME_INSTANT:
            self._known_at, self.at = now, self._clock.now()
        return seconds


class PromptDeliveries:
    """Delivers where nothing can make it wait, fail or differ; everything else is for the lanes.

    A channel is prompt if its class delivers without an `await`, as one that hands a message to an object of
    its own does. What its first attempt gave other than a plain success or skip goes into the lane with the
    job, so that retries, breakers and failures are the lane's alone.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        channels: Channels,
        settling: Settling,
        learnt: LearntState,
        pacing: Pacing,
        breakers: Breakers,
    ) -> None:
        self.clock = clock
        self._channels = channels
        self._settling = settling
        self._learnt = learnt
        self._pacing = pacing
        self._breakers = breakers

    def may_take(self, job: Job) -> bool:
        """Whether a job may be given to `deliver`: an event, for a transport that never waits."""
        target = job.target
        channel = target.channel
        if channel is None or not target.is_plain or target.is_agent:
            return False
        if job.recipient is not None or job.claimed is not None:
            return False
        deliver = type(channel).deliver
        if target.deliver is not deliver:
            target.deliver, target.is_prompt = deliver, not may_wait(deliver)
        return target.is_prompt

    async def deliver(self, job: Job, time: PromptTime) -> bool:
        """Carry a job out and settle it; False if that is left to its lane. Never waits."""
        run, target = job.run, job.target
        binding, channel, event = target.binding, target.channel, run.event
        assert channel is not None
        if not self._is_plain(channel, binding) or target.failure is not None or run.partly_heard:
            return False
        if not fits(event.content, binding):
            return False
        context = RecordContext(run.record, binding, event, binding.channel_id)
        try:
            output = await channel.deliver(event, binding, context)
            is_plain = output is _EMPTY or _is_plain(output)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  # a channel may raise anything: its lane has it again
            job.begun = partial(_raised, error)
            return False
        if not is_plain:
            job.begun = partial(_returned, output)
            return False
        outcome = _SENT
        if output.state is not DeliveryState.SENT:
            outcome = SendOutcome(attempts=1)
            outcome.state, outcome.reason = DeliveryState.SKIPPED, skip_reason(output.skip_reason)
        self._settling.ended(run, row(job, outcome, time.passed(), time.at))
        return True

    def _is_plain(self, channel: Channel, binding: ChannelBinding) -> bool:
        """Whether nothing has to be done before or after the channel is called."""
        if self._channels.starts or self._channels.left or self._pacing.lines:
            return False
        if self._breakers and (binding.channel_id, None) in self._breakers:
            return False
        if self._learnt.written and (binding.room_id, binding.channel_id) in self._learnt.written:
            return False
        kind = type(channel)
        try:
            return (
                kind.provider_name is _NO_PROVIDER
                and kind.consent_purpose is _NO_PURPOSE
                and kind.takes_text is _ANY_TEXT
                and not channel.follows_rooms
                and not channel.provider_names
                and channel.rate_limit is None
                and type(channel.delivery_timeout) in _SECONDS
                and "deliver" not in channel.__dict__
            )
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001  # a property may raise anything: the lane reports it
            return False


_EMPTY = ChannelOutput.empty()
_SENT = SendOutcome(attempts=1)
_NO_PROVIDER = Channel.__dict__["provider_name"]
_NO_PURPOSE = Channel.consent_purpose
_ANY_TEXT = Channel.takes_text


def _is_plain(output: object) -> bool:
    """Whether a channel says no more of a delivery than that it was made, or skipped."""
    if type(output) is not ChannelOutput:
        return False
    if output.provider_result is not None or output.binding_state or output.rendered is not None:
        return False
    if output.heard is not None:
        return False
    return output.state is DeliveryState.SENT or (
        output.state is DeliveryState.SKIPPED and type(output.skip_reason) in _REASON
    )


async def _raised(error: BaseException) -> ChannelOutput:
    raise error


async def _returned(output: ChannelOutput) -> ChannelOutput:
    return output
