"""Turn executors with one fault each, and the test of their contract that must find it.

Not collected: `test_planted_faults.py` runs it in a process of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from planting import planted

from roomkit.abc.errors import CloseError
from roomkit.abc.executor import QuarantinedTurn
from roomkit.authoring.turns.executor import QueueTurnExecutor
from roomkit.authoring.turns.queue import (
    ClaimStanding,
    ClaimState,
    QueuedTurn,
    TurnClaim,
    TurnOptions,
    TurnReading,
)
from roomkit.memory.executor import InMemoryTurnQueue, TurnTable
from roomkit.models.generation import AIContext, AIResponse
from roomkit_plugins.testing.contracts import TurnExecutorContract

pytestmark = pytest.mark.virtual_time  # a fault that hangs is found in no time

found_by = partial(planted, TurnExecutorContract)


class Faulty(QueueTurnExecutor):
    """An executor over a queue of its class; `table` is that of the test."""

    table: TurnTable
    queue_type: type[InMemoryTurnQueue] = InMemoryTurnQueue

    def __init_subclass__(cls) -> None:
        cls.table = TurnTable()

    def __init__(self, **options: Any) -> None:
        super().__init__(self.queue_type(TurnOptions(**options), self.table))


@found_by("test_hundreds_of_pieces_arrive_in_order")
class ReadsTheLastFramesFirst(Faulty):
    class queue_type(InMemoryTurnQueue):  # an attribute
        async def read(self, turn_id: str, after: int, **options: Any) -> TurnReading | None:
            found = await super().read(turn_id, after, **options)
            return found and found._replace(frames=tuple(reversed(found.frames)))


@found_by("test_a_turn_without_a_frame_is_claimed_again")
class NeverFencesOff(Faulty):
    class queue_type(InMemoryTurnQueue):  # an attribute
        def _standing(self, claim: TurnClaim) -> Any:
            turn = self._table.turns.get(claim.id)
            if turn is None:
                return None, ClaimStanding(ClaimState.DROPPED)
            return turn, ClaimStanding(ClaimState.HELD, turn.taken)


@found_by("test_a_turn_with_a_frame_is_not_claimed_again")
class RunsWhatHasSpokenAgain(Faulty):
    class queue_type(InMemoryTurnQueue):  # an attribute
        async def read(self, turn_id: str, after: int, **options: Any) -> TurnReading | None:
            found = await super().read(turn_id, after, **options)
            return found and found._replace(is_held=True)


@found_by("test_a_turn_without_a_frame_is_claimed_again", "test_two_servers_share_turns_and_run_none_twice")
class GivesATurnToEveryServer(Faulty):
    class queue_type(InMemoryTurnQueue):  # an attribute
        def _is_free(self, turn: Any) -> bool:
            return turn.server is not self


@found_by("test_turns_of_other_agents_are_left")
class ServesEveryAgent(Faulty):
    class queue_type(InMemoryTurnQueue):  # an attribute
        async def claim(self, agents: Sequence[str], limit: int) -> Sequence[TurnClaim]:
            everybody = {turn.queued.agent for turn in self._table.turns.values()}
            return await super().claim([*everybody], limit)


@found_by("test_closing_the_stream_cancels_the_provider", "test_cancelling_the_call_cancels_the_provider")
class ForgetsToDrop(Faulty):
    class queue_type(InMemoryTurnQueue):  # an attribute
        def drop(self, turn_id: str) -> None:
            self._table.turns[turn_id].wanted_until = float("inf")


@found_by("test_frames_of_a_turn_that_is_given_up_are_refused")
class RunsForReadersThatAreGone(Faulty):
    class queue_type(InMemoryTurnQueue):  # an attribute
        async def put(self, turn: QueuedTurn) -> bool:
            accepted = await super().put(turn)
            self._table.turns[turn.id].wanted_until = float("inf")
            return accepted


@found_by("test_a_slow_reader_stops_the_provider")
class LetsSlowReadersLoseTheirTurn(Faulty):
    class queue_type(InMemoryTurnQueue):  # an attribute
        async def keep(self, turn_ids: Sequence[str]) -> None:
            return


@found_by("test_a_slow_reader_stops_the_provider")
class PretendsThatAllIsTaken(Faulty):
    class queue_type(InMemoryTurnQueue):  # an attribute
        async def append(self, claim: TurnClaim, number: int, frame: str) -> ClaimStanding:
            standing = await super().append(claim, number, frame)
            return standing._replace(taken=number)


@found_by("test_a_slow_provider_keeps_its_lease")
class RenewsNothing(Faulty):
    class queue_type(InMemoryTurnQueue):  # an attribute
        async def renew(self, claim: TurnClaim) -> ClaimStanding:
            _, standing = self._standing(claim)
            return standing


@found_by("test_a_frame_that_is_sent_twice_is_there_once")
class AddsFramesTwice(Faulty):
    class queue_type(InMemoryTurnQueue):  # an attribute
        async def append(self, claim: TurnClaim, number: int, frame: str) -> ClaimStanding:
            turn, standing = self._standing(claim)
            if turn is not None:
                turn.frames.append(frame)
            return standing


@found_by("test_a_turn_that_ends_its_processes_is_quarantined")
class TriesPoisonForEver(Faulty):
    class queue_type(InMemoryTurnQueue):  # an attribute
        async def read(self, turn_id: str, after: int, **options: Any) -> TurnReading | None:
            found = await super().read(turn_id, after, **options)
            return found and found._replace(attempts=0)


@found_by("test_what_is_no_turn_is_quarantined[cut]")
class KeepsNoQuarantine(Faulty):
    class queue_type(InMemoryTurnQueue):  # an attribute
        async def quarantine(self, turn: QuarantinedTurn) -> None:
            return


@found_by("test_too_many_waiting_turns_are_refused")
class QueuesWithoutEnd(Faulty):
    class queue_type(InMemoryTurnQueue):  # an attribute
        async def put(self, turn: QueuedTurn) -> bool:
            self.options = self.options.model_copy(update={"max_waiting": 10**9})
            return await super().put(turn)


@found_by("test_close_hands_back_what_has_said_nothing")
class KeepsWhatItDoesNotRun(Faulty):
    class queue_type(InMemoryTurnQueue):  # an attribute
        async def release(self, claim: TurnClaim) -> None:
            self._table.turns[claim.id].lease_until = float("inf")


@found_by("test_a_whole_answer_keeps_its_fields")
class LosesTasks(Faulty):
    async def generate(self, agent: str, context: AIContext) -> AIResponse:
        response = await super().generate(agent, context)
        response.tasks.clear()
        return response


@found_by("test_a_closed_executor_is_not_asked")
class AsksThoughItIsClosed(Faulty):
    async def close(self) -> None:
        await super().close()
        self._is_closed = False


@found_by("test_an_answer_of_a_shape_arrives")
class DropsTheShape(Faulty):
    async def generate(self, agent: str, context: AIContext) -> AIResponse:
        return await super().generate(agent, replace(context, response_schema=None))


@found_by("test_an_answer_of_a_shape_arrives", "test_a_value_that_the_model_refuses_fails_the_turn")
class ReturnsWhatCame(Faulty):
    async def generate(self, agent: str, context: AIContext) -> AIResponse:
        schema = context.response_schema
        plain = schema.model_json_schema() if isinstance(schema, type) else schema
        return await super().generate(agent, replace(context, response_schema=plain))


@found_by("test_the_process_that_answers_is_in_the_rooms_trace[whole]")
class LosesTheTraceOfAWholeAnswer(Faulty):
    async def generate(self, agent: str, context: AIContext) -> AIResponse:
        return await super().generate(agent, replace(context, trace_parent=None))


@found_by("test_a_failed_answer_fails_the_span[provider]", "test_a_cancelled_turn_ends_its_spans")
class ServesWithoutSpans(Faulty):
    async def serve(self, agents: Any, *, limit: int = 8, telemetry: Any = None) -> None:
        await super().serve(agents, limit=limit)


@found_by("test_a_process_that_hands_back_its_turn_ends_its_span")
class CallsEveryTurnCompleted(Faulty):
    async def serve(self, agents: Any, *, limit: int = 8, telemetry: Any = None) -> None:
        if telemetry is not None:
            end = telemetry.end_span
            telemetry.end_span = lambda span_id, **_: end(span_id)
        await super().serve(agents, limit=limit, telemetry=telemetry)


@found_by("test_the_last_user_closes_the_executor")
class TellsUsersApartByTheirModel(Faulty):
    def attach(self, user: Any) -> None:
        super().attach(user.model_name)

    async def detach(self, user: Any) -> None:
        await super().detach(user.model_name)


class _Open:
    """Lets every call of a provider's own tools pass."""

    async def run(self, call_id: str, name: str, arguments: Any, work: Any) -> object:
        return await work(dict(arguments))


@found_by("test_a_providers_own_tools_are_not_run_where_no_gate_sees_them")
class RunsToolsThatNoGateSees(Faulty):
    async def serve(self, agents: Any, **options: Any) -> None:
        for model in agents.values():
            script = model._script
            model._script = lambda context, script=script: script(replace(context, own_calls=_Open()))
        await super().serve(agents, **options)


@found_by("test_serving_raises_what_its_providers_raise_when_they_close")
class ServesInSilence(Faulty):
    async def serve(self, agents: Any, *, limit: int = 8, telemetry: Any = None) -> None:
        with suppress(CloseError):
            await super().serve(agents, limit=limit, telemetry=telemetry)
