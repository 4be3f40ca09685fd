"""The options that a program gives to its kit, checked."""

from __future__ import annotations

from collections.abc import Mapping

from roomkit.authoring.options import checked_options
from roomkit.models.options import LARGEST_COUNT, KitOptions

__all__ = ["kit_options"]

_SECONDS = "give it a positive number of seconds"
_COUNT = f"give it at least 1 and at most {LARGEST_COUNT}"
_ADVICE = {
    **dict.fromkeys(("greater_than", "float_type"), _SECONDS),
    **dict.fromkeys(("int_type", "int_parsing_size", "greater_than_equal", "less_than_equal"), _COUNT),
}


def kit_options(given: Mapping[str, object]) -> KitOptions:
    """Return the kit's options. Raises InvalidInputError with everything that is wrong."""
    return checked_options(KitOptions, given, advice=_ADVICE)
