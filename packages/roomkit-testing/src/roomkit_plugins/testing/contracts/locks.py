"""The contract suite of room locks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest

from roomkit.abc.locks import RoomLockManager
from roomkit.models.base import new_id
from roomkit_plugins.testing.cancellation import Cancellation, cancel_at_every_await
from roomkit_plugins.testing.contracts.base import ContractSuite, make
from roomkit_plugins.testing.leaks import assert_nothing_leaks

__all__ = ["RoomLockManagerContract"]

PATIENCE = 10.0
SILENCE = 15.0
"""Seconds after which a connection without a sign of life has been replaced."""


class RoomLockManagerContract(ContractSuite):
    """Mutual exclusion per room, in order of arrival, whatever is cancelled while it waits.

    The factory's managers need not exclude each other, unless `is_process_local` is false: then two
    of them guard the same rooms. Where a lock can be lost, override `break_connection`.
    """

    @pytest.fixture
    def locks(self, subject: RoomLockManager) -> RoomLockManager:
        """Return the manager under test."""
        return subject

    @pytest.fixture
    def room(self) -> str:
        """Return the id of a room of the test's own."""
        return new_id()

    async def test_one_at_a_time_per_room(self, locks: RoomLockManager, room: str) -> None:
        """However many want in, one is in."""
        inside = 0
        most = 0

        async def enter() -> None:
            nonlocal inside, most
            async with locks.locked(room):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

        await asyncio.gather(*(enter() for _ in range(50)))
        assert (most, inside) == (1, 0)

    async def test_rooms_do_not_wait_for_each_other(self, locks: RoomLockManager, room: str) -> None:
        """Holding one room leaves all others free."""
        async with locks.locked(room), asyncio.timeout(PATIENCE):
            for _ in range(20):
                async with locks.locked(new_id()):
                    pass

    async def test_waiters_are_served_in_order_of_arrival(self, locks: RoomLockManager, room: str) -> None:
        served: list[int] = []

        async def enter(number: int) -> None:
            async with locks.locked(room):
                served.append(number)

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            async with locks.locked(room):
                for number in range(10):
                    group.create_task(enter(number))
                    await self.settle()
            async with locks.locked(room):
                served.append(10)
        assert served == list(range(11))

    async def test_turns_and_locks_are_served_one_at_a_time_in_order(
        self, locks: RoomLockManager, room: str
    ) -> None:
        """A room's turn excludes the holders of its lock, within the manager, and they exclude it."""
        served: list[int] = []

        async def enter(number: int) -> None:
            async with locks.turn(room) if number % 2 else locks.locked(room):
                served.append(number)
                await asyncio.sleep(0)

        async with asyncio.timeout(PATIENCE):
            for hold in (locks.locked, locks.turn):
                async with asyncio.TaskGroup() as group, hold(room):
                    for number in range(10):
                        group.create_task(enter(number))
                        await self.settle()
                    assert not served
                assert served == list(range(10))
                served.clear()

    async def test_a_turn_that_ends_or_is_cancelled_frees_the_room(
        self, locks: RoomLockManager, room: str
    ) -> None:
        """At whatever await its holder is cancelled, and after an exception inside."""

        async def hold() -> None:
            async with locks.turn(room):
                await asyncio.sleep(0)

        async def check(cancellation: Cancellation) -> None:
            await self.assert_free(locks, room)

        await cancel_at_every_await(hold, check)
        with pytest.raises(ZeroDivisionError):
            async with locks.turn(room):
                _ = 1 / 0
        await self.assert_free(locks, room)

    async def test_an_exception_inside_frees_the_lock(self, locks: RoomLockManager, room: str) -> None:
        with pytest.raises(ZeroDivisionError):
            async with locks.locked(room):
                _ = 1 / 0
        await self.assert_free(locks, room)

    async def test_a_manager_made_and_not_entered_holds_nothing(
        self, locks: RoomLockManager, room: str
    ) -> None:
        locks.locked(room)
        await self.assert_free(locks, room)

    async def test_cancelling_who_holds_the_lock_frees_it(self, locks: RoomLockManager, room: str) -> None:
        """At whatever await the holder is cancelled, acquiring and releasing included."""

        async def hold() -> None:
            async with locks.locked(room):
                await asyncio.sleep(0)

        async def check(cancellation: Cancellation) -> None:
            await self.assert_free(locks, room)

        await cancel_at_every_await(hold, check)

    async def test_cancelling_who_waits_leaves_the_lock_as_it_was(
        self, locks: RoomLockManager, room: str
    ) -> None:
        """The holder still excludes, and those behind the cancelled one still get their turn."""
        served: list[str] = []

        async def enter(name: str) -> None:
            async with locks.locked(room):
                served.append(name)

        async with asyncio.timeout(PATIENCE):
            async with locks.locked(room):
                waiting = [asyncio.create_task(enter(name)) for name in ("first", "second", "third")]
                await self.settle()
                waiting[1].cancel()
                await asyncio.wait([waiting[1]])
                assert not served
            await asyncio.gather(waiting[0], waiting[2])
        assert served == ["first", "third"]
        await self.assert_free(locks, room)

    async def test_a_turn_that_comes_with_the_cancellation_is_passed_on(
        self, locks: RoomLockManager, room: str
    ) -> None:
        """A waiter cancelled in the very moment of its turn does not take the lock to the grave."""

        async def hold_while_another_leaves() -> None:
            leaving = asyncio.create_task(hold_shortly())
            await self.settle()
            try:
                async with locks.locked(room):
                    pass
            finally:
                await leaving

        async def hold_shortly() -> None:
            async with locks.locked(room):
                await self.settle()

        async def check(cancellation: Cancellation) -> None:
            await self.assert_free(locks, room)

        await cancel_at_every_await(hold_while_another_leaves, check)

    async def test_a_storm_of_cancellations_loses_no_turn(self, locks: RoomLockManager, room: str) -> None:
        """Half the waiters are cancelled at different moments; the other half all get in, alone."""
        inside = 0
        served = 0

        async def enter() -> None:
            nonlocal inside, served
            async with locks.locked(room):
                inside += 1
                assert inside == 1
                try:
                    await asyncio.sleep(0)
                finally:
                    inside -= 1
                served += 1

        tasks = [asyncio.create_task(enter()) for _ in range(60)]
        for number, task in enumerate(tasks):
            if number % 2:
                await asyncio.sleep(0)
                task.cancel()
        async with asyncio.timeout(PATIENCE):
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        finished = ends.count(None)
        assert finished >= 30
        assert finished == served
        assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ends)
        await self.assert_free(locks, room)

    async def test_strange_room_ids_are_rooms_of_their_own(self, locks: RoomLockManager) -> None:
        """No two ids are one lock, however alike they look to a careless encoding."""
        ids = ["", " ", "room", "ROOM", "room ", "ro\x00om", "räum", "ra\u0308um", "r" * 10_000, "'; --"]
        prefix = new_id()
        async with asyncio.timeout(PATIENCE), AsyncExitStack() as stack:
            for room_id in ids:
                await stack.enter_async_context(locks.locked(prefix + room_id))

    async def test_a_lock_of_every_process_excludes_other_managers(
        self,
        locks: RoomLockManager,
        room: str,
        factory: Callable[[], RoomLockManager | Awaitable[RoomLockManager]],
    ) -> None:
        """`is_process_local` false means that another manager of the same kind waits."""
        if locks.is_process_local:
            pytest.skip("the lock is local to the process, and says so")
        other = await make(factory)
        served: list[str] = []

        async def enter() -> None:
            async with other.locked(room):
                served.append("other")

        async with asyncio.timeout(PATIENCE):
            async with locks.locked(room):
                waiting = asyncio.create_task(enter())
                await self.settle()
                assert not served
            await waiting
        await other.close()
        assert served == ["other"]

    async def test_the_token_never_falls(self, locks: RoomLockManager, room: str) -> None:
        """In turn and after waiting; or it is None, always, from locks that cannot be lost."""
        tokens: list[int | None] = []

        async def enter() -> None:
            async with locks.locked(room) as token:
                tokens.append(token)
                await asyncio.sleep(0)

        async with asyncio.timeout(PATIENCE):
            for _ in range(5):
                await enter()
            await asyncio.gather(*(enter() for _ in range(20)))
        assert_never_falling(tokens)

    async def test_the_token_rises_over_managers(
        self,
        locks: RoomLockManager,
        room: str,
        factory: Callable[[], RoomLockManager | Awaitable[RoomLockManager]],
    ) -> None:
        if locks.is_process_local:
            pytest.skip("the lock is local to the process, and says so")
        tokens: list[int | None] = []
        async with asyncio.timeout(PATIENCE):
            for _ in range(3):
                other = await make(factory)
                for manager in (other, locks, other):
                    async with manager.locked(room) as token:
                        tokens.append(token)
                await other.close()
        assert_rising(tokens)

    async def test_a_room_that_one_manager_uses_goes_to_another_that_asks(
        self,
        locks: RoomLockManager,
        room: str,
        factory: Callable[[], RoomLockManager | Awaitable[RoomLockManager]],
    ) -> None:
        """And back again; the token rises each time that it changes hands."""
        other = await self.other_or_skip(locks, factory)
        async with asyncio.timeout(PATIENCE):
            tokens = [(await self.use(manager, room))[-1] for manager in (locks, other, locks)]
        await other.close()
        assert_rising(tokens)

    async def test_a_room_in_use_all_the_time_is_yielded_between_two_holders(
        self,
        locks: RoomLockManager,
        room: str,
        factory: Callable[[], RoomLockManager | Awaitable[RoomLockManager]],
    ) -> None:
        """Tasks of one manager follow one another without a pause; another manager gets its turns."""
        other = await self.other_or_skip(locks, factory)
        inside, is_over = 0, False

        async def hammer() -> None:
            while not is_over:
                await enter(locks)

        async def enter(manager: RoomLockManager) -> None:
            nonlocal inside
            async with manager.locked(room):
                inside += 1
                assert inside == 1
                await asyncio.sleep(0)
                inside -= 1

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            await self.use(locks, room)
            for _ in range(3):
                group.create_task(hammer())
            for _ in range(3):
                await enter(other)
            is_over = True
        await other.close()

    async def test_a_thousand_rooms_go_to_another_manager_that_asks(
        self,
        locks: RoomLockManager,
        room: str,
        factory: Callable[[], RoomLockManager | Awaitable[RoomLockManager]],
    ) -> None:
        """All of them at once, after their first manager has used them again and again."""
        other = await self.other_or_skip(locks, factory)
        rooms = [f"{room}:{number}" for number in range(1000)]
        async with asyncio.timeout(2 * PATIENCE):
            before = await asyncio.gather(*(self.use(locks, each) for each in rooms))
            after = await asyncio.gather(*(self.use(other, each) for each in rooms))
        await other.close()
        for first, then in zip(before, after, strict=True):
            assert_rising([first[-1], then[0]])

    async def test_a_closed_manager_keeps_no_room(
        self,
        locks: RoomLockManager,
        room: str,
        factory: Callable[[], RoomLockManager | Awaitable[RoomLockManager]],
    ) -> None:
        other = await self.other_or_skip(locks, factory)
        async with asyncio.timeout(PATIENCE):
            before = await self.use(locks, room)
            await locks.close()
            assert_rising([before[-1], (await self.use(other, room))[0]])
        await other.close()

    async def test_a_killed_manager_keeps_no_room(
        self,
        locks: RoomLockManager,
        room: str,
        factory: Callable[[], RoomLockManager | Awaitable[RoomLockManager]],
    ) -> None:
        """Nor one that it held: another gets it within seconds, with a higher token."""
        other = await self.other_or_skip(locks, factory)
        async with asyncio.timeout(PATIENCE):
            before = await self.use(locks, room)
            if not await self.kill(locks):
                pytest.skip("there is nothing that could be killed")
            assert_rising([before[-1], (await self.use(other, room))[0]])
        await other.close()

    async def test_a_lock_that_is_lost_is_left_without_an_error(
        self, locks: RoomLockManager, room: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Its holder goes on; it is logged; the next holder has a higher token."""
        with caplog.at_level(logging.WARNING):
            async with asyncio.timeout(PATIENCE):
                async with locks.locked(room) as lost:
                    await self.break_or_skip(locks)
                async with locks.locked(room) as token:
                    assert_rising([lost, token])
        assert caplog.records

    async def test_a_break_loses_no_turn(self, locks: RoomLockManager, room: str) -> None:
        """Who waits goes on waiting, in order, and gets in alone."""
        inside = 0
        served: list[int] = []

        async def enter(number: int) -> None:
            nonlocal inside
            async with locks.locked(room):
                inside += 1
                assert inside == 1
                await asyncio.sleep(0)
                inside -= 1
                served.append(number)

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group, locks.locked(room):
            for number in range(5):
                group.create_task(enter(number))
                await self.settle()
            await self.break_or_skip(locks)
            await self.settle()
            assert not served
        assert served == list(range(5))

    @pytest.mark.virtual_time(io_patience=0.3)
    async def test_a_link_that_goes_silent_keeps_no_room(
        self,
        locks: RoomLockManager,
        room: str,
        factory: Callable[[], RoomLockManager | Awaitable[RoomLockManager]],
    ) -> None:
        """The link is replaced within 15 seconds, and the room is free once it is left."""
        async with locks.locked(room) as token:
            if not await self.silence_link(locks):
                pytest.skip("there is no link that could go silent")
            await asyncio.sleep(SILENCE)
        other = await make(factory)
        async with asyncio.timeout(PATIENCE), other.locked(room) as next_token:
            assert_rising([token, next_token])
        await self.assert_free(locks, room)
        await other.close()

    async def test_nothing_leaks(self, locks: RoomLockManager) -> None:
        """Taking and contending for ever new rooms leaves tasks, threads and descriptors flat."""

        async def cycle() -> None:
            room = new_id()

            async def enter() -> None:
                async with locks.locked(room):
                    await asyncio.sleep(0)

            await asyncio.gather(*(enter() for _ in range(3)))

        await assert_nothing_leaks(cycle)

    async def break_connection(self, locks: RoomLockManager) -> bool:
        """Break what the manager holds its locks by, and return True; False when nothing can be broken."""
        return False

    async def kill(self, locks: RoomLockManager) -> bool:
        """End the manager's connections and tasks as the death of its process does, and return True.

        Nothing is released. False when there is nothing but this process.
        """
        return False

    async def use(self, locks: RoomLockManager, room: str) -> list[int | None]:
        """Hold the room several times, as a busy process does; return the tokens."""
        tokens: list[int | None] = []
        for _ in range(4):
            async with locks.locked(room) as token:
                tokens.append(token)
        assert_never_falling(tokens)
        return tokens

    async def other_or_skip(
        self, locks: RoomLockManager, factory: Callable[[], RoomLockManager | Awaitable[RoomLockManager]]
    ) -> RoomLockManager:
        """Return another manager of the same rooms; skip the test where there is none."""
        if locks.is_process_local:
            pytest.skip("the lock is local to the process, and says so")
        return await make(factory)

    async def silence_link(self, locks: RoomLockManager) -> bool:
        """Let nothing more pass on the manager's connections, without an end; return True.

        New connections must work; see `CutProxy.silence`. False when the manager has no connection.
        """
        return False

    async def break_or_skip(self, locks: RoomLockManager) -> None:
        """Break the manager's connection; skip the test where there is none."""
        if not await self.break_connection(locks):
            pytest.skip("there is nothing that could break")

    async def settle(self) -> None:
        """Wait until requests for the lock have reached it; override where that takes I/O."""
        for _ in range(5):
            await asyncio.sleep(0)

    async def assert_free(self, locks: RoomLockManager, room: str) -> None:
        """Assert that the room can be entered."""
        async with asyncio.timeout(PATIENCE), locks.locked(room):
            pass


def assert_never_falling(tokens: Sequence[int | None]) -> None:
    """Assert that no token is lower than an earlier one, or that none is given at all."""
    numbers = [token for token in tokens if token is not None]
    assert len(numbers) in (0, len(tokens)), f"some holders have no token: {tokens}"
    assert numbers == sorted(numbers), f"the tokens fall: {tokens}"


def assert_rising(tokens: Sequence[int | None]) -> None:
    """Assert that tokens strictly rise, or that none is given at all."""
    numbers = [token for token in tokens if token is not None]
    assert len(numbers) in (0, len(tokens)), f"some holders have no token: {tokens}"
    assert all(earlier < later for earlier, later in pairwise(numbers)), f"the tokens do not rise: {tokens}"
