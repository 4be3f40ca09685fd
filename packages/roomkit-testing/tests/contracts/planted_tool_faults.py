"""Tool providers with faults, and the tests of their contract that must find each.

Not collected: `test_planted_faults.py` runs it in a process of its own.
"""

from __future__ import annotations

import asyncio
from typing import Any

from planting import planted

from roomkit.abc.tools import ProvidedTool, ToolOffer, ToolProvider
from roomkit.models.ai import AITool
from roomkit.models.room import Room
from roomkit_plugins.testing.contracts import ToolProviderContract


async def _answer(name: str, arguments: dict[str, Any]) -> str:
    return "done"


def _tool(name: str, **options: Any) -> ProvidedTool:
    parameters = options.pop("parameters", {"type": "object"})
    return ProvidedTool(AITool(name=name, parameters=parameters), _answer, **options)


class Sound(ToolProvider):
    """Offers one tool, and has no fault of its own."""

    async def offer(self, room: Room) -> ToolOffer:
        return ToolOffer([_tool("look")])


@planted(ToolProviderContract, "test_it_offers_tools_that_any_model_can_be_shown")
class OffersOneNameTwice(Sound):
    async def offer(self, room: Room) -> ToolOffer:
        return ToolOffer([_tool("look"), _tool("look")])


@planted(ToolProviderContract, "test_it_offers_tools_that_any_model_can_be_shown")
class OffersAList(Sound):
    async def offer(self, room: Room) -> ToolOffer:
        return ToolOffer([_tool("look", parameters={"type": "array"})])


@planted(ToolProviderContract, "test_what_it_withholds_says_how_to_get_it")
class WithholdsItsOwnKey(Sound):
    async def offer(self, room: Room) -> ToolOffer:
        return ToolOffer([_tool("open", changes_offer=True)], withheld={"*": "call open first"})


@planted(ToolProviderContract, "test_rooms_do_not_mix", "test_an_offer_is_the_same_until_something_changes")
class KeepsRoomsOnItself(Sound):
    def __init__(self) -> None:
        self.rooms: list[str] = []

    async def offer(self, room: Room) -> ToolOffer:
        self.rooms.append(room.id)
        return ToolOffer([_tool("look")], [f"Rooms: {self.rooms}"])


@planted(ToolProviderContract, "test_it_works_unstarted_and_after_closing")
class IsOfNoUseOnceClosed(Sound):
    closed = False

    async def offer(self, room: Room) -> ToolOffer:
        return ToolOffer() if self.closed else await super().offer(room)

    async def close(self) -> None:
        self.closed = True


@planted(ToolProviderContract, "test_a_cancelled_turn_does_not_spoil_the_next")
class IsSpoiltByACancelledTurn(Sound):
    spoilt = False

    async def offer(self, room: Room) -> ToolOffer:
        if self.spoilt:
            return ToolOffer()
        self.spoilt = True
        await asyncio.sleep(0)
        self.spoilt = False
        return await super().offer(room)


@planted(ToolProviderContract, "test_nothing_leaks")
class LeavesTasks(Sound):
    _tasks: list[asyncio.Task[bool]] = []  # noqa: RUF012 - planted

    async def offer(self, room: Room) -> ToolOffer:
        self._tasks.append(asyncio.create_task(asyncio.Event().wait()))
        return await super().offer(room)
