"""Options that a program gives, checked against the model that declares them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from roomkit.abc.errors import InvalidInputError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["checked_options"]

_NO_ADVICE: Mapping[str, str] = {}


def checked_options[M: BaseModel](
    model: type[M], given: Mapping[str, object], *, advice: Mapping[str, str] = _NO_ADVICE
) -> M:
    """Return `given` as `model`. Raises InvalidInputError that names every option that is wrong.

    `advice` says what to give instead, by the type of pydantic's error ("greater_than", "int_type"); for
    other types pydantic's own message stands. Values are quoted in part, those of secrets not at all.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problems = [_problem(model, each, advice) for each in error.errors(include_url=False)]
        raise InvalidInputError("; ".join(problems)) from None


def _problem(model: type[BaseModel], detail: ErrorDetails, advice: Mapping[str, str]) -> str:
    name = ".".join(map(str, detail["loc"]))
    value = "that" if _is_secret(model, detail) else _shown(detail["input"])
    if len(detail["loc"]) == 1 and detail["type"] in advice:
        return f"{name} is {value}; {advice[detail['type']]}"
    return f"{name} cannot be {value}: {detail['msg'].removeprefix('Value error, ')}"


def _is_secret(model: type[BaseModel], detail: ErrorDetails) -> bool:
    field = model.model_fields.get(str(detail["loc"][0])) if detail["loc"] else None
    return field is None or "Secret" in str(field.annotation)


def _shown(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a number of {value.bit_length()} bits"
    return f"{value!r:.80}"
