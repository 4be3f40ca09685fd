"""The tool loop: ask the model, run what it calls, ask again, until it has answered.

There is one loop. Whether a provider streams only decides how the pieces of its answer arrive.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING

from roomkit.abc.log import get_logger
from roomkit.models.ai import AIMessage, StreamDone
from roomkit.models.base import EMPTY
from roomkit_plugins.ai.calls import run_calls
from roomkit_plugins.ai.errors import ToolLoopError, TurnTimeoutError
from roomkit_plugins.ai.generation import Echo, Round, generate, whole
from roomkit_plugins.ai.parking import park
from roomkit_plugins.ai.recovery import Recovery
from roomkit_plugins.ai.stop import Stopped

if TYPE_CHECKING:
    from roomkit.models.ai import AIPart
    from roomkit_plugins.ai.turn import Turn

__all__ = ["answer"]

logger = get_logger("roomkit.ai")


async def answer(turn: Turn) -> AsyncGenerator[str | StreamDone]:
    """Yield the text of the turn's answer as it comes, and one `StreamDone`, last.

    Raises what the provider raised, or the error of a bound of the turn, after the text that was
    released. With an `error_reply` that, and a `StreamDone` with the finish reason `error`, comes
    before. A cancelled turn ends like a complete one, for the reason `cancelled`.
    """
    _start_clock(turn)
    before, asked = "", True
    try:
        while asked:
            if turn.inbox:
                turn.take_directions()
            if turn.spending is not None:
                await turn.spending.check()
            turn.signals.round = turn.rounds
            this, echo, recovery, fresh = Round(), Echo(before), Recovery(turn), True
            text = await whole(turn, this, echo, recovery)
            if turn.request.response_schema and this.calls and not turn.last_round:
                text = ""  # words beside the calls are no part of the JSON that follows
            if text:
                turn.last_piece = text = _apart(turn, text)
                yield text
            elif text is None:
                async with aclosing(generate(turn, this, echo, recovery)) as pieces:
                    async for piece in pieces:
                        turn.last_piece = shown = _apart(turn, piece) if fresh else piece
                        fresh = False
                        yield shown
            _account(turn, this)
            if turn.spending is not None:
                await turn.spending.add({} if this.done is None else this.done.usage)
            asked = await _continue(turn, this)
            if asked:
                before = "" if turn.request.response_schema else this.text
        turn.over = True
        if turn.last_round and not turn.last_piece and not turn.parked:
            raise ToolLoopError(f"{turn.channel_id} used {turn.rounds} tool rounds and gave no answer")
    except Exception as error:
        turn.over = True
        failure = error.cause if isinstance(error, Stopped) else error
        turn.finish_reason = "cancelled" if failure is None else "error"
        if failure is not None:
            for item in _apology(turn):
                yield item
        if failure is error:
            raise
        if failure is not None:
            raise failure from None
    finally:
        turn.stop.disarm()
        if turn.spending is not None:
            turn.spending.close()
    yield _done(turn)


def _apology(turn: Turn) -> list[str | StreamDone]:
    """Return what the agent says of its own failure, as an answer that is whole in itself."""
    return [_apart(turn, turn.error_reply), _done(turn)] if turn.error_reply else []


async def _continue(turn: Turn, this: Round) -> bool:
    """Do what the round asks for; return whether the model is to be asked again."""
    if not this.calls or turn.last_round:
        if not turn.inbox:
            return False
        if this.text:
            turn.add(AIMessage(role="assistant", content=this.text))
        return turn.take_directions()
    if turn.speculation is not None:
        await turn.confirmed()
    results = await run_calls(turn, this.calls)
    turn.rounds += 1
    turn.calls += len(this.calls)
    if turn.waiting:
        park(turn, this, results)
        return False
    if turn.is_ended:
        turn.finish_reason = "stop"
        return False
    turn.add(
        _message("assistant", this.parts),
        _message("tool", results),
    )
    if turn.shown:
        turn.add(_message("user", turn.shown))
        turn.shown = ()
    if turn.reoffer is not None:
        await turn.offer_again(call.part.name for call in this.calls)
    if turn.inbox:
        turn.take_directions()
    _bound(turn)
    return True


def _message(role: str, parts: Iterable[AIPart]) -> AIMessage:
    """Return a message of parts that are valid."""
    return AIMessage.trusted({"role": role, "content": tuple(parts), "name": None, "metadata": EMPTY})


def _bound(turn: Turn) -> None:
    if turn.rounds == turn.options.tool_loop_warn_after:
        logger.warning("%s is in tool round %d of one turn", turn.channel_id, turn.rounds)
    if turn.rounds >= turn.options.max_tool_rounds:
        turn.ask_for_answer("You have used all the tool rounds of this turn.")
    elif turn.calls >= turn.options.max_tool_calls:
        turn.ask_for_answer("You have made all the tool calls of this turn.")
    elif turn.stuck:
        turn.ask_for_answer("You keep making the same calls.")


def _account(turn: Turn, this: Round) -> None:
    if this.done is not None:
        turn.finish_reason = this.done.finish_reason
        if this.done.usage:
            turn.count(this.done.usage.items())


def _start_clock(turn: Turn) -> None:
    seconds = turn.options.tool_loop_timeout_seconds
    if seconds:
        error = TurnTimeoutError(f"{turn.channel_id} gave no whole answer in {seconds:g} s")
        turn.stop.at_deadline(seconds, error)


def _apart(turn: Turn, piece: str) -> str:
    """Return `piece` as the start of a new paragraph after the text before."""
    last = turn.last_piece
    touching = last and not last[-1].isspace() and not piece[:1].isspace()
    return f"\n\n{piece}" if touching else piece


def _done(turn: Turn) -> StreamDone:
    return StreamDone(
        turn.finish_reason,
        turn.usage,
        {
            "provider": turn.provider.name,
            "model": turn.provider.model_name,
            "tool_rounds": turn.rounds,
            "loop_id": turn.id,
            "cost": None if turn.spending is None else turn.spending.cost,
        },
    )
