"""Calls that a provider makes of tools of its own: judged, seen and bounded like those of the model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from roomkit.authoring.coroutines import in_time
from roomkit.models.generation import OwnCalls
from roomkit.models.tool import ToolUse
from roomkit_plugins.ai.calls import admitted, said_of
from roomkit_plugins.ai.running import refused, running_call
from roomkit_plugins.ai.schema import thawed

if TYPE_CHECKING:
    from roomkit_plugins.ai.turn import Turn

__all__ = ["TurnOwnCalls"]

type _Work = Callable[[dict[str, Any]], Awaitable[object]]


class TurnOwnCalls(OwnCalls):
    """Those of one turn. They may run at once, in tasks of the provider."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._confirming = asyncio.Lock()

    async def run(self, call_id: str, name: str, arguments: Mapping[str, Any], work: _Work) -> object:
        """Run a call; see `OwnCalls.run`."""
        turn, loop = self._turn, asyncio.get_running_loop()
        await self._confirmed()
        began = loop.time()
        use = ToolUse(
            room_id=turn.room_id,
            channel_id=turn.channel_id,
            call_id=call_id,
            name=name,
            arguments=dict(arguments),
            participant_id=turn.participant_id,
            role=turn.role,
            event_id=turn.event_id,
        )
        passed, refusal = await self._judged(use)
        result: object = None
        error: str | None = "Cancelled"
        try:
            if refusal is not None:
                result = refused(refusal)
            else:
                await turn.signals.tool_started(passed)
                result, refusal = await self._worked(passed, work)
            error = None
        except Exception as failure:
            error = type(failure).__name__
            raise
        finally:
            turn.stop.heard = loop.time()  # the provider said nothing for so long because of the tool
            said = f"Error executing tool {name!r}: {error}" if error else said_of(result)
            ended = {"result": said, "is_error": bool(error or refusal)}
            await turn.signals.tool_ended(passed.replace(duration_ms=(loop.time() - began) * 1000, **ended))
        return result

    async def _confirmed(self) -> None:
        """Wait until the message is committed that the turn answers: a call may have an effect."""
        async with self._confirming:
            if (awaited := self._turn.speculation) is not None:
                if awaited.speculative:
                    await awaited.confirmed()
                await self._turn.release()

    async def _judged(self, use: ToolUse) -> tuple[ToolUse, str | None]:
        """Return the call as gates left it, and why it may not be made, if so."""
        turn = self._turn
        if turn.calls >= turn.options.max_tool_calls:
            return use, "all the tool calls of this turn are made"
        turn.calls += 1
        passed, refusal = await admitted(turn, use, None, own=True)
        if refusal is None and passed.name != use.name:
            refusal = (
                f"it was to be replaced by {passed.name!r}, which cannot be done with the tool {use.name!r}"
            )
        return passed, refusal

    async def _worked(self, use: ToolUse, work: _Work) -> tuple[object, str | None]:
        """Return what the tool returns; a text and a reason if it is late."""
        turn = self._turn
        seconds = turn.options.tool_timeout_seconds or None
        span, began = turn.signals.tool_opened(use), asyncio.get_running_loop().time()
        token, error = running_call.set(use), "Cancelled"
        late = TimeoutError()
        try:
            result = await in_time(work(thawed(use.arguments)), seconds, lambda: late)
            error = ""
            return result, None
        except Exception as failure:
            error = type(failure).__name__
            if failure is not late:
                raise
            said = f"Error executing tool {use.name!r}: no answer in {seconds:g} s"
            return said, said
        finally:
            running_call.reset(token)
            took = (asyncio.get_running_loop().time() - began) * 1000
            turn.signals.tool_closed(span, took, error or None)
