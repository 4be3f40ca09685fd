"""The contract suite of AI providers, run over a real socket against the vendor's simulator.

It needs `roomkit-testing[pytest,simulators]`. A vendor without a simulator here gets one by
subclassing `AISimulator`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import (
    FINISH_REASONS,
    USAGE_KEYS,
    AIImagePart,
    AIMessage,
    AIPart,
    AITextPart,
    AIThinkingPart,
    AITool,
    AIToolCall,
    AIToolCallPart,
    AIToolResultPart,
    StreamDone,
    StreamEvent,
    StreamTextDelta,
    StreamThinkingDelta,
    StreamToolCall,
)
from roomkit.models.generation import AIContext, AIResponse
from roomkit_plugins.testing.contracts.conversations import contexts
from roomkit_plugins.testing.contracts.life import ProviderLifeContract
from roomkit_plugins.testing.contracts.strategies import examples
from roomkit_plugins.testing.simulators.ai import (
    AISimulator,
    Deviate,
    Drop,
    Duplicate,
    FailMidStream,
    Failure,
    Fault,
    Malformed,
    NeverAnswer,
    Reply,
    ScriptedThinking,
    ScriptedToolCall,
    ScriptedUsage,
    Truncate,
    WrongShape,
)
from roomkit_plugins.testing.simulators.http import Exchange, HTTPSimulator, ReceivedRequest

__all__ = ["AIProviderContract", "ask", "listen", "response_of"]

PATIENCE = 20.0

_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_WEATHER = AITool(
    name="weather.look up",  # a name that most vendors do not take as it is
    description="Says how the weather is.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


class AIProviderContract(ProviderLifeContract):
    """What holds for every AI provider, seen from both sides of the wire.

    A subclass gives two fixtures: `simulator`, the vendor's running simulator, and `factory`, a
    function that makes a provider which talks to it. The factory takes `timeout=` in seconds, and
    its providers use the simulator's `api_key`.
    """

    @property
    def thinks(self) -> bool:
        """Whether this API gives reasoning back and takes it again."""
        return True

    @property
    def sdk(self) -> str | None:
        """The module of the vendor's SDK, imported at the first call; None without one."""
        return None

    @property
    def passed_on(self) -> Sequence[str]:
        """Parameters of a context that the provider passes on as they are, and this model refuses."""
        return ()

    @property
    def secrets(self) -> Sequence[str]:
        """What the factory configured as secret; none of it may show anywhere."""
        return ("sk-simulated", "sk-ant-simulated")

    @pytest.fixture(autouse=True)
    def no_certificates(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Let clients load none: simulators speak plain HTTP, and reading a system's takes long."""
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))

    @pytest.fixture
    def simulator(self) -> AISimulator:
        """Return the vendor's simulator, running; the subclass gives it."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `simulator`")

    @pytest.fixture
    def provider(self, subject: AIProvider) -> AIProvider:
        """Return the provider under test."""
        return subject

    # Answers

    async def test_it_has_names(self, provider: AIProvider) -> None:
        """Its own name is a component's name, and it says which model it asks."""
        assert provider.name == provider.name.lower()
        assert " " not in provider.name
        assert provider.model_name

    async def test_a_text_comes_back(self, provider: AIProvider, simulator: AISimulator) -> None:
        """The text arrives whole, with why the model stopped and what it cost."""
        simulator.reply("Good morning, José! ☕", usage=ScriptedUsage(input=11, output=5))
        response = await provider.generate(ask("Good morning"))
        assert response.content == "Good morning, José! ☕"
        assert (response.finish_reason, response.tool_calls) == ("stop", [])
        assert response.usage["input_tokens"] == 11
        assert response.usage["output_tokens"] == 5

    async def test_streaming_says_the_same(self, provider: AIProvider, simulator: AISimulator) -> None:
        """Whole and streamed, an answer is the same."""
        for _ in range(2):
            simulator.reply(
                "Let me look.",
                thinking=[ScriptedThinking("The city is known.", signature="c2lnbmVk")],
                tool_calls=[ScriptedToolCall("now", {"city": "Genève"}, id="call_1")],
                usage=ScriptedUsage(input=8, output=9, cache_read=3, cache_write=2, reasoning=4),
            )
        whole = await provider.generate(ask("Weather?"))
        events = await listen(provider, ask("Weather?"))
        streamed = response_of(events)
        assert streamed.content == whole.content
        assert streamed.thinking == whole.thinking
        assert len(streamed.thinking_parts) == len(whole.thinking_parts)
        assert _what_is_called(streamed) == _what_is_called(whole)
        assert streamed.finish_reason == whole.finish_reason == "tool_calls"
        assert streamed.usage == whole.usage

    async def test_done_comes_once_and_last(self, provider: AIProvider, simulator: AISimulator) -> None:
        """A stream ends with exactly one `StreamDone`, even if the vendor says its end twice."""
        simulator.reply("Hello", fault=Duplicate())
        events = await listen(provider, ask())
        assert [type(event) for event in events].count(StreamDone) == 1
        assert isinstance(events[-1], StreamDone)

    async def test_a_stream_streams(self, provider: AIProvider, simulator: AISimulator) -> None:
        """What the model has said is there before it has said everything."""
        rest = asyncio.Event()
        simulator.reply(["Hel", rest, "lo"])
        async with asyncio.timeout(PATIENCE):
            texts = provider.generate_stream(ask())
            assert await anext(texts) == "Hel"
            rest.set()
            assert [text async for text in texts] == ["lo"]

    async def test_an_empty_answer_is_an_answer(self, provider: AIProvider, simulator: AISimulator) -> None:
        simulator.reply("")
        simulator.reply("")
        assert (await provider.generate(ask())).content == ""
        assert response_of(await listen(provider, ask())).content == ""

    @pytest.mark.parametrize("finish", ["stop", "length", "refusal"])
    async def test_why_it_stopped(self, provider: AIProvider, simulator: AISimulator, finish: str) -> None:
        """Every vendor's word for it becomes ours, and stays to be read in the metadata."""
        for _ in range(2):
            simulator.reply("So", finish=finish)  # type: ignore[arg-type]  # a parametrized Finish
        answers = [await provider.generate(ask()), response_of(await listen(provider, ask()))]
        for answer in answers:
            assert answer.finish_reason == finish
            assert answer.finish_reason in FINISH_REASONS
            assert answer.metadata["finish_reason"]

    async def test_usage_is_conserved(self, provider: AIProvider, simulator: AISimulator) -> None:
        """Fresh, read and written tokens are told apart and add up, in our words."""
        simulator.reply("Hi", usage=ScriptedUsage(input=10, output=6, cache_read=90, cache_write=30))
        usage = (await provider.generate(ask())).usage
        assert usage.keys() <= USAGE_KEYS
        assert usage["input_tokens"] == 10
        assert usage["cache_read_input_tokens"] == 90
        assert usage["cache_creation_input_tokens"] == 30
        assert usage["total_tokens"] == 10 + 90 + 30 + 6

    async def test_what_is_left_out_or_null_changes_nothing(
        self, provider: AIProvider, simulator: AISimulator
    ) -> None:
        """Servers deviate in what means the same; each way gives the answer that the vendor gives.

        Null is absent, what only informs is not required, fragments of a call belong together by
        id or index, and an answer that ended is whole even if it does not say why.
        """
        simulator.reply("Hello")
        await provider.generate(ask())
        ways = simulator.deviations(simulator.requests[-1])
        calls = [ScriptedToolCall("now", {"city": city}, id=f"call_{city}") for city in ("Oslo", "Rome")]
        for answer in (Reply("Good morning"), Reply("One moment.", calls)):
            for way in ways:
                for generate in (_whole, _streamed):
                    simulator.reply(answer.text, tool_calls=answer.tool_calls, fault=Deviate(way))
                    heard = await generate(provider, ask())
                    assert heard.content == answer.text, way
                    called = [(call.name, call.arguments, call.invalid) for call in heard.tool_calls]
                    assert called == [(call.name, call.arguments, None) for call in answer.tool_calls], way
                    assert heard.finish_reason == answer.reason, way

    async def test_an_empty_reason_cuts_nothing(self, provider: AIProvider, simulator: AISimulator) -> None:
        """What a stream says after a chunk with an empty field is part of the answer."""
        simulator.reply("Hello")
        await listen(provider, ask())
        for way in simulator.deviations(simulator.requests[-1]):
            simulator.reply(["Hel", "lo", " there"], fault=Deviate(way))
            assert response_of(await listen(provider, ask())).content == "Hello there", way

    async def test_halves_of_a_character_join(self, provider: AIProvider, simulator: AISimulator) -> None:
        """A character cut in two is one, in text and in arguments; a half alone becomes U+FFFD."""
        for _ in range(2):
            simulator.reply(
                ["Hi \ud83d", "\ude00!", " \ude00", "x \ud83d"],
                tool_calls=[ScriptedToolCall("now", {"city": "\ud83d\ude00 \ud83d"})],
            )
        for generate in (_whole, _streamed):
            answer = await generate(provider, ask())
            assert answer.content == "Hi \U0001f600! \ufffdx \ufffd"
            assert answer.tool_calls[0].arguments == {"city": "\U0001f600 \ufffd"}

    async def test_half_a_character_can_be_asked(self, provider: AIProvider, simulator: AISimulator) -> None:
        """Wherever it stands in a context, the vendor gets valid Unicode: it fails no turn."""
        half = "a\ud83d"
        context = ask(half, tools=[AITool(name="now", description=half)])
        context.system_prompt = half
        context.messages += [
            _said(AITextPart(text=half), AIToolCallPart(id=half, name=half)),
            AIMessage(role="tool", content=(AIToolResultPart(tool_call_id=half, name=half, result=half),)),
            AIMessage(role="user", content=half, name=half),
        ]
        for generate in (_whole, _streamed):
            simulator.reply("Fine.")
            assert (await generate(provider, context)).content == "Fine."
        assert "a\ufffd" in repr(simulator.requests[0].json())

    # Tools

    async def test_tools_go_round(self, provider: AIProvider, simulator: AISimulator) -> None:
        """Calls come back under the tool's own name, and their results are taken."""
        cities = [{"city": "Bern"}, {"city": "Oslo"}]
        simulator.reply_with(
            lambda request: Reply(
                "One moment.",
                [ScriptedToolCall(_offered_name(request), city) for city in cities],
            )
        )
        simulator.reply("Rain in both.")
        context = ask("How is the weather in Bern and Oslo?", tools=[_WEATHER])
        first = await provider.generate(context)
        assert [call.name for call in first.tool_calls] == [_WEATHER.name] * 2
        assert [call.arguments for call in first.tool_calls] == cities
        assert len({call.id for call in first.tool_calls}) == 2
        context.messages += answered(first, "rain")
        assert (await provider.generate(context)).content == "Rain in both."

    @pytest.mark.parametrize("name", ["functions.weather:{}", "x" * 85 + "{}", "wörld ☕|{}"])
    async def test_another_vendors_call_ids_are_taken(
        self, provider: AIProvider, simulator: AISimulator, name: str
    ) -> None:
        simulator.reply("Sunny.")
        context = ask("Weather?", tools=[_WEATHER])
        ids = [name.format(number) for number in range(3)]
        results = [AIToolResultPart(tool_call_id=one, name=_WEATHER.name, result=f"r{one}") for one in ids]
        context.messages += [
            _said(*(AIToolCallPart(id=one, name=_WEATHER.name) for one in ids)),
            AIMessage(role="tool", content=tuple(reversed(results))),
        ]
        assert (await provider.generate(context)).content == "Sunny."

    async def test_a_failed_tool_is_reported(self, provider: AIProvider, simulator: AISimulator) -> None:
        simulator.reply("Yes.")
        simulator.reply("Yes.")
        for is_error in (False, True):
            context = ask("Weather?", tools=[_WEATHER])
            context.messages += [
                _said(AIToolCallPart(id="call_1", name=_WEATHER.name, arguments={"city": "Bern"})),
                _result("call_1", "no such city", is_error=is_error),
            ]
            await provider.generate(context)
        assert simulator.requests[0].body != simulator.requests[1].body

    async def test_a_blank_message_breaks_nothing(self, provider: AIProvider, simulator: AISimulator) -> None:
        """What says nothing, or belongs to the system, may stand between a call and its result."""
        simulator.reply("Noon.")
        context = ask("What time is it?", tools=[_WEATHER])
        context.messages += [
            _said(AIToolCallPart(id="call_1", name=_WEATHER.name)),
            AIMessage(role="user", content=" "),
            AIMessage(role="system", content="Be short."),
            _result("call_1", "12:00"),
        ]
        assert (await provider.generate(context)).content == "Noon."

    async def test_arguments_that_are_no_json(self, provider: AIProvider, simulator: AISimulator) -> None:
        """A call that cannot be run is marked, keeps what the model wrote, and harms nothing else."""
        for _ in range(2):
            calls = [ScriptedToolCall("now", '{"city": "Be'), ScriptedToolCall("now", {"city": "Oslo"})]
            simulator.reply(tool_calls=calls)
        whole = await provider.generate(ask())
        streamed = response_of(await listen(provider, ask()))
        for bad, good in (whole.tool_calls, streamed.tool_calls):
            assert bad.invalid
            assert bad.arguments["raw"] == '{"city": "Be'
            assert (good.invalid, good.arguments) == (None, {"city": "Oslo"})

    async def test_a_tool_without_parameters(self, provider: AIProvider, simulator: AISimulator) -> None:
        """It is offered, and called with nothing."""
        for _ in range(2):
            simulator.reply(tool_calls=[ScriptedToolCall("now")])
        context = ask("What time is it?", tools=[AITool(name="now")])
        whole = await provider.generate(context)
        streamed = response_of(await listen(provider, context))
        for answer in (whole, streamed):
            assert [(call.name, call.arguments) for call in answer.tool_calls] == [("now", {})]

    @pytest.mark.parametrize("choice", ["auto", "none", "required", _WEATHER.name])
    async def test_the_choice_of_tools_is_passed_on(
        self, provider: AIProvider, simulator: AISimulator, choice: str
    ) -> None:
        """Each way to choose is taken by the vendor and differs from leaving it open."""
        simulator.reply("Hi")
        simulator.reply("Hi")
        await provider.generate(ask(tools=[_WEATHER]))
        context = ask(tools=[_WEATHER])
        context.tool_choice = choice
        await provider.generate(context)
        assert simulator.requests[0].body != simulator.requests[1].body

    async def test_thinking_goes_round(self, provider: AIProvider, simulator: AISimulator) -> None:
        """Every block of reasoning comes with what the vendor signed, and goes back as it was."""
        if not self.thinks:
            pytest.skip("this API gives no reasoning that it takes again")
        for _ in range(2):
            simulator.reply(
                thinking=[
                    ScriptedThinking("First, the city.", "c2lnbmF0dXJlLTE="),
                    ScriptedThinking("Then the day.", "c2lnbmF0dXJlLTI="),
                ],
                tool_calls=[ScriptedToolCall("now")],
            )
            simulator.reply("Noon.")
        tools = [AITool(name="now")]
        for generate in (_whole, _streamed):
            context = ask("What time is it?", tools=tools)
            first = await generate(provider, context)
            assert [part.thinking for part in first.thinking_parts] == [
                "First, the city.",
                "Then the day.",
            ]
            context.messages += answered(first, "12:00")
            assert (await generate(provider, context)).content == "Noon."

    # Requests

    async def test_the_speaker_is_named(self, provider: AIProvider, simulator: AISimulator) -> None:
        """The model can tell two people in a room apart."""
        simulator.reply("Hello, you two!")
        context = ask()
        context.messages = [
            AIMessage(role="user", content="Hi!", name="Zoltán K."),
            AIMessage(role="user", content="Hi!", name="Annika"),
        ]
        await provider.generate(context)
        body = simulator.requests[0].body.decode()
        assert "Annika" in body
        assert "Zolt" in body

    async def test_the_system_prompt_is_sent(self, provider: AIProvider, simulator: AISimulator) -> None:
        """The prompt and system messages reach the model, and so does a blank one not."""
        simulator.reply("Oui.")
        context = ask()
        context.system_prompt = "Answer in French."
        context.messages.insert(0, AIMessage(role="system", content="Be short."))
        context.messages.insert(0, AIMessage(role="system", content="  "))
        await provider.generate(context)
        assert b"Answer in French." in simulator.requests[0].body
        assert b"Be short." in simulator.requests[0].body

    async def test_the_assistant_may_have_begun(self, provider: AIProvider, simulator: AISimulator) -> None:
        """A conversation that the agent opened can be continued, and blank messages do not matter."""
        simulator.reply("Fine!")
        context = ask()
        context.messages = [
            AIMessage(role="assistant", content="Welcome! How are you?"),
            AIMessage(role="assistant", content=""),
            AIMessage(role="user", content="And you?"),
            AIMessage(role="user", content=" "),
        ]
        assert (await provider.generate(context)).content == "Fine!"

    async def test_max_tokens_are_passed_on(self, provider: AIProvider, simulator: AISimulator) -> None:
        """The limit of the context is the limit that is sent."""
        simulator.reply("So")
        context = ask()
        context.max_tokens = 4321
        await provider.generate(context)
        assert b"4321" in simulator.requests[0].body

    async def test_images_are_sent_or_refused(self, provider: AIProvider, simulator: AISimulator) -> None:
        """A provider that claims vision sends the image; another refuses it, and neither drops it."""
        context = ask()
        image = AIImagePart(url=f"data:image/png;base64,{_PIXEL}", mime_type="image/png")
        context.messages = [_user(AITextPart(text="What is this?"), image)]
        if provider.supports_vision:
            simulator.reply("A pixel.")
            assert (await provider.generate(context)).content == "A pixel."
            assert _PIXEL.encode() in simulator.requests[0].body
            return
        error = await _failure(provider.generate(context))
        assert error.error_code is ErrorCode.UNSUPPORTED_CONTENT
        assert simulator.requests == []

    async def test_only_the_present_image_can_fail(
        self, provider: AIProvider, simulator: AISimulator
    ) -> None:
        """An image that cannot be sent fails the turn that answers it, and no later one."""
        image = AIImagePart(url="file:///photo.heic", mime_type="image/heic")
        context = ask()
        context.messages = [_user(AITextPart(text="What is this?"), image)]
        error = await _failure(provider.generate(context))
        assert error.error_code is ErrorCode.UNSUPPORTED_CONTENT
        assert simulator.requests == []
        simulator.reply("I am here.")
        context.messages += [_said(AITextPart(text="?")), _user(AITextPart(text="Are you there?"))]
        assert (await provider.generate(context)).content == "I am here."
        assert b"[image]" in simulator.requests[0].body

    async def test_a_misspelt_media_type_is_sent_right(
        self, provider: AIProvider, simulator: AISimulator
    ) -> None:
        """`image/jpg` is a common name of image/jpeg that vendors do not know."""
        if not provider.supports_vision:
            pytest.skip("this model takes no images")
        simulator.reply("A pixel.")
        image = AIImagePart(url=f"data:image/jpg;base64,{_PIXEL}", mime_type="image/JPG")
        context = ask()
        context.messages = [_user(AITextPart(text="What is this?"), image)]
        assert (await provider.generate(context)).content == "A pixel."
        assert b"image/jpeg" in simulator.requests[0].body
        assert b"jpg" not in simulator.requests[0].body.lower()

    @pytest.mark.parametrize("shape", ["empty", "unanswered", "orphan", "twice", "last", "prefill"])
    async def test_a_broken_conversation_is_refused(
        self, provider: AIProvider, simulator: AISimulator, shape: str
    ) -> None:
        context = ask()
        context.messages = _broken(shape)
        for generate in (_whole, _streamed):
            error = await _failure(generate(provider, context))
            assert error.error_code is ErrorCode.INVALID_REQUEST
            assert not error.retryable
        assert simulator.requests == []

    @examples(30)
    @given(fields=contexts())
    async def test_whatever_is_sent_is_taken(
        self, provider: AIProvider, simulator: AISimulator, fields: dict[str, Any]
    ) -> None:
        """A context is refused before it is sent, with a typed error, or its request is a good one."""
        simulator.reply_always(lambda request: Reply("Hi"))
        before = len(simulator.requests)
        asked = {name: value for name, value in fields.items() if name not in self.passed_on}
        (outcome,) = await asyncio.gather(provider.generate(AIContext(**asked)), return_exceptions=True)
        if isinstance(outcome, AIResponse):
            return
        assert isinstance(outcome, ProviderError)
        assert outcome.error_code in (ErrorCode.INVALID_REQUEST, ErrorCode.UNSUPPORTED_CONTENT)
        assert len(simulator.requests) == before, f"the vendor refused it: {outcome}"

    async def test_a_parameter_is_sent_or_left_out_with_one_warning(
        self, provider: AIProvider, simulator: AISimulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A temperature arrives as it is, or all requests together warn once that it does not."""
        caplog.set_level(logging.WARNING)
        for _ in range(3):
            simulator.reply("Hi")
            context = ask()
            context.temperature = 0.375
            await provider.generate(context)
        warnings = [record.getMessage() for record in caplog.records]
        if all(b"0.375" in request.body for request in simulator.requests):
            assert warnings == []
        else:
            said = f"{provider.model_name} takes no temperature: it is left out of this request"
            assert warnings == [f"{said} and all later ones"]

    # Failures

    async def test_a_missing_sdk_says_what_to_install(
        self, provider: AIProvider, simulator: AISimulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The error names the distribution, and nothing is asked."""
        if self.sdk is None:
            pytest.skip("this provider needs no SDK")
        monkeypatch.setitem(sys.modules, self.sdk, None)
        with pytest.raises(ImportError, match=f"the {self.sdk} SDK: pip install roomkit-"):
            await provider.generate(ask())
        assert simulator.requests == []

    async def test_every_error_is_classified(self, provider: AIProvider, simulator: AISimulator) -> None:
        """Each error the vendor can report has its class, one attempt, and a message."""
        for generate in (_whole, _streamed):
            for code, failure in simulator.failures.items():
                before = len(simulator.requests)
                simulator.fail(code)
                error = await _failure(generate(provider, ask()))
                assert error.error_code is code, f"{code}: {error}"
                assert error.retryable is code.retryable
                assert error.status_code == failure.status
                assert error.provider == provider.name
                assert len(simulator.requests) == before + 1

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_a_redirect_is_a_wrong_address(
        self, provider: AIProvider, simulator: AISimulator, status: int
    ) -> None:
        """It is permanent, with or without a place to go; nothing, and so no key, is sent there."""
        async with _Elsewhere() as elsewhere:
            for location in ({}, {"location": f"{elsewhere.origin}/v1/x"}):
                for generate in (_whole, _streamed):
                    simulator.reply(fault=Failure(status, {}, location))
                    error = await _failure(generate(provider, ask()))
                    assert error.error_code in (ErrorCode.NOT_FOUND, ErrorCode.INVALID_REQUEST)
                    assert not error.retryable
                    assert error.status_code == status
            assert elsewhere.requests == []

    async def test_how_long_to_wait(self, provider: AIProvider, simulator: AISimulator) -> None:
        """Seconds, milliseconds and dates are understood; nonsense is not believed."""
        code = ErrorCode.OVERLOADED
        date = {"date": "Sun, 22 Nov 2026 10:00:00 GMT", "retry-after": "Sun, 22 Nov 2026 10:01:30 GMT"}
        told = [
            ({"retry-after": "7"}, 7.0),
            ({"retry-after": "7", "retry-after-ms": "1500"}, 1.5),
            (date, 90.0),
            ({"retry-after": "soon"}, None),
            ({"retry-after": "-4"}, None),
            ({}, None),
        ]
        for headers, seconds in told:
            simulator.fail(code, headers=headers)
            assert (await _failure(provider.generate(ask()))).retry_after == seconds

    async def test_the_vendor_decides_on_retrying(self, provider: AIProvider, simulator: AISimulator) -> None:
        simulator.fail(ErrorCode.SERVER, headers={"x-should-retry": "false"})
        assert (await _failure(provider.generate(ask()))).retryable is False
        simulator.fail(ErrorCode.INVALID_REQUEST, headers={"x-should-retry": "true"})
        assert (await _failure(provider.generate(ask()))).retryable is True

    async def test_a_refused_connection(self, provider: AIProvider, simulator: AISimulator) -> None:
        """A connection that breaks before the answer can be tried again."""
        for generate in (_whole, _streamed):
            simulator.reply("Hello", fault=Drop())
            error = await _failure(generate(provider, ask()))
            assert error.error_code is ErrorCode.CONNECTION
            assert error.retryable

    @pytest.mark.parametrize(
        ("fault", "code"),
        [
            (Drop(after=5), ErrorCode.CONNECTION),
            (Truncate(after=5), ErrorCode.BAD_RESPONSE),
            (Malformed(after=5), ErrorCode.BAD_RESPONSE),
            (FailMidStream(ErrorCode.SERVER, after=5), ErrorCode.SERVER),
        ],
        ids=["dropped", "truncated", "malformed", "failed"],
    )
    async def test_a_stream_that_breaks(
        self, provider: AIProvider, simulator: AISimulator, fault: Fault, code: ErrorCode
    ) -> None:
        """What came stays, the error ends it, and the vendor is not asked again."""
        simulator.reply("It was a dark and stormy night; the rain fell in torrents", fault=fault)
        heard: list[StreamEvent] = []

        async def hear() -> None:
            async for event in provider.generate_structured_stream(ask()):
                heard.append(event)  # noqa: PERF401 - what was heard stays when the stream fails

        assert (await _failure(hear())).error_code is code
        assert any(isinstance(event, StreamTextDelta) for event in heard)
        assert not any(isinstance(event, StreamDone) for event in heard)
        assert len(simulator.requests) == 1

    @pytest.mark.parametrize(
        "fault",
        [
            Truncate(),
            Malformed(),
            WrongShape(),
            WrongShape(None),
            WrongShape([]),
            WrongShape("text"),
            WrongShape({"type": "message", "choices": 5, "output": {}, "content": "x"}),
            WrongShape({"type": "message", "choices": [None], "output": [None], "content": [None]}),
            WrongShape({"choices": [{"message": {"content": 5}, "finish_reason": "stop"}]}),
            WrongShape({"output": [{"type": "message", "content": 5}], "status": "completed"}),
        ],
        ids=repr,
    )
    async def test_an_answer_of_the_wrong_shape(
        self, provider: AIProvider, simulator: AISimulator, fault: Fault
    ) -> None:
        """A 200 with anything else than an answer is a `bad_response`, whole and streamed."""
        for generate in (_whole, _streamed):
            simulator.reply("Hello", fault=fault)
            error = await _failure(generate(provider, ask()))
            assert error.error_code is ErrorCode.BAD_RESPONSE
            assert not error.retryable

    async def test_a_silent_vendor_times_out(
        self, factory: Callable[..., AIProvider], simulator: AISimulator
    ) -> None:
        """No byte within the timeout is a `timeout`, before the answer and inside it."""
        provider = factory(timeout=0.1)
        simulator.reply("Hello", fault=NeverAnswer())
        simulator.reply("Hello", fault=NeverAnswer())
        simulator.reply("Hello", fault=NeverAnswer(after=2))
        for generate in (_whole, _streamed, _streamed):
            error = await _failure(generate(provider, ask()))
            assert error.error_code is ErrorCode.TIMEOUT
            assert error.retryable
        await provider.close()

    # Being used by many, and being let go

    async def test_calls_do_not_mix(self, provider: AIProvider, simulator: AISimulator) -> None:
        """Fifty conversations at once, whole and streamed, each get their own answer."""
        simulator.reply_always(lambda request: Reply(f"You said {_number_in(request)}."))
        said = [f"number-{number}" for number in range(50)]
        async with asyncio.timeout(PATIENCE):
            whole = await asyncio.gather(*(_whole(provider, ask(text)) for text in said))
            streamed = await asyncio.gather(*(_streamed(provider, ask(text)) for text in said))
        for answers in (whole, streamed):
            assert [answer.content for answer in answers] == [f"You said {text}." for text in said]

    async def test_cancelling_lets_the_vendor_go(self, provider: AIProvider, simulator: AISimulator) -> None:
        """A cancelled call closes its connection, and the provider goes on working."""
        for number, generate in enumerate((_whole, _streamed), 1):
            simulator.reply("Hello", fault=NeverAnswer())
            async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
                call = tasks.create_task(generate(provider, ask()))
                request = await simulator.received(number)
                call.cancel()
                await request.disconnected.wait()
        simulator.reply("Still here.")
        assert (await provider.generate(ask())).content == "Still here."

    async def test_leaving_a_stream_lets_the_vendor_go(
        self, provider: AIProvider, simulator: AISimulator
    ) -> None:
        """A stream that is closed half-way stops the model."""
        simulator.reply(["Once upon a time", asyncio.Event(), "the end"])
        async with asyncio.timeout(PATIENCE):
            stream = provider.generate_structured_stream(ask())
            async with aclosing(stream) as events:  # type: ignore[type-var]  # an async generator
                async for event in events:
                    if isinstance(event, StreamTextDelta):
                        break
            await simulator.requests[-1].disconnected.wait()

    async def test_a_closed_provider_says_so(self, provider: AIProvider, simulator: AISimulator) -> None:
        """After `close()` nothing is asked any more."""
        simulator.reply("Hello")
        await provider.generate(ask())
        await provider.close()
        await provider.close()
        for generate in (_whole, _streamed):
            error = await _failure(generate(provider, ask()))
            assert "closed" in str(error)
            assert not error.retryable
        assert len(simulator.requests) == 1

    async def test_secrets_stay_out_of_errors_and_logs(
        self, provider: AIProvider, simulator: AISimulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Whatever fails, the key is in no message, no chained error, no local variable, no log line."""
        caplog.set_level(logging.DEBUG)
        body = {"error": {"type": "authentication_error", "message": f"bad key {simulator.api_key}"}}
        echo = simulator.failure(ErrorCode.AUTH)
        for fault in (
            type(echo)(echo.status, body, echo.headers),
            simulator.failure(ErrorCode.SERVER),
            Drop(),
            Malformed(),
        ):
            simulator.reply(fault=fault)
            error = await _failure(provider.generate(ask()))
            told = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
            for secret in self.secrets:
                assert secret not in told
                assert secret not in repr(vars(error))
        for secret in self.secrets:
            assert secret not in caplog.text


class _Elsewhere(HTTPSimulator):
    """Where a redirect leads."""

    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        """Answer with nothing."""
        await exchange.send_json(200, {})


def ask(text: str = "Hello", *, tools: Sequence[AITool] = ()) -> AIContext:
    """Build a context in which a user says `text`."""
    return AIContext(messages=[AIMessage(role="user", content=text)], tools=list(tools))


async def listen(provider: AIProvider, context: AIContext) -> list[StreamEvent]:
    """Return everything a stream yields."""
    return [event async for event in provider.generate_structured_stream(context)]


def response_of(events: Sequence[StreamEvent]) -> AIResponse:
    """Put a stream together to the answer it is."""
    response = AIResponse(content="")
    thought = ""
    for event in events:
        match event:
            case StreamThinkingDelta():
                thought += event.thinking
                if event.signature or event.redacted_data:
                    part = AIThinkingPart(
                        thinking=thought,
                        signature=event.signature,
                        redacted_data=event.redacted_data,
                    )
                    response.thinking_parts.append(part)
                    thought = ""
            case StreamTextDelta():
                response.content += event.text
            case StreamToolCall():
                response.tool_calls.append(_as_call(event))
            case StreamDone():
                response.finish_reason = event.finish_reason
                response.usage, response.metadata = event.usage, event.metadata
    if thought:
        response.thinking_parts.append(AIThinkingPart(thinking=thought))
    thinking = [part.thinking for part in response.thinking_parts if part.thinking]
    response.thinking = "\n\n".join(thinking) or None
    return response


def answered(response: AIResponse, result: str) -> list[AIMessage]:
    """Build the two messages that follow an answer with tool calls, as a tool loop does."""
    calls = [
        AIToolCallPart(id=c.id, name=c.name, arguments=c.arguments, metadata=c.metadata)
        for c in response.tool_calls
    ]
    text = [AITextPart(text=response.content)] if response.content else []
    results = [AIToolResultPart(tool_call_id=c.id, name=c.name, result=result) for c in calls]
    return [
        _said(*response.thinking_parts, *text, *calls),
        AIMessage(role="tool", content=tuple(results)),
    ]


async def _whole(provider: AIProvider, context: AIContext) -> AIResponse:
    return await provider.generate(context)


async def _streamed(provider: AIProvider, context: AIContext) -> AIResponse:
    return response_of(await listen(provider, context))


async def _failure(call: Awaitable[object]) -> ProviderError:
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ProviderError) as caught:
            await call
    return caught.value


def _what_is_called(response: AIResponse) -> list[tuple[str, str, object]]:
    return [(call.id, call.name, call.arguments) for call in response.tool_calls]


def _as_call(event: StreamToolCall) -> AIToolCall:
    return AIToolCall(
        id=event.id,
        name=event.name,
        arguments=event.arguments,
        metadata=event.metadata,
        invalid=event.invalid,
    )


def _user(*parts: AIPart) -> AIMessage:
    return AIMessage(role="user", content=parts)


def _said(*parts: AIPart) -> AIMessage:
    return AIMessage(role="assistant", content=parts)


def _result(call_id: str, text: str, *, is_error: bool = False) -> AIMessage:
    part = AIToolResultPart(tool_call_id=call_id, name="now", result=text, is_error=is_error)
    return AIMessage(role="tool", content=(part,))


def _broken(shape: str) -> list[AIMessage]:
    hello = AIMessage(role="user", content="Hello")
    call = _said(AIToolCallPart(id="call_1", name="now"))
    return {
        "empty": [],
        "unanswered": [hello, call, hello],
        "orphan": [hello, _result("call_1", "12:00")],
        "twice": [hello, call, _result("call_1", "1"), call, _result("call_1", "2")],
        "last": [hello, call],
        "prefill": [hello, AIMessage(role="assistant", content="The answer is")],
    }[shape]


def _offered_name(request: ReceivedRequest) -> str:
    tool = request.json()["tools"][0]
    name: str = tool.get("function", tool)["name"]
    return name


def _number_in(request: ReceivedRequest) -> str:
    text = request.body.decode()
    start = text.index("number-")
    return text[start : text.index('"', start)]
