"""What turns cost in money, and the budgets that end them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from roomkit.abc.errors import InvalidInputError
from roomkit_plugins.ai.errors import BudgetError
from roomkit_plugins.ai.tokens import estimate_context_tokens, estimate_tokens

if TYPE_CHECKING:
    from roomkit.abc.ai import AIProvider
    from roomkit.abc.services import Services
    from roomkit.models.generation import AIContext
    from roomkit.models.room import Room
    from roomkit_plugins.ai.config import AIChannelConfig
    from roomkit_plugins.ai.prices import ModelPrice

__all__ = ["RoomCosts", "Spending", "check_prices", "cost_of", "cost_of_room", "spending_for"]

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
        """Return what was spent in a room."""
        return cost_of_room(await self._bound.rooms.read_room(room_id))

    async def add(self, room_id: str, cost: float) -> None:
        """Add to what was spent in a room."""
        await self._bound.rooms.change_state(
            room_id, lambda state: {**(state or {}), "cost": (state or {}).get("cost", 0.0) + cost}
        )

    @property
    def _bound(self) -> Services:
        if self._services is None:
            raise InvalidInputError(
                "max_room_cost needs a kit, which keeps what was spent: register the agent"
            )
        return self._services


class Spending:
    """What one turn spends. A budget is checked before each request, so that one request may exceed it.

    Tokens that a vendor did not count are estimated for the budgets; the cost of the turn is then not known.
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
        self._broken = 0.0
        self._is_known = True

    @property
    def cost(self) -> float | None:
        """What the turn cost so far; None if that is not known."""
        return self._spent if self._is_known else None

    async def check(self) -> None:
        """Raise BudgetError if nothing more may be spent."""
        if self._max_turn is not None and self._spent >= self._max_turn:
            raise BudgetError(
                f"the turn in room {self._room_id!r} has spent {self._spent:.6g} of max_turn_cost "
                f"{self._max_turn:g}; raise it, or give the agent less to do"
            )
        if self._max_room is None:
            return
        total = await self._room_costs.total(self._room_id)
        if total >= self._max_room:
            raise BudgetError(
                f"room {self._room_id!r} has spent {total:.6g} of max_room_cost {self._max_room:g}; raise it"
            )

    async def add(
        self, provider: AIProvider, request: AIContext, usage: Mapping[str, int], text: str
    ) -> None:
        """Count a request that was answered with `text`."""
        price = self._prices.get(provider.model_name)
        cost = cost_of(usage, price)
        if cost is None:
            self._is_known = False
            cost = 0.0 if price is None else _estimate(price, request, text)
        await self._pay(cost)

    def broke(self, provider: AIProvider, request: AIContext, text: str) -> None:
        """Count a request whose answer broke off after `text`; the vendor did not say what it cost."""
        self._is_known = False
        if (price := self._prices.get(provider.model_name)) is not None:
            self._broken += _estimate(price, request, text)

    async def _pay(self, cost: float) -> None:
        cost, self._broken = cost + self._broken, 0.0
        self._spent += cost
        if self._max_room is not None:
            await self._room_costs.add(self._room_id, cost)


def spending_for(options: AIChannelConfig, room_id: str, room_costs: RoomCosts) -> Spending:
    """Return what a turn with these options is to spend."""
    return Spending(
        options.prices,
        room_id=room_id,
        max_turn=options.max_turn_cost,
        max_room=options.max_room_cost,
        room_costs=room_costs,
    )


def _estimate(price: ModelPrice, request: AIContext, text: str) -> float:
    tokens = {"input_tokens": estimate_context_tokens(request), "output_tokens": estimate_tokens(text)}
    return cost_of(tokens, price) or 0.0
