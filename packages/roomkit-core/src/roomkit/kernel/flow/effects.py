"""What a gate or an agent's turn leaves behind besides words, checked where it is handed in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roomkit.models.base import freeze
from roomkit.models.task import Observation, Task

__all__ = ["wrong_effect"]


def wrong_effect(tasks: object, observations: object, metadata: object = None) -> str | None:
    """Return why effects can be stored by no store, None if nothing is wrong with them."""
    return (
        _wrong_record("tasks", tasks, Task)
        or _wrong_record("observations", observations, Observation)
        or (None if metadata is None else _wrong_metadata(metadata))
    )


def _wrong_record(name: str, given: object, kind: type[Any]) -> str | None:
    if given is None:
        return None
    if not isinstance(given, list | tuple):
        return f"{name} are {type(given).__name__}, not a list"
    wrong = next((each for each in given if not isinstance(each, kind)), None)
    return None if wrong is None else f"{name} have {type(wrong).__name__}, not only {kind.__name__}"


def _wrong_metadata(given: object) -> str | None:
    if not isinstance(given, Mapping):
        return f"metadata updates are {type(given).__name__}, not a dict"
    try:
        freeze(given)
    except ValueError as error:
        return f"metadata updates: {error}"
    return None
