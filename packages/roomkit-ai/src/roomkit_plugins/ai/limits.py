"""The common limits of an answer's channels, and the line that informs the model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from roomkit.models.channel import ChannelCapabilities
from roomkit.models.enums import ChannelCategory
from roomkit.models.visibility import admits, narrowest

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent

__all__ = ["audience", "common_capabilities", "limits_line"]

WORTH_SAYING = 4000
"""A length limit above this many characters is not worth mentioning."""


def audience(
    bindings: Iterable[ChannelBinding], event: RoomEvent, agent: ChannelBinding
) -> list[ChannelCapabilities]:
    """Return what each transport carries that will see the agent's answer to `event`."""
    visibility = narrowest(agent.visibility, event.response_visibility or "all")
    return [
        one.capabilities
        for one in bindings
        if one.category is ChannelCategory.TRANSPORT
        and one.channel_id != agent.channel_id
        and one.can_read
        and admits(visibility, one.channel_id, one.category)
    ]


def common_capabilities(each: Sequence[ChannelCapabilities]) -> ChannelCapabilities | None:
    """Return what all of them carry: flags ANDed, limits at their minimum, lists intersected."""
    if len({id(one) for one in each}) < 2:
        return each[0] if each else None
    return _common_of(tuple(each))


@lru_cache(maxsize=256)
def _common_of(each: tuple[ChannelCapabilities, ...]) -> ChannelCapabilities:
    common = {name: _common([getattr(one, name) for one in each]) for name in _FIELDS}
    return each[0].replace(**common)


def limits_line(common: ChannelCapabilities | None) -> str | None:
    """Return one line of instructions, None when nothing limits an answer."""
    if common is None:
        return None
    limits = []
    if not common.supports_rich_text:
        limits.append("plain text without Markdown or HTML")
    if common.max_length is not None and common.max_length <= WORTH_SAYING:
        limits.append(f"at most {common.max_length} characters")
    return f"Your answer is delivered as text that must be {' and '.join(limits)}." if limits else None


_FIELDS = [name for name in ChannelCapabilities.model_fields if name not in ("delivery_mode", "custom")]


def _common(values: Sequence[object]) -> object:
    first = values[0]
    if isinstance(first, bool):
        return all(values)
    if isinstance(first, tuple):
        return tuple(item for item in first if all(item in _sequence(one) for one in values))
    return min((value for value in values if isinstance(value, int)), default=None)


def _sequence(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else ()
