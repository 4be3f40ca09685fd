"""The operations of the API as tools of an assistant: one tool for each, of the same models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, TypeAdapter, ValidationError, create_model
from pydantic_core import to_json

from roomkit_plugins.server.api import ENDPOINTS
from roomkit_plugins.server.endpoint import Endpoint, invalid_request
from roomkit_plugins.server.errors import InvalidRequestError
from roomkit_plugins.server.inputs import Id, Nothing
from roomkit_plugins.server.openapi import SchemaGenerator, placeholders

if TYPE_CHECKING:
    from roomkit_plugins.server.config import Scope
    from roomkit_plugins.server.service import RoomService

__all__ = ["Tool", "tools"]

type _Json = dict[str, Any]  # Any: a JSON document

_LOSING = frozenset(
    {
        *("close_room", "delete_room", "delete_event", "edit_event", "detach_channel"),
        *("drop_delivery", "remove_participant"),
    }
)
"""Operations that take something away that another call does not bring back."""


@dataclass(slots=True, frozen=True)
class Tool:
    """One operation, with its arguments side by side: those of its path, its query and its body.

    `input_schema` and `output_schema` are JSON Schemas of objects; without an answer there is no second one.
    """

    name: str
    description: str
    scope: Scope
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None
    reads: bool
    destroys: bool
    repeats: bool
    _endpoint: Endpoint[Any, Any]
    _models: tuple[type[BaseModel], type[BaseModel], type[BaseModel]]
    _answer: TypeAdapter[Any] | None

    async def call(self, service: RoomService, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run the operation; return its answer as JSON, an empty object where it has none.

        Raises InvalidRequestError for arguments that do not fit, and what the operation raises.
        """
        names, query, body = self._parts(arguments)
        result = await self._endpoint.call(service, names.model_dump(), query, body)
        return {} if self._answer is None else self._answer.dump_python(result, mode="json")

    def _parts(self, arguments: Mapping[str, Any]) -> list[BaseModel]:
        known = {name for model in self._models for name in model.model_fields}
        unknown = [(f"arguments.{name}", "there is no such argument") for name in arguments.keys() - known]
        if unknown:
            raise InvalidRequestError("the arguments do not fit: see problems", sorted(unknown))
        return [_validated(model, arguments) for model in self._models]


def _validated(model: type[BaseModel], arguments: Mapping[str, Any]) -> BaseModel:
    """Return a model's share of the arguments, read as the JSON that it came as."""
    given = {name: value for name, value in arguments.items() if name in model.model_fields}
    try:
        return model.model_validate_json(to_json(given))
    except ValidationError as error:
        raise invalid_request("arguments", error) from None


@cache
def tools() -> Mapping[str, Tool]:
    """Return a tool for each operation, by its name."""
    return {each.name: _tool(each) for each in ENDPOINTS}


def _tool(endpoint: Endpoint[Any, Any]) -> Tool:
    names = dict.fromkeys(placeholders(endpoint.path), (Id, ...))
    # Any: pydantic makes the class from what it is given
    path: type[BaseModel] = create_model("Path", __base__=Nothing, **names)  # type: ignore[call-overload]
    models = (path, endpoint.query, endpoint.body)
    answer = None if endpoint.answer is None else TypeAdapter(endpoint.answer)
    return Tool(
        name=endpoint.name,
        description=f"{endpoint.summary}.",
        scope=endpoint.scope,
        input_schema=_input_schema(endpoint.name, models),
        output_schema=None if answer is None else answer.json_schema(mode="serialization"),
        reads=endpoint.method == "GET",
        destroys=endpoint.name in _LOSING,
        repeats=endpoint.method != "POST",
        _endpoint=endpoint,
        _models=models,
        _answer=answer,
    )


def _input_schema(name: str, models: tuple[type[BaseModel], ...]) -> _Json:
    """Return one schema for the fields of several models, none of which two of them may have."""
    merged: _Json = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    for model in models:
        schema = model.model_json_schema(schema_generator=SchemaGenerator)
        properties = schema.get("properties", {})
        assert not merged["properties"].keys() & properties.keys(), f"{name} has an argument twice"
        merged["properties"] |= properties
        merged["required"] += schema.get("required", [])
        if definitions := schema.get("$defs"):
            merged["$defs"] = merged.get("$defs", {}) | definitions
    return merged
