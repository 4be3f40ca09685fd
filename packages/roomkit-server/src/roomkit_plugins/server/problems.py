"""Errors as HTTP answers: problem details, RFC 9457."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from roomkit.abc import errors as core
from roomkit.abc.errors import RoomKitError
from roomkit.abc.log import get_logger
from roomkit_plugins.server import errors as own

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Problem", "problem_of", "problem_response", "refusal_response", "status_of"]

_log = get_logger("roomkit.server")
_RETRY_AFTER = 1.0

_STATUS: Mapping[type[RoomKitError], int] = {
    own.KeyRefusedError: 401,
    own.ScopeMissingError: 403,
    own.OriginRefusedError: 403,
    own.RequestRateError: 429,
    own.BodyTooLargeError: 413,
    own.BodyTimeoutError: 408,
    own.UnsupportedBodyError: 415,
    own.InvalidRequestError: 400,
    own.NotFailedError: 409,
    own.ServerStoppingError: 503,
    core.InvalidInputError: 400,
    core.StaleCursorError: 410,
    core.RoomNotFoundError: 404,
    core.ChannelNotFoundError: 404,
    core.ChannelNotRegisteredError: 404,
    core.ParticipantNotFoundError: 404,
    core.EventNotFoundError: 404,
    core.TaskNotFoundError: 404,
    core.DeliveryNotFoundError: 404,
    core.IdentityNotFoundError: 404,
    core.RoomAlreadyExistsError: 409,
    core.RoomClosedError: 409,
    core.RoomBusyError: 409,
    core.ParticipantBannedError: 403,
    core.ParticipantRemovedError: 403,
    core.KitClosedError: 503,
    core.ProcessTimeoutError: 503,
    core.StaleRoomError: 409,
    core.StoreError: 503,
    core.LockLostError: 503,
}
_REFUSALS = {"rate_limited": 429, "process_timeout": 503, "source_detached": 503, "room_not_found": 404}
_TITLES = {
    400: "The request is not valid",
    401: "A key is needed",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "The request took too long",
    409: "Not possible in the present state",
    410: "No longer there",
    413: "The request is too large",
    415: "The body is not JSON",
    429: "Too many requests",
    500: "The server failed",
    503: "Not available now",
}


class InvalidPart(BaseModel):
    """One place of a request that is wrong."""

    place: str
    message: str


class Problem(BaseModel):
    """Why a request was refused, as RFC 9457 has it; `code` is stable, `detail` is for people."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(description="A URN that ends with the code.")
    title: str
    status: int
    code: str
    detail: str
    problems: list[InvalidPart] | None = Field(None, description="Each place that is wrong.")
    retry_after: float | None = Field(None, description="Seconds after which to try again.")


def status_of(error: Exception) -> int:
    """Return the HTTP status of an error."""
    if isinstance(error, own.MessageRefusedError):
        return _REFUSALS.get(error.reason, 409)
    for kind in type(error).__mro__:
        if kind in _STATUS:
            return _STATUS[kind]
    return 500


def problem_response(error: Exception) -> Response:
    """Return the answer for an error."""
    return _response(problem_of(error))


def problem_of(error: Exception) -> Problem:
    """Return why a request failed. An error that is not ours is logged, and not described to the client."""
    status = status_of(error)
    if status == 500 or not isinstance(error, RoomKitError):
        _log.error("a request failed", exc_info=error)
        return _problem("internal_error", 500, "see the server's log")
    code = error.reason if isinstance(error, own.MessageRefusedError) else error.code
    wrong = error.problems if isinstance(error, own.InvalidRequestError) else ()
    retry_after: float | None = getattr(error, "retry_after", None)
    if retry_after is None and status == 503:
        retry_after = _RETRY_AFTER
    return _problem(code, status, str(error), wrong, retry_after)


def refusal_response(status: int, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer for a request that no route takes."""
    code = {404: "not_found", 405: "method_not_allowed"}.get(status, "refused")
    response = _response(_problem(code, status, "see /openapi.json for what there is"))
    response.headers.update(headers or {})
    return response


def _problem(
    code: str,
    status: int,
    detail: str,
    wrong: Sequence[tuple[str, str]] = (),
    retry_after: float | None = None,
) -> Problem:
    return Problem(
        type=f"urn:roomkit:error:{code}",
        title=_TITLES.get(status, "The request was refused"),
        status=status,
        code=code,
        detail=detail,
        problems=[InvalidPart(place=place, message=message) for place, message in wrong] or None,
        retry_after=retry_after,
    )


def _response(problem: Problem) -> Response:
    headers: dict[str, str] = {}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(ceil(problem.retry_after))
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(
        problem.model_dump_json(exclude_none=True),
        problem.status,
        headers,
        media_type="application/problem+json",
    )
