"""Streaming or not, the same conversation comes out the same: text, calls, decisions, requests."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.abc.services import GateOutcome
from roomkit.models.ai import AIThinkingPart, AITool, AIToolCall
from roomkit.models.enums import ParticipantRole
from roomkit.models.generation import AIResponse
from roomkit_plugins.ai import RoleOverride, ToolPolicy
from roomkit_plugins.testing.contracts.strategies import examples

NAMES = ["look", "refund", "fail", "unknown"]
POLICY = ToolPolicy(role_overrides={"observer": RoleOverride(deny=["refund"])})

CALLS = st.lists(
    st.builds(
        AIToolCall,
        id=st.sampled_from(["c1", "c2", ""]),
        name=st.sampled_from(NAMES),
        arguments=st.sampled_from([{}, {"n": 1}, {"n": "one"}]),
        invalid=st.sampled_from([None, None, None, "cut off"]),
    ),
    max_size=3,
)
THOUGHTS = st.lists(
    st.sampled_from(
        [
            AIThinkingPart(thinking="Hm.", signature="s1"),
            AIThinkingPart(thinking="Well.", signature="s2"),
            AIThinkingPart(thinking="", redacted_data="x"),
        ]
    ),
    max_size=2,
)
ANSWERS = st.one_of(
    st.builds(
        AIResponse,
        content=st.sampled_from(["", "Let me look that up.", "Let me look that up. Yes.", "Done."]),
        thinking_parts=THOUGHTS,
        finish_reason=st.sampled_from(["stop", "length", "tool_calls"]),
        usage=st.just({"input_tokens": 3, "output_tokens": 2}),
        tool_calls=CALLS,
    ),
    st.sampled_from(
        [
            ProviderError("x", error_code=ErrorCode.AUTH),
            ProviderError("x", error_code=ErrorCode.CONTEXT_OVERFLOW),
        ]
    ),
)


async def handler(name, arguments):
    if name == "fail":
        raise ValueError("it broke")
    return f"{name}: {arguments}"


async def gate(use):
    if use.arguments.get("n") == 1 and use.name == "look":
        return GateOutcome(True, use.model_copy(update={"arguments": {"n": 2}}))
    return GateOutcome(use.name != "refund" or not use.arguments, use, "not with arguments")


def play(new_stage, streaming, answers, chunk, role):
    """Return everything there is to see of one turn."""
    stage = new_stage(streaming=streaming)
    stage.person("alice", role)
    stage.event("Hello")
    stage.event("Hi!", channel="agent")
    stage.services.turns.gate = gate
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    tools = [AITool(name=name, parameters=schema) for name in NAMES[:-1]]
    provider = stage.provider(*answers, chunk_size=chunk)
    agent = stage.agent(provider, tools=tools, tool_handler=handler, tool_policy=POLICY, max_tool_rounds=4)
    heard = asyncio.run(stage.ask(agent, "Go", catch=True))
    uses = [use.model_dump(exclude={"duration_ms", "event_id"}) for use in stage.services.calls()]
    return {
        "text": heard.text if heard.error is None else "",
        "error": type(heard.error),
        "rounds": heard.tool_rounds if heard.text and not heard.error else None,
        "usage": heard.usage if heard.text and not heard.error else None,
        "calls": sorted(map(str, uses)),
        "requests": [(one.messages, one.tools, one.tool_choice) for one in provider.calls],
    }


@given(
    st.lists(ANSWERS, min_size=1, max_size=5),
    st.sampled_from([None, 1, 7]),
    st.sampled_from([ParticipantRole.MEMBER, ParticipantRole.OBSERVER]),
)
@examples(40)
def test_both_ways_of_generating_give_the_same(new_stage, answers, chunk, role):
    whole = play(new_stage, False, answers, None, role)
    streamed = play(new_stage, True, answers, chunk, role)
    assert streamed == whole
