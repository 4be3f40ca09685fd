"""Answers of a shape that the caller asks for: the schema as vendors take it, and the check of the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import StreamDone, StreamEvent, StreamTextDelta
from roomkit.models.generation import AIContext, AIResponse, ResponseSchema
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.reading import json_value

if TYPE_CHECKING:
    from jsonschema_rs import Validator

__all__ = [
    "Structured",
    "answer_name",
    "answer_schema",
    "closed",
    "is_recursive",
    "open_object",
    "subschemas",
]

_MAPS = ("properties", "$defs", "definitions", "patternProperties")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_MOST_BACKTRACKS = 10_000
_STOPPED = {
    "refusal": (ErrorCode.REFUSAL, "the model refused to answer"),
    "content_filter": (ErrorCode.CONTENT_FILTER, "the vendor's filter stopped it"),
    "length": (ErrorCode.BAD_RESPONSE, "it was cut before its end; raise max_tokens"),
}


def answer_schema(context: AIContext, origin: Origin) -> dict[str, Any] | None:
    """Return the JSON Schema of a context's `response_schema`, to be changed at will; None without one.

    Its root is that of an object, no reference. Raises ProviderError for a schema of another type, and for
    a value that is not a schema: vendors take objects only.
    """
    if not context.response_schema:
        return None
    name = answer_name(context)
    try:
        schema = json.loads(_schema_text(context.response_schema))
        _validator(_schema_text(context.response_schema))
    except (ValueError, TypeError) as error:
        raise origin.refused(f"the response_schema {name!r} is not a JSON Schema: {error}") from error
    root = schema
    if "$ref" in schema:
        path = str(schema.pop("$ref")).removeprefix("#/").split("/")
        root = schema.get(path[0], {}).get(path[-1], {})
        schema = {**root, **schema}
    if root.get("type") != "object":
        raise origin.refused(
            f"the response_schema {name!r} is not of type object; wrap the value in an object with one field"
        )
    schema.setdefault("properties", {})
    return dict(schema)


def answer_name(context: AIContext) -> str:
    """Return a name for the shape, of up to 64 letters, digits, `_` and `-`."""
    schema = context.response_schema
    said = schema.__name__ if isinstance(schema, type) else (schema or {}).get("title")
    return re.sub(r"[^a-zA-Z0-9_-]+", "_", str(said or "answer"))[:64]


def subschemas(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a schema and every schema inside it."""
    yield schema
    inner = [each for name in _MAPS for each in (schema.get(name) or {}).values()]
    inner += [each for name in _LISTS for each in schema.get(name) or ()]
    inner += [schema[name] for name in ("items", "additionalProperties", "not") if name in schema]
    for each in inner:
        if isinstance(each, Mapping):
            yield from subschemas(each)


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """Close every object of a schema that does not say whether it has other fields, in place.

    Whatever fits the result fits the schema, and vendors that guarantee the shape ask for it. A schema with
    `allOf` stays as it is: nothing would fit several closed objects.
    """
    if any(len(each.get("allOf") or ()) > 1 for each in subschemas(schema)):
        return schema
    for each in subschemas(schema):
        if isinstance(each, dict) and (each.get("type") == "object" or "properties" in each):
            each.setdefault("additionalProperties", False)
    return schema


def open_object(schema: Mapping[str, Any]) -> bool:
    """Whether an object in a schema takes fields of any name."""
    return any(each.get("additionalProperties", False) is not False for each in subschemas(schema))


def is_recursive(schema: Mapping[str, Any]) -> bool:
    """Whether a definition of a schema refers to itself, at once or through others."""
    definitions = {**(schema.get("definitions") or {}), **(schema.get("$defs") or {})}
    leads = {name: _references(each) for name, each in definitions.items()}
    root = {name: each for name, each in schema.items() if name not in ("definitions", "$defs")}
    reached = [_reached(name, leads) for name in leads]
    return any(name in found for name, found in zip(leads, reached, strict=True)) or "" in _references(root)


class Structured:
    """Checks one answer against its context's `response_schema`. One object reads one answer.

    An answer with tool calls is not the last word, and passes as it is. Errors show nothing of the answer.
    """

    __slots__ = ("_called", "_context", "_origin", "_texts")

    def __init__(self, context: AIContext, origin: Origin) -> None:
        self._context = context
        self._origin = origin
        self._texts: list[str] = []  # bound: one answer
        self._called = False

    def seen(self, event: StreamEvent) -> StreamEvent:
        """Return an event of a stream, `StreamDone` with the parsed value. Raises ProviderError."""
        if not self._context.response_schema:
            return event
        match event:
            case StreamTextDelta():
                self._texts.append(event.text)
            case StreamDone():
                return replace(event, parsed=self._parsed("".join(self._texts), event.finish_reason))
            case _:
                self._called = self._called or event.type == "tool_call"
        return event

    def whole(self, response: AIResponse) -> AIResponse:
        """Return an answer with the parsed value. Raises ProviderError."""
        if self._context.response_schema:
            self._called = bool(response.tool_calls)
            response.parsed = self._parsed(response.content, response.finish_reason)
        return response

    def _parsed(self, text: str, finish: str | None) -> Any:
        if finish in _STOPPED:
            code, why = _STOPPED[finish]
            raise self._refused(why, code)
        if self._called:
            return None
        schema = self._context.response_schema
        try:
            if isinstance(schema, type):
                return schema.model_validate_json(text)
            value = json_value(text, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            raise self._misfit(f"{_place(first['loc'])}: {first['type']}") from None
        except ValueError:
            raise self._refused("it is not JSON", ErrorCode.BAD_RESPONSE) from None
        for problem in _validator(_schema_text(schema or {})).iter_errors(value):
            raise self._misfit(_place(problem.instance_path))
        return value

    def _misfit(self, where: str) -> ProviderError:
        return self._refused(f"it does not fit at {where}", ErrorCode.BAD_RESPONSE)

    def _refused(self, why: str, code: ErrorCode) -> ProviderError:
        return self._origin.refused(
            f"{self._origin.vendor or self._origin.provider} gave no {answer_name(self._context)!r} as "
            f"response_schema asks: {why}",
            error_code=code,
        )


def _place(steps: Iterable[object]) -> str:
    return ".".join(map(str, steps)) or "the object"


def _schema_text(schema: ResponseSchema) -> str:
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return _model_text(schema)
    return json.dumps(schema, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")


@lru_cache(maxsize=256)
def _model_text(model: type[BaseModel]) -> str:
    return json.dumps(model.model_json_schema())


@lru_cache(maxsize=256)
def _validator(schema: str) -> Validator:
    # Imported here: few requests ask for a shape.
    import jsonschema_rs

    patterns = jsonschema_rs.FancyRegexOptions(backtrack_limit=_MOST_BACKTRACKS)
    return jsonschema_rs.validator_for(json.loads(schema), pattern_options=patterns, retriever=_refuse)


def _refuse(uri: str) -> None:
    raise ValueError(f"{uri} is not fetched; put it into `$defs`")


def _references(schema: object) -> set[str]:
    """Return the definitions that a schema refers to; "" is its root."""
    if not isinstance(schema, Mapping):
        return set()
    found = {str(each["$ref"]) for each in subschemas(schema) if "$ref" in each}
    return {reference.rpartition("/")[2].removeprefix("#") for reference in found}


def _reached(name: str, leads: Mapping[str, set[str]]) -> set[str]:
    """Return the definitions that one leads to."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = leads.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found
