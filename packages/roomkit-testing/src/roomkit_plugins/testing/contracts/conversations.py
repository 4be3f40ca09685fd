"""Hypothesis strategies for what a model may be asked, well or badly made."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from roomkit.models.ai import (
    AIImagePart,
    AIMessage,
    AIPart,
    AITextPart,
    AIThinkingPart,
    AITool,
    AIToolCallPart,
    AIToolResultPart,
)

__all__ = ["REDACTED", "SIGNED", "contexts"]

SIGNED = AIThinkingPart(thinking="Hm.", signature="c2ln")
"""The one thought with a signature. A simulator that checks signatures has to know it."""

REDACTED = AIThinkingPart(thinking="", redacted_data="xyz")
"""The one redacted thought; the same holds for it."""

_TEXTS = st.sampled_from(["Hello", "", " ", "Ünï ☕", "a\n\nb"])
_IDS = st.sampled_from(["a", "b", "functions.now:0", "x" * 85])
_TOOLS = st.sampled_from(["now", "files.read", "x" * 200])
_THINKING = [
    SIGNED,
    REDACTED,
    AIThinkingPart(thinking="unsigned"),
]
_PARTS: st.SearchStrategy[AIPart] = st.one_of(
    _TEXTS.map(lambda text: AITextPart(text=text)),
    st.builds(AIToolCallPart, id=_IDS, name=_TOOLS, arguments=st.just({"x": 1})),
    st.builds(AIToolResultPart, tool_call_id=_IDS, name=_TOOLS, result=_TEXTS, is_error=st.booleans()),
    st.sampled_from(_THINKING),
    st.sampled_from(
        ["https://example.com/a.png", "data:image/png;base64,aGk=", "data:image/jpg;base64,aGk=", "file:///x"]
    ).map(lambda url: AIImagePart(url=url)),
)
_MESSAGES = st.builds(
    AIMessage,
    role=st.sampled_from(["user", "assistant", "tool", "system"]),
    content=_TEXTS | st.lists(_PARTS, max_size=3).map(tuple),
    name=st.sampled_from([None, "Ann", "Ann Lee"]),
)


@st.composite
def _rounds(draw: st.DrawFn) -> list[AIMessage]:
    """Draw one round of a conversation as a tool loop makes it."""
    messages = [AIMessage(role="user", content=draw(_TEXTS), name=draw(st.sampled_from([None, "Ann"])))]
    calls = draw(st.lists(st.uuids().map(str), max_size=3, unique=True))
    said: list[AIPart] = [*draw(st.lists(st.sampled_from(_THINKING), max_size=2))]
    said.append(AITextPart(text=draw(_TEXTS)))
    said += [AIToolCallPart(id=call, name=draw(_TOOLS)) for call in calls]
    messages.append(AIMessage(role="assistant", content=tuple(said)))
    for call in draw(st.permutations(calls)):
        result = AIToolResultPart(tool_call_id=call, name="now", result=draw(_TEXTS))
        said_meanwhile = AITextPart(text=draw(_TEXTS))
        messages.append(
            draw(
                st.sampled_from(
                    [
                        AIMessage(role="tool", content=(result,)),
                        AIMessage(role="user", content=(said_meanwhile, result)),
                    ]
                )
            )
        )
    return messages


_LOOPS = st.lists(_rounds(), min_size=1, max_size=4).map(
    lambda made: [
        *(message for messages in made for message in messages),
        AIMessage(role="user", content="So?"),
    ]
)


@st.composite
def _spoilt(draw: st.DrawFn) -> list[AIMessage]:
    """Draw a tool loop's conversation with one message lost, or said again somewhere."""
    messages = draw(_LOOPS)
    message = messages[draw(st.integers(0, len(messages) - 1))]
    if draw(st.booleans()):
        return [other for other in messages if other is not message]
    messages.insert(draw(st.integers(0, len(messages))), message)
    return messages


_CONVERSATIONS = st.one_of(_LOOPS, _spoilt(), st.lists(_MESSAGES, max_size=6))


def contexts() -> st.SearchStrategy[dict[str, Any]]:
    """Generate the fields of an `AIContext`: rounds of a tool loop, and what no loop would make."""
    return st.fixed_dictionaries(
        {
            "messages": _CONVERSATIONS,
            "system_prompt": st.none() | _TEXTS,
            "temperature": st.sampled_from([None, 0.5]),
            "thinking_budget": st.sampled_from([None, 0, 2000]),
            "reasoning_effort": st.sampled_from([None, "high", "none"]),
            "stop": st.sampled_from([(), ("END",)]),
            "tools": st.sampled_from([[], [AITool(name="files.read"), AITool(name="files_read")]]),
            "tool_choice": st.sampled_from([None, "auto", "none", "files.read"]),
        }
    )
