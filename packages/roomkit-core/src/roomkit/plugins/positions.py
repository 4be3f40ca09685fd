"""The lines of a configuration file at which its keys are written."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property

from roomkit._dataclasses import dataclass

_ENDS_OF_KEYS = re.compile(r"[:.\[ ]|$")
_ARRAY_OF_TABLES = re.compile(r"\s*\[\[(.+?)\]\]")


@dataclass(frozen=True)
class ConfigText:
    """The text of a configuration file, and the profile that is laid over its tables.

    The text may hold secrets, so it does not show in the repr.
    """

    text: str
    profile: str | None = None

    def __repr__(self) -> str:
        return f"ConfigText({len(self.text)} characters, profile={self.profile!r})"

    def line(self, key: str) -> int | None:
        """Return the line of a key, as `channels.sms.provider`; the profile's where that has it."""
        return self._lines.get(f"{self.prefix}{key}") if self.in_profile(key) else self._lines.get(key)

    def in_profile(self, key: str) -> bool:
        """Return whether the profile writes a key."""
        return bool(self.prefix) and f"{self.prefix}{key}" in self._lines

    def line_of_problem(self, problem: str) -> int | None:
        """Return the line of the key that a problem begins with, or of the nearest table around it."""
        ends = sorted((found.start() for found in _ENDS_OF_KEYS.finditer(problem)), reverse=True)
        found = (self.line(problem[:end]) for end in ends)
        return next((line for line in found if line is not None), None)

    @property
    def prefix(self) -> str:
        """What stands before the profile's keys."""
        return "" if self.profile is None else f"profiles.{self.profile}."

    @cached_property
    def _lines(self) -> Mapping[str, int]:
        return lines_of(self.text)


def lines_of(text: str) -> Mapping[str, int]:
    """Return the first line of every table and key of a TOML text, by its path: `a.b`, `a.list[0]`.

    The TOML reader of the standard library keeps no positions, so each table is read statement by
    statement: a key is at the first line after those that could be read without it.
    """
    found: dict[str, int] = {}
    arrays: Counter[str] = Counter()  # by their path, how many tables they have so far
    for start, table in _tables(text):
        header = _ARRAY_OF_TABLES.match(table[0])
        name = None if header is None else ".".join(part.strip(" \"'") for part in header[1].split("."))
        if name is not None:
            arrays[_indexed(name, arrays, whole=False)] += 1
        for key, line in _keys(table, start):
            if name is not None:
                key = key.replace(f"{name}[0]", name, 1)  # read alone, each is the first
            found.setdefault(_indexed(key, arrays, whole=False), line)
            found.setdefault(_indexed(key, arrays, whole=True), line)
    return found


def _indexed(key: str, arrays: Mapping[str, int], *, whole: bool) -> str:
    """Return a key as one of the newest table of each array in it; with `whole` also if it is the array."""
    for path in sorted(arrays, key=len):
        rest = key.removeprefix(path)
        if (whole and key == path) or (key != rest and rest.startswith(".")):
            key = f"{path}[{arrays[path] - 1}]{rest}"
    return key


def _tables(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each table with the number of its first line; the keys before all tables come first."""
    lines = text.split("\n")
    start = 0
    for number, line in enumerate(lines):
        before = lines[start:number]
        if before and line.lstrip().startswith("[") and _read("\n".join(before)) is not None:
            yield start + 1, before
            start = number
    yield start + 1, lines[start:]


def _keys(table: list[str], start: int) -> Iterator[tuple[str, int]]:
    known: set[str] = set()
    statement = 0
    for end in range(1, len(table) + 1):
        if (tables := _read("\n".join(table[:end]))) is None:
            continue
        keys = [key for key in _paths(tables) if key not in known]
        if keys:
            yield from ((key, start + statement) for key in keys)
            known.update(keys)
        statement = end


def _read(text: str) -> Mapping[str, object] | None:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        return None


def _paths(value: object, path: str = "") -> Iterator[str]:
    if path:
        yield path
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _paths(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _paths(inner, f"{path}[{index}]")
