"""What an agent answers, and how it fails."""

from __future__ import annotations

import pytest

from roomkit.abc.channel import SupportsSteering
from roomkit.abc.errors import CloseError, ErrorCode, InvalidInputError, ProviderError
from roomkit.models.ai import StreamDone
from roomkit.models.content import DeleteContent, SystemContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelDirection, ChannelMediaType, ChannelType, EventStatus, EventType
from roomkit.models.event import Amendment
from roomkit.models.task import Observation, Task
from roomkit_plugins.ai import AIChannel, SlidingWindowMemory
from roomkit_plugins.testing import MockAIProvider, MockMemoryProvider

DOWN = ProviderError("the vendor says: boom", error_code=ErrorCode.SERVER)


async def test_an_agent_answers_a_message(stage):
    """The answer is the model's text, with how it was made."""
    heard = await stage.ask(stage.agent(stage.provider("Hello, Alice.")), "Hi")
    assert heard.text == "Hello, Alice."
    assert heard.finish_reason == "stop"
    assert heard.usage == {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    assert heard.output.responded


async def test_a_whole_answer_is_one_event_of_the_agent(new_stage):
    """Without streaming the output holds the event; who said it and how is in typed fields."""
    stage = new_stage()
    heard = await stage.ask(stage.agent(stage.provider("Hello.")), "Hi")
    (event,) = heard.output.response_events
    assert event.room_id == "r1"
    assert (event.source.channel_id, event.source.channel_type) == ("agent", ChannelType.AI)
    assert event.source.direction is ChannelDirection.OUTBOUND
    assert event.generation.provider == "mock"
    assert event.generation.model == "mock"
    assert event.metadata == {}


async def test_a_streaming_provider_gives_pieces_and_one_end(new_stage):
    """Text comes as it is made; StreamDone is last and says how."""
    stage = new_stage(streaming=True)
    heard = await stage.ask(stage.agent(stage.provider("Hello.", chunk_size=2)), "Hi")
    assert heard.pieces == ["He", "ll", "o."]
    assert not heard.output.response_events


async def test_a_provider_with_plain_streaming_only_streams_without_tools(new_stage, script):
    """Plain text streams carry no tool calls, so with tools the answer is generated whole."""

    class Plain(MockAIProvider):
        supports_structured_streaming = False

    stage = new_stage(streaming=True)
    provider = Plain(["Hello."], streaming=True)
    assert (await stage.ask(stage.agent(provider), "Hi")).output.response_stream is not None
    agent = stage.agent(provider, tools=[script.tool("look")])
    assert (await stage.ask(agent, "Hi")).output.response_stream is None


@pytest.mark.parametrize("text", ["", "  \n"])
async def test_an_empty_answer_makes_no_event(stage, text):
    heard = await stage.ask(stage.agent(stage.provider(text)), "Hi")
    assert not heard.output.response_events
    assert not heard.text.strip()


@pytest.mark.parametrize(
    ("channel", "fields"),
    [
        ("agent", {}),
        ("ws", {"type": EventType.CHANNEL_DETACHED}),
        ("ws", {"status": EventStatus.BLOCKED}),
        ("ws", {"visibility": "transport"}),
        ("ws", {"visibility": "none"}),
        ("ws", {"visibility": "other-agent"}),
        ("ws", {"amendment": Amendment(deleted_at="2026-01-01T00:00:00Z")}),
    ],
)
async def test_what_does_not_concern_the_agent_is_not_answered(stage, channel, fields):
    """Its own words, notices, and what it may not see never reach the model."""
    provider = stage.provider()
    heard = await stage.ask(stage.agent(provider), stage.event("secret", channel=channel, **fields))
    assert not heard.output.responded
    assert provider.calls == []


async def test_an_event_without_content_is_not_answered(stage):
    """There is nothing to ask a model."""
    provider = stage.provider()
    event = stage.event(DeleteContent(target_event_id="e"))
    assert not (await stage.ask(stage.agent(provider), event)).output.responded
    assert not (await stage.ask(stage.agent(provider), stage.event("  "))).output.responded
    assert provider.calls == []


async def test_what_an_agent_responds_to_is_the_users_choice(stage):
    """`responds_to` is an attribute: an agent may answer notices too."""
    agent = stage.agent(stage.provider("Noted."))
    agent.responds_to = frozenset({EventType.SYSTEM})
    event = stage.event(SystemContent(body="Bob joined"), channel="system", type=EventType.SYSTEM)
    assert (await stage.ask(agent, event)).text == "Noted."


async def test_a_failure_is_raised(stage):
    """The kit learns of it: nothing is swallowed and nothing is said in its place."""
    heard = await stage.ask(stage.agent(stage.provider(DOWN)), "Hi", catch=True)
    assert heard.error is DOWN
    assert heard.text == ""


async def test_a_stream_that_breaks_fails_after_its_text(new_stage):
    stage = new_stage(streaming=True)
    provider = stage.provider("Hello.", chunk_size=3, fail_after_chunks=1, stream_error=DOWN)
    heard = await stage.ask(stage.agent(provider), "Hi", catch=True)
    assert heard.pieces == ["Hel"]
    assert heard.error is DOWN
    assert len(provider.calls) == 1


async def test_an_apology_is_said_and_the_failure_raised_all_the_same(stage):
    """`error_reply` is for the room, the error for the operator; the vendor's words are not shown."""
    agent = stage.agent(stage.provider(DOWN), error_reply="Sorry, I cannot answer now.")
    heard = await stage.ask(agent, "Hi", catch=True)
    assert heard.text == "Sorry, I cannot answer now."
    assert heard.finish_reason == "error"
    assert heard.error is DOWN


async def test_an_apology_after_half_an_answer_stands_apart(new_stage):
    stage = new_stage(streaming=True)
    provider = stage.provider("Hello.", chunk_size=3, fail_after_chunks=1, stream_error=DOWN)
    heard = await stage.ask(stage.agent(provider, error_reply="Sorry."), "Hi", catch=True)
    assert heard.text == "Hel\n\nSorry."


async def test_a_stream_is_one_of_strings_for_whoever_joins_it(new_stage):
    """The end is an empty one, so nothing has to be omitted."""
    stage = new_stage(streaming=True)
    agent = stage.agent(stage.provider("Hello there.", chunk_size=3))
    output = await agent.on_event(stage.event("Hi"), stage.binding, stage.context())
    items = [item async for item in output.response_stream]
    assert "".join(items) == "Hello there."
    assert isinstance(items[-1], StreamDone)
    assert items[-1].finish_reason == "stop"


async def test_a_stream_without_an_end_is_a_bad_response(new_stage):
    """A provider that stops without StreamDone was cut short; half an answer is not passed for whole."""

    class CutShort(MockAIProvider):
        async def generate_structured_stream(self, context):
            async for item in super().generate_structured_stream(context):
                if item.type != "done":
                    yield item

    stage = new_stage(streaming=True)
    heard = await stage.ask(stage.agent(CutShort(["Hello."], streaming=True)), "Hi", catch=True)
    assert isinstance(heard.error, ProviderError)
    assert heard.error.error_code is ErrorCode.BAD_RESPONSE
    assert heard.text == "Hello."


async def test_tasks_and_observations_of_the_model_are_passed_on(new_stage, script):
    task = Task(id="t", room_id="r1", title="Call back")
    seen = Observation(id="o", room_id="r1", channel_id="agent", content="angry")
    stage = new_stage()
    provider = stage.provider(script.says("ok", tasks=[task], observations=[seen]))
    output = (await stage.ask(stage.agent(provider), "Hi")).output
    assert (list(output.tasks), list(output.observations)) == ([task], [seen])


async def test_tasks_of_a_fallback_that_does_not_stream_are_passed_on(new_stage, script):
    task = Task(id="t", room_id="r1", title="Call back")
    fallback = MockAIProvider(ai_responses=[script.says("ok", tasks=[task])])
    stage = new_stage(streaming=True)
    heard = await stage.ask(stage.agent(stage.provider(DOWN), fallback_provider=fallback), "Hi")
    assert (heard.text, list(heard.output.tasks)) == ("ok", [task])


async def test_an_agent_takes_no_messages_from_outside(stage):
    message = InboundMessage(channel_id="agent", sender_id="x", content={"type": "text", "body": "x"})
    with pytest.raises(InvalidInputError, match=r"'agent' is an AI channel.*send_event"):
        await stage.agent(stage.provider()).handle_inbound(message, stage.context())


async def test_delivery_to_an_agent_does_nothing(stage):
    output = await stage.agent(stage.provider()).deliver(stage.event("x"), stage.binding, stage.context())
    assert not output.responded


def test_capabilities_follow_the_provider():
    """An agent with vision takes media."""
    blind = AIChannel("a", MockAIProvider()).capabilities()
    seeing = AIChannel("a", MockAIProvider(vision=True)).capabilities()
    assert blind.media_types == (ChannelMediaType.TEXT, ChannelMediaType.RICH)
    assert ChannelMediaType.MEDIA in seeing.media_types
    assert (blind.supports_media, seeing.supports_media) == (False, True)


def test_an_agent_tells_its_provider_and_model():
    agent = AIChannel("a", MockAIProvider(model_name="m1"), system_prompt="Be kind.")
    assert agent.info == {"provider": "mock", "model": "m1"}
    assert agent.provider_name == "mock"
    assert agent.system_prompt == "Be kind."
    assert isinstance(agent, SupportsSteering)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tool_rounds": -1}, "max_tool_rounds cannot be -1"),
        ({"max_identical_calls": 0}, "max_identical_calls cannot be 0"),
        ({"max_context_events": -1}, "max_context_events cannot be -1"),
        ({"tool_loop_timeout_seconds": -1}, "tool_loop_timeout_seconds cannot be -1"),
        ({"tool_timeout_seconds": -1}, "tool_timeout_seconds cannot be -1"),
        ({"tools": ["look"]}, "'look' is not a tool"),
    ],
)
def test_settings_no_turn_could_use_are_refused(options, message):
    """At once, and not at the first message."""
    with pytest.raises(InvalidInputError, match=message):
        AIChannel("a", MockAIProvider(), **options)


async def test_closing_closes_both_providers_and_the_memory():
    """Even when one of them fails, which is reported at the end."""

    class Stuck(MockAIProvider):
        async def close(self):
            raise RuntimeError("stuck")

    fallback, memory = MockAIProvider(), MockMemoryProvider()
    agent = AIChannel("a", Stuck(), fallback_provider=fallback, memory=memory)
    with pytest.raises(CloseError, match="'a' did not close cleanly"):
        await agent.close()
    assert fallback.closed
    assert memory.closed


async def test_closing_twice_is_harmless():
    """Close is idempotent."""
    agent = AIChannel("a", MockAIProvider(), memory=SlidingWindowMemory())
    await agent.close()
    await agent.close()


async def test_an_unregistered_agent_works(stage, script):
    """A unit test needs no kit: without services there are no gates and no signals."""
    provider = stage.provider(script.calls("look"), script.says("Found."))
    agent = stage.agent(provider, unregistered=True, tools=[(script.tool("look"), _found)])
    assert (await stage.ask(agent, "Look!")).text == "Found."


async def _found(name, arguments):
    return "here"
