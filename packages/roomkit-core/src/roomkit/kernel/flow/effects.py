"""What a gate or an agent's turn leaves behind besides words, checked where it is handed in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from roomkit.abc.errors import InvalidInputError
from roomkit.abc.records import checked
from roomkit.kernel.flow.state import changed_state, check_namespace
from roomkit.kernel.flow.timers import GIVEN
from roomkit.models.base import Record, freeze
from roomkit.models.task import Observation, Task
from roomkit.models.timer import Timer
from roomkit.models.value import Value
from roomkit.models.values import error_text

if TYPE_CHECKING:
    from roomkit.models.context import RoomContext
    from roomkit.models.hook import HookResult

__all__ = ["wrong_effect", "wrong_keeping"]


def wrong_effect(tasks: object, observations: object, metadata: object = None) -> str | None:
    """Return why effects can be stored by no store, None if nothing is wrong with them."""
    return (
        _wrong_record("tasks", tasks, Task)
        or _wrong_record("observations", observations, Observation)
        or (None if metadata is None else _wrong_metadata(metadata))
    )


def wrong_keeping(result: HookResult, context: RoomContext) -> str | None:
    """Return why the state, values and timers of a gate cannot be stored; functions are tried out for it."""
    wrong = _wrong_record("values", result.values, Value) or _wrong_record("timers", result.timers, Timer)
    if wrong is not None:
        return wrong
    try:
        for value in result.values:
            check_namespace(value.namespace)
        for timer in result.timers:
            _check_timer(timer, context.room_id)
        if result.state:
            changed_state(context.room_id, context.room.state, dict(result.state).items())
    except Exception as error:  # noqa: BLE001  # a function of a gate may raise anything: the gate failed
        return f"state, values and timers: {error_text(error)}"
    return None


def _check_timer(timer: Timer, room_id: str) -> None:
    if timer.room_id not in (None, room_id):
        raise InvalidInputError(
            f"timer {timer.id!r} is of room {timer.room_id!r}: a gate sets timers of its own room or of none"
        )
    if GIVEN not in timer.data or "." not in timer.kind:
        raise InvalidInputError(
            f"timer {timer.id!r} of kind {timer.kind!r} has no owner whose handler could fire it: "
            "make it with services.timers.make"
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
