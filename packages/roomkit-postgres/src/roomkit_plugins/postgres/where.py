"""The condition of a statement, with its values."""

from __future__ import annotations

from typing import Any

__all__ = ["Where"]


class Where:
    """The conditions of a query, all of which must hold, and the values of the whole query."""

    def __init__(self, base: Where | None = None) -> None:
        self._parts: list[str] = list(base._parts) if base else []  # bound: one query
        self.values: list[Any] = list(base.values) if base else []  # bound: one query

    def value(self, value: object) -> str:
        """Add a value; return its place."""
        self.values.append(value)
        return f"${len(self.values)}"

    def all(self, part: str, *values: object) -> None:
        """Add a condition; each `{}` in it is a value."""
        self._parts.append(part.format(*(self.value(each) for each in values)) if values else part)

    def given(self, part: str, value: object) -> None:
        """Add a condition on a value, if there is one."""
        if value is not None:
            self.all(part, value)

    def __str__(self) -> str:
        return f"WHERE {' AND '.join(self._parts)}" if self._parts else ""
