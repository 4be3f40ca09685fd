"""Strategies beside the pipeline: a swarm, a supervisor with workers, a producer with a reviewer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, override

from roomkit.abc.errors import InvalidInputError
from roomkit.models.base import EMPTY
from roomkit.models.content import text_of
from roomkit_plugins.agents.delegation import DelegateHandler, check_terms
from roomkit_plugins.agents.kinds import check_kind, check_names
from roomkit_plugins.agents.routing import ConversationRouter
from roomkit_plugins.agents.state import HUMAN, ConversationPhase, ConversationState
from roomkit_plugins.agents.strategy import Decision

if TYPE_CHECKING:
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent

__all__ = ["APPROVED", "ReviewLoop", "Supervision", "Swarm"]

APPROVED = "APPROVED"
"""How a reviewer's words begin that let a draft pass."""
_REVIEW = (
    "You review drafts before anyone else sees them. If the last draft is good, answer with the one word "
    f"{APPROVED}. If not, say what to change: the author reads it and writes another one."
)


class Swarm(ConversationRouter):
    """Agents that may all hand the conversation to each other; the one that has it keeps it until then.

    It begins with `first`, the first of the `agents` if None. `human` says to them when to hand it to a
    person; None does not offer that. Raises InvalidInputError for agents that are none, or without `first`.
    """

    def __init__(
        self,
        agents: Sequence[str],
        first: str | None = None,
        supervisor_id: str | None = None,
        *,
        human: str | None = None,
    ) -> None:
        check_names("a swarm", "agents", agents)
        check_kind("a swarm", "human", human, str | None)
        if not agents or (first is not None and first not in agents):
            raise InvalidInputError(f"a swarm has agents, and {first!r} is one of them: {list(agents)}")
        super().__init__(None, first or agents[0], supervisor_id)
        self._members = tuple(agents)
        self._human = human

    @override
    def agents(self) -> Sequence[str]:
        return tuple(dict.fromkeys((*self._members, *self.watchers())))

    @override
    def first(self) -> ConversationState:
        return ConversationState(phase=ConversationPhase.HANDLING, active_agent_id=self.default_agent_id)

    @override
    def targets(self, agent_id: str) -> Mapping[str, str | None] | None:
        found: dict[str, str | None] = {each: None for each in self._members if each != agent_id}
        if self._human is not None:
            found[HUMAN] = self._human
        return found or None


class Supervision(ConversationRouter):
    """An agent that people talk to, and workers that it gives tasks to; they do these in rooms of their own.

    The supervisor is offered the tool `delegate_task` for the workers. A worker reads the task, and the last
    `inherit` messages (at most 50) of the conversation that the supervisor may see; with a JSON Schema in
    `schemas` its result has that shape; it has `within` that time. Raises InvalidInputError without workers.
    """

    def __init__(
        self,
        supervisor: str,
        workers: Mapping[str, str | None],
        *,
        inherit: int = 0,
        schemas: Mapping[str, Mapping[str, Any]] = EMPTY,
        within: timedelta = timedelta(minutes=15),
    ) -> None:
        check_names("a supervision", "supervisor", (supervisor,))
        check_kind("a supervision", "workers", workers, Mapping)
        check_names("a supervision", "workers", workers)
        check_terms("a supervision", within, inherit, schemas)
        if unknown := schemas.keys() - workers.keys():
            raise InvalidInputError(
                f"a supervision has schemas of {sorted(unknown)}, who are not its workers"
            )
        if not workers or supervisor in workers:
            raise InvalidInputError(f"{supervisor!r} needs workers other than itself: {list(workers)}")
        super().__init__(None, supervisor)
        self._workers = dict(workers)
        self._inherit, self._schemas, self._within = inherit, schemas, within

    @override
    def first(self) -> ConversationState:
        return ConversationState(phase=ConversationPhase.HANDLING, active_agent_id=self.default_agent_id)

    @override
    def workers(self, agent_id: str) -> Mapping[str, str | None]:
        return self._workers if agent_id == self.default_agent_id else {}

    @override
    def delegation(self, kit: RoomKit, agent_id: str) -> DelegateHandler:
        return DelegateHandler(kit, within=self._within, inherit=self._inherit, schemas=self._schemas)


class ReviewLoop(ConversationRouter):
    """A producer that answers, and a reviewer that lets its answer pass or says what to change.

    People see what passed, as the producer's words, and nothing before: drafts and reviews are visible to
    the two agents only. After `max_rounds` reviews the last draft is said as it is, and an observation of
    category `unapproved` says so. A kit needs a `max_chain_depth` of twice that, at least.
    """

    def __init__(self, producer: str, reviewer: str, *, max_rounds: int = 2) -> None:
        check_names("a review loop", "producer and reviewer", (producer, reviewer))
        check_kind("a review loop", "max_rounds", max_rounds, int)
        if max_rounds < 1 or producer == reviewer:
            raise InvalidInputError(
                "a review loop has a producer, another agent as reviewer, and 1 round or more: "
                f"{producer!r}, {reviewer!r}, {max_rounds}"
            )
        super().__init__(None, producer)
        self.producer = producer
        self.reviewer = reviewer
        self.max_rounds = max_rounds

    @override
    def agents(self) -> Sequence[str]:
        return (self.producer, self.reviewer)

    @override
    def first(self) -> ConversationState:
        return ConversationState(phase="drafting", active_agent_id=self.producer)

    @override
    def briefing(self, agent_id: str) -> str | None:
        return _REVIEW if agent_id == self.reviewer else None

    @override
    def asked(self, event: RoomEvent, context: RoomContext, state: ConversationState) -> Decision:
        if state.active_agent_id == HUMAN:
            return super().asked(event, context, state)
        return Decision(
            asked=(self.producer,),
            response_visibility=self.reviewer,
            conversation=self._at(state, "drafting", 0),
        )

    @override
    def answered(self, event: RoomEvent, context: RoomContext, state: ConversationState) -> Decision:
        if event.source.channel_id == self.producer:
            return Decision(
                asked=(self.reviewer,),
                visibility=self.reviewer,
                response_visibility=self.producer,
                conversation=self._at(state, "review", self._round(state)),
            )
        return self._reviewed(event, context, state)

    def _reviewed(self, event: RoomEvent, context: RoomContext, state: ConversationState) -> Decision:
        is_approved = text_of(event.content).lstrip().startswith(APPROVED)
        rounds = self._round(state) + 1
        if not is_approved and rounds < self.max_rounds:
            return Decision(
                asked=(self.producer,),
                visibility=self.producer,
                response_visibility=self.reviewer,
                conversation=self._at(state, "drafting", rounds),
            )
        return Decision(
            asked=(),
            visibility=self.producer,
            conversation=self._at(state, "drafting", 0),
            publishes=self._draft(context),
            speaker=self.producer,
            reason=None if is_approved else f"said after {rounds} reviews without approval",
            category="unapproved",
        )

    def _draft(self, context: RoomContext) -> str | None:
        events = (each for each in reversed(context.recent_events) if each.source.channel_id == self.producer)
        return next((text_of(each.content) for each in events), None)

    @staticmethod
    def _round(state: ConversationState) -> int:
        rounds = state.context.get("reviews", 0)
        return rounds if isinstance(rounds, int) else 0

    def _at(self, state: ConversationState, phase: str, rounds: int) -> ConversationState:
        return state.replace(phase=phase, active_agent_id=self.producer).with_context(reviews=rounds)
