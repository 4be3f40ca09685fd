"""Turns that wait for results of their tools: what they leave behind, and how they continue."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from roomkit.models.ai import AIMessage, AIToolCallPart, AIToolResultPart
from roomkit.models.parking import ParkedCall, ParkedRound
from roomkit.models.tool import ToolUse

if TYPE_CHECKING:
    from roomkit.models.parking import Park
    from roomkit_plugins.ai.generation import Round
    from roomkit_plugins.ai.turn import Turn

__all__ = ["continue_from", "park", "waiting_call"]

FINISH_REASON = "parked"


def waiting_call(turn: Turn, use: ToolUse, parked: Park) -> ParkedCall:
    """Return a call that its tool parked. Raises ValueError for a deadline that is none."""
    now = datetime.now(UTC) if turn.services is None else turn.services.clock.now()
    deadline: object = parked.deadline
    if isinstance(deadline, timedelta):
        deadline = now + deadline
    if not isinstance(deadline, datetime) or deadline.tzinfo is None:
        raise ValueError(f"Park has the deadline {parked.deadline!r}: give an aware datetime or a timedelta")
    return ParkedCall(
        call_id=use.call_id,
        name=use.name,
        arguments=use.arguments,
        reason=parked.reason,
        deadline=deadline,
        asked=parked.asked,
        request=parked.request,
        code=parked.code,
    )


def park(turn: Turn, this: Round, finished: Sequence[AIToolResultPart]) -> None:
    """Leave a round behind whose waiting calls have no result yet.

    The state has the turn's own messages and nothing before them: the history is read again.
    """
    messages = [
        *turn.own[1:],
        AIMessage(role="assistant", content=tuple(this.parts)),
        AIMessage(role="tool", content=tuple(finished)),
    ]
    state = {
        "messages": [each.model_dump(mode="json") for each in messages],
        "rounds": turn.rounds,
        "calls": turn.calls,
        "usage": turn.usage,
    }
    turn.parked.append(ParkedRound(turn.waiting, state))
    turn.finish_reason = FINISH_REASON


async def continue_from(turn: Turn, parked: ParkedRound) -> None:
    """Put a turn where the round left it, with the results that came since; observers are shown those."""
    state = parked.state
    *before, finished = [AIMessage.from_stored(json.dumps(each)) for each in state["messages"]]
    results = {call.call_id: _result_of(call) for call in parked.calls}
    if not isinstance(finished.content, str):
        results |= {
            part.tool_call_id: part for part in finished.content if isinstance(part, AIToolResultPart)
        }
    turn.rounds, turn.calls = state["rounds"], state["calls"]
    turn.signals.round = turn.rounds - 1
    turn.count(state["usage"].items())
    ordered = tuple(results[call_id] for call_id in _called_in(before[-1:]) if call_id in results)
    turn.add(*before, AIMessage(role="tool", content=ordered))
    for call in parked.calls:
        await turn.signals.tool_ended(_ended(turn, call))


def _called_in(messages: Iterable[AIMessage]) -> list[str]:
    return [
        part.id
        for message in messages
        if not isinstance(message.content, str)
        for part in message.content
        if isinstance(part, AIToolCallPart)
    ]


def _result_of(call: ParkedCall) -> AIToolResultPart:
    return AIToolResultPart(
        tool_call_id=call.call_id, name=call.name, result=call.result or "", is_error=call.is_error
    )


def _ended(turn: Turn, call: ParkedCall) -> ToolUse:
    fields: Mapping[str, Any] = {
        "room_id": turn.room_id,
        "channel_id": turn.channel_id,
        "participant_id": turn.participant_id,
        "role": turn.role,
        "event_id": turn.event_id,
    }
    return ToolUse(
        call_id=call.call_id,
        name=call.name,
        arguments=call.arguments,
        result=call.result,
        is_error=call.is_error,
        **fields,
    )
