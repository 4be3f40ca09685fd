"""What turns cost in money, and the budgets that end them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from roomkit.abc.errors import InvalidInputError, RoomClosedError, RoomNotFoundError
from roomkit_plugins.ai.errors import BudgetError
from roomkit_plugins.ai.tokens import estimate_context_tokens, estimate_tokens

if TYPE_CHECKING:
    from roomkit.abc.ai import AIProvider
    from roomkit.abc.memory import MemoryRequest
    from roomkit.abc.services import Services
    from roomkit.models.generation import AIContext, AIResponse
    from roomkit.models.room import Room
    from roomkit_plugins.ai.config import AIChannelConfig
    from roomkit_plugins.ai.prices import ModelPrice

__all__ = ["RoomCosts", "Spending", "check_prices", "cost_of", "cost_of_room", "spending_for"]

type _Begun = tuple[AIProvider, AIContext, Callable[[], str]]

_NAMESPACE = "ai"
_MILLION = 1_000_000


def cost_of(usage: Mapping[str, int], price: ModelPrice | None) -> float | None:
    """Return what a request cost; None if its price, or a number of tokens that has one, is not known."""
    if price is None or "input_tokens" not in usage or "output_tokens" not in usage:
        return None
    cost = usage["input_tokens"] * price.input + usage["output_tokens"] * price.output
    for key, rate in (
        ("cache_read_input_tokens", price.cache_read),
        ("cache_creation_input_tokens", price.cache_write),
    ):
        if tokens := usage.get(key):
            if rate is None:
                return None
            cost += tokens * rate
    return cost / _MILLION


def cost_of_room(room: Room) -> float:
    """Return what agents with a `max_room_cost` have spent in a room so far."""
    spent = (room.state.get(_NAMESPACE) or {}).get("cost", 0.0)
    return float(spent) if isinstance(spent, int | float) else 0.0


def check_prices(channel_id: str, prices: Mapping[str, ModelPrice], *providers: AIProvider) -> None:
    """Check that each model of an agent with a budget has a price. Raises InvalidInputError."""
    for provider in providers:
        if provider.model_name not in prices:
            raise InvalidInputError(
                f"{channel_id!r} has a budget, and the price of {provider.model_name!r} is not known, which "
                f"is not zero; add it: prices={{{provider.model_name!r}: ModelPrice(input=..., output=...)}}"
            )


class RoomCosts:
    """What all agents spend in rooms, kept with each room."""

    def __init__(self) -> None:
        self._services: Services | None = None

    def bind(self, services: Services) -> None:
        """Take the services of the agent's kit."""
        self._services = services

    async def total(self, room_id: str) -> float:
        """Return the cost of a room so far."""
        return cost_of_room(await self._bound.rooms.read_room(room_id))

    def add_later(self, room_id: str, cost: float) -> None:
        """Add to the spending of a room, beside a turn that ends."""
        self._bound.tasks.spawn(self._add_if_there(room_id, cost), name=f"the cost of a turn in {room_id}")

    async def _add_if_there(self, room_id: str, cost: float) -> None:
        with suppress(RoomClosedError, RoomNotFoundError):  # it has no further turn
            await self.add(room_id, cost)

    async def add(self, room_id: str, cost: float) -> None:
        """Add to the cost of a room."""
        await self._bound.rooms.change_state(
            room_id, lambda state: {**(state or {}), "cost": (state or {}).get("cost", 0.0) + cost}
        )

    @property
    def _bound(self) -> Services:
        if self._services is None:
            raise InvalidInputError("max_room_cost needs a kit, which stores the costs: register the agent")
        return self._services


class Spending:
    """What one turn spends. A budget is checked before each request, so that one request may exceed it.

    Tokens that a vendor did not count, such as those of an answer that was interrupted, are estimated for
    the budgets; the cost of the turn is then not known.
    """

    def __init__(
        self,
        prices: Mapping[str, ModelPrice],
        *,
        room_id: str,
        max_turn: float | None,
        max_room: float | None,
        room_costs: RoomCosts,
    ) -> None:
        self._prices = prices
        self._room_id = room_id
        self._max_turn = max_turn
        self._max_room = max_room
        self._room_costs = room_costs
        self._spent = 0.0
        self._unpaid = 0.0
        self._under_way: _Begun | None = None
        self._is_known = True

    @property
    def cost(self) -> float | None:
        """What the turn cost so far; None if that is not known."""
        return self._spent if self._is_known and self._under_way is None else None

    async def exceeded(self) -> BudgetError | None:
        """Return the error of a turn that may spend nothing more; None while it may."""
        if self._max_turn is not None and self._spent >= self._max_turn:
            return BudgetError(
                f"the turn in room {self._room_id!r} has spent {self._spent:.6g} of max_turn_cost "
                f"{self._max_turn:g}; raise it, or give the agent less to do"
            )
        if self._max_room is None:
            return None
        total = await self._room_costs.total(self._room_id)
        if total < self._max_room:
            return None
        return BudgetError(
            f"room {self._room_id!r} has spent {total:.6g} of max_room_cost {self._max_room:g}; raise it"
        )

    async def check(self) -> None:
        """Raise BudgetError if nothing more may be spent."""
        if (error := await self.exceeded()) is not None:
            raise error

    def begin(self, provider: AIProvider, request: AIContext, text: Callable[[], str]) -> None:
        """Note that a request is being answered; `text` returns the answer so far."""
        self._under_way = provider, request, text

    async def add(self, usage: Mapping[str, int]) -> None:
        """Count the request that was answered."""
        if self._under_way is None:
            return
        (provider, request, text), self._under_way = self._under_way, None
        price = self._prices.get(provider.model_name)
        cost = cost_of(usage, price)
        if cost is None:
            self._is_known = False
            cost = 0.0 if price is None else _estimate(price, request, text())
        unpaid, self._unpaid = self._unpaid + cost, 0.0
        self._spent += cost
        if self._max_room is not None:
            await self._room_costs.add(self._room_id, unpaid)

    async def add_all(self, requests: Iterable[MemoryRequest]) -> None:
        """Count requests that the turn's memory has made."""
        for each in requests:
            self.begin(each.provider, each.context, partial(_said, each.response))
            await self.add(each.response.usage)

    def break_off(self) -> None:
        """Count the request under way, if there is one: the vendor will not say what it cost."""
        if self._under_way is None:
            return
        (provider, request, text), self._under_way = self._under_way, None
        self._is_known = False
        if (price := self._prices.get(provider.model_name)) is not None:
            cost = _estimate(price, request, text())
            self._spent += cost
            self._unpaid += cost

    def close(self) -> None:
        """End the turn: what the room has not yet counted is counted, however the turn ended."""
        self.break_off()
        if self._unpaid and self._max_room is not None:
            self._room_costs.add_later(self._room_id, self._unpaid)
        self._unpaid = 0.0


def spending_for(options: AIChannelConfig, room_id: str, room_costs: RoomCosts) -> Spending:
    """Return what a turn with these options is to spend."""
    return Spending(
        options.prices,
        room_id=room_id,
        max_turn=options.max_turn_cost,
        max_room=options.max_room_cost,
        room_costs=room_costs,
    )


def _said(response: AIResponse) -> str:
    return response.content or ""


def _estimate(price: ModelPrice, request: AIContext, text: str) -> float:
    tokens = {"input_tokens": estimate_context_tokens(request), "output_tokens": estimate_tokens(text)}
    return cost_of(tokens, price) or 0.0
