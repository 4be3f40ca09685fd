"""Reading what a vendor sent: a value of another shape is a typed error that says where it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from roomkit.abc.errors import InvalidInputError

__all__ = ["VendorPayload"]


class VendorPayload:
    """The JSON object or the form of a vendor's request, or an object in it.

    `vendor` and `path` are for errors: each method raises InvalidInputError for a value of another shape,
    without quoting it. Null is absent.
    """

    def __init__(self, vendor: str, payload: object, path: str = "") -> None:
        self.vendor, self.path = vendor, path
        if not isinstance(payload, Mapping):
            raise self.wrong(path.removesuffix(".") or "it", "an object", whole=True)
        self.raw: Mapping[str, Any] = payload
        """The object itself."""

    def __contains__(self, name: str) -> bool:
        return self.raw.get(name) is not None

    def text(self, name: str) -> str:
        """Return a text, or an integer as one; "" without it."""
        value = self.raw.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if value is not None and not isinstance(value, str):
            raise self.wrong(name, "a text")
        return value or ""

    def needed(self, name: str) -> str:
        """Return a text that the payload cannot do without."""
        value = self.text(name)
        if not value:
            raise self.wrong(name, "there")
        return value

    def integer(self, name: str) -> int | None:
        """Return an integer; None without it."""
        value = self.raw.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise self.wrong(name, "an integer")
        return value

    def number(self, name: str) -> float:
        """Return a number that the payload cannot do without, of JSON or as a text."""
        value = self.raw.get(name)
        try:
            return float(value) if isinstance(value, str | int | float) else float("")
        except ValueError:
            raise self.wrong(name, "a number") from None

    def inside(self, name: str) -> VendorPayload:
        """Return an object; an empty one without it."""
        value = self.raw.get(name)
        return VendorPayload(self.vendor, {} if value is None else value, f"{self.path}{name}.")

    def several(self, name: str) -> Sequence[VendorPayload]:
        """Return a list of objects; empty without it."""
        value = self.raw.get(name)
        if value is not None and not isinstance(value, list | tuple):
            raise self.wrong(name, "a list")
        return [
            VendorPayload(self.vendor, each, f"{self.path}{name}[{at}].")
            for at, each in enumerate(value or ())
        ]

    def is_text(self, name: str) -> bool:
        """Whether a value is a text."""
        return isinstance(self.raw.get(name), str)

    def time(self, *names: str) -> datetime | None:
        """Return the first time of ISO 8601 with a time zone; None without any: it is in the raw payload."""
        for name in names:
            try:
                found = datetime.fromisoformat(self.text(name))
            except ValueError:
                continue
            if found.tzinfo is not None:
                return found
        return None

    def wrong(self, name: str, what: str, *, whole: bool = False) -> InvalidInputError:
        """Return the error for a field that is not `what`; `whole` if `name` is a complete path."""
        where = name if whole else f"{self.path}{name}"
        return InvalidInputError(
            f"the payload cannot be one of {self.vendor}: {where} is not {what}; hand in the whole payload, "
            "of the vendor that sent it"
        )
