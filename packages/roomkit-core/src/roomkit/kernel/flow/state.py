"""A room's state: what plugins and the program keep with it, each under a namespace of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import InvalidInputError
from roomkit.models.base import FrozenDict, Json, freeze
from roomkit.models.channel import LONGEST_BINDING_STATE
from roomkit.models.hook import StateChange
from roomkit.models.values import is_key

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding

__all__ = [
    "BindingStateChange",
    "changed_state",
    "check_namespace",
    "is_decision",
    "with_binding_state",
    "without_derived",
]

type BindingStateChange = Mapping[str, Any] | Callable[[Json], Mapping[str, Any]]
"""Keys merged into a binding's state, or a function from the former state to the new one."""

_LONGEST = 16 * 1024
_LONGEST_OF_ROOM = 64 * 1024
_KERNEL = "core"
_DERIVED = "derived"


def is_decision(change: StateChange) -> bool:
    """Return whether a change is a value, decided on the state that its author saw, not a function."""
    return not callable(change)


def changed_state(room_id: str, state: Json, changes: Iterable[tuple[str, StateChange]]) -> Json:
    """Return a room's state after some changes, each made to the outcome of those before.

    Raises InvalidInputError for a namespace that is refused, and for what cannot be stored; and what a
    function raises.
    """
    after: dict[str, Any] = dict(state)
    for namespace, change in changes:
        check_namespace(namespace)
        made = change(after.get(namespace)) if callable(change) else change
        if made is None:
            after.pop(namespace, None)
        else:
            where = f"the state of {namespace!r} in room {room_id!r}"
            after[namespace] = _bounded(where, made, _LONGEST)
    if (size := len(json.dumps(after))) > _LONGEST_OF_ROOM:
        raise InvalidInputError(
            f"the state of room {room_id!r} has {size} bytes as JSON, {_LONGEST_OF_ROOM} are the most: "
            "keep large data in values"
        )
    return FrozenDict(after)


def without_derived(state: Json) -> Json:
    """Return a room's state without what its namespaces keep under `derived`: it goes with an erasure."""
    after: Json = freeze(
        {
            name: {key: each for key, each in kept.items() if key != _DERIVED}
            if isinstance(kept, Mapping)
            else kept
            for name, kept in state.items()
        }
    )
    return after


def check_namespace(namespace: str) -> None:
    """Raise InvalidInputError for a namespace that is empty, that no store can hold, or the kernel's own."""
    if not (namespace and is_key(namespace)):
        raise InvalidInputError(f"{namespace!r} is not a namespace: give the name of a plugin, or 'app'")
    if namespace.partition(".")[0] == _KERNEL:
        raise InvalidInputError(
            f"the namespace {namespace!r} is the kernel's: keep state and values under one of your own"
        )


def with_binding_state(binding: ChannelBinding, state: Mapping[str, Any]) -> ChannelBinding:
    """Return a binding with another state. Raises InvalidInputError for one that cannot be stored."""
    where = f"the state of channel {binding.channel_id!r} in room {binding.room_id!r}"
    return binding.replace(state=_bounded(where, state, LONGEST_BINDING_STATE))


def _bounded(where: str, made: object, most: int) -> Any:
    if not isinstance(made, Mapping):
        raise InvalidInputError(f"{where} would be {type(made).__name__}: give a JSON object, or None")
    try:
        frozen = freeze(made)
        size = len(json.dumps(frozen))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{where} cannot be stored: {error}; nothing was stored") from error
    if size > most:
        raise InvalidInputError(
            f"{where} has {size} bytes as JSON, {most} are the most: keep ids in it, and the rest in values"
        )
    return frozen
