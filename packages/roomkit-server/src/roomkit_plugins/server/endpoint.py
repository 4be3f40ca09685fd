"""One operation of the API as data, and how a request becomes a call of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.responses import Response

from roomkit_plugins.server.errors import InvalidRequestError, UnsupportedBodyError
from roomkit_plugins.server.inputs import Nothing
from roomkit_plugins.server.problems import problem_response
from roomkit_plugins.server.requests import ids_in_path, read_body

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection, Request

    from roomkit_plugins.server.config import Scope, ServerConfig
    from roomkit_plugins.server.entrance import Entrance
    from roomkit_plugins.server.service import RoomService

__all__ = ["Endpoint", "EndpointApp", "Names", "invalid_request", "parsed_body", "parsed_query"]

type Names = Mapping[str, str]
"""The placeholders of a path, and what stands in their places."""


@dataclass(slots=True, frozen=True, kw_only=True)
class Endpoint[Q: BaseModel, B: BaseModel]:
    """An operation: what it takes and returns, the scope that it needs, and the call that does it.

    `name` is its id in the OpenAPI document. `answer` is the type that is serialised; None for an answer
    without a body.
    """

    method: str
    path: str
    name: str
    summary: str
    scope: Scope
    call: Callable[[RoomService, Names, Q, B], Awaitable[object]]
    query: type[Q]
    body: type[B]
    answer: Any = None  # Any: a type, or an alias of one
    status: int = 200

    @property
    def has_body(self) -> bool:
        """Whether a request has a body."""
        return self.body is not Nothing


class EndpointApp:
    """Serves one operation: whose the request is, what it says, the call, and the answer."""

    def __init__(self, endpoint: Endpoint[Any, Any], entrance: Entrance, config: ServerConfig) -> None:
        self._endpoint = endpoint
        self._entrance = entrance
        self._config = config
        self._answer = None if endpoint.answer is None else TypeAdapter(endpoint.answer)

    async def answer(self, request: Request) -> Response:
        """Answer a request; whatever fails becomes a problem document."""
        try:
            return await self._call(request)
        except Exception as error:  # noqa: BLE001  # whatever fails, the client gets an answer that says so
            return problem_response(error)

    async def _call(self, request: Request) -> Response:
        endpoint = self._endpoint
        service = self._entrance.service(self._entrance.admit(request, endpoint.scope))
        query = parsed_query(endpoint.query, request)
        body: BaseModel = Nothing()
        if endpoint.has_body:
            body = await parsed_body(endpoint.body, request, self._config)
        result = await endpoint.call(service, ids_in_path(request), query, body)
        if self._answer is None:
            return Response(status_code=endpoint.status)
        return Response(self._answer.dump_json(result), endpoint.status, media_type="application/json")


async def parsed_body[B: BaseModel](model: type[B], request: Request, config: ServerConfig) -> B:
    """Return the body. Raises UnsupportedBodyError, InvalidRequestError, and what `read_body` raises."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedBodyError("the body has to be JSON: send it as application/json")
    data = await read_body(request, limit=config.max_body_bytes, seconds=config.body_timeout)
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise invalid_request("body", error) from None


def parsed_query[Q: BaseModel](model: type[Q], connection: HTTPConnection) -> Q:
    """Return the query of a request. Raises InvalidRequestError."""
    pairs = connection.query_params.multi_items()
    if len(dict(pairs)) < len(pairs):
        raise InvalidRequestError("a parameter of the query is given twice: give each once")
    try:
        return model.model_validate(dict(pairs))
    except ValidationError as error:
        raise invalid_request("query", error) from None


def invalid_request(where: str, error: ValidationError) -> InvalidRequestError:
    """Return an error that names each position in `where`, and quotes nothing of the request."""
    details = error.errors(include_url=False, include_input=False, include_context=False)
    problems = [(".".join([where, *map(str, each["loc"])]), each["msg"]) for each in details]
    return InvalidRequestError(f"the {where} does not fit: see problems", problems)
