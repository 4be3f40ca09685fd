"""Answers of a shape: what the mock can be asked for, and whether a scripted answer fits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.generation import AIResponse, ResponseSchema

if TYPE_CHECKING:
    from jsonschema_rs import Validator

__all__ = ["check_shape", "parsed"]

_STOPPED = {
    "refusal": (ErrorCode.REFUSAL, "the model refused to answer"),
    "content_filter": (ErrorCode.CONTENT_FILTER, "a filter stopped it"),
    "length": (ErrorCode.BAD_RESPONSE, "it was cut before its end; raise max_tokens"),
}


def check_shape(schema: ResponseSchema) -> None:
    """Raise ProviderError for a `response_schema` that vendors refuse: no JSON Schema, or of no object."""
    try:
        written = _written(schema)
        _validator(written)
    except (ValueError, TypeError) as error:
        raise _error(
            f"the response_schema {_name(schema)!r} is not a JSON Schema: {error}", ErrorCode.INVALID_REQUEST
        ) from error
    reference = str(written.get("$ref", ""))
    definition = written.get("$defs", {}).get(reference.removeprefix("#/$defs/"), {})
    if (written.get("type") or definition.get("type")) != "object":
        raise _error(
            f"the response_schema {_name(schema)!r} is not of type object; wrap the value in an object "
            "with one field",
            ErrorCode.INVALID_REQUEST,
        )


def parsed(schema: ResponseSchema, answer: AIResponse) -> object:
    """Return the value of an answer. Raises ProviderError for one that was stopped, or does not fit.

    An answer with tool calls is not the last one, and has no value: None. Errors quote nothing of the answer.
    """
    if answer.finish_reason in _STOPPED:
        code, why = _STOPPED[answer.finish_reason]
        raise _misfit(schema, why, code)
    if answer.tool_calls:
        return None
    try:
        if isinstance(schema, type):
            return schema.model_validate_json(answer.content)
        value = json.loads(answer.content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise _misfit(schema, f"it does not fit at {_place(first['loc'])}: {first['type']}") from None
    except ValueError:
        raise _misfit(schema, "it is not JSON") from None
    for problem in _validator(_written(schema)).iter_errors(value):
        raise _misfit(schema, f"it does not fit at {_place(problem.instance_path)}")
    return value


def _written(schema: ResponseSchema) -> dict[str, Any]:
    if isinstance(schema, type):
        return schema.model_json_schema()
    written: dict[str, Any] = json.loads(json.dumps(schema, default=_plain))
    return written


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _validator(schema: dict[str, Any]) -> Validator:
    # Imported here: few tests ask for a shape.
    import jsonschema_rs

    return jsonschema_rs.validator_for(schema, retriever=_refuse)


def _refuse(uri: str) -> None:
    raise ValueError(f"{uri} is not fetched; put it into `$defs`")


def _name(schema: ResponseSchema) -> str:
    return schema.__name__ if isinstance(schema, type) else str(schema.get("title", "answer"))


def _place(steps: Iterable[object]) -> str:
    return ".".join(map(str, steps)) or "the object"


def _misfit(
    schema: ResponseSchema, why: str, error_code: ErrorCode = ErrorCode.BAD_RESPONSE
) -> ProviderError:
    return _error(f"the mock gave no {_name(schema)!r} as response_schema asks: {why}", error_code)


def _error(message: str, error_code: ErrorCode) -> ProviderError:
    return ProviderError(message, error_code=error_code, provider="mock")
