"""Reading a vendor's JSON: what has not the shape it must have is a typed error."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from roomkit.wire.origin import Origin

__all__ = ["JSONReader", "count"]


class JSONReader:
    """Takes JSON apart. Raises ProviderError, as a `bad_response` that names what was wrong."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin

    def parse(self, data: str | bytes) -> dict[str, Any]:
        """Read a JSON object."""
        try:
            value = from_json(data)
        except ValueError as error:
            raise self.origin.bad_response(f"not JSON ({error})") from error
        if not isinstance(value, dict):
            raise self.origin.bad_response(f"a JSON {type(value).__name__} where an object belongs")
        return value

    def as_object(self, value: object, what: str) -> dict[str, Any]:
        """Return `value` if it is a JSON object."""
        if not isinstance(value, dict):
            raise self.origin.bad_response(f"{what} is not an object")
        return value

    def as_list(self, value: object, what: str) -> list[Any]:
        """Return `value` if it is a JSON list."""
        if not isinstance(value, list):
            raise self.origin.bad_response(f"{what} is not a list")
        return value

    def as_text(self, value: object, what: str) -> str:
        """Return `value` if it is a string."""
        if not isinstance(value, str):
            raise self.origin.bad_response(f"{what} is not a string")
        return value


def count(holder: object, name: str) -> int | None:
    """Return a number of tokens, bytes or the like that an object holds; None for anything odd."""
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
