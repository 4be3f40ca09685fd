"""Runs the tool calls of one round. Whatever way a call came, it passes the same checks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from roomkit.abc.errors import UnknownToolError
from roomkit.abc.log import get_logger
from roomkit.models.ai import AITextPart, AIToolResultPart
from roomkit.models.enums import HookTrigger
from roomkit.models.parking import Park
from roomkit.models.tool import ToolResult, ToolUse
from roomkit_plugins.ai.overflow import cut
from roomkit_plugins.ai.parking import waiting_call
from roomkit_plugins.ai.running import refused, running_call
from roomkit_plugins.ai.schema import thawed
from roomkit_plugins.ai.tools import EndTurn
from roomkit_plugins.ai.underway import ABANDON_AFTER, ToolRun, all_ended, end

if TYPE_CHECKING:
    from roomkit.models.parking import ParkedCall
    from roomkit_plugins.ai.turn import Call, Turn

__all__ = ["admitted", "run_calls", "said_of"]

logger = get_logger("roomkit.ai")

MAX_RESULT_CHARS = 120_000
MAX_ERROR_CHARS = 2_000


class Outcome(NamedTuple):
    """What a call came to, in words for the model."""

    result: str
    is_error: bool = False
    parked: ParkedCall | None = None


async def run_calls(turn: Turn, calls: Sequence[Call]) -> list[AIToolResultPart]:
    """Run the calls of one round concurrently; return their results in the order of the calls.

    A call that its tool parks has none: it is among `turn.waiting`.

    A call that is refused or fails has a result that says so, and so has one whose handler does not
    end when it is cancelled: it is abandoned. Raises `Stopped` when the turn is to end: every call
    is cancelled first.
    """
    left = turn.options.max_tool_calls - turn.calls
    repeated = [
        _repeated(turn, call) if number < left else "all the tool calls of this turn are made"
        for number, call in enumerate(calls)
    ]
    turn.stuck = all(repeated)
    runs: list[ToolRun] = []
    try:
        with turn.stop:
            for call, refusal in zip(calls, repeated, strict=True):
                run = ToolRun(_asked(turn, call))
                run.start(_run(turn, run, refusal or _unreadable(call)))
                runs.append(run)
            if turn.stop.requested:  # by a call that ended at once: the request takes effect at a wait
                await asyncio.sleep(0)
            await all_ended(runs)
    finally:
        for run in await end(runs):
            _abandon(turn, run)
    results = [await _abandoned(turn, run) if run.stuck else run.task.result() for run in runs]
    for call, refusal, result in zip(calls, repeated, results, strict=True):
        if refusal is None and result is not None:
            turn.results.append((call, result.result))
    return [each for each in results if each is not None]


def _abandon(turn: Turn, run: ToolRun) -> None:
    turn.abandoned.add(run.task)
    logger.error(
        "the tool %r of %s was abandoned: it did not end within %s s of its cancellation; let "
        "asyncio.CancelledError pass in its handler",
        run.use.name,
        turn.channel_id,
        ABANDON_AFTER,
    )
    if turn.services is not None:
        turn.services.report(
            "work_abandoned",
            room_id=turn.room_id,
            channel_id=turn.channel_id,
            task=run.task.get_name(),
            seconds=ABANDON_AFTER,
        )


async def _abandoned(turn: Turn, run: ToolRun) -> AIToolResultPart:
    use = run.use.replace(result=_late(run), is_error=True)
    await turn.signals.tool_ended(use)
    return _result_of(use, Outcome(_late(run), is_error=True))


def _late(run: ToolRun) -> str:
    return f"Error executing tool {run.use.name!r}: no answer in {run.seconds} s"


def _asked(turn: Turn, call: Call) -> ToolUse:
    part = call.part
    return ToolUse.trusted(
        {
            "room_id": turn.room_id,
            "channel_id": turn.channel_id,
            "call_id": part.id,
            "name": part.name,
            "arguments": part.arguments,
            "participant_id": turn.participant_id,
            "role": turn.role,
            "event_id": turn.event_id,
            "result": None,
            "is_error": False,
            "duration_ms": None,
        }
    )


async def _run(turn: Turn, run: ToolRun, refusal: str | None) -> AIToolResultPart | None:
    asked = run.use
    began = asyncio.get_running_loop().time()
    run.use, refusal = await admitted(turn, asked, refusal)
    if refusal is None:
        await turn.signals.tool_started(run.use)
        outcome = await _execute(turn, run)
    else:
        outcome = Outcome(refused(refusal), is_error=True)
    if outcome.parked is not None:
        turn.waiting.append(outcome.parked.replace(call_id=asked.call_id, name=asked.name))
        return None
    if not run.stuck:  # else that is reported already
        took = (asyncio.get_running_loop().time() - began) * 1000
        await turn.signals.tool_ended(
            run.use.replace(result=outcome.result, is_error=outcome.is_error, duration_ms=took)
        )
    return _result_of(asked, outcome)


def _result_of(use: ToolUse, outcome: Outcome) -> AIToolResultPart:
    if outcome.is_error:  # errors of other code are in its words
        return AIToolResultPart(tool_call_id=use.call_id, name=use.name, result=outcome.result, is_error=True)
    return AIToolResultPart.trusted(
        {
            "type": "tool_result",
            "tool_call_id": use.call_id,
            "name": use.name,
            "result": outcome.result,
            "is_error": False,
        }
    )


async def admitted(
    turn: Turn, use: ToolUse, refusal: str | None, *, own: bool = False
) -> tuple[ToolUse, str | None]:
    """Return the call to execute, and why not if it may not be; `own` is one of the provider's own tools.

    A gate may change the name and the arguments, so what it returns is checked again.
    """
    check = turn.toolbox.refusal_of_own if own else turn.toolbox.refusal
    refusal = refusal or check(use.name, use.arguments)
    if refusal is not None or turn.services is None:
        return use, refusal
    try:
        verdict = await turn.services.turns.run_gate(
            HookTrigger.BEFORE_TOOL_USE, use, room_id=turn.room_id, channel_id=turn.channel_id
        )
        if verdict.allowed and verdict.payload is use:
            return use, None
        passed = use.replace(name=verdict.payload.name, arguments=verdict.payload.arguments)
    except Exception:
        logger.exception("the gate of the tool %r failed, so it is not run", use.name)
        return use, f"the tool {use.name!r} could not be checked and was not run"
    if not verdict.allowed:
        return use, verdict.reason or f"the tool {use.name!r} was refused"
    return passed, check(passed.name, passed.arguments)


async def _execute(turn: Turn, run: ToolRun) -> Outcome:
    use = run.use
    own = turn.toolbox.timeout(use.name)
    span, began = turn.signals.tool_opened(use), asyncio.get_running_loop().time()
    error: str | None = "Cancelled"
    running_call.set(use)  # the call has a task, and so a context, of its own
    try:
        run.begin_step(turn.options.tool_timeout_seconds if own is None else own)
        try:
            result: object = await turn.toolbox.handler(use.name)(use.name, thawed(use.arguments))
        finally:
            run.end_step()
        if run.late:
            return Outcome(_late(run), is_error=True)
        error = None
        if isinstance(result, Park):
            return Outcome("", parked=waiting_call(turn, use, result))
        if isinstance(result, EndTurn):
            turn.is_ended = True
        if isinstance(result, ToolResult):
            return _shown(turn, use, result)
        return Outcome(cut(_text(result), MAX_RESULT_CHARS))
    except UnknownToolError as failure:
        error = type(failure).__name__
        return Outcome(refused(f"no handler answers the tool {use.name!r}"), is_error=True)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        said = _late(run) if run.late else f"Error executing tool {use.name!r}: it was cancelled"
        return Outcome(said, is_error=True)
    except Exception as failure:
        error = type(failure).__name__
        if run.late:
            return Outcome(_late(run), is_error=True)
        logger.warning("the tool %r failed: %s", use.name, error, exc_info=failure)
        reason = cut(str(failure) or error, MAX_ERROR_CHARS)
        return Outcome(f"Error executing tool {use.name!r}: {reason}", is_error=True)
    finally:
        turn.signals.tool_closed(span, (asyncio.get_running_loop().time() - began) * 1000, error)


def _shown(turn: Turn, use: ToolUse, result: ToolResult) -> Outcome:
    """Return a result's text; its images come after the results of the round, or as notes."""
    if result.images and turn.provider.supports_vision:
        turn.shown += (AITextPart(text=f"[Images that the tool {use.name!r} returned]"), *result.images)
    notes = [each.note.text for each in result.images]
    text = "\n".join(filter(None, (result.text, *notes)))
    return Outcome(cut(_text(text), MAX_RESULT_CHARS), result.is_error)


def said_of(result: object) -> str:
    """Return a result as observers see it."""
    return cut(_text(result), MAX_RESULT_CHARS)


def _text(result: object) -> str:
    """Return a handler's answer as text that can be sent: a careless handler returns a dict."""
    if not isinstance(result, str):
        result = "" if result is None else json.dumps(result, ensure_ascii=False, default=str)
    return result.encode("utf-8", "replace").decode()


def _unreadable(call: Call) -> str | None:
    if call.invalid is None:
        return None
    return f"the arguments are not a JSON object ({call.invalid}); call again with one"


def _repeated(turn: Turn, call: Call) -> str | None:
    most = turn.options.max_identical_calls
    if turn.calls < most:  # what the calls were is not looked at before any can have been made so often
        return None
    _count_repeats(turn)
    _, times = turn.repeats.get(call.key, ("", 0))
    if times < most:
        return None
    return (
        f"this call was made {times} times with the same arguments and the same result; "
        "use that result, or call with other arguments"
    )


def _count_repeats(turn: Turn) -> None:
    for call, result in turn.results:
        before, times = turn.repeats.get(call.key, ("", 0))
        turn.repeats[call.key] = (result, times + 1 if result == before else 1)
    turn.results.clear()
