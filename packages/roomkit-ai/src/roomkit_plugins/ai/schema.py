"""Checks what a model passes to a tool against the tool's JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roomkit.models.ai import AITool

__all__ = ["check_arguments", "schema_problem", "thawed"]

MAX_PROBLEMS = 5
MAX_PROBLEM_CHARS = 300

type Check = Callable[[Mapping[str, Any]], list[str]]


def schema_problem(tool: AITool) -> str | None:
    """Return why the tool's `parameters` are no usable JSON Schema, None when they are."""
    try:
        _check_for(tool)
    except ValueError as error:
        return str(error)
    return None


def check_arguments(tool: AITool, arguments: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with `arguments`, in words a model can act on; empty when nothing is."""
    return _check_for(tool)(arguments)


def thawed(value: Any) -> Any:
    """Return a deep, changeable copy of a JSON value, for code that may write into it."""
    if isinstance(value, Mapping):
        return {key: thawed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [thawed(item) for item in value]
    return value


def _check_for(tool: AITool) -> Check:
    return _compiled(json.dumps(tool.parameters)) if tool.parameters else _accept


def _accept(arguments: Mapping[str, Any]) -> list[str]:
    return []


@lru_cache(maxsize=1024)
def _compiled(parameters: str) -> Check:
    # Imported here: it takes as long as pydantic, and an agent without tools does not need it.
    from jsonschema import SchemaError  # type: ignore[import-untyped]  # it ships no types
    from jsonschema.validators import (  # type: ignore[import-untyped]  # it ships no types
        Draft202012Validator,
        validator_for,
    )
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import EMPTY_REGISTRY

    schema = json.loads(parameters)
    if schema.get("type", "object") != "object":
        raise ValueError(f"its parameters are of type {schema['type']!r}; they must be an object")
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"its parameters are no JSON Schema: {error.message}") from error
    # The empty registry keeps a `$ref` from being fetched over the network.
    validator = kind(schema, registry=EMPTY_REGISTRY)

    def check(arguments: Mapping[str, Any]) -> list[str]:
        try:
            return _described(validator.iter_errors(thawed(arguments)))
        except (Unresolvable, RecursionError) as error:
            return [f"the tool's schema cannot be applied: {error}"]

    return check


def _described(errors: Iterable[Any]) -> list[str]:
    ordered = sorted(errors, key=lambda error: [str(step) for step in error.absolute_path])
    return [_sentence(error) for error in ordered[:MAX_PROBLEMS]]


def _sentence(error: Any) -> str:
    place = error.json_path.removeprefix("$").removeprefix(".")
    message = error.message[:MAX_PROBLEM_CHARS]
    return f"{place}: {message}" if place else message
