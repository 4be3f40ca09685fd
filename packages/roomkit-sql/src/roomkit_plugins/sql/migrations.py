"""Versions of a schema: the steps from one to the next, and the plan of what opening would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from roomkit.abc.errors import StoreSchemaError

__all__ = ["MigrationPlan", "Step", "check_version", "planned"]


@dataclass(slots=True, frozen=True)
class Step:
    """The statements that turn a schema of the version before into one of this version.

    Steps only add: tables, columns with a default, indexes, rows that follow from existing ones. Anything
    that drops or rewrites would be a command of its own, never a step. A released step is never changed.
    """

    version: int
    summary: str
    statements: Sequence[str]


@dataclass(slots=True, frozen=True)
class MigrationPlan:
    """What opening a store would do to its storage; making the plan does nothing.

    `found` is the version of the schema that is there, 0 for none. `rows` has, by table, how many rows it
    holds (PostgreSQL estimates them): all of them are there afterwards too.
    """

    where: str
    found: int
    wanted: int
    steps: tuple[str, ...]
    rows: Mapping[str, int]

    @property
    def summary(self) -> str:
        """What opening the store would do, in one line."""
        if not self.found:
            return f"{self.where} is empty: opening it makes schema version {self.wanted}"
        if self.steps:
            return f"{self.where} has schema version {self.found}: opening it migrates to {self.wanted}"
        return f"{self.where} has schema version {self.found}, the newest"


def planned(where: str, found: int, steps: Sequence[Step], rows: Mapping[str, int]) -> MigrationPlan:
    """Return the plan to bring a schema of version `found` to that of the last step."""
    waiting = tuple(f"{step.version}: {step.summary}" for step in steps if step.version > found)
    return MigrationPlan(where, found, steps[-1].version, waiting, rows)


def check_version(where: str, found: int, steps: Sequence[Step], distribution: str, way_out: str) -> int:
    """Return `found`. Raises StoreSchemaError for a schema that is newer than the last step."""
    newest = steps[-1].version
    if found > newest:
        raise StoreSchemaError(
            f"{where} has schema version {found}, and this {distribution} knows up to {newest}; {way_out}"
        )
    return found
