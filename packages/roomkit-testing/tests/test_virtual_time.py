"""The virtual-time loop."""

from __future__ import annotations

import asyncio
import itertools
import time
from datetime import UTC, datetime, timedelta

import pytest

from roomkit_plugins.testing.virtual_time import DeadlockError, VirtualClock, VirtualTimeLoop, run_virtual


@pytest.mark.virtual_time
async def test_an_hour_of_sleep_takes_milliseconds() -> None:
    """The loop's clock moves an hour; the real one hardly moves, even on a busy machine."""
    began = time.perf_counter()
    await asyncio.sleep(3600)
    assert asyncio.get_running_loop().time() == 3600
    assert time.perf_counter() - began < 30


async def test_an_unmarked_test_has_a_real_loop() -> None:
    assert not isinstance(asyncio.get_running_loop(), VirtualTimeLoop)


@pytest.mark.virtual_time
async def test_timers_fire_in_order_and_those_of_one_instant_first_come_first_served() -> None:
    """However many timers share an instant, they run as they were scheduled."""
    seen: list[int] = []
    loop = asyncio.get_running_loop()
    for number in range(100):
        loop.call_later(5 if number % 2 else 3, seen.append, number)
    await asyncio.sleep(5)
    assert seen == [*range(0, 100, 2), *range(1, 100, 2)]


def test_two_runs_are_the_same() -> None:
    """The order of a thousand interleaved steps depends on nothing but the program."""

    async def main() -> list[tuple[int, float]]:
        steps: list[tuple[int, float]] = []

        async def walk(number: int) -> None:
            for step in range(10):
                await asyncio.sleep((number * 7 + step * 3) % 11 / 10)  # virtual time
                steps.append((number, asyncio.get_running_loop().time()))

        await asyncio.gather(*map(walk, range(100)))
        return steps

    assert run_virtual(main()) == run_virtual(main())


@pytest.mark.virtual_time
async def test_a_timeout_fires_when_its_time_has_come() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(30):
            await asyncio.sleep(31)
    assert asyncio.get_running_loop().time() == 30


@pytest.mark.virtual_time
async def test_the_clock_follows_the_loop(virtual_clock: VirtualClock) -> None:
    began = virtual_clock.now()
    assert began == datetime(2030, 1, 1, tzinfo=UTC)
    await asyncio.sleep(90)
    assert virtual_clock.now() - began == timedelta(seconds=90)
    assert virtual_clock.monotonic() == 90


def test_a_deadlock_names_the_pending_tasks_and_where_they_wait() -> None:
    async def wait_for_godot(event: asyncio.Event) -> None:
        await event.wait()

    async def main() -> None:
        event = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(wait_for_godot(event), name="vladimir")
            group.create_task(wait_for_godot(event), name="estragon")

    with pytest.raises(DeadlockError, match=r"nothing is runnable.*'estragon'.*wait_for_godot.*'vladimir'"):
        run_virtual(main())


def test_a_treadmill_of_timers_is_found_out() -> None:
    """A heartbeat does not hide that everything else is stuck."""

    async def main() -> None:
        async def heartbeat() -> None:
            for _ in itertools.count():
                await asyncio.sleep(60)  # virtual time

        async with asyncio.TaskGroup() as group:
            group.create_task(heartbeat(), name="heartbeat")
            await asyncio.Event().wait()

    with pytest.raises(DeadlockError, match=r"only timers still fire.*'heartbeat'"):
        run_virtual(main(), horizon=3600)


@pytest.mark.virtual_time
async def test_time_stands_still_while_a_thread_works() -> None:
    """A thread's real work is not overtaken by a virtual timeout."""
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(1):
        assert await asyncio.to_thread(sum, range(200_000)) == 19999900000
    assert asyncio.get_running_loop().time() == began


@pytest.mark.virtual_time
async def test_sockets_of_one_process_are_served_before_time_jumps() -> None:
    """A server and its client talk over a real socket; a timeout between them does not fire."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for _ in range(2):
            writer.write(b"hello\n")
        async with asyncio.timeout(1):
            assert await reader.readline() == b"hello\n"
        writer.close()
        await writer.wait_closed()


@pytest.mark.virtual_time(io_patience=5.0)
async def test_another_process_gets_the_patience_it_was_promised() -> None:
    """With `io_patience`, a reply from outside arrives before a virtual timeout."""
    async with asyncio.timeout(3600):
        process = await asyncio.create_subprocess_exec("echo", "from outside", stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
    assert out == b"from outside\n"


def test_sockets_nobody_serves_are_a_deadlock_too() -> None:
    """An open socket is waited for, but not for ever."""

    async def main() -> None:
        async with await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0) as server:
            await server.serve_forever()

    with pytest.raises(DeadlockError, match="no I/O came"):
        run_virtual(main(), io_limit=0.01)


@pytest.mark.parametrize("years", [1, 10, 100, 100_000])
@pytest.mark.timeout(20)
def test_time_goes_on_however_late_it_is(years: int) -> None:
    """Where a nanosecond is less than the next number that a float can hold, timers still fire, in order."""
    year = 365 * 86_400.0

    async def main() -> list[str]:
        seen: list[str] = []
        loop = asyncio.get_running_loop()
        await asyncio.sleep(years * year)  # virtual time
        loop.call_later(0.5, seen.append, "second")
        loop.call_later(0.25, seen.append, "first")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.sleep(2)  # virtual time
        return seen

    assert run_virtual(main(), horizon=2 * years * year) == ["first", "second"]
