"""Vendors' requests: verified, taken in part by part, and answered once all is committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from roomkit._dataclasses import dataclass
from roomkit.abc.attributes import mistyped, read
from roomkit.abc.errors import (
    ChannelNotRegisteredError,
    ForeignCodeError,
    InvalidInputError,
    ProcessTimeoutError,
    RoomKitError,
    WebhookRejected,
)
from roomkit.abc.log import get_logger
from roomkit.abc.provider import ReceivesWebhooks
from roomkit.abc.records import checked
from roomkit.kernel.delivery.watermarks import of_channel
from roomkit.kernel.flow.contract import owner_of
from roomkit.kernel.runtime.supervisor import Overdue
from roomkit.models.delivery import DeliveryStatus, InboundMessage, InboundResult, ReceiptWatermark
from roomkit.models.enums import ChannelDirection, HookTrigger
from roomkit.models.invoke import Invoke, InvokeAnswer, WebhookInvoke
from roomkit.models.realtime import EphemeralEvent, InboundSignal
from roomkit.models.values import error_text
from roomkit.models.webhook import (
    UnparsedPart,
    WebhookAnswer,
    WebhookBodyError,
    WebhookOutcome,
    WebhookRequest,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.abc.channel import Channel
    from roomkit.abc.services import Turns
    from roomkit.kernel.delivery.receipts import Receipts
    from roomkit.kernel.inbound.pipeline import Inbound, Wait
    from roomkit.kernel.inbound.signals import InboundSignals
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.delivery import Delivery
    from roomkit.models.options import KitOptions

__all__ = ["Webhooks"]

_log = get_logger("roomkit.webhooks")
_RETRY_STATUS = 503
_RETRY_AFTER = 5.0
"""Seconds until a vendor is to send a request again; many have an interval of their own."""
_PARTS = (
    InboundMessage,
    DeliveryStatus,
    ReceiptWatermark,
    EphemeralEvent,
    InboundSignal,
    UnparsedPart,
    WebhookInvoke,
    WebhookAnswer,
)
_ANSWERS = (WebhookInvoke, WebhookAnswer)
_OPTIONAL_STATUS = int | None


class _TooLarge(InvalidInputError):
    """The body of a request is larger than the kit takes."""


@dataclass(slots=True, frozen=True)
class _Receiver:
    """What takes the webhooks of one provider of a channel."""

    channel_id: str
    name: str
    webhooks: ReceivesWebhooks

    def __str__(self) -> str:
        return f"webhook() of {self.name} on channel {self.channel_id}"


@dataclass(slots=True)
class _Progress:
    """What became of a request so far."""

    results: list[InboundResult | Delivery | None]
    answer: WebhookAnswer | None = None
    refused: RoomKitError | None = None
    """Why a part can never be stored; the others are."""


class Webhooks:
    """Takes the requests of channels' vendors."""

    def __init__(
        self,
        *,
        settings: KitOptions,
        supervisor: Supervisor,
        events: FrameworkEvents,
        channels: Channels,
        inbound: Inbound,
        receipts: Receipts,
        signals: InboundSignals,
        turns: Turns,
    ) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._events = events
        self._channels = channels
        self._inbound = inbound
        self._receipts = receipts
        self._signals = signals
        self._turns = turns

    async def take(
        self, request: WebhookRequest, channel_id: str, provider: str | None, wait: Wait
    ) -> WebhookOutcome:
        """Verify a request, then take in its parts, in their order, up to the first that must be retried."""
        progress = _Progress([])
        receiver = None
        try:
            receiver = self._receiver(channel_id, provider)
            await self._take(request, receiver, wait, progress)
        except Exception as error:  # noqa: BLE001  # whatever failed, the vendor gets the status for it
            return self.failed(channel_id, provider, error, receiver, progress.results)
        if progress.refused is not None:
            return self.failed(channel_id, provider, progress.refused, receiver, progress.results)
        return WebhookOutcome(answer=progress.answer or WebhookAnswer(), results=tuple(progress.results))

    def failed(
        self,
        channel_id: str,
        provider: str | None,
        error: Exception,
        receiver: _Receiver | None = None,
        results: Sequence[InboundResult | Delivery | None] = (),
    ) -> WebhookOutcome:
        """Report a request that was refused or not completely stored; return what to answer to it."""
        status = _status_of(error)
        retry_after = None
        if status is None:
            status, retry_after = self._retry_status(channel_id, provider, receiver), _RETRY_AFTER
        code = error.code if isinstance(error, RoomKitError) else "internal_error"
        _log.warning("a webhook of channel %s is answered with %s: %s", channel_id, status, error)
        name = provider if receiver is None else receiver.name
        self._events.emit(
            "webhook_refused", channel_id=channel_id, provider=name, status=status, error=error_text(error)
        )
        headers = {} if retry_after is None else {"Retry-After": f"{retry_after:.0f}"}
        answer = WebhookAnswer(status=status, body=code, headers=headers)
        return WebhookOutcome(answer=answer, results=tuple(results), error=error, retry_after=retry_after)

    def _retry_status(self, channel_id: str, provider: str | None, receiver: _Receiver | None) -> int:
        try:
            webhooks = (receiver or self._receiver(channel_id, provider)).webhooks
            get = partial(getattr, webhooks, "retry_status", None)
            status = read(owner_of(channel_id), "retry_status", get, _OPTIONAL_STATUS)
        except RoomKitError:  # it is answered like a vendor that says nothing of it
            return _RETRY_STATUS
        return status or _RETRY_STATUS

    # -- who takes it -------------------------------------------------------------------------

    def _receiver(self, channel_id: str, provider: str | None) -> _Receiver:
        """Return the provider that a request is for. Raises ChannelNotRegisteredError."""
        channel = self._channels.get(channel_id)
        if channel is None:
            raise ChannelNotRegisteredError(
                f"no channel {channel_id!r} is registered: register_channel first"
            )
        found = _webhooks_of(channel, channel_id)
        if not found:
            raise ChannelNotRegisteredError(f"channel {channel_id!r} has no provider that takes webhooks")
        if provider is None and len(found) == 1:
            provider = next(iter(found))
        webhooks = None if provider is None else found.get(provider)
        if provider is None or webhooks is None:
            which = "several providers" if provider is None else f"no provider {provider!r}"
            raise ChannelNotRegisteredError(
                f"channel {channel_id!r} has {which}: name one of {', '.join(sorted(found))}"
            )
        return _Receiver(channel_id, provider, webhooks)

    # -- its parts ----------------------------------------------------------------------------

    async def _take(
        self, request: WebhookRequest, receiver: _Receiver, wait: Wait, progress: _Progress
    ) -> None:
        limit = self._settings.max_webhook_bytes
        if len(request.body) > limit:
            raise _TooLarge(f"a webhook of {len(request.body)} bytes is refused: at most {limit} are read")
        for part in await self._parts(request, receiver):
            if isinstance(part, WebhookAnswer):
                progress.answer = part
                continue
            if isinstance(part, WebhookInvoke):
                progress.answer = await self._answer(part, receiver)
                part = part.message
            try:
                progress.results.append(await self._take_part(part, receiver, wait))
            except InvalidInputError as error:
                # No repetition can mend it, so the parts after it are taken in all the same.
                progress.refused = progress.refused or error
                progress.results.append(InboundResult(blocked=True, reason=error.code, error=error))

    async def _parts(self, request: WebhookRequest, receiver: _Receiver) -> Sequence[Any]:
        """Return the parts that the provider finds, checked as far as all must be known before the first."""
        seconds = self._settings.process_timeout
        try:
            work = receiver.webhooks.webhook(request, channel_id=receiver.channel_id)
            parts = await self._supervisor.call(work, str(receiver), seconds)
        except RoomKitError:
            raise
        except WebhookBodyError as error:
            raise WebhookRejected(str(error), status_code=400) from error
        except Overdue as error:
            raise ProcessTimeoutError(f"{receiver} did not return within {seconds} s") from error
        except Exception as error:  # a provider may raise anything: it is its failure
            raise ForeignCodeError(
                f"{receiver} raised {type(error).__name__}: see its cause; let it raise WebhookRejected for "
                "requests that are not the vendor's"
            ) from error
        _check_parts(parts, receiver)
        return parts

    async def _take_part(
        self,
        part: InboundMessage
        | DeliveryStatus
        | ReceiptWatermark
        | EphemeralEvent
        | InboundSignal
        | UnparsedPart,
        receiver: _Receiver,
        wait: Wait,
    ) -> InboundResult | Delivery | None:
        """Take in one part. Raises what means that nothing was stored."""
        if isinstance(part, DeliveryStatus):
            return await self._receipts.take(checked(part, DeliveryStatus, f"of {receiver}"))
        if isinstance(part, ReceiptWatermark):
            mark = checked(part, ReceiptWatermark, f"of {receiver}")
            return await self._receipts.take(of_channel(mark, receiver.channel_id))
        if isinstance(part, EphemeralEvent | InboundSignal):
            await self._signals.accept(part, receiver.channel_id)
            return None
        if isinstance(part, UnparsedPart):
            self._report(part, receiver)
            return None
        result = await self._inbound.process(part, None, wait, refuses=False)
        if result.event is None and result.reason == ProcessTimeoutError.code:
            raise ProcessTimeoutError(
                f"a message of {receiver} was not committed within {self._settings.process_timeout} s"
            )
        return result

    def _report(self, part: UnparsedPart, receiver: _Receiver) -> None:
        _log.warning(
            "a webhook of channel %s has a part that is no message: %s", receiver.channel_id, part.reason
        )
        self._events.emit(
            "webhook_unparsed",
            channel_id=receiver.channel_id,
            provider=receiver.name,
            reason=part.reason,
            raw=part.raw,
        )

    # -- what the app answers -----------------------------------------------------------------

    async def _answer(self, part: WebhookInvoke, receiver: _Receiver) -> WebhookAnswer:
        """Return the app's answer to an invoke, as the vendor reads it; the default if it gives none."""
        try:
            work = self._ask(part, receiver)
            name = f"ON_INVOKE for {receiver}"
            answer = await self._supervisor.call(work, name, part.answer_timeout)
        except Overdue:
            self._unanswered(part, receiver, f"no answer within {part.answer_timeout} s")
            answer = None
        return _rendered(part, answer or part.default, receiver)

    async def _ask(self, part: WebhookInvoke, receiver: _Receiver) -> InvokeAnswer | None:
        message = part.message
        room_id = await self._inbound.locate(message)
        invoke = Invoke(
            channel_id=receiver.channel_id,
            name=part.name,
            value=part.value,
            sender=message.sender_id,
            room_id=room_id,
        )
        outcome = await self._turns.run_gate(
            HookTrigger.ON_INVOKE,
            invoke,
            room_id=room_id,
            channel_id=receiver.channel_id,
            direction=ChannelDirection.INBOUND,
        )
        if not outcome.allowed:
            self._unanswered(part, receiver, f"blocked by {outcome.blocked_by}: {outcome.reason}")
            return None
        return outcome.payload.answer

    def _unanswered(self, part: WebhookInvoke, receiver: _Receiver, error: str) -> None:
        self._events.emit(
            "invoke_unanswered",
            channel_id=receiver.channel_id,
            provider=receiver.name,
            name=part.name,
            error=error,
        )


def _webhooks_of(channel: Channel, channel_id: str) -> Mapping[str, ReceivesWebhooks]:
    """Return what takes a channel's webhooks, by provider. Raises ForeignCodeError."""
    owner = owner_of(channel_id)
    get: Callable[[], object] = channel.webhooks
    found: Mapping[str, ReceivesWebhooks] = read(owner, "webhooks()", get, Mapping)
    for name, webhooks in found.items():
        if not isinstance(webhooks, ReceivesWebhooks):
            raise mistyped(owner, f"webhooks()[{name!r}]", webhooks, ReceivesWebhooks)
    return found


def _check_parts(parts: object, receiver: _Receiver) -> None:
    """Refuse what `webhook` may not return, before any part of it is stored. Raises ForeignCodeError."""
    what = "what it returned"
    if isinstance(parts, str | bytes) or not isinstance(parts, Sequence):
        raise mistyped(str(receiver), what, parts, Sequence)
    for part in parts:
        if not isinstance(part, _PARTS):
            raise ForeignCodeError(
                f"{receiver} returned {type(part).__name__}: it has to be one of "
                f"{', '.join(each.__name__ for each in _PARTS)}"
            )
    if sum(isinstance(part, _ANSWERS) for part in parts) > 1:
        raise ForeignCodeError(f"{receiver} returned several answers: a request has one")


def _rendered(part: WebhookInvoke, answer: InvokeAnswer, receiver: _Receiver) -> WebhookAnswer:
    owner = f"the WebhookInvoke of {receiver}"
    found: WebhookAnswer = read(owner, "render()", partial(part.render, answer), WebhookAnswer)
    return found


def _status_of(error: Exception) -> int | None:
    """Return the status that says why a request is refused for good; None for one to be sent again."""
    match error:
        case WebhookRejected():
            return error.status_code
        case ChannelNotRegisteredError():
            return 404
        case _TooLarge():
            return 413
        case InvalidInputError():
            return 400
    return None
