"""Where a conversation stands, and how that is kept with its room."""

from __future__ import annotations

import pytest

from roomkit import (
    ConversationPipeline,
    ConversationState,
    InvalidInputError,
    PipelineStage,
    Room,
    RoomKit,
    StaleRoomError,
    build_handoff_tool,
    get_conversation_state,
    set_conversation_state,
)


def test_a_transition_says_where_from_and_where_to() -> None:
    first = ConversationState(phase="intake", active_agent_id="triage")
    second = first.transition("handling", "billing", "an invoice")
    (change,) = second.phase_history
    assert (change.from_phase, change.to_phase, change.reason) == ("intake", "handling", "an invoice")
    assert (change.from_agent, change.to_agent) == ("triage", "billing")
    assert (second.previous_agent_id, second.handoff_count) == ("triage", 1)
    assert second.phase_started_at == change.timestamp


def test_a_transition_within_one_agent_is_no_handoff() -> None:
    """And within one phase that does not begin again."""
    state = ConversationState(phase="intake", active_agent_id="triage", previous_agent_id="porter")
    same = state.transition("intake", "triage")
    assert (same.handoff_count, same.previous_agent_id) == (0, "porter")
    assert same.phase_started_at == state.phase_started_at


def test_the_history_is_bounded_and_so_are_its_reasons() -> None:
    """A room keeps 16 KiB for a plugin, however long the conversation becomes."""
    state = ConversationState()
    for number in range(100):
        state = state.transition(f"phase {number}", f"agent {number}", "x" * 5000)
    assert [change.to_phase for change in state.phase_history] == [f"phase {n}" for n in range(80, 100)]
    assert max(len(change.reason) for change in state.phase_history) == 200
    assert len(state.model_dump_json()) < 14_000


def test_the_context_is_changed_key_by_key() -> None:
    state = ConversationState(context={"language": "French", "order": 7})
    assert state.language == "French"
    assert state.with_context(language=None, colour="red").context == {"order": 7, "colour": "red"}


def test_a_room_without_a_state_has_a_new_one() -> None:
    assert get_conversation_state(Room(id="r1")).phase == "intake"


async def test_a_state_is_stored_with_its_room_and_a_stale_one_is_not() -> None:
    async with RoomKit() as kit:
        await kit.create_room("r1")
        room = await kit.get_room("r1")
        changed = set_conversation_state(room, ConversationState(phase="handling", active_agent_id="bot"))
        await kit.store.update_room(changed)
        assert get_conversation_state(await kit.get_room("r1")).active_agent_id == "bot"
        with pytest.raises(StaleRoomError):
            await kit.store.update_room(changed)


@pytest.mark.parametrize(
    ("stages", "default", "problem"),
    [
        ([], None, "one stage or more"),
        ([PipelineStage("a", "x"), PipelineStage("a", "y")], None, "each of another phase"),
        ([PipelineStage("a", "x", next="b")], None, "no phase 'b', which 'a' names"),
        ([PipelineStage("a", "x", can_return_to={"c"})], None, "no phase 'c', which 'a' names"),
        ([PipelineStage("a", "x")], "d", "no phase 'd', which 'default_phase' names"),
    ],
)
def test_a_pipeline_that_cannot_work_is_refused(
    stages: list[PipelineStage], default: str | None, problem: str
) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        ConversationPipeline(stages, default)


def test_a_pipeline_says_which_agents_and_phases_follow() -> None:
    pipeline = ConversationPipeline(
        [
            PipelineStage("a", "x", next="b"),
            PipelineStage("b", "y", can_return_to={"a"}),
            PipelineStage("c", "x"),
        ]
    )
    assert pipeline.get_phase_map() == {"x": "a", "y": "b"}
    assert pipeline.get_allowed_transitions() == {"a": {"b"}, "b": {"a"}, "c": set()}
    assert pipeline.to_router().agents() == ("x", "y")


def test_the_tool_names_its_targets_or_lets_the_model_name_any() -> None:
    named = build_handoff_tool([("billing", "Invoices"), ("human", None)])
    assert named.parameters["properties"]["target"]["enum"] == ["billing", "human"]
    assert "- billing: Invoices" in named.description
    assert "enum" not in build_handoff_tool([]).parameters["properties"]["target"]
