"""Conversations that go through stages, each with its agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, override

from roomkit.abc.errors import InvalidInputError
from roomkit_plugins.agents.kinds import check_kind, check_names
from roomkit_plugins.agents.routing import ConversationRouter, RoutingConditions, RoutingRule
from roomkit_plugins.agents.state import HUMAN, ConversationPhase, ConversationState
from roomkit_plugins.agents.voices import Greeting

if TYPE_CHECKING:
    from roomkit.kernel.kit import RoomKit
    from roomkit_plugins.agents.handler import HandoffHandler
    from roomkit_plugins.ai.channel import AIChannel

__all__ = ["ConversationPipeline", "PipelineStage"]


@dataclass(slots=True, frozen=True)
class PipelineStage:
    """One phase of a conversation and the agent that has it then.

    A conversation goes on to `next`, and may go back to the phases of `can_return_to`.
    """

    phase: str
    agent_id: str
    next: str | None = None
    can_return_to: frozenset[str] | set[str] = field(default_factory=frozenset)
    description: str | None = None

    def __post_init__(self) -> None:
        check_names("PipelineStage", "phase and agent_id", (self.phase, self.agent_id))
        check_kind("PipelineStage", "next", self.next, str | None)
        check_names("PipelineStage", "can_return_to", self.can_return_to)
        check_kind("PipelineStage", "description", self.description, str | None)

    @property
    def exits(self) -> tuple[str, ...]:
        """The phases that may follow, the next one first."""
        return tuple(filter(None, (self.next, *sorted(self.can_return_to))))


class _PipelineRouter(ConversationRouter):
    """The rules of a pipeline's stages, with the changes that they allow."""

    def __init__(self, pipeline: ConversationPipeline) -> None:
        rules = [
            RoutingRule(stage.agent_id, RoutingConditions(phases={stage.phase}), priority)
            for priority, stage in enumerate(pipeline.stages)
        ]
        self._pipeline = pipeline
        super().__init__(rules, pipeline.first_stage.agent_id, pipeline.supervisor_id)

    @override
    def first(self) -> ConversationState:
        stage = self._pipeline.first_stage
        return ConversationState(phase=stage.phase, active_agent_id=stage.agent_id)

    @override
    def targets(self, agent_id: str) -> Mapping[str, str | None] | None:
        stages = self._pipeline.stages
        exits = [phase for stage in stages if stage.agent_id == agent_id for phase in stage.exits]
        found = {stage.agent_id: stage.description for stage in stages if stage.phase in exits}
        found.pop(agent_id, None)
        if self._pipeline.human is not None:
            found[HUMAN] = self._pipeline.human
        return found

    @override
    def phases(self, agent_id: str) -> Sequence[str]:
        own = [stage.phase for stage in self._pipeline.stages if stage.agent_id == agent_id]
        return own or (ConversationPhase.HANDLING,)

    @override
    def permits(self, from_phase: str, to_phase: str) -> bool:
        allowed = self._pipeline.get_allowed_transitions().get(from_phase)
        return allowed is None or to_phase in allowed


class ConversationPipeline:
    """Stages that a conversation goes through: an agent hands it over at the end of its stage.

    It begins with `default_phase`, the first stage's if None. `human` says to the agents when to hand it to a
    person; without it only one whose stage is the last is offered that.

    Raises InvalidInputError for a pipeline without stages, with two stages of one phase, or with an unknown
    phase in `next`, `can_return_to` or `default_phase`.
    """

    def __init__(
        self,
        stages: Sequence[PipelineStage],
        default_phase: str | None = None,
        supervisor_id: str | None = None,
        *,
        human: str | None = None,
    ) -> None:
        check_kind("a pipeline", "stages", stages, Sequence)
        for stage in stages:
            check_kind("a pipeline", "a stage", stage, PipelineStage)
        check_kind("a pipeline", "human", human, str | None)
        self.human = human
        self.stages = tuple(stages)
        self.supervisor_id = supervisor_id
        phases = [stage.phase for stage in self.stages]
        if not phases or len({*phases}) < len(phases):
            raise InvalidInputError(f"a pipeline has one stage or more, each of another phase: {phases}")
        named = [(phase, stage.phase) for stage in self.stages for phase in stage.exits]
        for phase, where in [*named, (default_phase or phases[0], "default_phase")]:
            if phase not in phases:
                raise InvalidInputError(
                    f"the pipeline has no phase {phase!r}, which {where!r} names; it has {', '.join(phases)}"
                )
        self.first_stage = self.stages[phases.index(default_phase or phases[0])]

    def to_router(self) -> ConversationRouter:
        """Return the router of the stages: the agent of the phase is asked, in order of the stages."""
        return _PipelineRouter(self)

    def get_phase_map(self) -> dict[str, str]:
        """Return each agent's phase, its first one if it has several."""
        return {stage.agent_id: stage.phase for stage in reversed(self.stages)}

    def get_allowed_transitions(self) -> dict[str, set[str]]:
        """Return the phases that may follow each phase."""
        return {stage.phase: {*stage.exits} for stage in self.stages}

    def install(
        self,
        kit: RoomKit,
        agents: Sequence[AIChannel],
        *,
        agent_aliases: dict[str, str] | None = None,
        hook_priority: int = -100,
        greet_on_handoff: bool = False,
        voice_channel_id: str | None = None,
        greeting_prompt: str | None = None,
        farewell_prompt: str | None = None,
        name: str | None = None,
    ) -> tuple[ConversationRouter, HandoffHandler]:
        """Route the messages of every room of `kit` that has one of `agents`, and let them hand over.

        An agent that is handed the conversation answers at once. With `greet_on_handoff` it is also asked to
        greet, by `greeting_prompt` or its own `greeting`. `farewell_prompt` is what an agent is to say
        before it hands over. `voice_channel_id` is a channel that speaks with one voice at a time: at a
        handoff the metadata of its binding gets the `agent` and its `voice`. With a `name` it decides only
        in the rooms that `HandoffHandler.assign` gives to it. Raises InvalidInputError for an agent that
        has been given to a strategy of that kit already.
        """
        from roomkit_plugins.agents.installing import install

        router = self.to_router()
        handler = install(
            kit,
            router,
            agents,
            aliases=agent_aliases,
            hook_priority=hook_priority,
            name=name,
            greeting=Greeting(greet_on_handoff, greeting_prompt, farewell_prompt, voice_channel_id),
        )
        return router, handler
