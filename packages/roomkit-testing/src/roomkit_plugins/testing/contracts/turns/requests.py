"""The contract of turn executors: requests and answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import (
    AIImagePart,
    AIMessage,
    AITextPart,
    AIThinkingPart,
    AITool,
    AIToolCall,
    AIToolCallPart,
    AIToolResultPart,
    StreamDone,
    StreamEvent,
    StreamTextDelta,
)
from roomkit.models.base import new_id
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.enums import ChannelMediaType
from roomkit.models.generation import AIContext, AIResponse
from roomkit.models.task import Observation, Task
from roomkit_plugins.testing.contracts.turns.scripts import (
    PATIENCE,
    PIECES,
    ScriptedModel,
    asking,
    collect,
    fails,
    failure,
    read,
    says,
    serving,
)
from roomkit_plugins.testing.contracts.turns.suite import TurnSuite

__all__ = ["TurnRequestsContract"]

TEXTS = ("", "\x00", "naïve 日本 🙂", "\ud83d", "\ude42", "\n\r\u2028", '"\\', "x" * 50_000)
_SCHEMA: Mapping[str, Any] = {"type": "object", "properties": {"topic": {"type": "string"}}}


class Ticket(BaseModel):
    """An answer's shape."""

    topic: str
    lines: list[dict[str, int]]

    @field_validator("topic")
    @classmethod
    def is_no_secret(cls, value: str) -> str:
        """Refuse one word, as no JSON Schema does."""
        if value == "secret":
            raise ValueError
        return value


class TurnRequestsContract(TurnSuite):
    """A request reaches the model in another process, and its answer or error comes back whole."""

    async def test_a_stream_arrives_in_order(self, asker: Any, server: Any, agent: str) -> None:
        async with serving(server, {agent: ScriptedModel(says(*PIECES))}):
            assert await read(asker, agent) == [*PIECES]

    async def test_a_whole_answer_keeps_its_fields(self, asker: Any, server: Any, agent: str) -> None:
        response = AIResponse(
            content="Done",
            thinking="Hm",
            thinking_signature="sig",
            thinking_parts=[AIThinkingPart(thinking="Hm", signature="sig")],
            finish_reason="stop",
            usage={"input_tokens": 1},
            metadata={"request_id": "r"},
            tasks=[Task(id="t", room_id="room", title="call back")],
            observations=[Observation(id="o", room_id="room", channel_id="bot", content="is angry")],
            tool_calls=[AIToolCall(id="1", name="look_up", arguments={"a": [1]})],
        )
        async with serving(server, {agent: ScriptedModel(says(), whole=response)}):
            async with asyncio.timeout(PATIENCE):
                assert await asker.generate(agent, asking()) == response

    async def test_every_field_of_a_request_arrives(self, asker: Any, server: Any, agent: str) -> None:
        parts = (
            AITextPart(text="look"),
            AIImagePart(url="data:image/png;base64,AAAA", mime_type="image/png"),
            AIThinkingPart(thinking="", redacted_data="opaque"),
            AIToolCallPart(
                id="1", name="t", arguments={"n": {"m": [1.5, None, True]}}, metadata={"sig": "x"}
            ),
        )
        context = AIContext(
            messages=[
                AIMessage(role="user", content="hi", name="Ann", metadata={"k": 1}),
                AIMessage(role="assistant", content=parts),
                AIMessage(
                    role="tool",
                    content=(AIToolResultPart(tool_call_id="1", name="t", result="r", is_error=True),),
                ),
            ],
            system_prompt="Be brief.",
            temperature=0.25,
            max_tokens=7,
            thinking_budget=1,
            reasoning_effort="low",
            stop=("END",),
            tools=[AITool(name="t", description="d", parameters={"type": "object"})],
            tool_choice="auto",
            target_capabilities=ChannelCapabilities(max_length=160),
            target_media_types=(ChannelMediaType.TEXT,),
            metadata={"cache": {"ttl": 5}},
        )
        model = ScriptedModel(says(*PIECES))
        async with serving(server, {agent: model}):
            await read(asker, agent, context)
        assert model.asked == [context]

    async def test_an_answer_of_a_shape_arrives(self, asker: Any, server: Any, agent: str) -> None:
        """A provider is asked by a JSON Schema; the caller gets an instance of its model, or JSON."""
        parsed = {"topic": "invoice", "lines": [{"n": 1}]}
        response = AIResponse(content="{}", finish_reason="stop", parsed=parsed)
        model = ScriptedModel(says(StreamDone("stop", parsed=parsed)), whole=response, has_shapes=True)
        async with serving(server, {agent: model}), asyncio.timeout(PATIENCE):
            for schema, expected in ((Ticket, Ticket.model_validate(parsed)), (_SCHEMA, parsed)):
                context = AIContext(messages=asking().messages, response_schema=schema)
                assert (await asker.generate(agent, context)).parsed == expected
                assert await read(asker, agent, context) == [StreamDone("stop", parsed=expected)]
        asked = [context.response_schema for context in model.asked]
        assert asked == [Ticket.model_json_schema()] * 2 + [_SCHEMA] * 2

    async def test_a_value_that_the_model_refuses_fails_the_turn(
        self, asker: Any, server: Any, agent: str
    ) -> None:
        """What its validators say, which no JSON Schema has, holds too; the error quotes no value."""
        parsed = {"topic": "secret", "lines": []}
        model = ScriptedModel(
            says(StreamDone("stop", parsed=parsed)),
            whole=AIResponse(content="{}", parsed=parsed),
            has_shapes=True,
        )
        context = AIContext(messages=asking().messages, response_schema=Ticket)
        async with serving(server, {agent: model}), asyncio.timeout(PATIENCE):
            for asked in (asker.generate(agent, context), read(asker, agent, context)):
                with pytest.raises(
                    ProviderError, match=r"response_schema Ticket: topic \(value_error\)"
                ) as caught:
                    await asked
                assert caught.value.error_code is ErrorCode.BAD_RESPONSE
                assert "secret" not in str(caught.value)

    async def test_a_provider_without_shapes_is_not_asked_for_one(
        self, asker: Any, server: Any, agent: str
    ) -> None:
        """Though the room's worker says that it has them."""
        model = ScriptedModel(says(*PIECES))
        context = AIContext(messages=asking().messages, response_schema=_SCHEMA)
        async with serving(server, {agent: model}), asyncio.timeout(PATIENCE):
            for asked in (asker.generate(agent, context), read(asker, agent, context)):
                with pytest.raises(ProviderError, match="does not support a response_schema") as caught:
                    await asked
                assert caught.value.error_code is ErrorCode.INVALID_REQUEST
        assert model.asked == []

    async def test_a_providers_own_tools_are_not_run_where_no_gate_sees_them(
        self, asker: Any, server: Any, agent: str
    ) -> None:
        """The gates are in the room's worker; the provider gets the reason as the result."""
        made: list[object] = []

        async def work(arguments: dict[str, Any]) -> object:
            made.append(arguments)
            return "done"

        async def script(context: AIContext) -> AsyncGenerator[StreamEvent]:
            assert context.own_calls is not None
            yield StreamTextDelta(str(await context.own_calls.run("c1", "refund", {"amount": 40}, work)))
            yield StreamDone("stop")

        async with serving(server, {agent: ScriptedModel(script, runs_tools=True)}):
            pieces = await read(asker, agent)
        assert made == []
        assert "'refund' cannot be checked here and was not run" in pieces[0].text

    async def test_any_text_arrives(self, asker: Any, server: Any) -> None:
        """NUL, halves of a character, long ones; in answers, requests and names of agents."""
        names = [f"{new_id()}{text[:20]}" for text in TEXTS]
        model = ScriptedModel(says(*map(StreamTextDelta, TEXTS), StreamDone("stop")))
        async with serving(server, dict.fromkeys(names, model)):
            for name in names:
                pieces = await read(asker, name, asking("\x00日本 🙂"))
                assert [piece.text for piece in pieces[:-1]] == [*TEXTS]
        assert {context.messages[0].content for context in model.asked} == {"\x00日本 🙂"}

    @pytest.mark.parametrize("whole", [False, True])
    async def test_a_providers_error_arrives_with_its_fields(
        self, asker: Any, server: Any, agent: str, whole: bool
    ) -> None:
        error = ProviderError(
            "too many requests",
            error_code=ErrorCode.RATE_LIMIT,
            retry_after=7.5,
            provider="acme",
            status_code=429,
            vendor_code="slow_down",
            request_id="req-1",
        )
        async with serving(server, {agent: ScriptedModel(fails(error))}):
            found = await failure(asker.generate(agent, asking()) if whole else read(asker, agent))
        assert (str(found), vars(found)) == (str(error), vars(error))

    async def test_another_error_names_its_class_and_is_not_retried(
        self, asker: Any, server: Any, agent: str
    ) -> None:
        async with serving(server, {agent: ScriptedModel(fails(ZeroDivisionError("oh")))}):
            found = await failure(read(asker, agent))
        assert "ZeroDivisionError: oh" in str(found)
        assert not found.retryable

    async def test_an_error_follows_the_text_before_it(self, asker: Any, server: Any, agent: str) -> None:
        model = ScriptedModel(fails(ProviderError("cut"), StreamTextDelta("Half")))
        pieces: list[StreamEvent] = []
        async with serving(server, {agent: model}):
            found = await failure(collect(asker, agent, pieces))
        assert (pieces, str(found)) == ([StreamTextDelta("Half")], "cut")
        assert len(model.asked) == 1

    async def test_what_is_no_piece_fails_the_turn(self, asker: Any, server: Any, agent: str) -> None:
        nonsense: Any = "text"
        async with serving(server, {agent: ScriptedModel(says(StreamTextDelta("A"), nonsense))}):
            assert "yield stream events" in str(await failure(read(asker, agent)))

    async def test_hundreds_of_pieces_arrive_in_order(self, asker: Any, server: Any, agent: str) -> None:
        """More than a reader takes at once, and more than waits for it."""
        pieces = [StreamTextDelta(f"{number} {'x' * 2000}") for number in range(1000)]
        async with serving(server, {agent: ScriptedModel(says(*pieces, StreamDone("stop")))}):
            assert await read(asker, agent) == [*pieces, StreamDone("stop")]
