"""What a gate or an agent's turn leaves behind besides words, checked where it is handed in."""

from __future__ import annotations

from collections.abc import Mapping

from roomkit.abc.errors import InvalidInputError
from roomkit.abc.records import checked
from roomkit.models.base import Record, freeze
from roomkit.models.task import Observation, Task

__all__ = ["wrong_effect"]


def wrong_effect(tasks: object, observations: object, metadata: object = None) -> str | None:
    """Return why effects can be stored by no store, None if nothing is wrong with them."""
    return (
        _wrong_record("tasks", tasks, Task)
        or _wrong_record("observations", observations, Observation)
        or (None if metadata is None else _wrong_metadata(metadata))
    )


def _wrong_record(name: str, given: object, kind: type[Record]) -> str | None:
    if given is None:
        return None
    if not isinstance(given, list | tuple):
        return f"{name} are {type(given).__name__}, not a list"
    for each in given:
        if not isinstance(each, kind):
            return f"{name} have {type(each).__name__}, not only {kind.__name__}"
        try:
            checked(each, kind, f"in {name}")
        except InvalidInputError as error:
            return str(error)
    return None


def _wrong_metadata(given: object) -> str | None:
    if not isinstance(given, Mapping):
        return f"metadata updates are {type(given).__name__}, not a dict"
    try:
        freeze(given)
    except ValueError as error:
        return f"metadata updates: {error}"
    return None
