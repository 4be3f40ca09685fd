"""An orchestration plugin in small."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from roomkit import (
    AIChannel,
    AIContext,
    AIResponse,
    AITool,
    AIToolCall,
    AIToolResultPart,
    HookExecution,
    HookTrigger,
    InboundMessage,
    Park,
    RoomContext,
    RoomEvent,
    RoomKit,
    TextContent,
    text_of,
)
from roomkit.testing import MockAIProvider, RecordingChannel
from tests.contract_sketches import crew
from tests.contract_sketches.crew import Agent
from tests.contract_sketches.stage import Vendor, Workers, die, killed, manager_of, until_killed, worker_on
from tests.contract_sketches.test_mail import arrives, mails

MINUTE = timedelta(minutes=1)


def answering(*answers: str | None) -> Any:
    """Return what gives these answers, in turn."""
    rest = iter(answers)

    async def think(room_id: str, words: str) -> str | None:
        return next(rest, None)

    return think


async def says(kit: RoomKit, text: str, room_id: str = "r1") -> None:
    message = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body=text))
    await kit.process_inbound(message, room_id=room_id)


async def texts(kit: RoomKit, room_id: str = "r1") -> list[str]:
    events = await kit.get_timeline(room_id)
    return [text for event in events if (text := text_of(event.content)) and event.type == "message"]


async def opened(kit: RoomKit, *agents: str) -> None:
    await kit.create_room("r1")
    await kit.attach_channel("r1", "web")
    await kit.ext.crew.assemble("r1", *agents)


@pytest.mark.virtual_time
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
async def test_an_agent_hands_over_and_every_worker_knows_who_is_asked(
    workers: Workers, streaming: bool
) -> None:
    """The hand-over is in the commit of the words that say so; the person does not see them."""
    first, second = answering("-> billing"), answering("What is it?", "Paid.")
    triage = [Agent("triage", first, streaming=streaming) for _ in range(2)]
    billing = [Agent("billing", second, streaming=streaming) for _ in range(2)]
    web = [RecordingChannel("web", streaming=streaming) for _ in range(2)]
    kits = [
        await workers.start(web[each], triage[each], billing[each], plugins=manager_of(crew=crew))
        for each in range(2)
    ]
    await opened(kits[0], "triage", "billing")
    await says(kits[0], "my invoice")
    await says(kits[1], "number 7")
    assert (await kits[1].get_room("r1")).state["crew"]["active"] == "billing"
    assert [text for each in web for text in each.texts()] == ["What is it?", "Paid."]
    assert sum(len(agent.asked) for agent in triage) == 1
    assert sum(len(agent.asked) for agent in billing) == 2


@pytest.mark.virtual_time
async def test_agents_that_hand_over_to_each_other_come_to_an_end(workers: Workers) -> None:
    kit = await workers.start(
        RecordingChannel("web"),
        one := Agent("one", answering(*["-> two"] * 99)),
        two := Agent("two", answering(*["-> one"] * 99)),
        plugins=manager_of(crew=crew),
        max_chain_depth=4,
    )
    await opened(kit, "one", "two")
    await says(kit, "hello")
    assert len(one.asked) + len(two.asked) == 4


@pytest.mark.virtual_time
async def test_an_errand_is_done_in_a_room_of_its_own_and_its_result_comes_back(workers: Workers) -> None:
    """An agent asks for it by a tool; it is asked again when the result is there."""
    kits: list[RoomKit] = []

    async def lead(room_id: str, words: str) -> str | None:
        if words == "the weather?":
            await kits[0].ext.crew.delegate(room_id, "clerk", "look out", within=MINUTE)
            return "One moment."
        return f"It says: {words}"

    web = RecordingChannel("web")
    agents = Agent("lead", lead), Agent("clerk", answering("rain"))
    kits.append(await workers.start(web, *agents, plugins=manager_of(crew=crew)))
    await opened(kits[0], "lead")
    await says(kits[0], "the weather?")
    await asyncio.sleep(600)
    assert web.texts() == ["One moment.", "It says: rain"]
    assert not [text for text in await texts(kits[0]) if text.startswith("no result")]


@pytest.mark.virtual_time
async def test_an_errand_without_a_result_is_reported_when_it_is_overdue(workers: Workers) -> None:
    """Any worker with the plugin fires the timer; the one that delegated is closed."""
    kits = [
        await workers.start(
            RecordingChannel("web"),
            Agent("lead", answering(None, "Sorry.")),
            Agent("clerk", answering(None)),
            plugins=manager_of(crew=crew),
        )
        for _ in range(2)
    ]
    await opened(kits[0], "lead")
    await kits[0].ext.crew.delegate("r1", "clerk", "look out", within=MINUTE)
    await kits[0].close()
    await asyncio.sleep(120)
    assert (await texts(kits[1])).count("no result yet: look out") == 1


@pytest.mark.virtual_time
@pytest.mark.parametrize("answer", ["yes, do", "no", None])
async def test_a_tool_waits_for_the_answer_of_the_person_who_was_asked_by_mail(
    workers: Workers, answer: str | None
) -> None:
    """It comes to the other worker; a stranger's reply approves nothing; without one a deadline ends it."""
    post, results, kits = Vendor(), list[str](), list[RoomKit]()

    async def refund(name: str, arguments: dict[str, Any]) -> Park:
        park = await kits[0].ext.crew.approval("boss", "Refund 40 EUR?", asked="olga@x.org", within=MINUTE)
        assert isinstance(park, Park)
        return park

    def answered(context: AIContext) -> str:
        part = context.messages[-1].content[0]
        assert isinstance(part, AIToolResultPart)
        results.append(part.result)
        return "Done."

    model = MockAIProvider(
        [
            lambda context: AIResponse(
                content="I ask.", tool_calls=[AIToolCall(id="c1", name="refund", arguments={})]
            ),
            answered,
        ]
    )
    for _ in range(2):
        agent = AIChannel("bot", model, tools=[(AITool(name="refund"), refund)])
        kits.append(
            await workers.start(RecordingChannel("web"), mails(post), agent, plugins=manager_of(crew=crew))
        )
    await kits[0].create_room("boss")
    await kits[0].attach_channel("boss", "crew")
    await kits[0].attach_channel("boss", "mail", metadata={"email_address": "olga@x.org"})
    await kits[0].ensure_participant("boss", "mail", "olga@x.org")
    await kits[0].create_room("r1")
    for name in ("web", "bot"):
        await kits[0].attach_channel("r1", name)
    await says(kits[0], "my money back")
    await post.sends(1)
    key = post.messages[0]["key"]
    await arrives(kits[1], "eve", "yes", in_reply_to=key, **{"from": "eve@x.org"})
    await asyncio.sleep(1)
    assert len(await kits[1].list_parked_turns()) == 1
    if answer is not None:
        await arrives(kits[1], "olga", answer, in_reply_to=key, **{"from": "olga@x.org"})
    await asyncio.sleep(120)
    assert await kits[1].list_parked_turns() == []
    wanted = {"yes, do": "approved", "no": "refused"}.get(answer or "")
    assert len(results) == 1
    assert results == [wanted] if wanted else "approved" not in results[0]
    assert (await texts(kits[1]))[-1] == "Done."


def staff() -> tuple[Any, ...]:
    return RecordingChannel("web"), Agent("lead", answering(None, "Good.")), Agent("clerk", answering("rain"))


async def _do_the_errand_and_die(folder: Path) -> None:
    """Die when the errand's result is committed, and before it is in the room that wants it."""
    async with worker_on(folder, *staff(), plugins=manager_of(crew=crew)) as kit:
        await opened(kit, "lead")

        @kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC, priority=-1)
        async def on_result(event: RoomEvent, context: RoomContext) -> None:
            if text_of(event.content) == "rain":
                die()

        await kit.ext.crew.delegate("r1", "clerk", "look out", within=MINUTE, key="e1")
        await until_killed()


async def test_a_result_whose_worker_died_comes_back_once(tmp_path: Path) -> None:
    await killed(_do_the_errand_and_die, tmp_path)
    arrived = asyncio.Event()
    async with worker_on(tmp_path, *staff(), plugins=manager_of(crew=crew)) as kit:

        @kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC)
        async def on_result(event: RoomEvent, context: RoomContext) -> None:
            if event.room_id == "r1" and text_of(event.content) == "rain":
                arrived.set()

        await arrived.wait()
        assert (await texts(kit)).count("rain") == 1
