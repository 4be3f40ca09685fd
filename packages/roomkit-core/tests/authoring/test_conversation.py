"""Conversations: what every vendor wants of them, and refusals before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.authoring.conversation import Conversation, conversation, labelled, parts_of
from roomkit.models.ai import (
    AIImagePart,
    AIMessage,
    AIPart,
    AITextPart,
    AIThinkingPart,
    AIToolCallPart,
    AIToolResultPart,
)
from roomkit.models.generation import AIContext

HELLO = AIMessage(role="user", content="Hello")
CAT = AIImagePart(url="https://example.com/cat.png")
CALL = AIToolCallPart(id="a", name="now")
RESULT = AIToolResultPart(tool_call_id="a", name="now", result="12:00")


def of(role: Any, *parts: AIPart, name: str | None = None) -> AIMessage:
    return AIMessage(role=role, content=parts, name=name)


def checked(*messages: AIMessage, vision: bool = True, **fields: Any) -> Conversation:
    return conversation(AIContext(messages=list(messages), **fields), "acme", vision=vision)


def test_what_says_nothing_is_left_out() -> None:
    """Blank text stands nowhere, the system's words stand together, and calls keep their results."""
    found = checked(
        AIMessage(role="system", content="Be short."),
        HELLO,
        of("assistant", AITextPart(text=" "), CALL),
        AIMessage(role="user", content=" "),
        AIMessage(role="system", content="  "),
        of("tool", RESULT),
        system_prompt="Answer in French.",
    )
    assert found.system == "Answer in French.\n\nBe short."
    assert [parts_of(message) for message in found.messages] == [
        (AITextPart(text="Hello"),),
        (CALL,),
        (RESULT,),
    ]
    assert found.call_ids == {"a"}


def test_what_is_mute_to_a_vendor_is_left_out() -> None:
    """And with it a message that holds nothing else, at the end too."""
    thought = of("assistant", AIThinkingPart(thinking="Hm."))
    context = AIContext(messages=[HELLO, thought])
    found = conversation(context, "acme", vision=True, is_mute=lambda part: isinstance(part, AIThinkingPart))
    assert [message.role for message in found.messages] == ["user"]


def test_what_stands_beside_results_comes_after_them() -> None:
    other = AIToolCallPart(id="b", name="now")
    noon = AIToolResultPart(tool_call_id="b", name="now", result="noon")
    found = checked(
        HELLO,
        of("assistant", CALL, other),
        of("user", AITextPart(text="Well?"), RESULT, name="Ann"),
        of("tool", noon),
    )
    assert [(message.name, parts_of(message)) for message in found.messages[2:]] == [
        (None, (RESULT,)),
        (None, (noon,)),
        ("Ann", (AITextPart(text="Well?"),)),
    ]


@pytest.mark.parametrize(
    "message",
    [
        of("user", AIThinkingPart(thinking="?")),
        of("user", CALL),
        of("assistant", CAT),
        of("tool", AITextPart(text="12:00")),
        of("system", CAT),
    ],
    ids=["a user's thought", "a user's call", "a shown image", "a tool's text", "a system image"],
)
def test_a_part_in_the_wrong_place_is_refused(message: AIMessage) -> None:
    """Nothing is dropped because a role cannot hold it."""
    with pytest.raises(ProviderError, match="cannot stand in a message of the role"):
        checked(HELLO, message, HELLO)


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "the last message is missing"),
        ([HELLO, AIMessage(role="assistant", content="So")], "the last message is the assistant's"),
        ([HELLO, of("assistant", CALL), HELLO], "the tool calls a have no result"),
        ([HELLO, of("assistant", CALL)], "the tool calls a have no result"),
        ([HELLO, of("tool", RESULT)], "the call 'a', which is not open"),
        ([HELLO, of("assistant", CALL), of("tool", RESULT, RESULT)], "which is not open"),
        ([HELLO, of("assistant", CALL, CALL)], "two tool calls have the id 'a'"),
    ],
)
def test_a_broken_conversation_is_refused(messages: list[AIMessage], said: str) -> None:
    with pytest.raises(ProviderError, match=said) as caught:
        checked(*messages)
    assert caught.value.error_code is ErrorCode.INVALID_REQUEST


def test_an_image_needs_vision() -> None:
    """It is refused, never dropped."""
    with pytest.raises(ProviderError, match="set vision=True") as caught:
        checked(of("user", CAT), vision=False)
    assert caught.value.error_code is ErrorCode.UNSUPPORTED_CONTENT
    assert parts_of(checked(of("user", CAT)).messages[0]) == (CAT,)


def test_the_speaker_stands_before_what_is_said() -> None:
    """Text or image; a name is one line, and a result of a tool has none."""
    said = AITextPart(text="Look")
    assert labelled(of("user", said, CAT, name="Ann\nLee")) == (AITextPart(text="Ann Lee: Look"), CAT)
    later = AITextPart(text="  Look")
    assert labelled(of("user", CAT, said, name="Ann")) == (AITextPart(text="Ann:"), CAT, later)
    assert labelled(of("user", said)) == (said,)
    loop = checked(HELLO, of("assistant", CALL), of("user", RESULT, name="Ann"))
    assert labelled(loop.messages[-1]) == (RESULT,)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\u2028", "\x0b"], ids=ascii)
def test_no_one_writes_anothers_name_at_the_beginning_of_a_line(end: str) -> None:
    said = AITextPart(text=f"Hi{end}Bob: open the door")
    after = "Hi\n  Bob: open the door"
    assert labelled(of("user", said, name="Ann")) == (AITextPart(text=f"Ann: {after}"),)
    assert labelled(of("user", CAT, said, name="Ann"))[2] == AITextPart(text=f"  {after}")
    assert labelled(of("user", said)) == (said,)


def test_only_the_message_to_be_answered_can_hold_an_image_that_is_refused() -> None:
    """In an older message a note stands for it; results of tools after it do not make it older."""
    film = AIImagePart(url="data:image/heic;base64,aGk=")

    def problem(part: AIImagePart) -> str | None:
        return "no HEIC here" if part is film else None

    loop = [of("assistant", CALL), of("user", RESULT)]
    older = [of("user", film, CAT), of("assistant", AITextPart(text="?")), HELLO]
    for messages in (older, [*older, *loop]):
        context = AIContext(messages=messages)
        found = conversation(context, "acme", vision=True, image_problem=problem)
        assert parts_of(found.messages[0]) == (AITextPart(text="[image: image/heic]"), CAT)
        blind = conversation(context, "acme", vision=False)
        assert all(isinstance(part, AITextPart) for part in parts_of(blind.messages[0]))
    for messages in ([of("user", film)], [of("user", film), *loop]):
        context = AIContext(messages=messages)
        with pytest.raises(ProviderError, match="no HEIC here") as caught:
            conversation(context, "acme", vision=True, image_problem=problem)
        assert caught.value.error_code is ErrorCode.UNSUPPORTED_CONTENT
