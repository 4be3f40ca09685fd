"""When a line connects, and how long its orders wait for that: in virtual time, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import asyncpg  # type: ignore[import-untyped]  # it has no py.typed
import pytest

from roomkit.abc.errors import StoreAccessError, StoreError, StoreUnavailableError
from roomkit_plugins.postgres import line as module
from roomkit_plugins.postgres.line import Connection, Line, Order

from .conftest import configured

pytestmark = pytest.mark.virtual_time

PATIENCE = 0.5


class _Server:
    """Takes `seconds` for a connection, or refuses it with `refusal`."""

    def __init__(self) -> None:
        self.seconds = 0.001
        self.refusal: Exception | None = None
        self.attempts: list[float] = []

    async def connect(self, *args: object, **options: object) -> _Session:
        self.attempts.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.seconds)
        if self.refusal is not None:
            raise self.refusal
        return _Session()


class _Session:
    def add_termination_listener(self, listener: Callable[[object], None]) -> None: ...

    def remove_termination_listener(self, listener: Callable[[object], None]) -> None: ...

    def terminate(self) -> None: ...

    async def close(self, timeout: float) -> None: ...


class _Crew:
    is_on_duty = False

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.performed = 0

    async def prepare(self, connection: Connection, mark: str) -> None: ...

    async def prove(self, connection: Connection) -> None: ...

    async def perform(self, connection: Connection, orders: Sequence[Order]) -> None:
        if self.failures:
            raise self.failures.pop()
        for order in orders:
            self.performed += 1
            order.outcome.set_result(1)

    def lost(self, error: StoreError) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> _Server:
    server = _Server()
    monkeypatch.setattr(module, "connect", server.connect)
    return server


@pytest.fixture
def crew() -> _Crew:
    return _Crew()


@pytest.fixture
async def line(server: _Server, crew: _Crew) -> AsyncIterator[Line[Order]]:
    line: Line[Order] = Line(configured("postgresql://host/db", acquire_timeout=PATIENCE), "the line", crew)
    yield line
    await line.close()


async def done(line: Line[Order], *, is_repeatable: bool = False) -> float:
    """Have an order done; return how long that took."""
    begin = asyncio.get_running_loop().time()
    order = Order(is_repeatable=is_repeatable)
    line.submit(order)
    try:
        await order.outcome
    finally:
        took = asyncio.get_running_loop().time() - begin
        assert took < PATIENCE + 0.01
    return took


async def test_an_attempt_outlives_the_orders_that_wait_for_it(line: Line[Order], server: _Server) -> None:
    server.seconds = 3 * PATIENCE
    for _ in range(3):
        with pytest.raises(StoreUnavailableError, match="in time"):
            await done(line)
    await asyncio.sleep(0.01)
    assert await done(line) < 0.01
    assert len(server.attempts) == 1


@pytest.mark.parametrize("is_on_duty", [False, True])
async def test_an_order_sees_several_attempts_however_long_the_server_was_away(
    line: Line[Order], server: _Server, crew: _Crew, is_on_duty: bool
) -> None:
    crew.is_on_duty = is_on_duty
    server.refusal, server.seconds = ConnectionRefusedError(), 0.06
    for _ in range(20):
        with pytest.raises(StoreUnavailableError, match="can be reached"):
            await done(line)
    seen = len(server.attempts)
    with pytest.raises(StoreUnavailableError):
        await done(line)
    assert 2 <= len(server.attempts) - seen <= 4
    server.refusal = None
    assert await done(line) < PATIENCE / 2


async def test_a_line_without_orders_goes_on_trying_only_while_on_duty(
    line: Line[Order], server: _Server, crew: _Crew
) -> None:
    server.refusal = ConnectionRefusedError()
    with pytest.raises(StoreUnavailableError):
        await done(line)
    await asyncio.sleep(PATIENCE)
    seen = len(server.attempts)
    await asyncio.sleep(60)
    assert len(server.attempts) == seen
    crew.is_on_duty = True
    line.wake()
    await asyncio.sleep(60)
    assert len(server.attempts) > seen + 50


async def test_what_does_not_pass_by_itself_fails_at_once(line: Line[Order], server: _Server) -> None:
    server.refusal = StoreAccessError("wrong password")
    for _ in range(3):
        with pytest.raises(StoreAccessError):
            assert await done(line) < PATIENCE / 2


async def test_an_order_that_was_under_way_when_the_connection_broke_has_time_for_the_next(
    line: Line[Order], server: _Server, crew: _Crew
) -> None:
    await done(line)
    order = Order(is_repeatable=True)
    perform = crew.perform

    async def slow(connection: Connection, orders: Sequence[Order]) -> None:
        crew.perform = perform  # type: ignore[method-assign]
        await asyncio.sleep(2 * PATIENCE)
        raise ConnectionResetError

    crew.perform = slow  # type: ignore[method-assign]
    server.seconds = PATIENCE / 8
    line.submit(order)
    assert await order.outcome == 1


async def test_orders_of_a_broken_connection_are_repeated_before_later_ones(
    line: Line[Order], crew: _Crew
) -> None:
    """In the order of their submission, however long they were under way."""
    await done(line)
    perform, performed = crew.perform, list[Order]()

    async def breaks(connection: Connection, orders: Sequence[Order]) -> None:
        crew.perform = noted  # type: ignore[method-assign]
        orders[0].outcome.set_result(1)
        line.submit(later)
        await asyncio.sleep(2 * PATIENCE)
        raise ConnectionResetError

    async def noted(connection: Connection, orders: Sequence[Order]) -> None:
        performed.extend(orders)
        await perform(connection, orders)

    crew.perform = breaks  # type: ignore[method-assign]
    orders = [Order(is_repeatable=True) for _ in range(3)]
    later = Order(is_repeatable=False)
    for order in orders:
        line.submit(order)
    assert await asyncio.gather(*(each.outcome for each in (*orders, later))) == [1] * 4
    assert performed == [*orders[1:], later]


async def test_an_order_that_fails_on_each_connection_is_not_repeated_for_ever(
    server: _Server, crew: _Crew
) -> None:
    line: Line[Order] = Line(configured("postgresql://host/db", acquire_timeout=8.0), "the line", crew)
    crew.failures += [asyncpg.InsufficientPrivilegeError("permission denied") for _ in range(1000)]
    order = Order(is_repeatable=True)
    line.submit(order)
    async with asyncio.timeout(8.0):
        with pytest.raises(StoreAccessError, match="too few rights"):
            await order.outcome
    assert len(server.attempts) <= 5
    crew.failures.clear()
    line.submit(later := Order(is_repeatable=False))
    assert await later.outcome == 1
    await line.close()


async def test_an_order_that_cannot_be_repeated_fails_with_its_connection(
    line: Line[Order], crew: _Crew
) -> None:
    await done(line)
    crew.failures.append(ConnectionResetError())
    with pytest.raises(StoreUnavailableError):
        await done(line)
    assert await done(line) < 0.1
    assert crew.performed == 2
