"""Where a room's conversation stands: its phase, and which agent has it. Kept in the room's state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from pydantic import Field

from roomkit.models.base import EMPTY, Json, Record, freeze, utcnow
from roomkit.models.values import Int, Key, Label

if TYPE_CHECKING:
    from roomkit.models.room import Room

__all__ = [
    "HUMAN",
    "NAMESPACE",
    "ConversationPhase",
    "ConversationState",
    "PhaseTransition",
    "conversation_of",
    "get_conversation_state",
    "set_conversation_state",
    "stored",
]

NAMESPACE = "agents"
"""Under which the state of this package is kept with a room."""
HUMAN = "human"
"""The owner of a conversation that a person has: no agent is asked until it is released."""
MAX_HISTORY = 20
"""How many transitions a room keeps, the newest: the state of a plugin has 16 KiB."""
MAX_REASON = 200
"""The longest reason of a transition, in characters; a longer one ends with an ellipsis."""

type OwnState = Mapping[str, Any] | None
"""What the room keeps under NAMESPACE."""


class ConversationPhase(StrEnum):
    """Phases that many conversations have; any other text is a phase, too."""

    INTAKE = "intake"
    QUALIFICATION = "qualification"
    HANDLING = "handling"
    ESCALATION = "escalation"
    RESOLUTION = "resolution"


class PhaseTransition(Record):
    """One change of a conversation's phase, or of its agent; the payload of ON_PHASE_TRANSITION."""

    from_phase: Label
    to_phase: Label
    from_agent: Key | None = None
    to_agent: Key | None = None
    reason: Label = ""
    timestamp: datetime = Field(default_factory=utcnow)
    metadata: Json = EMPTY


class ConversationState(Record):
    """The phase of a conversation, which agent has it, and how that came.

    `active_agent_id` is None while no agent has it (routing rules decide), and `human` while a person does.
    `handoff_count` counts changes of the agent. `phase_history` has the newest 20 transitions, oldest first.
    `context` is the program's own, of JSON values; `language` in it is the language of the answers.
    """

    phase: Label = ConversationPhase.INTAKE.value
    active_agent_id: Key | None = None
    previous_agent_id: Key | None = None
    handoff_count: Int = Field(default=0, ge=0)
    phase_started_at: datetime = Field(default_factory=utcnow)
    phase_history: tuple[PhaseTransition, ...] = ()
    context: Json = EMPTY

    @property
    def language(self) -> str | None:
        """The language of the answers, if one was set for the room."""
        language = self.context.get("language")
        return language if isinstance(language, str) else None

    def transition(
        self,
        to_phase: str,
        to_agent: str | None = None,
        reason: str = "",
        metadata: Mapping[str, Any] | None = None,
        *,
        at: datetime | None = None,
    ) -> ConversationState:
        """Return the state after a change to a phase and an agent; without `to_agent` no agent has it.

        The phase starts again only if it is another one. `previous_agent_id` becomes the agent that had the
        conversation, if another one gets it. `at` is when, now by default.
        """
        at = at or utcnow()
        changed = PhaseTransition(
            from_phase=self.phase,
            to_phase=to_phase,
            from_agent=self.active_agent_id,
            to_agent=to_agent,
            reason=_short(reason),
            timestamp=at,
            metadata=metadata or EMPTY,
        )
        moves = to_agent != self.active_agent_id
        return self.replace(
            phase=to_phase,
            active_agent_id=to_agent,
            previous_agent_id=self.active_agent_id if moves else self.previous_agent_id,
            handoff_count=self.handoff_count + moves,
            phase_started_at=self.phase_started_at if to_phase == self.phase else at,
            phase_history=(*self.phase_history, changed)[-MAX_HISTORY:],
        )

    def with_context(self, **changes: Any) -> ConversationState:
        """Return the state with keys of its context changed; None removes a key."""
        context = {key: value for key, value in {**self.context, **changes}.items() if value is not None}
        return self.replace(context=freeze(context))


def conversation_of(own: OwnState) -> ConversationState | None:
    """Return the conversation in what a room keeps under NAMESPACE; None where none has begun."""
    kept = None if own is None else own.get("conversation")
    if own is None or kept is None:
        return None
    derived = own.get("derived") or {}
    reasons = chain(derived.get("reasons") or (), repeat(""))
    pairs = zip(kept["phase_history"], reasons, strict=False)
    history = [{"reason": reason, **each} for each, reason in pairs]
    context = {**kept["context"], **(derived.get("context") or {})}
    return ConversationState.model_validate({**kept, "phase_history": history, "context": context})


def stored(
    own: OwnState, state: ConversationState, *, told: Iterable[str] = (), **changes: Any
) -> Mapping[str, Any]:
    """Return what a room is to keep under NAMESPACE: with the conversation, and other keys changed.

    What models wrote, which may repeat what people said, is kept where an erasure removes it: reasons, and
    the keys of the context that handoffs `told`.
    """
    written = state.model_dump(mode="json")
    before = ((own or {}).get("derived") or {}).get("context") or {}
    context = {key: written["context"].pop(key) for key in {*before, *told} if key in written["context"]}
    reasons = [each.pop("reason") for each in written["phase_history"]]
    derived = {"reasons": reasons, "context": context} if any(reasons) or context else None
    kept = {**(own or {}), "conversation": written, "derived": derived, **changes}
    return {key: value for key, value in kept.items() if value is not None}


def get_conversation_state(room: Room) -> ConversationState:
    """Return the state of the room's conversation as it was when `room` was read; a new one by default."""
    return conversation_of(room.state.get(NAMESPACE)) or ConversationState()


def set_conversation_state(room: Room, state: ConversationState) -> Room:
    """Return `room` with another state of its conversation; nothing is stored.

    Store it with `kit.store.update_room(room)`, which raises StaleRoomError if the room has changed since it
    was read, or change it in one step with `kit.change_state(room_id, "agents", fn)`.
    """
    return room.replace(state=freeze({**room.state, NAMESPACE: stored(room.state.get(NAMESPACE), state)}))


def _short(reason: str) -> str:
    return reason if len(reason) <= MAX_REASON else f"{reason[: MAX_REASON - 1]}…"
