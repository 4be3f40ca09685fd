"""The contract of turn executors: leases, fencing and quarantine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from roomkit.abc.errors import ErrorCode
from roomkit.abc.executor import TurnExecutor
from roomkit.authoring.turns.executor import QueueTurnExecutor
from roomkit.authoring.turns.queue import ClaimState, QueuedTurn, TurnClaim, TurnQueue
from roomkit.authoring.turns.wire import TurnRequest, agent_key, encode_frame, encode_piece, encode_request
from roomkit.models.ai import (
    StreamDone,
    StreamEvent,
    StreamTextDelta,
)
from roomkit.models.base import new_id
from roomkit_plugins.testing.contracts.turns.scripts import (
    PATIENCE,
    PIECES,
    ScriptedModel,
    asking,
    collect,
    failure,
    read,
    says,
    serving,
    waits,
)
from roomkit_plugins.testing.contracts.turns.suite import TurnSuite
from roomkit_plugins.testing.polling import until
from roomkit_plugins.testing.served import LEASE

__all__ = ["TurnLeasesContract"]


class TurnLeasesContract(TurnSuite):
    """A turn has one holder at a time, and no answer is given twice."""

    def queue(self, executor: TurnExecutor) -> TurnQueue:
        """Return the executor's queue, for what only a queue can show."""
        if not isinstance(executor, QueueTurnExecutor):
            pytest.skip("it has no queue")
        return executor.queue

    async def put(self, executor: Any, agent: str, body: str | None = None) -> str:
        """Queue a turn without a reader; return its id."""
        queue, turn_id = self.queue(executor), new_id()
        await queue.open()
        body = encode_request(TurnRequest(agent, False, asking())) if body is None else body
        assert await queue.put(QueuedTurn(turn_id, agent_key(agent), body))
        return turn_id

    async def claimed(self, executor: Any, agent: str) -> TurnClaim:
        """Claim a turn, once it can be had."""
        queue = self.queue(executor)
        await queue.open()
        claims: Sequence[TurnClaim] = ()

        async def found() -> bool:
            nonlocal claims
            claims = await queue.claim([agent_key(agent)], 1)
            return bool(claims)

        await until(found)
        return claims[0]

    async def begun(self, executor: Any, agent: str, piece: StreamEvent) -> TurnClaim:
        """Claim a turn and say a piece; on a busy machine the lease may be over in between."""
        frame = encode_frame([encode_piece(piece)], last=False)
        while True:
            claim = await self.claimed(executor, agent)
            if (await self.queue(executor).append(claim, 1, frame)).state is ClaimState.HELD:
                return claim

    async def test_a_turn_without_a_frame_is_claimed_again(
        self, made: Callable[..., Any], agent: str
    ) -> None:
        """Once its lease is over; then the former holder is fenced off."""
        asker, one, two = made(), made(lease_seconds=LEASE), made()
        turn_id = await self.put(asker, agent)
        begun = asyncio.get_running_loop().time()
        first = await self.claimed(one, agent)
        early = await self.queue(two).claim([agent_key(agent)], 1)
        if early:  # right only on a machine that is so busy that the lease is over
            assert asyncio.get_running_loop().time() - begun >= LEASE
        second = early[0] if early else await self.claimed(two, agent)
        assert (first.id, second.id) == (turn_id, turn_id)
        assert second.token > first.token
        frame = encode_frame([encode_piece(StreamTextDelta("late"))], last=False)
        assert (await self.queue(one).append(first, 1, frame)).state is ClaimState.FENCED
        assert (await self.queue(one).renew(first)).state is ClaimState.FENCED
        assert (await self.queue(two).append(second, 1, frame)).state is ClaimState.HELD

    async def test_nothing_stays_of_a_turn_whose_reader_is_gone(
        self, made: Callable[..., Any], agent: str
    ) -> None:
        """Once its time is over, a process that looks for turns removes it, with its conversation."""
        asker = made(turn_seconds=0.3, lease_seconds=0.3)
        turn_id, queue = await self.put(asker, agent), self.queue(asker)

        async def is_gone() -> bool:
            await queue.claim([agent_key(f"other-{agent}")], 1)
            return await queue.read(turn_id, 0, limit=1, wake=False) is None

        await until(is_gone)

    async def test_a_turn_with_a_frame_is_not_claimed_again(
        self, made: Callable[..., Any], agent: str
    ) -> None:
        """Its reader gets the text, and then an error: nothing is said twice."""
        asker, one, two = made(lease_seconds=LEASE), made(lease_seconds=LEASE), made()
        pieces: list[StreamEvent] = []
        call = asyncio.ensure_future(failure(collect(asker, agent, pieces)))
        claim = await self.begun(one, agent, StreamTextDelta("Half"))
        async with asyncio.timeout(PATIENCE):
            found = await call
        assert pieces == [StreamTextDelta("Half")]
        assert "lost in the middle of the answer" in str(found)
        assert not await self.queue(two).claim([agent_key(agent)], 1)

        async def is_dropped() -> bool:
            return (await self.queue(one).renew(claim)).state is ClaimState.DROPPED

        await until(is_dropped)  # the reader does not wait for it

    async def test_a_turn_that_ends_its_processes_is_quarantined(
        self, made: Callable[..., Any], agent: str
    ) -> None:
        asker = made(lease_seconds=LEASE, max_attempts=2)
        call = asyncio.ensure_future(failure(read(asker, agent)))
        for _ in range(2):
            claim = await self.claimed(made(lease_seconds=LEASE, max_attempts=2), agent)
        async with asyncio.timeout(PATIENCE):
            found = await call
        assert (found.error_code, found.retryable) == (ErrorCode.SERVER, False)
        kept = [turn for turn in await asker.quarantined() if turn.turn_id == claim.id]
        assert [(turn.agent, turn.attempts) for turn in kept] == [(agent, 2)]

    @pytest.mark.parametrize(
        "body",
        ["", "null", "{", "[" * 10_000, '{"version":2}', '{"version":1,"agent":"x","whole":1,"context":{}}'],
        ids=["empty", "null", "cut", "deep", "newer", "mistyped"],
    )
    async def test_what_is_no_turn_is_quarantined(
        self, asker: Any, server: Any, agent: str, body: str
    ) -> None:
        """And the turns after it are answered."""
        async with serving(server, {agent: ScriptedModel(says(*PIECES))}):
            turn_id = await self.put(asker, agent, body)
            assert await read(asker, agent) == [*PIECES]

            async def noted() -> bool:
                kept = turn_id in {turn.turn_id for turn in await asker.quarantined()}
                return kept and server.counters.get("quarantined") == 1

            await until(noted)  # while it serves: the row may be written before the counter

    @pytest.mark.parametrize("frame", ["", "[]", '{"version":1,"items":[{"type":"x"}],"last":true}'])
    async def test_what_is_no_frame_fails_the_turn(
        self, made: Callable[..., Any], agent: str, frame: str
    ) -> None:
        asker, server = made(), made()
        call = asyncio.ensure_future(failure(read(asker, agent)))
        claim = await self.claimed(server, agent)
        await self.queue(server).append(claim, 1, frame)
        async with asyncio.timeout(PATIENCE):
            assert (await call).error_code is ErrorCode.BAD_RESPONSE

    async def test_a_frame_that_is_sent_twice_is_there_once(
        self, made: Callable[..., Any], agent: str
    ) -> None:
        """As after a connection that broke before the answer came."""
        asker, server = made(), made()
        call = asyncio.ensure_future(read(asker, agent))
        claim = await self.claimed(server, agent)
        pieces: Sequence[StreamEvent] = (StreamTextDelta("Once"), StreamDone("stop"))
        for number, piece in enumerate(pieces, 1):
            frame = encode_frame([encode_piece(piece)], last=number == 2)
            standings = [
                await self.queue(server).append(claim, number, frame) for _ in range(1 + (number == 1))
            ]
            assert {standing.state for standing in standings} == {ClaimState.HELD}
        async with asyncio.timeout(PATIENCE):
            assert await call == [*pieces]

    async def test_frames_of_a_turn_that_is_given_up_are_refused(
        self, made: Callable[..., Any], agent: str
    ) -> None:
        """Its reader has not asked for a lease: its process is gone."""
        asker, server = made(lease_seconds=LEASE), made()
        loop, model = asyncio.get_running_loop(), ScriptedModel(waits(asyncio.Event()))
        async with serving(made(lease_seconds=LEASE), {agent: model}):
            await self.put(asker, agent)
            begun = loop.time()
            # On a busy machine the reader's lease may be over before the turn is claimed.
            await until(lambda: model.ended or (not model.asked and loop.time() - begun > 3 * LEASE))
        assert not await self.queue(server).claim([agent_key(agent)], 1)

    async def test_a_slow_provider_keeps_its_lease(self, made: Callable[..., Any], agent: str) -> None:
        """And is asked once, however long it thinks."""
        gate = asyncio.Event()
        models = [ScriptedModel(waits(gate)), ScriptedModel(waits(gate))]
        short = {"lease_seconds": 3 * LEASE}
        async with serving(made(**short), {agent: models[0]}), serving(made(**short), {agent: models[1]}):
            async with asyncio.timeout(PATIENCE):
                call = asyncio.ensure_future(read(made(**short), agent))
                await asyncio.sleep(5 * LEASE)  # longer than the lease
                gate.set()
                assert await call == [StreamDone("stop")]
        assert sum(len(model.asked) for model in models) == 1

    async def test_broken_connections_are_mended(self, asker: Any, server: Any, agent: str) -> None:
        """A turn under way goes on, nothing lost and nothing twice."""
        gate = asyncio.Event()
        model = ScriptedModel(waits(gate, StreamTextDelta("Half")))
        async with serving(server, {agent: model}), asyncio.timeout(PATIENCE):
            stream = asker.stream(agent, asking())
            assert await anext(stream) == StreamTextDelta("Half")
            if not await self.break_connections(asker):
                pytest.skip("nothing to break")
            gate.set()
            assert [piece async for piece in stream] == [StreamDone("stop")]
        assert len(model.asked) == 1
