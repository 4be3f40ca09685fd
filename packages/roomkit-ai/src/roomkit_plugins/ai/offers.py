"""What an agent's tool providers bring to a turn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from roomkit.abc.attributes import mistyped
from roomkit.abc.log import get_logger
from roomkit.abc.tools import ToolOffer

if TYPE_CHECKING:
    from roomkit.abc.tools import ToolProvider
    from roomkit.models.room import Room

__all__ = ["offers_for"]

logger = get_logger("roomkit.ai")


async def offers_for(
    providers: Sequence[ToolProvider], room: Room, *, channel_id: str, seconds: float | None
) -> ToolOffer:
    """Return what the providers bring to a turn, in their order; a provider that fails brings nothing."""
    asked = (_offer(each, room, channel_id=channel_id, seconds=seconds) for each in providers)
    return _joined(await asyncio.gather(*asked))


def _joined(offers: Iterable[ToolOffer]) -> ToolOffer:
    every = [*offers]
    return ToolOffer(
        [tool for each in every for tool in each.tools],
        [text for each in every for text in each.instructions],
        {glob: way for each in every for glob, way in each.withheld.items()},
        [glob for each in every for glob in each.granted],
    )


async def _offer(provider: ToolProvider, room: Room, *, channel_id: str, seconds: float | None) -> ToolOffer:
    try:
        async with asyncio.timeout(seconds or None):
            offer = await provider.offer(room)
        if not isinstance(offer, ToolOffer):
            raise mistyped(f"tool provider {provider.name!r}", "what offer() returned", offer, ToolOffer)
        return offer
    except Exception as error:  # noqa: BLE001 - without its tools the agent can answer all the same
        logger.warning(
            "the tools of %r are not offered to %s in this turn: %s",
            type(provider).__name__,
            channel_id,
            str(error) or type(error).__name__,
        )
        return ToolOffer()
