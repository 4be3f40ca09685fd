"""The contract of strategies: which agents of a room are asked, and who may have the conversation next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roomkit_plugins.agents.state import ConversationPhase, ConversationState

if TYPE_CHECKING:
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent
    from roomkit_plugins.agents.delegation import DelegateHandler

__all__ = ["Decision", "Strategy"]


@dataclass(slots=True, frozen=True, kw_only=True)
class Decision:
    """What a strategy decides about one message.

    `asked` are the agents that answer it: None leaves that to the kit, `()` asks none. `reason` says why no
    agent answers; it is recorded as an observation of that `category`. `visibility` narrows who may see the
    message, and `response_visibility` says who may see the answers to it. `conversation` is the state after
    it, None for no change; it is committed with the message. `publishes` is a text that is said to everyone
    in place of the hidden words, by `speaker`.
    """

    asked: Sequence[str] | None
    reason: str | None = None
    visibility: str | None = None
    response_visibility: str | None = None
    conversation: ConversationState | None = None
    publishes: str | None = None
    speaker: str | None = None
    category: str = "unanswered"


class Strategy(ABC):
    """How the agents of a room share its conversation.

    One object serves all rooms: what belongs to a room is in its `ConversationState`. The methods are pure
    and quick: they run under the room's lock, and again when a commit is retried.
    """

    @abstractmethod
    def agents(self) -> Sequence[str]:
        """Return the channel ids of its agents, those of watchers included."""

    def first(self) -> ConversationState | None:
        """Return the state of a conversation that begins; None if rules choose for each message."""
        return None

    @abstractmethod
    def asked(self, event: RoomEvent, context: RoomContext, state: ConversationState) -> Decision:
        """Decide about a message of a person, or of another channel that is not an agent."""

    def answered(self, event: RoomEvent, context: RoomContext, state: ConversationState) -> Decision:
        """Decide about the words of one of the agents: by default no other agent is asked because of them."""
        return Decision(asked=())

    def watchers(self) -> Sequence[str]:
        """Return the agents that are asked about every message, beside the one that has the conversation."""
        return ()

    def targets(self, agent_id: str) -> Mapping[str, str | None] | None:
        """Return to whom an agent may hand the conversation, with what each is for.

        None offers it no handoff; an empty mapping lets it name any agent of the room.
        """
        return None

    def workers(self, agent_id: str) -> Mapping[str, str | None]:
        """Return to whom an agent may delegate tasks, with what each does; empty for none."""
        return {}

    def delegation(self, kit: RoomKit, agent_id: str) -> DelegateHandler:
        """Return what delegates the tasks of an agent that has workers."""
        from roomkit_plugins.agents.delegation import DelegateHandler

        return DelegateHandler(kit)

    def briefing(self, agent_id: str) -> str | None:
        """Return what an agent is to know of its part, for its instructions."""
        return None

    def phases(self, agent_id: str) -> Sequence[str]:
        """Return the phases in which an agent has the conversation, the usual one first."""
        return (ConversationPhase.HANDLING,)

    def permits(self, from_phase: str, to_phase: str) -> bool:
        """Return whether a conversation may go from one phase to another."""
        return True
