"""The contract of what brings tools to an agent from elsewhere: a tool server, skills."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from roomkit._dataclasses import dataclass
from roomkit.abc.provider import Provider

if TYPE_CHECKING:
    from roomkit.abc.ai import ToolHandler
    from roomkit.models.ai import AITool
    from roomkit.models.room import Room

__all__ = ["ProvidedTool", "ToolOffer", "ToolProvider"]


@dataclass(slots=True, frozen=True)
class ProvidedTool:
    """A tool of a provider, with its handler.

    `timeout` in seconds replaces the agent's deadline for a call. After a call of a tool that `changes_offer`
    the provider is asked again, before the model is. An `exempt` tool passes every tool policy: only one that
    does nothing but read what the provider itself has may be exempt.
    """

    definition: AITool
    handler: ToolHandler
    timeout: float | None = None
    changes_offer: bool = False
    exempt: bool = False


@dataclass(slots=True, frozen=True)
class ToolOffer:
    """What a provider brings to one turn.

    `instructions` follow the system prompt. `withheld` has globs on the names of the agent's tools, of any
    origin: a tool that matches one is neither offered nor run, and a call of it is refused with the
    glob's text, which tells the model how to get the tool. A tool that matches one of `granted` is not
    withheld.
    """

    tools: Sequence[ProvidedTool] = ()
    instructions: Sequence[str] = ()
    withheld: Mapping[str, str] = field(default_factory=dict)
    granted: Sequence[str] = ()


class ToolProvider(Provider):
    """Brings tools to the agents that have it among their `tool_providers`.

    One object serves many agents and rooms concurrently; what belongs to a room is kept in the room's state.
    Its agents bind, start and close it. `start` does not wait for anything remote. `close` ends connections;
    since agents may share a provider, one that is used after that connects again.
    """

    @abstractmethod
    async def offer(self, room: Room) -> ToolOffer:
        """Return what a turn in `room` gets; called once a turn, and after a tool that `changes_offer`.

        It is answered from memory where possible: a turn waits for it, at most for the agent's
        `tool_timeout_seconds`. What it raises is logged, and the turn goes on without its tools. A tool that
        cannot be offered is omitted, with one warning that names the tool and the reason.
        """
