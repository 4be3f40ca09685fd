"""The OpenAPI document, made of the operations that are served."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from roomkit_plugins.server.api import ENDPOINTS
from roomkit_plugins.server.config import Scope
from roomkit_plugins.server.endpoint import Endpoint
from roomkit_plugins.server.inputs import ConnectQuery, TicketBody
from roomkit_plugins.server.problems import Problem
from roomkit_plugins.server.views import TicketView

__all__ = ["SchemaGenerator", "openapi", "placeholders"]

type _Json = dict[str, Any]  # Any: a JSON document

_TEMPLATE = "#/components/schemas/{model}"
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_ROOM = "/v1/rooms/{room_id}"


@cache
def openapi() -> _Json:
    """Return the document, version 3.1, the same object each time: do not change it."""
    schemas = _Schemas()
    paths: dict[str, _Json] = {}  # bound: operations
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    paths[f"{_ROOM}/tickets"] = {"post": _ticket(schemas)}
    paths[f"{_ROOM}/stream"] = {"get": _stream(schemas)}
    paths[f"{_ROOM}/socket"] = {"get": _socket(schemas)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "RoomKit", "version": version("roomkit-server")},
        "paths": paths,
        "components": {
            "schemas": schemas.found,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


class SchemaGenerator(GenerateJsonSchema):
    """Leaves out defaults that JSON cannot say, such as a length of time without end."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012  # as pydantic has it


class _Schemas:
    """The schemas of models, each under its name once."""

    def __init__(self) -> None:
        self.found: dict[str, _Json] = {}  # bound: models of the API

    def of(self, model: Any, mode: Literal["validation", "serialization"]) -> _Json:
        """Return the schema of a type; what it refers to is among those found."""
        schema = TypeAdapter(model).json_schema(
            ref_template=_TEMPLATE, mode=mode, schema_generator=SchemaGenerator
        )
        self.found |= schema.pop("$defs", {})
        return schema


def _operation(endpoint: Endpoint[Any, Any], schemas: _Schemas) -> _Json:
    operation: _Json = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        **_common(endpoint.scope, schemas),
        "parameters": [*_path_parameters(endpoint.path), *_query_parameters(endpoint.query, schemas)],
    }
    if endpoint.has_body:
        operation["requestBody"] = _json_body(schemas.of(endpoint.body, "validation"))
    answer: _Json = {"description": "Done."}
    if endpoint.answer is not None:
        answer |= _content("application/json", schemas.of(endpoint.answer, "serialization"))
    operation["responses"][str(endpoint.status)] = answer
    return operation


def _common(scope: Scope, schemas: _Schemas) -> _Json:
    """Return what every operation says: the scope that it needs, and how it fails."""
    problem = _content("application/problem+json", schemas.of(Problem, "serialization"))
    return {
        "description": f"Needs a key with the scope `{scope.value}`.",
        "responses": {"default": {"description": "Why it was refused, or failed.", **problem}},
    }


def placeholders(path: str) -> Sequence[str]:
    """Return the names of a path's placeholders, in their order."""
    return _PLACEHOLDER.findall(path)


def _path_parameters(path: str) -> Iterator[_Json]:
    for name in placeholders(path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _query_parameters(model: type[BaseModel], schemas: _Schemas) -> Iterator[_Json]:
    for name, schema in schemas.of(model, "validation").get("properties", {}).items():
        yield {"name": name, "in": "query", "required": False, "schema": schema}


def _content(media_type: str, schema: _Json) -> _Json:
    return {"content": {media_type: {"schema": schema}}}


def _json_body(schema: _Json) -> _Json:
    return {"required": True, **_content("application/json", schema)}


def _ticket(schemas: _Schemas) -> _Json:
    common = _common(Scope.SOCKETS_CONNECT, schemas)
    answer = _content("application/json", schemas.of(TicketView, "serialization"))
    common["responses"]["201"] = {"description": "The ticket.", **answer}
    return {
        "operationId": "give_ticket",
        "summary": "Give a participant a ticket for one web socket",
        **common,
        "parameters": [*_path_parameters(_ROOM)],
        "requestBody": _json_body(schemas.of(TicketBody, "validation")),
    }


def _stream(schemas: _Schemas) -> _Json:
    common = _common(Scope.ROOMS_READ, schemas)
    frames = _content("text/event-stream", {"type": "string"})
    common["responses"]["200"] = {
        "description": "Events `event` (with the index as id), `piece` of a growing answer, and `end`.",
        **frames,
    }
    last = {"name": "Last-Event-ID", "in": "header", "required": False, "schema": {"type": "string"}}
    return {
        "operationId": "stream_events",
        "summary": "Stream what a channel of the room sees",
        **common,
        "parameters": [
            *_path_parameters(_ROOM),
            *_query_parameters(ConnectQuery, schemas),
            last,
        ],
    }


def _socket(schemas: _Schemas) -> _Json:
    common = _common(Scope.SOCKETS_CONNECT, schemas)
    common["responses"]["101"] = {"description": "The web socket, with the frames of the channel."}
    return {
        "operationId": "open_socket",
        "summary": "Open a web socket of a participant, with a ticket or with a key and a participant_id",
        **common,
        "parameters": [*_path_parameters(_ROOM), *_query_parameters(ConnectQuery, schemas)],
    }
