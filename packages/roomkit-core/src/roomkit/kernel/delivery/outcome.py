"""The outcome of a delivery: what a channel or an error says of it, and its row in the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError

from roomkit.abc.attributes import mistyped
from roomkit.abc.errors import ErrorCode, ForeignCodeError, ProviderError
from roomkit.abc.log import get_logger
from roomkit.abc.records import checked
from roomkit.kernel.delivery.failover import Failover
from roomkit.kernel.flow.contract import OPTIONAL_TEXT, owner_of
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import EventContent
from roomkit.models.delivery import DeliveryError, DeliveryOutcome, ProviderResult
from roomkit.models.enums import DeliveryState
from roomkit.models.telemetry import Attr, SpanKind
from roomkit.models.values import error_text, message_of, repaired, vendor_key

if TYPE_CHECKING:
    from datetime import datetime

    from roomkit.kernel.flow.job import Job
    from roomkit.kernel.flow.state import BindingStateChange
    from roomkit.kernel.runtime.tracing import ConfiguredTelemetry
    from roomkit.models.channel import ChannelBinding

__all__ = [
    "TEXT",
    "SendOutcome",
    "as_provider_error",
    "checked_content",
    "delivery_span",
    "error_of",
    "message_ids_of",
    "not_registered",
    "note_outcome",
    "outcome_unknown",
    "row",
    "skip_reason",
    "take_output",
    "without_frames",
]

_log = get_logger("roomkit.kernel")
TEXT = frozenset({str})
_REASON = frozenset({str, type(None)})
_CONTENTS: tuple[type[Any], ...] = get_args(get_args(EventContent.__value__)[0])
_MOST_CAUSES = 16
_NO_ID = 2**128
"""Vendors number their messages lower than this."""


class SendOutcome:
    """The outcome of a delivery, before it is recorded."""

    __slots__ = (
        "attempts",
        "binding_state",
        "error",
        "failover",
        "heard",
        "message_ids",
        "provider",
        "reason",
        "rendered",
        "seconds",
        "sent_parts",
        "state",
    )

    def __init__(self, attempts: int = 0) -> None:
        self.state = DeliveryState.SENT
        self.attempts = attempts
        self.provider: str | None = None
        self.failover: Failover | None = None
        """The channel's providers, where it has several."""
        self.seconds = 0.0
        """How long an attempt may take."""
        self.message_ids: Sequence[str] = ()
        self.sent_parts = 0
        self.rendered: EventContent | None = None
        self.error: DeliveryError | None = None
        self.reason: str | None = None
        self.heard: int | None = None
        self.binding_state: tuple[BindingStateChange, ...] = ()

    def failed(self, error: DeliveryError) -> SendOutcome:
        """Turn it into a failure."""
        self.state = DeliveryState.FAILED
        self.error = error
        return self

    def skipped(self, reason: str | None) -> SendOutcome:
        """Turn it into a skip."""
        self.state = DeliveryState.SKIPPED
        self.reason = skip_reason(reason)
        return self


def skip_reason(given: str | None) -> str:
    """Return why a delivery was skipped, as the ledger keeps it."""
    said = str(given or "skipped")
    return said if said.isprintable() else repaired(said)


@contextmanager
def delivery_span(
    tracing: ConfiguredTelemetry, binding: ChannelBinding, provider: str | None
) -> Iterator[str]:
    """Put a span around one attempt of a delivery, or a turn of an agent; it says whether it went well."""
    with tracing.span(
        SpanKind.DELIVERY,
        SpanKind.DELIVERY.value,
        room_id=binding.room_id,
        channel_id=binding.channel_id,
        attributes={
            Attr.DELIVERY_CHANNEL_TYPE: str(binding.channel_type),
            **({} if provider is None else {Attr.PROVIDER: provider}),
        },
    ) as span:
        try:
            yield span
        except BaseException as error:
            code = error.error_code.value if isinstance(error, ProviderError) else type(error).__name__
            tracing.set_attribute(span, Attr.DELIVERY_SUCCESS, False)
            tracing.set_attribute(span, Attr.DELIVERY_ERROR, code)
            raise


def note_outcome(tracing: ConfiguredTelemetry, span: str, output: object) -> None:
    """Say in a delivery's span what its channel returned."""
    result: object = output.provider_result if isinstance(output, ChannelOutput) else output
    if result is not None and not isinstance(result, ProviderResult):
        tracing.set_attribute(span, Attr.DELIVERY_SUCCESS, False)
        return
    tracing.set_attribute(span, Attr.DELIVERY_SUCCESS, result is None or result.success)
    if result is not None and result.provider_message_id is not None:
        tracing.set_attribute(span, Attr.DELIVERY_MESSAGE_ID, result.provider_message_id)
    if result is not None and not result.success:
        tracing.set_attribute(span, Attr.DELIVERY_ERROR, _code_of(result).value)


def take_output(output: object, outcome: SendOutcome, channel_id: str) -> None:
    """Note in an outcome what a channel returned of a delivery.

    Raises ProviderError for a refusal, and ForeignCodeError for anything but an output.
    """
    if not isinstance(output, ChannelOutput):
        raise mistyped(owner_of(channel_id), "the output", output, ChannelOutput)
    if output.binding_state:
        outcome.binding_state = (*outcome.binding_state, _learnt(output.binding_state, channel_id))
    result: object = output.provider_result
    if output.rendered is not None:
        outcome.rendered = checked_content(output.rendered, f"the output of {owner_of(channel_id)}")
    if output.heard is not None:
        outcome.heard = _checked_heard(output.heard, channel_id)
    if output.state is not DeliveryState.SENT:
        if output.state is not DeliveryState.SKIPPED or type(output.skip_reason) not in _REASON:
            raise _no_skip(output, channel_id)
        outcome.skipped(output.skip_reason)
        return
    if result is None:
        return
    if not isinstance(result, ProviderResult) or result.__dict__.get("success") is not True:
        raise _refusal(_checked_result(result, channel_id))
    outcome.message_ids = tuple(dict.fromkeys((*outcome.message_ids, *message_ids_of(result))))
    if result.provider is not None:
        outcome.provider = _as_text(result.provider)


def _checked_heard(heard: object, channel_id: str) -> int:
    if type(heard) is not int or heard < 0:
        raise mistyped(f"the output of {owner_of(channel_id)}", "heard", heard, int)
    return heard


def _learnt(found: object, channel_id: str) -> BindingStateChange:
    if not isinstance(found, Mapping) and not callable(found):
        raise mistyped(f"the output of {owner_of(channel_id)}", "binding_state", found, Mapping)
    return found


def checked_content(found: object, owner: str) -> EventContent:
    """Return the content that is sent in place of an event's. Raises ForeignCodeError."""
    if not isinstance(found, _CONTENTS):
        raise ForeignCodeError(f"rendered content of {owner} is {type(found).__name__}: use an EventContent")
    content: EventContent = checked(found, type(found), f"of {owner}", ForeignCodeError)
    return content


def _refusal(result: ProviderResult) -> ProviderError:
    return ProviderError(
        f"the provider refused the message: {result.error or 'no reason given'}",
        error_code=_code_of(result),
        retryable=result.retryable,
        retry_after=result.retry_after,
        status_code=result.status_code,
        vendor_code=result.error,
    )


def _no_skip(output: ChannelOutput, channel_id: str) -> ForeignCodeError:
    owner = f"the output of {owner_of(channel_id)}"
    if output.state is DeliveryState.SKIPPED:
        return mistyped(owner, "skip_reason", output.skip_reason, OPTIONAL_TEXT)
    found: object = output.state
    state = found if isinstance(found, DeliveryState) else type(found).__name__
    return ForeignCodeError(f"state of {owner} is {state}: return SENT or SKIPPED, and raise a failure")


def _checked_result(result: object, channel_id: str) -> ProviderResult:
    """Return a provider's result unless it is a plain success, without its ids: see `message_ids_of`."""
    if isinstance(result, ProviderResult):
        result = ProviderResult.trusted({**result.__dict__, "provider_message_id": None, "parts": ()})
    return checked(result, ProviderResult, f"of {owner_of(channel_id)}", ForeignCodeError)


def message_ids_of(result: ProviderResult) -> tuple[str, ...]:
    """Return the vendor's ids of a message that was sent, as text whatever a plugin put into its result.

    A result that was made without validation may hold anything. The message is sent, so its ids are repaired:
    a number is its digits, by which receipts match; anything else is the name of its type.
    """
    named = () if result.provider_message_id is None else (result.provider_message_id,)
    parts: object = result.parts
    found = (*named, *parts) if isinstance(parts, tuple) else (*named, parts)
    if TEXT.issuperset(map(type, found)):
        return found
    repaired = tuple(_as_text(each) for each in found)
    _log.warning("a provider's result has ids that are not text, which were repaired: %s", repaired)
    return repaired


def _as_text(given: object) -> str:
    if isinstance(given, str):
        return vendor_key(given)
    is_number = type(given) is int and abs(given) < _NO_ID
    return str(given) if is_number else type(given).__name__


def _code_of(refusal: ProviderResult) -> ErrorCode:
    """Classify a refusal that came in a normal answer."""
    if refusal.status_code == 429:
        return ErrorCode.RATE_LIMIT
    return ErrorCode.SERVER if refusal.retryable else ErrorCode.INVALID_REQUEST


def as_provider_error(error: BaseException) -> ProviderError:
    """Return a failure as a classified one; an unclassified one counts as permanent."""
    if isinstance(error, ProviderError):
        return error
    wrapped = ProviderError(error_text(error), error_code=ErrorCode.UNKNOWN)
    wrapped.__cause__ = error
    return wrapped


def without_frames(error: ProviderError) -> ProviderError:
    """Return a failure without the stack of its attempt, and its causes without theirs.

    It is reported by its message and code, never by its stack; that would keep all of the attempt's objects
    while the delivery waits to be retried, and after it until garbage is collected, as the stack holds a
    frame that holds the failure.
    """
    each: BaseException | None = error
    for _ in range(_MOST_CAUSES):  # a foreign chain may go in a circle
        if each is None:
            break
        each.__traceback__ = None
        each = each.__cause__ or each.__context__
    return error


def outcome_unknown(error: ProviderError, provider: str | None) -> DeliveryError:
    """Return the failure of a message that the vendor may have taken."""
    unknown = ProviderError(
        f"whether provider {provider!r} took the message is unknown: {message_of(error)}; look it up there, "
        "then retry_delivery or drop_delivery",
        error_code=ErrorCode.OUTCOME_UNKNOWN,
        vendor_code=error.vendor_code,
    )
    return error_of(unknown)


def error_of(error: ProviderError) -> DeliveryError:
    """Return what the ledger keeps of a failure. It can always be written, whatever a plugin raised."""
    try:
        return DeliveryError(
            code=error.error_code,
            message=message_of(error),
            retryable=error.retryable,
            retry_after=error.retry_after,
            vendor_code=error.vendor_code,
        )
    except ValidationError as wrong:  # a plugin's error whose fields have other types
        fields = ", ".join(str(each["loc"][0]) for each in wrong.errors())
        return DeliveryError(
            code=ErrorCode.UNKNOWN, message=f"{message_of(error)} (the error's {fields} cannot be kept)"
        )


def row(job: Job, outcome: SendOutcome, seconds: float, at: datetime | None) -> DeliveryOutcome:
    """Return what the ledger keeps of a delivery that was completed at a time, or is under way."""
    event, claimed = job.run.event, job.claimed
    channel_id = job.target.binding.channel_id
    provider = outcome.provider
    message_id: str | None = None
    parts: Sequence[str] = ()
    if outcome.message_ids:
        message_id, *parts = outcome.message_ids
        # Without a provider's name the channel stands for it, so that receipts can match the message.
        provider = provider or channel_id
    return DeliveryOutcome(
        event.room_id,
        event.id,
        event.index,
        channel_id,
        event.created_at,
        outcome.state if at is not None else DeliveryState.PENDING,
        outcome.attempts if claimed is None else outcome.attempts + claimed.attempts,
        provider,
        message_id,
        tuple(parts),
        outcome.sent_parts,
        outcome.rendered,
        outcome.error,
        outcome.reason,
        None if claimed is None else claimed.fallback_of,
        at,
        None if at is None else seconds * 1000,
        None if claimed is None else claimed.model_extra,
    )


def not_registered(binding: ChannelBinding) -> DeliveryError:
    """Return the error of a delivery to a channel that this worker does not have."""
    return DeliveryError(
        code="channel_not_registered",
        message=f"channel {binding.channel_id!r} is attached to the room but not registered with the kit: "
        "register_channel it at start-up",
    )
