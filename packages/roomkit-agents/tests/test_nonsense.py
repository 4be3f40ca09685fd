"""What cannot be is refused where it is constructed, and the error names the argument."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from roomkit import (
    Agent,
    ConversationPipeline,
    ConversationRouter,
    DelegateHandler,
    HandoffMemoryProvider,
    ImmediateDelivery,
    InvalidInputError,
    ModelDecides,
    PipelineStage,
    ReviewLoop,
    RoomKit,
    RoutingConditions,
    RoutingRule,
    SpeakIf,
    SpeakWhenAddressed,
    Supervision,
    Swarm,
)
from roomkit_plugins.testing import MockAIProvider

AI = MockAIProvider()
STAGE = PipelineStage("a", "b")

NONSENSE: dict[str, Callable[[], Any]] = {
    "speak": lambda: Agent("x", AI, speak=3),  # type: ignore[arg-type]
    "provider": lambda: Agent("x", 3),  # type: ignore[arg-type]
    "channel_id": lambda: Agent(3, AI),  # type: ignore[arg-type]
    "role": lambda: Agent("x", AI, role=3),  # type: ignore[arg-type]
    "description": lambda: Agent("x", AI, description=["a"]),  # type: ignore[arg-type]
    "scope": lambda: Agent("x", AI, scope=b"a"),  # type: ignore[arg-type]
    "voice": lambda: Agent("x", AI, voice=1),  # type: ignore[arg-type]
    "greeting": lambda: Agent("x", AI, greeting=True),  # type: ignore[arg-type]
    "language": lambda: Agent("x", AI, language=7),  # type: ignore[arg-type]
    "memory": lambda: Agent("x", AI, memory="sliding"),  # type: ignore[arg-type]
    "inner": lambda: HandoffMemoryProvider(None),  # type: ignore[arg-type]
    "names": lambda: SpeakWhenAddressed(""),
    "names, a number": lambda: SpeakWhenAddressed(3),  # type: ignore[arg-type]
    "classifier": lambda: SpeakIf("question"),  # type: ignore[arg-type]
    "offers": lambda: ModelDecides(offers="yes"),  # type: ignore[arg-type]
    "phases": lambda: RoutingConditions(phases="intake"),
    "channel_types": lambda: RoutingConditions(channel_types=3),  # type: ignore[arg-type]
    "intents": lambda: RoutingConditions(intents=[None]),  # type: ignore[list-item]
    "source_channel_ids": lambda: RoutingConditions(source_channel_ids="web"),
    "custom": lambda: RoutingConditions(custom=True),  # type: ignore[arg-type]
    "agent_id": lambda: RoutingRule(None),  # type: ignore[arg-type]
    "conditions": lambda: RoutingRule("a", {"phases": ["a"]}),  # type: ignore[arg-type]
    "priority": lambda: RoutingRule("a", priority="high"),  # type: ignore[arg-type]
    "a rule": lambda: ConversationRouter(["a"]),  # type: ignore[list-item]
    "rules": lambda: ConversationRouter(3),  # type: ignore[arg-type]
    "default_agent_id": lambda: ConversationRouter(default_agent_id=3),  # type: ignore[arg-type]
    "supervisor_id": lambda: ConversationRouter(supervisor_id=["boss"]),  # type: ignore[arg-type]
    "phase": lambda: PipelineStage("", "a"),
    "next": lambda: PipelineStage("a", "b", next=3),  # type: ignore[arg-type]
    "can_return_to": lambda: PipelineStage("a", "b", can_return_to="intake"),  # type: ignore[arg-type]
    "a stage": lambda: ConversationPipeline(["intake"]),  # type: ignore[list-item]
    "stages": lambda: ConversationPipeline(STAGE),  # type: ignore[arg-type]
    "human": lambda: ConversationPipeline([STAGE], human=True),  # type: ignore[arg-type]
    "agents": lambda: Swarm("abc"),
    "agents, numbers": lambda: Swarm([1, 2]),  # type: ignore[list-item]
    "workers": lambda: Supervision("a", ["b"]),  # type: ignore[arg-type]
    "supervisor": lambda: Supervision("", {"b": None}),
    "producer": lambda: ReviewLoop(None, "b"),  # type: ignore[arg-type]
    "max_rounds": lambda: ReviewLoop("a", "b", max_rounds="2"),  # type: ignore[arg-type]
    "max_rounds, a truth": lambda: ReviewLoop("a", "b", max_rounds=True),
    "notify": lambda: DelegateHandler(RoomKit(), notify=3),  # type: ignore[arg-type]
    "delivery_strategy": lambda: DelegateHandler(RoomKit(), delivery_strategy="now"),  # type: ignore[arg-type]
    "within": lambda: DelegateHandler(RoomKit(), within=900),  # type: ignore[arg-type]
    "within, none": lambda: DelegateHandler(RoomKit(), within=timedelta()),
    "inherit": lambda: DelegateHandler(RoomKit(), inherit="all"),  # type: ignore[arg-type]
    "inherits": lambda: Supervision("a", {"b": None}, inherit=51),
    "schemas": lambda: Supervision("a", {"b": None}, schemas={"b": "JSON"}),  # type: ignore[dict-item]
    "schemas, of others": lambda: Supervision("a", {"b": None}, schemas={"c": {}}),
    "within, of workers": lambda: Supervision("a", {"b": None}, within=timedelta()),
    "prompt": lambda: ImmediateDelivery(3),  # type: ignore[arg-type]
    "an agent": lambda: Swarm(["a"]).install(RoomKit(), ["a"]),  # type: ignore[list-item]
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_refused_with_the_name_of_the_argument(name: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        NONSENSE[name]()
    assert name.split(",")[0] in str(refused.value) or "within" in str(refused.value)


async def test_a_classifier_that_is_not_async_is_named_when_it_is_asked() -> None:
    """A function that returns what can be awaited would do, too."""
    policy = SpeakIf(lambda event, context: True)  # type: ignore[arg-type, return-value]
    with pytest.raises(InvalidInputError, match="SpeakIf of agent 'bot': what its classifier returned"):
        await policy.silence("bot", None, None)  # type: ignore[arg-type]
