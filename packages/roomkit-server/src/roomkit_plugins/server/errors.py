"""What a server refuses, each with a stable code."""

from __future__ import annotations

from collections.abc import Sequence

from roomkit.abc.errors import RoomKitError

__all__ = [
    "BodyTimeoutError",
    "BodyTooLargeError",
    "InvalidRequestError",
    "KeyRefusedError",
    "MessageRefusedError",
    "NotFailedError",
    "OriginRefusedError",
    "RequestRateError",
    "ScopeMissingError",
    "ServerStoppingError",
    "UnsupportedBodyError",
]


class KeyRefusedError(RoomKitError):
    """A request has no key, or one that is not known."""

    code = "key_refused"


class ScopeMissingError(RoomKitError):
    """A key may not be used for this."""

    code = "scope_missing"


class OriginRefusedError(RoomKitError):
    """A request comes from a web page that may not use the server."""

    code = "origin_refused"


class RequestRateError(RoomKitError):
    """A key or an address makes too many requests; `retry_after` is in seconds."""

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BodyTooLargeError(RoomKitError):
    """The body of a request is larger than the server reads."""

    code = "body_too_large"


class BodyTimeoutError(RoomKitError):
    """The body of a request did not arrive in time."""

    code = "body_timeout"


class UnsupportedBodyError(RoomKitError):
    """The body of a request is of another type than JSON."""

    code = "unsupported_body"


class InvalidRequestError(RoomKitError):
    """A request does not fit the API: `problems` says each place that is wrong, and why."""

    code = "invalid_request"

    def __init__(self, message: str, problems: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class NotFailedError(RoomKitError):
    """A delivery that has not failed can be neither retried nor dropped."""

    code = "delivery_not_failed"


class MessageRefusedError(RoomKitError):
    """A room did not take a message, and nothing was stored; `reason` says why.

    `retry_after` is in how many seconds it may be sent again, None if that will not help.
    """

    code = "message_refused"

    def __init__(self, message: str, *, reason: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after


class ServerStoppingError(RoomKitError):
    """The server is stopping and takes nothing new: another one, or the next, does."""

    code = "server_stopping"
