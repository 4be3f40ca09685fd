"""Spans and measurements as OpenTelemetry's own SDK has them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased

from roomkit import (
    AIChannel,
    AIResponse,
    AITool,
    AIToolCall,
    Attr,
    ChannelCategory,
    HookResult,
    HookTrigger,
    InboundMessage,
    MockAIProvider,
    OpenTelemetryProvider,
    RoomKit,
    SpanKind,
    TelemetryConfig,
    TextContent,
)
from roomkit.plugins import build_components, default_manager, load_config
from roomkit_plugins.testing import RecordingChannel
from roomkit_plugins.testing.contracts import TelemetryProviderContract

TRACE = "0af7651916cd43dd8448eb211c80319c"


class Recorded:
    """An OpenTelemetry SDK that keeps what it is given."""

    def __init__(self, sampler=None, *, batch=False, **options):
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        tracers = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        processor = (BatchSpanProcessor if batch else SimpleSpanProcessor)(self.exporter)
        tracers.add_span_processor(processor)
        self.tracers = tracers
        meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.telemetry = OpenTelemetryProvider(tracer_provider=tracers, meter_provider=meters, **options)
        self.config = TelemetryConfig(provider=self.telemetry)

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    def named(self, start):
        return [span for span in self.spans if span.name.startswith(start)]

    def metrics(self):
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        found = (each for r in data.resource_metrics for s in r.scope_metrics for each in s.metrics)
        return {each.name: SimpleNamespace(unit=each.unit, points=each.data.data_points) for each in found}


@pytest.fixture
def sdk():
    """Return an SDK with a provider."""
    return Recorded()


class TestOpenTelemetryProvider(TelemetryProviderContract):
    @pytest.fixture
    def factory(self):
        return lambda: Recorded().telemetry


async def answer(name, arguments):
    return "Order 7 was shipped."


def agent(**options):
    asked = AIToolCall(id="c1", name="look_up", arguments={"order": 7})
    usage = {"input_tokens": 11, "output_tokens": 7, "cache_read_input_tokens": 3}
    provider = MockAIProvider(
        ai_responses=[
            AIResponse(content="", tool_calls=[asked], usage=usage),
            AIResponse(content="It was shipped.", usage=usage),
        ],
        model_name="model-1",
        **options,
    )
    return AIChannel("agent", provider, tools=[(AITool(name="look_up"), answer)])


async def ask(kit, channel):
    kit.register_channel(RecordingChannel("ws"))
    kit.register_channel(channel)
    await kit.create_room(room_id="r1")
    await kit.attach_channel("r1", "ws")
    await kit.attach_channel("r1", "agent", category=ChannelCategory.INTELLIGENCE)
    said = InboundMessage(channel_id="ws", sender_id="ann", content=TextContent(body="Where is order 7?"))
    await kit.process_inbound(said, room_id="r1")


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
async def test_a_message_and_the_turn_that_answers_it_are_one_trace(sdk, streaming):
    """From the message over gate, lane, model and tool to the delivery of the answer, over their tasks."""
    async with RoomKit(telemetry=sdk.config) as kit:

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def check(event, context):
            return HookResult.allow()

        await ask(kit, agent(streaming=streaming))
    (inbound,) = sdk.named("roomkit.framework.inbound")
    assert inbound.parent is None
    spans = {span.context.span_id: span for span in sdk.spans}
    trace_id = inbound.context.trace_id
    turn = [span for span in sdk.spans if span.context.trace_id == trace_id]
    for span in turn:
        assert span is inbound or spans[span.parent.span_id].context.trace_id == trace_id

    def above(span):
        while span.parent is not None:
            span = spans[span.parent.span_id]
            yield span.name

    first, second = sdk.named("chat model-1")
    (tool,) = sdk.named("execute_tool look_up")
    assert spans[tool.parent.span_id] is first
    for span in (first, second):
        assert next(above(span)) == "invoke_agent agent"
        assert [*above(span)][-1] == "roomkit.framework.inbound"
    assert any("roomkit.framework.inbound" in above(each) for each in sdk.named("roomkit.hook.sync"))
    answered = [each for each in sdk.named("roomkit.framework.broadcast") if [*above(each)]]
    assert any("invoke_agent agent" in above(each) for each in answered)


async def test_requests_and_calls_have_the_names_of_the_conventions(sdk):
    async with RoomKit(telemetry=sdk.config) as kit:
        await ask(kit, agent())
    first, _ = sdk.named("chat")
    assert first.kind is trace.SpanKind.CLIENT
    known = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "mock",
        "gen_ai.request.model": "model-1",
        "gen_ai.request.stream": False,
        "gen_ai.conversation.id": "r1",
        "gen_ai.agent.name": "agent",
        "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 3,
    }
    assert known.items() <= first.attributes.items()
    (tool,) = sdk.named("execute_tool")
    called = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "look_up",
        "gen_ai.tool.call.id": "c1",
    }
    assert called.items() <= tool.attributes.items()
    measured = sdk.metrics()
    duration = measured["gen_ai.client.operation.duration"]
    assert (duration.unit, duration.points[0].count) == ("s", 2)
    tokens = {
        point.attributes["gen_ai.token.type"]: point.sum
        for point in measured["gen_ai.client.token.usage"].points
    }
    assert tokens == {"input": 22, "output": 14}
    assert "roomkit.span.duration" in measured


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
async def test_a_turn_is_an_invocation_of_its_agent(sdk, streaming):
    """With what its requests used together, and how many requests and calls it took."""
    async with RoomKit(telemetry=sdk.config) as kit:
        await ask(kit, agent(streaming=streaming))
    (turn,) = sdk.named("invoke_agent")
    assert (turn.name, turn.kind) == ("invoke_agent agent", trace.SpanKind.INTERNAL)
    known = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "agent",
        "gen_ai.conversation.id": "r1",
        "gen_ai.provider.name": "mock",
        "gen_ai.request.model": "model-1",
        "gen_ai.usage.input_tokens": 22,
        "gen_ai.usage.output_tokens": 14,
        "gen_ai.usage.cache_read.input_tokens": 6,
    }
    assert known.items() <= turn.attributes.items()
    measured = sdk.metrics()
    for name, unit, total in (("inference_calls", "{call}", 2), ("tool_calls", "{call}", 1)):
        found = measured[f"gen_ai.invoke_agent.{name}"]
        (point,) = found.points
        assert (found.unit, point.count, point.sum) == (unit, 1, total)
        assert point.attributes["gen_ai.agent.name"] == "agent"
    assert measured["gen_ai.invoke_agent.duration"].points[0].count == 1
    tool = measured["gen_ai.execute_tool.duration"].points[0]
    assert tool.attributes["gen_ai.tool.name"] == "look_up"
    kinds = {point.attributes["roomkit.span.kind"] for point in measured["roomkit.span.duration"].points}
    assert "llm.tool_call" not in kinds


async def test_a_turn_that_fails_is_an_error_of_its_agent(sdk):
    """And leaves nothing behind: the next turn of the room is counted from nought."""
    failing = AIChannel("agent", MockAIProvider([RuntimeError("card 4111 was refused"), "Hello."]))
    async with RoomKit(telemetry=sdk.config) as kit:
        await ask(kit, failing)
        again = InboundMessage(channel_id="ws", sender_id="ann", content=TextContent(body="And now?"))
        await kit.process_inbound(again, room_id="r1")
    first, second = sdk.named("invoke_agent")
    assert (first.status.status_code, first.attributes["error.type"]) == (
        trace.StatusCode.ERROR,
        "RuntimeError",
    )
    assert second.status.status_code is not trace.StatusCode.ERROR
    calls = sdk.metrics()["gen_ai.invoke_agent.inference_calls"].points
    assert [(point.count, point.sum) for point in calls] == [(2, 2)]


async def test_deliveries_to_people_are_no_invocations(sdk):
    async with RoomKit(telemetry=sdk.config) as kit:
        kit.register_channel(RecordingChannel("web"))
        kit.register_channel(RecordingChannel("sms"))
        await kit.create_room("r1")
        for channel_id in ("web", "sms"):
            await kit.attach_channel("r1", channel_id)
        said = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body="hello"))
        await kit.process_inbound(said, room_id="r1")
    assert sdk.named("invoke_agent") == []
    assert [span.kind for span in sdk.named("roomkit.framework.delivery")] == [trace.SpanKind.PRODUCER]


async def test_nothing_that_was_said_is_recorded(sdk):
    """Neither by people nor by models nor by tools, and no arguments."""
    async with RoomKit(telemetry=sdk.config) as kit:
        await ask(kit, agent())
    everything = "".join(span.to_json() for span in sdk.spans) + str(sdk.metrics())
    for words in ("Where is order", "was shipped", "It was", '"order"'):
        assert words not in everything


@pytest.mark.parametrize("record_text", [False, True])
def test_texts_are_recorded_if_asked_for_and_addresses_never(record_text):
    sdk = Recorded(record_text=record_text)
    attributes = {Attr.STT_TEXT: "hello", "mine": "words", Attr.DELIVERY_RECIPIENT: "+41790000000"}
    span = sdk.telemetry.start_span(SpanKind.STT_TRANSCRIBE, "stt", attributes={**attributes, "count": 3})
    sdk.telemetry.end_span(span, status="error", error_message="401 for sk-secret: hello")
    (done,) = sdk.spans
    assert ("roomkit.stt.text" in done.attributes) is record_text
    assert ("roomkit.mine" in done.attributes) is record_text
    assert done.attributes["roomkit.count"] == 3
    assert "+41790000000" not in done.to_json()
    assert done.attributes["error.type"] == "_OTHER"
    assert "sk-secret" not in done.to_json()


async def test_a_second_worker_goes_on_with_the_trace_of_the_first():
    """What it does for an event is below the span of the worker that committed it, over two SDKs."""
    here, there = Recorded(), Recorded()
    async with RoomKit(telemetry=here.config) as kit:
        await ask(kit, agent())
        event = (await kit.get_timeline("r1"))[-1]
    _, trace_id, parent_id, _ = event.trace_parent.split("-")
    for _ in range(2):
        span = there.telemetry.start_span(
            SpanKind.DELIVERY, "framework.delivery", parent_id=parent_id, attributes={Attr.TRACE_ID: trace_id}
        )
        child = there.telemetry.start_span(
            SpanKind.LLM_GENERATE, "llm", parent_id=span, attributes={Attr.TRACE_ID: trace_id}
        )
        there.telemetry.end_span(child)
        there.telemetry.end_span(span)
    (inbound,) = here.named("roomkit.framework.inbound")
    committed = {span.context.span_id for span in here.named("roomkit.framework.broadcast")}
    for delivery in there.named("roomkit.framework.delivery"):
        assert delivery.context.trace_id == inbound.context.trace_id
        assert delivery.parent.span_id in committed
        assert delivery.parent.is_remote
    assert {span.parent.span_id for span in there.named("chat")} == {
        span.context.span_id for span in there.named("roomkit.framework.delivery")
    }


def test_the_first_span_of_a_message_has_a_link_to_what_brought_it(sdk):
    """A web framework's request is one trace, the message another."""
    with sdk.tracers.get_tracer("web").start_as_current_span("POST /webhook") as request:
        span = sdk.telemetry.start_span(
            SpanKind.INBOUND_PIPELINE, "framework.inbound", attributes={Attr.TRACE_ID: TRACE}
        )
        sdk.telemetry.end_span(span)
        own = sdk.telemetry.start_span(SpanKind.CUSTOM, "mine")
        sdk.telemetry.end_span(own)
    inbound, mine, _ = sdk.spans
    assert trace.format_trace_id(inbound.context.trace_id) == TRACE
    assert [link.context for link in inbound.links] == [request.get_span_context()]
    assert mine.parent == request.get_span_context()


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ParentBased(TraceIdRatioBased(0.0))], ids=["off", "ratio"])
async def test_what_the_sampler_leaves_out_leaves_no_orphans(sampler):
    sdk = Recorded(sampler)
    async with RoomKit(telemetry=sdk.config) as kit:
        await ask(kit, agent())
    assert sdk.spans == ()


async def test_failures_are_errors_of_their_spans(sdk):
    """With the class of the error; a failing tool is one of the tool's span."""

    async def fails(name, arguments):
        raise RuntimeError("card 4111 was refused")

    provider = MockAIProvider(
        ai_responses=[
            AIResponse(content="", tool_calls=[AIToolCall(id="c1", name="pay", arguments={})]),
            AIResponse(content="No."),
        ]
    )
    async with RoomKit(telemetry=sdk.config) as kit:
        await ask(kit, AIChannel("agent", provider, tools=[(AITool(name="pay"), fails)]))
    (tool,) = sdk.named("execute_tool pay")
    assert tool.status.status_code is trace.StatusCode.ERROR
    assert tool.attributes["error.type"] == "RuntimeError"
    assert "4111" not in tool.to_json()


async def test_closing_the_kit_exports_what_is_buffered():
    """Spans that are open end with it, and the SDK's providers go on."""
    sdk = Recorded(batch=True)
    async with RoomKit(telemetry=sdk.config) as kit:
        await ask(kit, agent())
        sdk.telemetry.start_span(SpanKind.CUSTOM, "left open")
    assert sdk.named("roomkit.framework.inbound")
    assert sdk.named("roomkit.left open")
    with sdk.tracers.get_tracer("other").start_as_current_span("later"):
        pass
    sdk.tracers.force_flush()
    assert sdk.named("later")
    sdk.tracers.shutdown()


def test_open_spans_and_instruments_have_bounds(sdk, monkeypatch):
    monkeypatch.setattr("roomkit_plugins.opentelemetry.provider.MAX_OPEN_SPANS", 3)
    monkeypatch.setattr("roomkit_plugins.opentelemetry.provider.MAX_INSTRUMENTS", 3)
    for number in range(5):
        sdk.telemetry.start_span(SpanKind.CUSTOM, f"span{number}")
        sdk.telemetry.record_metric(f"metric{number}", 1)
    assert [span.name for span in sdk.spans] == ["roomkit.span0", "roomkit.span1"]
    assert sdk.telemetry.dropped_spans == 2
    assert len(sdk.metrics()) == 3


def test_without_a_configured_sdk_nothing_is_recorded_and_nothing_fails():
    """The global providers do nothing until a program sets them."""
    telemetry = OpenTelemetryProvider()
    assert telemetry.start_span(SpanKind.CUSTOM, "span") == ""
    telemetry.end_span("")
    telemetry.record_metric("metric", 1)


async def test_it_is_built_from_a_configuration_file(tmp_path):
    file = tmp_path / "roomkit.toml"
    file.write_text('[telemetry]\nplugin = "opentelemetry"\nrecord_text = true\n')
    parts = await build_components(load_config(file), default_manager())
    assert isinstance(parts.telemetry, OpenTelemetryProvider)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("AnthropicAIProvider", "anthropic"),
        ("openai", "openai"),
        ("AzureAIProvider", "azure.ai.openai"),
        ("GeminiAIProvider", "gcp.gemini"),
        ("MistralAIProvider", "mistral_ai"),
        ("Mine", "Mine"),
    ],
)
def test_vendors_have_their_well_known_names(name, known):
    from roomkit_plugins.opentelemetry.conventions import provider_of

    assert provider_of(name) == known


async def test_the_blocks_of_the_readme_run():
    import re
    from pathlib import Path

    readme = (Path(__file__).parent.parent / "README.md").read_text()
    names = {}
    for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL):
        exec(block, names)
    await names["kit"].close()


def fail_in(library):
    library.start_span("inside").end()
    raise KeyError("pin 1234")


async def test_spans_of_other_libraries_are_below_the_active_one(sdk):
    """And once the block ends OpenTelemetry's own current span is what it was before."""
    library = sdk.tracers.get_tracer("library")
    outer = sdk.telemetry.start_span(SpanKind.TURN_SERVE, "turn.serve", attributes={Attr.TRACE_ID: TRACE})
    with library.start_as_current_span("app") as app:
        with pytest.raises(KeyError, match="pin"), sdk.telemetry.active(outer):
            fail_in(library)
        assert trace.get_current_span() is app
    sdk.telemetry.end_span(outer)
    with sdk.telemetry.active(outer):  # it is over
        library.start_span("outside").end()
    spans = {span.name: span for span in sdk.spans}
    served, inside = spans["roomkit.turn.serve"], spans["inside"]
    assert inside.parent.span_id == served.context.span_id
    assert inside.context.trace_id == int(TRACE, 16)
    assert spans["outside"].parent is None
    assert served.kind is trace.SpanKind.CONSUMER
    assert (served.status.is_unset, served.events) == (True, ())
