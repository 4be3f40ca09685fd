"""The options that a program gives to its kit, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import ValidationError

from roomkit.abc.errors import InvalidInputError
from roomkit.models.options import LARGEST_COUNT, KitOptions

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["checked_options"]

_SECONDS = "give it a positive number of seconds"
_COUNT = f"give it at least 1 and at most {LARGEST_COUNT}"
_ADVICE = {
    **dict.fromkeys(("greater_than", "float_type"), _SECONDS),
    **dict.fromkeys(("int_type", "int_parsing_size", "greater_than_equal", "less_than_equal"), _COUNT),
}
"""What to give instead, by the kind of pydantic's error."""


def checked_options(given: Mapping[str, object]) -> KitOptions:
    """Return the kit's options. Raises InvalidInputError with everything that is wrong."""
    try:
        return KitOptions.model_validate(given)
    except ValidationError as error:
        raise InvalidInputError("; ".join(map(_problem, error.errors(include_url=False)))) from None


def _problem(detail: ErrorDetails) -> str:
    name, value = ".".join(map(str, detail["loc"])), _shown(detail["input"])
    if len(detail["loc"]) == 1 and detail["type"] in _ADVICE:
        return f"{name} is {value}; {_ADVICE[detail['type']]}"
    return f"{name} cannot be {value}: {detail['msg'].removeprefix('Value error, ')}"


def _shown(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a number of {value.bit_length()} bits"
    return f"{value!r:.80}"
