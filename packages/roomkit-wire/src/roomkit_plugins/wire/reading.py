"""Reading a vendor's JSON: a wrong shape is a typed error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic_core import ValidationError, from_json

from roomkit.abc.errors import WebhookRejected
from roomkit.models.values import repaired
from roomkit_plugins.wire.origin import Origin

__all__ = ["JSONReader", "count", "counted", "json_value", "readable_webhook", "unquoted"]


class JSONReader:
    """Takes JSON apart. Raises ProviderError, as a `bad_response` that names the fault.

    Null is absent. The methods without `optional_` are for what an answer cannot do without.
    """

    def __init__(self, origin: Origin) -> None:
        self.origin = origin

    def parse(self, data: str | bytes) -> dict[str, Any]:
        """Read a JSON object."""
        try:
            value = json_value(data)
        except ValueError as error:
            raise self.origin.bad_response(f"not JSON ({error})") from error
        if not isinstance(value, dict):
            raise self.origin.bad_response(f"a JSON {type(value).__name__} where an object belongs")
        return value

    def parse_event(self, data: str) -> dict[str, Any] | None:
        """Read the JSON object of an event; None for `null` and for nothing, which keep a stream alive."""
        return None if data.strip() in ("", "null") else self.parse(data)

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

    def optional_object(self, value: object, what: str) -> dict[str, Any]:
        """Return `value` if it is a JSON object, an empty one for null."""
        return {} if value is None else self.as_object(value, what)

    def optional_list(self, value: object, what: str) -> list[Any]:
        """Return `value` if it is a JSON list, an empty one for null."""
        return [] if value is None else self.as_list(value, what)

    def optional_text(self, value: object, what: str) -> str:
        """Return `value` if it is a string, an empty one for null."""
        return "" if value is None else self.as_text(value, what)


def json_value(data: str | bytes, *, strict: bool = False) -> Any:
    """Read JSON; `strict` refuses NaN and infinities. Raises ValueError.

    Texts may hold surrogate halves, for `halves` to join; those of the JSON itself are joined here.
    """
    if isinstance(data, str):
        data = repaired(data, keep_nul=True)
    try:
        return from_json(data, allow_inf_nan=not strict)
    except ValueError:
        if not (b"\\u" in data if isinstance(data, bytes) else "\\u" in data):
            raise
    # The parser above refuses a half. This one takes it.
    try:
        return json.loads(data, parse_constant=_refuse_constant if strict else None)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def counted(body: bytes, name: str, origin: Origin) -> int:
    """Return the number of tokens in a vendor's answer to that question. Raises ProviderError without one."""
    reader = JSONReader(origin)
    tokens = count(reader.parse(body), name)
    if tokens is None:
        raise origin.bad_response(f"{name!r} is not a number of tokens")
    return tokens


def count(holder: object, name: str) -> int | None:
    """Return a number of tokens, bytes or the like that an object holds; None for anything odd."""
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


@contextmanager
def readable_webhook(vendor: str) -> Iterator[None]:
    """Turn the error of reading a verified webhook, a KeyError or ValueError, into WebhookRejected with 400.

    So the vendor does not send again what can never be read.
    """
    try:
        yield
    except (KeyError, ValueError) as error:
        raise WebhookRejected(
            f"the webhook is not what {vendor} sends: {unquoted(error)}", status_code=400
        ) from error


def unquoted(error: KeyError | ValueError) -> str:
    """Describe the fault of a payload without quoting it, which a message of pydantic's does."""
    if isinstance(error, ValidationError):
        details = error.errors(include_url=False, include_input=False)
        return "; ".join(".".join(map(str, each["loc"])) for each in details)
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
