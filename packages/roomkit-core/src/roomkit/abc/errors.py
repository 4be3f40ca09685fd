"""The one error taxonomy: every error RoomKit raises on purpose is a `RoomKitError`.

A message says what happened, to which object, and what to do next; `code` is stable.
"""

from __future__ import annotations

from enum import StrEnum, unique
from types import EllipsisType
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.models.event import RoomEvent

__all__ = [
    "CallExpiredError",
    "ChannelAlreadyRegisteredError",
    "ChannelNotFoundError",
    "ChannelNotRegisteredError",
    "CloseError",
    "DeliveryNotFoundError",
    "DuplicateEventError",
    "ErrorCode",
    "EventNotFoundError",
    "FetchFailedError",
    "FetchRefusedError",
    "FollowEndedError",
    "ForeignCodeError",
    "HomeElsewhereError",
    "HomeLostError",
    "HookRegistrationError",
    "IdentityNotFoundError",
    "InvalidInputError",
    "KitClosedError",
    "LockLostError",
    "MediaNotConfiguredError",
    "MediaNotFoundError",
    "MediaTooLargeError",
    "MediaTypeRefusedError",
    "NoHomeError",
    "ParticipantBannedError",
    "ParticipantNotFoundError",
    "ParticipantRemovedError",
    "ProcessTimeoutError",
    "ProviderError",
    "RoomAlreadyExistsError",
    "RoomBusyError",
    "RoomClosedError",
    "RoomKitError",
    "RoomNotFoundError",
    "SelfCancelledError",
    "SourceAlreadyAttachedError",
    "SourceNotFoundError",
    "StaleCursorError",
    "StaleRoomError",
    "StaleValueError",
    "StoreAccessError",
    "StoreBusyError",
    "StoreClosedError",
    "StoreCorruptError",
    "StoreError",
    "StoreFullError",
    "StoreLockedError",
    "StoreReadOnlyError",
    "StoreSchemaError",
    "StoreUnavailableError",
    "TurnNotParkedError",
    "UnknownToolError",
    "WebhookRejected",
]


class RoomKitError(Exception):
    """The base of every error RoomKit raises on purpose."""

    code: ClassVar[str] = "roomkit_error"


class InvalidInputError(RoomKitError, ValueError):
    """An argument or a message that cannot be used; nothing was stored."""

    code = "invalid_input"


class KitClosedError(RoomKitError):
    """The kit is closed, or closing: it takes no new work."""

    code = "kit_closed"


class CloseError(RoomKitError, ExceptionGroup[Exception]):
    """Collects every failure raised while closing; all other steps still ran."""

    code = "close_failed"


class HookRegistrationError(RoomKitError, ValueError):
    """A hook that could never do what it was registered for."""

    code = "hook_registration"


class RoomNotFoundError(RoomKitError):
    """No such room."""

    code = "room_not_found"


class RoomAlreadyExistsError(RoomKitError):
    """A room of that id exists; its contents were not touched."""

    code = "room_already_exists"


class RoomClosedError(RoomKitError):
    """The room is closed or archived, so its timeline no longer grows."""

    code = "room_closed"


class ChannelNotFoundError(RoomKitError):
    """The channel is not attached to the room."""

    code = "channel_not_found"


class ChannelNotRegisteredError(RoomKitError):
    """The kit knows no channel of that id, or it is of another kind."""

    code = "channel_not_registered"


class ChannelAlreadyRegisteredError(RoomKitError):
    """Another channel of that id is registered; bindings would be routed to the wrong one."""

    code = "channel_already_registered"


class ParticipantNotFoundError(RoomKitError):
    """The room has no participant of that id."""

    code = "participant_not_found"


class HomeElsewhereError(RoomKitError):
    """Another worker has the live thing.

    `worker_id` is that worker, `url` where it is reached (`worker_url`), None if it did not say.
    """

    code = "home_elsewhere"

    def __init__(self, message: str, *, worker_id: str, url: str | None) -> None:
        super().__init__(message)
        self.worker_id = worker_id
        self.url = url


class HomeLostError(RoomKitError):
    """A write was fenced by a home that another holder has had since; nothing was written."""

    code = "home_lost"

    @classmethod
    def at(cls, name: str, token: int) -> Self:
        """Return the error of a write that was fenced by an outdated token of a home."""
        return cls(
            f"nothing was written: the home {name!r} was taken by another holder after token {token}; end "
            "the work that holds it"
        )


class NoHomeError(RoomKitError):
    """This worker does not have the live thing that a delivery is for: `deliver` raises it."""

    code = "no_home"


class FollowEndedError(RoomKitError):
    """A follower is shown no more of its room.

    `reason` says why: `room_not_found` (the room was deleted, or the channel detached from it), `too_slow`
    or `show_failed` (one of its functions was late, or raised), `kit_closed`. `index` is that of the newest
    event it was shown, or that was not for it: follow again with `after=index`.
    """

    code = "follow_ended"

    def __init__(self, message: str, *, reason: str, index: int) -> None:
        super().__init__(message)
        self.reason = reason
        self.index = index


class ParticipantBannedError(RoomKitError):
    """The participant is banned from the room: they can neither write there nor connect to it."""

    code = "participant_banned"


class ParticipantRemovedError(RoomKitError):
    """The participant was removed from the room just while they connected to it."""

    code = "participant_removed"


class IdentityNotFoundError(RoomKitError):
    """No such identity."""

    code = "identity_not_found"


class TurnNotParkedError(RoomKitError, LookupError):
    """No turn of that id waits: it was resumed, its deadline was over, or it was dropped."""

    code = "turn_not_parked"


class CallExpiredError(RoomKitError, TimeoutError):
    """A parked tool call got no result before its deadline."""

    code = "call_expired"


class UnknownToolError(RoomKitError, LookupError):
    """Raised by a tool handler that does not know the tool it was asked for."""

    code = "unknown_tool"


class EventNotFoundError(RoomKitError):
    """No such event in the room."""

    code = "event_not_found"


class SourceAlreadyAttachedError(RoomKitError):
    """The channel has a source already."""

    code = "source_already_attached"


class SourceNotFoundError(RoomKitError):
    """The channel has no source."""

    code = "source_not_found"


class MediaNotConfiguredError(RoomKitError):
    """The kit was given no media store, or no guarded fetch is installed."""

    code = "media_not_configured"


class MediaNotFoundError(RoomKitError):
    """No such object is kept, or not in this room."""

    code = "media_not_found"


class MediaTooLargeError(RoomKitError):
    """A file is larger than its limit; nothing of it was kept."""

    code = "media_too_large"


class MediaTypeRefusedError(RoomKitError):
    """A file is of a type that was not asked for, by its header or by its first bytes."""

    code = "media_type_refused"


class FetchRefusedError(RoomKitError):
    """A URL leads where the kit must not go; nothing was requested from there."""

    code = "fetch_refused"


class FetchFailedError(RoomKitError):
    """A URL could not be fetched. `retryable` says whether a later try may succeed."""

    code = "fetch_failed"

    def __init__(self, message: str, *, status: int | None = None, retryable: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.retryable = retryable


class StoreError(RoomKitError):
    """The store could not carry out the request; nothing was acknowledged."""

    code = "store_error"


class StoreFullError(StoreError):
    """The storage is full. The write was rolled back; existing data is intact."""

    code = "store_full"


class StoreReadOnlyError(StoreError):
    """What the store keeps its data in cannot be written to."""

    code = "store_read_only"


class StoreLockedError(StoreError):
    """Another connection held a lock for longer than the store may wait."""

    code = "store_locked"


class StoreCorruptError(StoreError):
    """The stored data is damaged."""

    code = "store_corrupt"


class StoreUnavailableError(StoreError):
    """The storage cannot be reached or opened, or it failed during the operation.

    When the connection broke during a write, it may or may not have been made: an event is safe to
    commit again under the same id or idempotency key.
    """

    code = "store_unavailable"


class StoreAccessError(StoreError):
    """The storage refuses these credentials, or grants them too little."""

    code = "store_access"


class StoreSchemaError(StoreError):
    """The database holds a foreign or unsupported schema; it was left unchanged."""

    code = "store_schema"


class StoreBusyError(StoreError):
    """More work waits for the store than its limits allow."""

    code = "store_busy"


class StaleCursorError(StoreError):
    """The record that a page is to follow is no longer there; restart from the first page."""

    code = "stale_cursor"


class StoreClosedError(StoreError):
    """The store is closed."""

    code = "store_closed"


class TaskNotFoundError(RoomKitError):
    """No such task."""

    code = "task_not_found"


class DeliveryNotFoundError(RoomKitError):
    """No such row in the ledger."""

    code = "delivery_not_found"


class RoomBusyError(RoomKitError):
    """The room is being merged or split, or cannot be yet; nothing was changed: try again in some seconds."""

    code = "room_busy"


class StaleRoomError(StoreError):
    """The room changed since it was read; read it, and decide again."""

    code = "stale_room"


class StaleValueError(StoreError):
    """The value under a key is of another revision than the one expected; read it, and decide again."""

    code = "stale_value"

    @classmethod
    def at(cls, namespace: str, key: Sequence[str], revision: int) -> Self:
        """Return the error of a put or delete that expected a revision; 0 means that there is no value."""
        expected = f"of revision {revision}" if revision else "absent"
        return cls(f"the value {list(key)!r} of {namespace!r} is not {expected}: read it and decide again")


class DuplicateEventError(StoreError):
    """The room holds an event with that idempotency key; `event` is the first one."""

    code = "duplicate_event"

    def __init__(self, message: str, event: RoomEvent) -> None:
        super().__init__(message)
        self.event = event


class ProcessTimeoutError(RoomKitError, TimeoutError):
    """A message was not committed within `process_timeout`; nothing was stored."""

    code = "process_timeout"


class SelfCancelledError(RoomKitError):
    """Code that the kit called raised CancelledError although nothing was cancelled: it has failed."""

    code = "self_cancelled"


class ForeignCodeError(RoomKitError):
    """Code that the kit called broke its contract; `__cause__` is its exception, if it raised one.

    It raised something that is no `Exception`, a property or plain method of a plugin raised anything at all,
    or what it returned has another type than its contract says.
    """

    code = "foreign_code_failed"


class LockLostError(RoomKitError):
    """The lock on a room was lost, and another holder has written since; nothing was committed."""

    code = "lock_lost"


class WebhookRejected(RoomKitError):
    """A webhook whose sender could not be verified, or that is not what its vendor sends.

    `status_code` is what to answer: 401 for a bad signature, 400 for a bad body.
    """

    code = "webhook_rejected"

    def __init__(self, message: str, *, status_code: int = 401) -> None:
        super().__init__(message)
        self.status_code = status_code


@unique
class ErrorCode(StrEnum):
    """Why a provider failed, classified once, by the vendor's code and never by its prose.

    RATE_LIMIT is of the account or the sender, so that all that is counted with it waits (see
    `Channel.pace_key`); RECIPIENT_RATE_LIMIT of one recipient, whose own deliveries wait alone.
    """

    AUTH = "auth"
    PERMISSION = "permission"
    NOT_FOUND = "not_found"
    INVALID_REQUEST = "invalid_request"
    CONTEXT_OVERFLOW = "context_overflow"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    RATE_LIMIT = "rate_limit"
    RECIPIENT_RATE_LIMIT = "recipient_rate_limit"
    QUOTA = "quota"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    SERVER = "server"
    CANCELED = "canceled"
    MISSING_RECIPIENT = "missing_recipient"
    INVALID_RECIPIENT = "invalid_recipient"
    UNSUPPORTED_CONTENT = "unsupported_content"
    TOO_LONG = "too_long"
    BAD_RESPONSE = "bad_response"
    CIRCUIT_OPEN = "circuit_open"
    OUTCOME_UNKNOWN = "outcome_unknown"
    UNREACHABLE = "unreachable"
    OPTED_OUT = "opted_out"
    WINDOW_CLOSED = "window_closed"
    UNKNOWN = "unknown"

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self in _RETRYABLE

    @property
    def blames_provider(self) -> bool:
        """Whether it counts against the provider, not against this message or recipient."""
        return self in _PROVIDER_FAULT

    @property
    def accepted(self) -> bool | None:
        """Whether the vendor may have taken the request: False when it has not, None when it is not known."""
        return None if self in _IN_DOUBT else False


_RETRYABLE = frozenset(
    {
        ErrorCode.RATE_LIMIT,
        ErrorCode.RECIPIENT_RATE_LIMIT,
        ErrorCode.OVERLOADED,
        ErrorCode.TIMEOUT,
        ErrorCode.CONNECTION,
        ErrorCode.SERVER,
        ErrorCode.CIRCUIT_OPEN,
    }
)
_PROVIDER_FAULT = frozenset(
    {
        ErrorCode.AUTH,
        ErrorCode.PERMISSION,
        ErrorCode.QUOTA,
        ErrorCode.OVERLOADED,
        ErrorCode.TIMEOUT,
        ErrorCode.CONNECTION,
        ErrorCode.SERVER,
        ErrorCode.BAD_RESPONSE,
        ErrorCode.UNKNOWN,
    }
)
_IN_DOUBT = frozenset(
    {
        ErrorCode.TIMEOUT,
        ErrorCode.CONNECTION,
        ErrorCode.CANCELED,
        ErrorCode.BAD_RESPONSE,
        ErrorCode.OUTCOME_UNKNOWN,
        ErrorCode.UNKNOWN,
    }
)


LONGEST_PAUSE = 86_400.0
"""Seconds: a vendor that asks for more than a day's wait gets a day."""


def _waitable(seconds: float | None) -> float | None:
    return min(seconds, LONGEST_PAUSE) if seconds is not None and seconds >= 0 else None


class ProviderError(RoomKitError):
    """A provider's failure.

    `error_code` classifies it; `retryable` follows from it unless given; `retry_after` is in
    seconds, a day at most, and None if the vendor gave no usable time to wait (negative, not a
    number). The message may quote the vendor, so it is for operators, never for end users.

    `accepted` says whether the vendor took the message all the same: False when it certainly has not (it
    refused, or was not reached), None when that is not known (no answer in time, a connection that broke
    after the request was sent, an answer that cannot be read). It follows from `error_code` unless given:
    None for TIMEOUT, CONNECTION, CANCELED, BAD_RESPONSE and UNKNOWN. Only after False is another provider
    tried; after None the message is sent again only by a provider that recognises its idempotency key.
    """

    code = "provider_error"

    def __init__(
        self,
        message: str,
        *,
        error_code: ErrorCode = ErrorCode.UNKNOWN,
        retryable: bool | None = None,
        retry_after: float | None = None,
        provider: str = "",
        status_code: int | None = None,
        vendor_code: str | None = None,
        request_id: str | None = None,
        accepted: bool | EllipsisType | None = ...,
    ) -> None:
        super().__init__(message)
        self.error_code = error_code
        self.accepted = error_code.accepted if isinstance(accepted, EllipsisType) else accepted
        self.retryable = error_code.retryable if retryable is None else retryable
        self.retry_after = _waitable(retry_after)
        self.provider = provider
        self.status_code = status_code
        self.vendor_code = vendor_code
        self.request_id = request_id


_BY_STATUS = {
    400: ErrorCode.INVALID_REQUEST,
    401: ErrorCode.AUTH,
    402: ErrorCode.QUOTA,
    403: ErrorCode.PERMISSION,
    404: ErrorCode.NOT_FOUND,
    408: ErrorCode.TIMEOUT,
    409: ErrorCode.OVERLOADED,
    413: ErrorCode.TOO_LONG,
    422: ErrorCode.INVALID_REQUEST,
    425: ErrorCode.OVERLOADED,
    429: ErrorCode.RATE_LIMIT,
    503: ErrorCode.OVERLOADED,
    504: ErrorCode.TIMEOUT,
    529: ErrorCode.OVERLOADED,
}


def code_for_status(status_code: int) -> ErrorCode:
    """Return the class of an HTTP error status, for vendors that give nothing more precise."""
    if status_code in _BY_STATUS:
        return _BY_STATUS[status_code]
    if status_code >= 500:
        return ErrorCode.SERVER
    return ErrorCode.INVALID_REQUEST if status_code >= 400 else ErrorCode.BAD_RESPONSE
