"""An agent's own tools behind the gates of the room. Imported at first use: it needs the library."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pydantic_ai import ModelRetry
from pydantic_ai.capabilities import AbstractCapability, WrapToolExecuteHandler, WrapToolValidateHandler
from roomkit_plugins.wire.tools import arguments

if TYPE_CHECKING:
    from pydantic_ai import RunContext
    from pydantic_ai.messages import ToolCallPart
    from pydantic_ai.tools import ToolDefinition
    from roomkit.models.generation import OwnCalls

__all__ = ["RoomGates"]


@dataclass
class RoomGates(AbstractCapability[Any]):
    """Has the room run each call of one run's own tools, with the arguments as its gates leave them."""

    calls: OwnCalls
    _checks: dict[str, WrapToolValidateHandler] = field(default_factory=dict)  # bound: the calls under way
    """How the arguments of a call are checked, by its id."""

    async def wrap_tool_validate(
        self,
        ctx: RunContext[Any],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,
        args: str | dict[str, Any],
        handler: WrapToolValidateHandler,
    ) -> dict[str, Any]:
        """Check the arguments that the model gave, and keep how: a gate may change them."""
        checked = await handler(args)
        self._checks[call.tool_call_id] = handler
        return checked

    async def wrap_tool_execute(
        self,
        ctx: RunContext[Any],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,
        args: dict[str, Any],
        handler: WrapToolExecuteHandler,
    ) -> Any:
        """Run the tool, if the gates let it pass; else the model gets their reason as the result."""
        given, _ = arguments(call.args)
        check = self._checks.pop(call.tool_call_id)

        async def work(passed: dict[str, Any]) -> object:
            if passed == given:
                return await handler(args)
            try:
                return await handler(await check(passed))
            except ValidationError as error:
                raise ModelRetry(
                    f"the arguments were changed on the way, and {tool_def.name} does not take these: "
                    f"{error.errors(include_url=False, include_input=False)[0]['msg']}"
                ) from error

        return await self.calls.run(call.tool_call_id, call.tool_name, given, work)
