"""What the mocks do beyond their contracts: scripts, delays, records."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import (
    AIImagePart,
    AIMessage,
    AITextPart,
    AIToolCall,
    StreamDone,
    StreamTextDelta,
    StreamToolCall,
)
from roomkit.models.channel import ChannelOutput
from roomkit.models.delivery import ProviderResult
from roomkit.models.enums import SourceStatus
from roomkit.models.event import RoomEvent
from roomkit.models.generation import AIContext, AIResponse
from roomkit.models.hints import EmailHints, RCSHints
from roomkit.models.telemetry import SpanKind
from roomkit_plugins.testing import (
    Hang,
    MockAIProvider,
    MockEmailProvider,
    MockIdentityResolver,
    MockMemoryProvider,
    MockRCSProvider,
    MockSMSProvider,
    MockTelemetryProvider,
    MockWhatsAppProvider,
    RecordingChannel,
    ScriptedIntelligence,
    ScriptedSource,
)
from roomkit_plugins.testing.contracts.base import binding, context, event, message
from roomkit_plugins.testing.contracts.source import Emitted, running

RATE_LIMITED = ProviderError("slow down", error_code=ErrorCode.RATE_LIMIT, retry_after=2.0)


def words(event: RoomEvent) -> str:
    """Return what an event says."""
    return RecordingChannel.extract_text(event)


# -- providers --------------------------------------------------------------------------------


async def test_a_provider_plays_its_script_and_then_goes_well() -> None:
    refused = ProviderResult(success=False, error="refused")
    provider = MockSMSProvider(script=[RATE_LIMITED, refused, None])
    with pytest.raises(ProviderError, match="slow down"):
        await provider.send(event("room", "a"), "+1", idempotency_key="k")
    assert await provider.send(event("room", "a"), "+1", idempotency_key="k") == refused
    for text in ("a", "b"):
        assert (await provider.send(event("room", text), "+1", idempotency_key="k")).success
    assert [attempt["idempotency_key"] for attempt in provider.attempts] == ["k"] * 4
    assert provider.texts == ["a", "b"]


async def test_a_provider_can_fail_for_ever() -> None:
    """`fail_with` is what every send ends in, until it is changed."""
    provider = MockSMSProvider(fail_with=RATE_LIMITED)
    for _ in range(3):
        with pytest.raises(ProviderError):
            await provider.send(event("room"), "+1")
    provider.fail_with = None
    assert (await provider.send(event("room"), "+1")).success


async def test_a_provider_records_the_arguments_of_its_role() -> None:
    sms, email = MockSMSProvider(name="acme"), MockEmailProvider()
    sent = event("room")
    await sms.send(sent, "+1")
    await email.send(sent, "ann@example.com", hints=EmailHints(from_="us@example.com", subject="Hello"))
    assert sms.name == "acme"
    assert sms.sent == [{"event": sent, "to": "+1", "from": "", "idempotency_key": None, "hints": None}]
    assert email.sent[0]["from"] == "us@example.com"
    assert email.sent[0]["subject"] == "Hello"


@pytest.mark.virtual_time
async def test_a_provider_is_slow_on_the_loops_clock() -> None:
    """A minute of delay costs no time."""
    await MockSMSProvider(delay=60).send(event("room"), "+1")
    assert asyncio.get_running_loop().time() == 60


async def test_a_hanging_provider_is_reached_released_and_cancelled() -> None:
    """The test knows when the call has come, and what became of it."""
    hang = Hang()
    provider = MockSMSProvider(script=[hang, hang])
    cancelled = asyncio.create_task(provider.send(event("room"), "+1"))
    await hang.reached.wait()
    cancelled.cancel()
    await asyncio.wait([cancelled])
    assert hang.cancelled == 1
    released = asyncio.create_task(provider.send(event("room"), "+1"))
    hang.release()
    assert (await released).success


async def test_an_rcs_provider_simulates_phones_without_rcs() -> None:
    """By a fallback where that is allowed, by a refusal where it is not."""
    provider = MockRCSProvider(simulate_fallback=True)
    result = await provider.send(event("room"), "+1")
    assert (result.channel_used, result.fallback) == ("sms", True)
    assert not await provider.check_capability("+1")
    with pytest.raises(ProviderError, match="a fallback was not allowed"):
        await provider.send(event("room"), "+1", hints=RCSHints(fallback=False))
    failing = MockRCSProvider(simulate_failure=True)
    assert (await failing.send(event("room"), "+1")).error == "simulated_failure"
    assert [call["fallback"] for call in provider.calls] == [True, False]


async def test_whatsapp_templates_and_reactions_are_recorded() -> None:
    provider = MockWhatsAppProvider()
    await provider.send_template("+1", "welcome", {"1": "Ann"})
    await provider.send_reaction("chat", "sender", "id", "👍")
    assert provider.templates == [{"to": "+1", "template_name": "welcome", "params": {"1": "Ann"}}]
    assert provider.reactions == [{"chat": "chat", "sender": "sender", "message_id": "id", "emoji": "👍"}]


# -- a model ----------------------------------------------------------------------------------


def asking() -> AIContext:
    """Make the least that a model can be asked."""
    return AIContext(messages=[AIMessage(role="user", content="Hello")])


async def test_a_model_answers_round_and_round_and_records_its_contexts() -> None:
    model = MockAIProvider(["a", "b"])
    contexts = [asking() for _ in range(3)]
    assert [(await model.generate(each)).content for each in contexts] == ["a", "b", "a"]
    assert model.calls == contexts
    answer = await MockAIProvider().generate(asking())
    assert (answer.content, answer.finish_reason) == ("Hello from AI", "stop")
    assert answer.usage == {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


async def test_a_model_can_fail_hang_and_think_for_itself() -> None:
    """An exception is raised, a hang waited for, a function asked."""
    hang = Hang()
    model = MockAIProvider([RATE_LIMITED, hang, lambda asked: f"{len(asked.messages)} messages"])
    with pytest.raises(ProviderError):
        await model.generate(asking())
    waiting = asyncio.create_task(model.generate(asking()))
    await hang.reached.wait()
    hang.release()
    assert (await waiting).content == "Hello from AI"
    assert (await model.generate(asking())).content == "1 messages"


@pytest.mark.virtual_time
async def test_a_model_streams_in_pieces_on_the_loops_clock() -> None:
    """Text in chunks, then complete tool calls, then the end with the usage."""
    answer = AIResponse(
        content="abcdefg",
        finish_reason="tool_calls",
        usage={"output_tokens": 7},
        tool_calls=[AIToolCall(id="1", name="look", arguments={"at": "it"})],
    )
    model = MockAIProvider(ai_responses=[answer], streaming=True, chunk_size=3, delay=5, chunk_delay=1)
    assert model.supports_streaming
    assert model.supports_structured_streaming
    streamed = [each async for each in model.generate_structured_stream(asking())]
    assert streamed == [
        StreamTextDelta("abc"),
        StreamTextDelta("def"),
        StreamTextDelta("g"),
        StreamToolCall("1", "look", {"at": "it"}),
        StreamDone("tool_calls", {"total_tokens": 7, "output_tokens": 7}, {"finish_reason": "tool_calls"}),
    ]
    assert asyncio.get_running_loop().time() == 7
    assert "".join([piece async for piece in model.generate_stream(asking())]) == "abcdefg"


async def test_a_models_stream_can_break() -> None:
    """After so many pieces, which were seen."""
    model = MockAIProvider(
        ["abcdef"], streaming=True, chunk_size=2, fail_after_chunks=2, stream_error=RATE_LIMITED
    )
    stream = model.generate_stream(asking())
    assert [await anext(stream), await anext(stream)] == ["ab", "cd"]
    with pytest.raises(ProviderError, match="slow down"):
        await anext(stream)


async def test_a_model_breaks_as_a_vendors_connection_does() -> None:
    """Unless another error is given."""
    model = MockAIProvider(["abcdef"], streaming=True, chunk_size=2, fail_after_chunks=1)
    stream = model.generate_stream(asking())
    assert await anext(stream) == "ab"
    with pytest.raises(ProviderError, match="broke, as scripted") as caught:
        await anext(stream)
    assert caught.value.error_code is ErrorCode.CONNECTION


async def test_a_model_says_a_list_piece_by_piece_and_waits_in_it() -> None:
    """What it waits for, it waits for in both ways of generating; an error ends the text before it."""
    hang, event = Hang(), asyncio.Event()
    model = MockAIProvider([["He", hang, "llo", event, " \ud83d", "\ude00"], ["So", RATE_LIMITED]])
    stream = model.generate_stream(asking())
    assert await anext(stream) == "He"
    hang.release()
    assert await anext(stream) == "llo"
    event.set()
    assert [piece async for piece in stream] == [" ", "\U0001f600"]
    broken = model.generate_stream(asking())
    assert await anext(broken) == "So"
    with pytest.raises(ProviderError, match="slow down"):
        await anext(broken)
    assert (await model.generate(asking())).content == "Hello \U0001f600"
    with pytest.raises(ProviderError, match="slow down"):
        await model.generate(asking())


async def test_a_models_function_may_wait_and_answer_with_anything() -> None:
    """Text, an error, a hang or pieces."""
    hang = Hang()
    scripted = iter(["text", ["two ", "pieces"], RATE_LIMITED, hang])

    async def answer(asked: AIContext) -> object:
        await asyncio.sleep(0)
        return next(scripted)

    model = MockAIProvider([answer])  # type: ignore[list-item]  # any of what may be scripted
    assert (await model.generate(asking())).content == "text"
    assert (await model.generate(asking())).content == "two pieces"
    with pytest.raises(ProviderError, match="slow down"):
        await model.generate(asking())
    hang.release()
    assert (await model.generate(asking())).content == "Hello from AI"


@pytest.mark.parametrize(
    ("context", "said"),
    [
        (AIContext(), "the last message is missing"),
        (AIContext(messages=asking().messages, tool_choice="required"), "no tool is offered"),
        (AIContext(messages=asking().messages, response_schema={"type": "array"}), "not of type object"),
        (AIContext(messages=asking().messages, response_schema={"$ref": "http://a/b"}), "is not fetched"),
    ],
)
async def test_what_vendors_refuse_is_refused_and_takes_no_answer(context: AIContext, said: str) -> None:
    model = MockAIProvider(["a", "b"])
    with pytest.raises(ProviderError, match=said) as caught:
        await model.generate(context)
    assert (caught.value.error_code, caught.value.provider) == (ErrorCode.INVALID_REQUEST, "mock")
    assert (await model.generate(asking())).content == "a"
    assert len(model.calls) == 2


@pytest.mark.parametrize("vision", [True, False])
async def test_an_image_is_taken_or_refused(vision: bool) -> None:
    """By a model with vision and one without; no vendor reads a TIFF."""
    model = MockAIProvider(vision=vision)
    for media_type, taken in (("image/png", vision), ("image/tiff", False)):
        parts = (AITextPart(text="What is this?"), AIImagePart(url=f"data:{media_type};base64,aGk="))
        context = AIContext(messages=[AIMessage(role="user", content=parts)])
        if taken:
            assert (await model.generate(context)).content == "Hello from AI"
            continue
        with pytest.raises(ProviderError) as caught:
            await model.generate(context)
        assert caught.value.error_code is ErrorCode.UNSUPPORTED_CONTENT


# -- the others -------------------------------------------------------------------------------


async def test_a_resolver_and_a_memory_record_what_they_were_asked() -> None:
    resolver, memory = MockIdentityResolver(script=[RATE_LIMITED]), MockMemoryProvider(events=[event("room")])
    with pytest.raises(ProviderError):
        await resolver.resolve(message(), context())
    await resolver.resolve(message("again"), context())
    assert len(resolver.calls) == 2
    current = event("room")
    assert len((await memory.retrieve("room", current, context(), channel_id="ai")).events) == 1
    await memory.ingest("room", current)
    await memory.clear("room")
    await memory.close()
    assert memory.retrieve_calls[0].current_event == current
    assert memory.ingest_calls[0].event == current
    assert (memory.clear_calls, memory.closed) == (["room"], True)


async def test_telemetry_keeps_spans_by_kind_and_tells_open_ones() -> None:
    """With their attributes and how they ended."""
    telemetry = MockTelemetryProvider()
    open_id = telemetry.start_span(SpanKind.CUSTOM, "open", room_id="room")
    with pytest.raises(ZeroDivisionError), telemetry.span(SpanKind.DELIVERY, "failing"):
        _ = 1 / 0
    telemetry.set_attribute(open_id, "a", 1)
    assert [span.id for span in telemetry.get_active_spans()] == [open_id]
    (failed,) = telemetry.get_spans(SpanKind.DELIVERY)
    assert (failed.status, failed.error_message) == ("error", "ZeroDivisionError")
    assert failed.duration_ms is not None
    assert telemetry.get_spans(SpanKind.CUSTOM) == []
    telemetry.record_metric("m", 2, unit="ms")
    assert (telemetry.metrics[0].name, telemetry.metrics[0].value) == ("m", 2)
    telemetry.reset()
    assert not telemetry.spans


async def test_a_source_breaks_when_it_is_told_to() -> None:
    """And goes on where it was when it is started again."""
    source = ScriptedSource([message("a"), ConnectionError("gone"), message("b")])
    with pytest.raises(ConnectionError, match="gone"):
        await source.start(Emitted())
    assert source.status is SourceStatus.ERROR
    emitted = Emitted()
    async with running(source, emitted):
        assert [words(event("room", content=each.content)) for each in await emitted.all()] == ["b"]
    assert source.starts == 2


@pytest.mark.virtual_time
async def test_a_channel_records_fails_hangs_and_is_slow() -> None:
    """Attempts are all calls, delivered are those that went well."""
    skipped = ChannelOutput.skipped("no_recipient")
    channel = RecordingChannel("c", script=[RATE_LIMITED, None, skipped], delay=3)
    bound = binding("room", "c")
    with pytest.raises(ProviderError):
        await channel.deliver(event("room", "a"), bound, context(bound))
    await channel.deliver(event("room", "b"), bound, context(bound))
    assert await channel.deliver(event("room", "c"), bound, context(bound)) == skipped
    assert channel.texts("room") == ["b", "c"]
    assert [seen.at for seen in channel.attempts] == [0, 3, 6]
    assert channel.texts("another room") == []


@pytest.mark.virtual_time
async def test_an_intelligence_answers_by_script_and_then_is_silent() -> None:
    """By text, event, output, function, exception; word by word when it streams."""
    bound = binding("room", "ai")
    made = event("room", "made")
    agent = ScriptedIntelligence(
        "ai", ["text", made, lambda heard, view: words(heard).upper(), RATE_LIMITED, None]
    )

    async def ask(text: str) -> ChannelOutput:
        return await agent.on_event(event("room", text), bound, context(bound))

    assert words((await ask("1")).response_events[0]) == "text"
    assert (await ask("2")).response_events == [made]
    assert words((await ask("three")).response_events[0]) == "THREE"
    with pytest.raises(ProviderError):
        await ask("4")
    assert not (await ask("5")).responded
    assert not (await ask("6")).responded
    assert [words(seen.event) for seen in agent.seen] == ["1", "2", "three", "4", "5", "6"]

    agent = ScriptedIntelligence("ai", ["two words"], streaming=True, word_delay=1)
    stream = (await ask("7")).response_stream
    assert stream is not None
    assert [piece async for piece in stream] == ["two", " words"]
    assert asyncio.get_running_loop().time() == 1
