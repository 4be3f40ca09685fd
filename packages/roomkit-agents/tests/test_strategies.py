"""Swarms, review loops, and strategies for single rooms."""

from __future__ import annotations

import pytest
from stage import Stage, agent, hands_to

from roomkit import InvalidInputError, ReviewLoop, Supervision, Swarm

pytestmark = pytest.mark.virtual_time


async def test_in_a_swarm_each_may_hand_to_each() -> None:
    """The agent that has the conversation keeps it until it hands it on."""
    stage = Stage(agent("a", hands_to("c")), agent("b"), agent("c", "C.", "Still C.", hands_to("human")))
    swarm = Swarm(["a", "b", "c"], human="When they ask.")
    swarm.install(stage.kit, stage.agents)
    async with stage.kit:
        await stage.open()
        for text in ("one", "two", "three", "four"):
            await stage.says(text)
        assert stage.web.texts() == ["C.", "Still C."]
        enum = stage.asked("a")[0].tools[0].parameters["properties"]["target"]["enum"]
        assert list(enum) == ["b", "c", "human"]
        assert await stage.unanswered() == ["a person has the conversation"]


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
async def test_people_see_what_the_reviewer_let_pass_and_nothing_before(streaming: bool) -> None:
    author = agent("author", "First draft.", "Second draft.", streaming=streaming)
    critic = agent("critic", "Shorter.", "APPROVED", streaming=streaming)
    stage = Stage(author, critic, streaming=streaming)
    ReviewLoop("author", "critic").install(stage.kit, stage.agents)
    async with stage.kit:
        await stage.open()
        await stage.says("write something")
        assert stage.web.texts() == ["Second draft."]
        assert "Shorter." in str(stage.asked("author")[1].messages)
        assert "You review drafts" in (stage.asked("critic")[0].system_prompt or "")
        said = (await stage.kit.get_timeline("r1", as_channel="web"))[-1]
        assert (said.source.channel_id, said.addressed_to) == ("author", ())
        state = await stage.state()
        assert (state.phase, state.context["reviews"]) == ("drafting", 0)


async def test_a_draft_that_is_never_approved_is_said_after_the_last_round() -> None:
    stage = Stage(agent("author", "One.", "Two."), agent("critic", "No.", "Still no."))
    ReviewLoop("author", "critic", max_rounds=2).install(stage.kit, stage.agents)
    async with stage.kit:
        await stage.open()
        await stage.says("write something")
        assert stage.web.texts() == ["Two."]
        found = await stage.kit.list_observations("r1")
        assert [(each.category, each.content) for each in found] == [
            ("unapproved", "said after 2 reviews without approval")
        ]


async def test_a_strategy_with_a_name_decides_in_the_rooms_it_is_given() -> None:
    """The same agents work by another one everywhere else."""
    stage = Stage(agent("a", *["A."] * 4), agent("b", *["B."] * 4))
    day = Swarm(["a", "b"]).install(stage.kit, stage.agents)
    night = Swarm(["b", "a"]).install(stage.kit, stage.agents, name="night")
    with pytest.raises(InvalidInputError, match="a strategy for the rooms of strategy 'night' already"):
        Swarm(["b"]).install(stage.kit, stage.agents[1:], name="night")
    async with stage.kit:
        await stage.open("r1")
        await stage.open("r2")
        await night.assign("r2")
        await stage.says("hello", "r1")
        await stage.says("hello", "r2")
        await day.assign("r2")
        await stage.says("hello", "r2")
        assert stage.web.texts() == ["A.", "B.", "A."]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Swarm([]),
        lambda: Swarm(["a"], first="b"),
        lambda: ReviewLoop("a", "a"),
        lambda: ReviewLoop("a", "b", max_rounds=0),
        lambda: Supervision("a", {}),
        lambda: Supervision("a", {"a": None}),
    ],
    ids=["no agents", "no first", "one agent", "no rounds", "no workers", "itself"],
)
def test_a_strategy_that_cannot_work_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(InvalidInputError):
        make()
