"""Checks what a model passes to a tool against the tool's JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, override

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError, Validator

    from roomkit.models.ai import AITool

__all__ = ["check_arguments", "schema_problem", "thawed"]

MAX_PROBLEMS = 5
MAX_PROBLEM_CHARS = 300
MAX_BACKTRACKS = 10_000

_DIALECTS = (
    None,
    *(
        f"{scheme}://json-schema.org/{dialect}/schema{end}"
        for dialect in ("draft-04", "draft-06", "draft-07", "draft/2019-09", "draft/2020-12")
        for scheme in ("http", "https")
        for end in ("", "#")
    ),
)
"""The dialects that are known; a schema of another one is read as of the newest."""

type Check = Callable[[Mapping[str, Any]], list[str]]


def schema_problem(tool: AITool) -> str | None:
    """Return why the tool's `parameters` are not a usable JSON Schema, None when they are."""
    try:
        _check_for(tool)
    except ValueError as error:
        return str(error)
    return None


def check_arguments(tool: AITool, arguments: Mapping[str, Any]) -> list[str]:
    """Return the problems of `arguments`, in words that a model can act on; empty when there are none."""
    return _check_for(tool)(arguments)


def thawed(value: Any) -> Any:
    """Return a deep, changeable copy of a JSON value, for code that may write into it."""
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, dict | Mapping):  # nearly always a dict, which costs less to find out
        return {key: item if type(item) is str else thawed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [thawed(item) for item in value]
    return value


def _check_for(tool: AITool) -> Check:
    return _check_of(_Same(tool.parameters)) if tool.parameters else _accept


class _Same:
    """A key that is equal for one object only: as text, a schema is longer than most conversations."""

    __slots__ = ("value",)

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.value = value

    @override
    def __hash__(self) -> int:
        return id(self.value)

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value


@lru_cache(maxsize=1024)
def _check_of(parameters: _Same) -> Check:
    return _compiled(json.dumps(parameters.value))


def _accept(arguments: Mapping[str, Any]) -> list[str]:
    return []


@lru_cache(maxsize=1024)
def _compiled(parameters: str) -> Check:
    schema = json.loads(parameters)
    if schema.get("type", "object") != "object":
        raise ValueError(f"its parameters are of type {schema['type']!r}; they must be an object")
    try:
        validator = _validator(schema)
    except _Inapplicable as error:
        problem = f"the tool's schema cannot be applied: {error}"
        return lambda arguments: [problem]

    def check(arguments: Mapping[str, Any]) -> list[str]:
        return [] if validator.is_valid(arguments) else _described(validator.iter_errors(thawed(arguments)))

    return check


class _Inapplicable(Exception):
    """The schema refers to a definition that it lacks."""


def _validator(schema: dict[str, Any]) -> Validator:
    # Imported here: an agent without tools does not need it.
    import jsonschema_rs

    # Patterns come from the tool's author, and the texts matched with them from a model. This
    # engine takes linear time, and for what it has to backtrack in (look-around, back references)
    # it gives up after so many steps.
    patterns = jsonschema_rs.FancyRegexOptions(backtrack_limit=MAX_BACKTRACKS)
    known = jsonschema_rs.validator_for
    if schema.get("$schema") not in _DIALECTS:
        known = jsonschema_rs.Draft202012Validator
        schema = {name: value for name, value in schema.items() if name != "$schema"}
    try:
        return known(schema, pattern_options=patterns, retriever=_refuse)
    except jsonschema_rs.ValidationError as error:
        if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Referencing):
            raise _Inapplicable(error.message) from error
        raise ValueError(f"its parameters are not a JSON Schema: {error.message}") from error


def _refuse(uri: str) -> None:
    """Keep a `$ref` from being fetched over the network."""
    raise ValueError("schemas are not fetched; put it into `$defs`")


def _described(errors: Iterable[ValidationError]) -> list[str]:
    ordered = sorted(errors, key=lambda error: [str(step) for step in error.instance_path])
    return [_sentence(error) for error in ordered[:MAX_PROBLEMS]]


def _sentence(error: ValidationError) -> str:
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path]
    place = "".join(steps).removeprefix(".")
    message = _message(error)[:MAX_PROBLEM_CHARS]
    return f"{place}: {message}" if place else message


def _message(error: ValidationError) -> str:
    from jsonschema_rs import ValidationErrorKind as Kind

    match error.kind:
        case Kind.Required(property=name):
            return f"{name!r} is a required property"
        case Kind.Type(types=types):
            return f"{error.instance!r} is not of type {', '.join(map(repr, types))}"
        case Kind.BacktrackLimitExceeded() | Kind.RegexEngineFailure():
            return "it takes too long to match the pattern; use a simpler value"
    return error.message
