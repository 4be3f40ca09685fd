"""AI providers with one fault each, and the test of the contract that must find it.

Each is a working provider of a vendor, spoilt in one place. Not collected: `test_planted_ai_faults.py` runs
it in a process of its own.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import (
    AIImagePart,
    AIMessage,
    AIToolCallPart,
    AIToolResultPart,
    StreamDone,
    StreamEvent,
    StreamTextDelta,
)
from roomkit.models.generation import AIContext, AIResponse
from roomkit_plugins.anthropic import AnthropicAIProvider, AnthropicConfig
from roomkit_plugins.testing.contracts.ai import asking
from roomkit_plugins.testing.contracts.ai_provider import AIProviderContract
from roomkit_plugins.testing.simulators import AnthropicSimulator

if "ROOMKIT_PATIENCE" in os.environ:  # a fault that hangs is found sooner; not where others import this
    asking.PATIENCE = float(os.environ["ROOMKIT_PATIENCE"])

FAULTS: dict[str, str] = {}
"""The name of the class of tests, and the test that must fail in it."""


class Working(AnthropicAIProvider):
    """A provider without a fault; requests, answers and errors go through its methods."""

    async def generate(self, context: AIContext) -> AIResponse:
        try:
            return self.heard(await super().generate(self.asked(context)))
        except ProviderError as error:
            raise self.failed(error) from None

    async def generate_structured_stream(self, context: AIContext) -> AsyncIterator[StreamEvent]:
        try:
            async for event in super().generate_structured_stream(self.asked(context)):
                for each in self.streamed(event):
                    yield each
        except ProviderError as error:
            raise self.failed(error) from None

    def asked(self, context: AIContext) -> AIContext:
        return context

    def heard(self, response: AIResponse) -> AIResponse:
        return response

    def streamed(self, event: StreamEvent) -> list[StreamEvent]:
        return [event]

    def failed(self, error: ProviderError) -> ProviderError:
        return error


def planted(found_by: str) -> Callable[[type[Working]], type[Working]]:
    """Put a faulty provider under the contract; this test must fail."""

    def plant(faulty: type[Working]) -> type[Working]:
        name = f"Test{faulty.__name__}"

        class Suite(AIProviderContract):
            sdk = "anthropic"
            counts_tokens = True

            @pytest.fixture
            async def simulator(self) -> AsyncIterator[AnthropicSimulator]:
                async with AnthropicSimulator() as simulator:
                    yield simulator

            @pytest.fixture
            def factory(self, simulator: AnthropicSimulator) -> Callable[..., Working]:
                return lambda timeout=10.0: faulty(
                    AnthropicConfig(
                        model="claude-sonnet-5-5",
                        api_key=simulator.api_key,
                        base_url=simulator.base_url,
                        timeout=timeout,
                    )
                )

        Suite.__name__ = Suite.__qualname__ = name
        globals()[name] = Suite
        FAULTS[name] = found_by
        return faulty

    return plant


def mistaken(message: str) -> ProviderError:
    return ProviderError(message, error_code=ErrorCode.INVALID_REQUEST, provider="anthropic")


def parts_of(context: AIContext) -> list[Any]:
    return [part for each in context.messages if not isinstance(each.content, str) for part in each.content]


# -- answers --------------------------------------------------------------------------------------


@planted("test_it_has_names")
class HasATitle(Working):
    name = "Anthropic Claude"


@planted("test_a_text_comes_back")
class SpeaksLatin1(Working):
    def heard(self, response: AIResponse) -> AIResponse:
        text = response.content.encode("latin-1", "replace").decode("latin-1")
        return dataclasses.replace(response, content=text)


@planted("test_streaming_says_the_same")
class StreamsNoUsage(Working):
    def streamed(self, event: StreamEvent) -> list[StreamEvent]:
        return [dataclasses.replace(event, usage={}) if isinstance(event, StreamDone) else event]


@planted("test_done_comes_once_and_last")
class EndsTwice(Working):
    def streamed(self, event: StreamEvent) -> list[StreamEvent]:
        return [event, event] if isinstance(event, StreamDone) else [event]


@planted("test_a_stream_streams")
class WaitsForTheWholeStream(Working):
    async def generate_structured_stream(self, context: AIContext) -> AsyncIterator[StreamEvent]:
        for event in [each async for each in super().generate_structured_stream(context)]:
            yield event


@planted("test_an_empty_answer_is_an_answer")
class RefusesSilence(Working):
    def heard(self, response: AIResponse) -> AIResponse:
        if not response.content:
            raise ProviderError("nothing was said", error_code=ErrorCode.BAD_RESPONSE)
        return response


@planted("test_why_it_stopped[length]")
class AlwaysFinishes(Working):
    def heard(self, response: AIResponse) -> AIResponse:
        return dataclasses.replace(response, finish_reason="stop")


@planted("test_usage_is_conserved")
class CountsFreshTokensAlone(Working):
    def heard(self, response: AIResponse) -> AIResponse:
        usage = response.usage
        total = usage.get("input_tokens", 0) + usage.get("output_tokens", 0)
        return dataclasses.replace(response, usage={**usage, "total_tokens": total})


@planted("test_what_is_left_out_or_null_changes_nothing")
class RequiresUsage(Working):
    def heard(self, response: AIResponse) -> AIResponse:
        return dataclasses.replace(
            response, content=response.content if response.usage["output_tokens"] else ""
        )


@planted("test_halves_of_a_character_join")
class KeepsHalvesApart(Working):
    def heard(self, response: AIResponse) -> AIResponse:
        return dataclasses.replace(response, content=response.content.replace("\U0001f600", "\ufffd\ufffd"))


@planted("test_half_a_character_can_be_asked")
class EncodesWhatIsAsked(Working):
    def asked(self, context: AIContext) -> AIContext:
        (context.system_prompt or "").encode()
        return context


# -- tools ----------------------------------------------------------------------------------------


@planted("test_tools_go_round")
class KeepsTheVendorsNames(Working):
    def heard(self, response: AIResponse) -> AIResponse:
        calls = [each.replace(name=each.name.replace(".", "_")) for each in response.tool_calls]
        return dataclasses.replace(response, tool_calls=calls)


@planted("test_another_vendors_call_ids_are_taken[functions.weather:{}]")
class KnowsItsOwnIdsAlone(Working):
    def asked(self, context: AIContext) -> AIContext:
        if any(":" in part.id for part in parts_of(context) if isinstance(part, AIToolCallPart)):
            raise mistaken("no such id")
        return context


@planted("test_a_failed_tool_is_reported")
class HidesFailedTools(Working):
    def asked(self, context: AIContext) -> AIContext:
        messages = [
            each
            if isinstance(each.content, str)
            else each.replace(
                content=tuple(
                    part.replace(is_error=False) if isinstance(part, AIToolResultPart) else part
                    for part in each.content
                )
            )
            for each in context.messages
        ]
        return dataclasses.replace(context, messages=messages)


@planted("test_a_blank_message_breaks_nothing")
class RefusesBlanks(Working):
    def asked(self, context: AIContext) -> AIContext:
        if any(isinstance(each.content, str) and not each.content.strip() for each in context.messages):
            raise mistaken("a message is blank")
        return context


@planted("test_arguments_that_are_no_json")
class RunsBrokenCalls(Working):
    def heard(self, response: AIResponse) -> AIResponse:
        calls = [each.replace(invalid=None) for each in response.tool_calls]
        return dataclasses.replace(response, tool_calls=calls)


@planted("test_a_tool_without_parameters")
class OffersToolsWithParametersAlone(Working):
    def heard(self, response: AIResponse) -> AIResponse:
        return dataclasses.replace(
            response, tool_calls=[each for each in response.tool_calls if each.arguments]
        )


@planted("test_tools_that_no_vendor_takes_are_refused[of one name]")
class OffersTheLastOfAName(Working):
    def asked(self, context: AIContext) -> AIContext:
        by_name = {tool.name: tool for tool in context.tools}
        return dataclasses.replace(context, tools=list(by_name.values()))


@planted("test_the_choice_of_tools_is_passed_on[required]")
class ChoosesByItself(Working):
    def asked(self, context: AIContext) -> AIContext:
        return dataclasses.replace(context, tool_choice=None)


@planted("test_thinking_goes_round")
class ForgetsTheSecondThought(Working):
    def heard(self, response: AIResponse) -> AIResponse:
        return dataclasses.replace(response, thinking_parts=response.thinking_parts[:1])


# -- requests -------------------------------------------------------------------------------------


@planted("test_the_speaker_is_named")
class NamesNobody(Working):
    def asked(self, context: AIContext) -> AIContext:
        return dataclasses.replace(context, messages=[each.replace(name=None) for each in context.messages])


@planted("test_no_one_speaks_in_anothers_name")
class LetsPeopleBeginLines(Working):
    def asked(self, context: AIContext) -> AIContext:
        messages = [
            each.replace(name=None, content=f"{each.name}: {each.content}") if each.name else each
            for each in context.messages
        ]
        return dataclasses.replace(context, messages=messages)


@planted("test_the_system_prompt_is_sent")
class ForgetsItsPrompt(Working):
    def asked(self, context: AIContext) -> AIContext:
        return dataclasses.replace(context, system_prompt=None)


@planted("test_the_assistant_may_have_begun")
class WantsThePersonFirst(Working):
    def asked(self, context: AIContext) -> AIContext:
        if context.messages and context.messages[0].role == "assistant":
            raise mistaken("a person begins")
        return context


@planted("test_max_tokens_are_passed_on")
class HasALimitOfItsOwn(Working):
    def asked(self, context: AIContext) -> AIContext:
        return dataclasses.replace(context, max_tokens=None)


@planted("test_images_are_sent_or_refused")
class DropsImages(Working):
    def asked(self, context: AIContext) -> AIContext:
        messages = [
            each
            if isinstance(each.content, str)
            else AIMessage(
                role=each.role,
                content=tuple(part for part in each.content if not isinstance(part, AIImagePart)),
            )
            for each in context.messages
        ]
        return dataclasses.replace(context, messages=messages)


@planted("test_only_the_present_image_can_fail")
class FailsByOldImages(Working):
    def asked(self, context: AIContext) -> AIContext:
        if any(isinstance(part, AIImagePart) and "heic" in part.mime_type for part in parts_of(context)):
            raise ProviderError("no such image", error_code=ErrorCode.UNSUPPORTED_CONTENT)
        return context


@planted("test_a_misspelt_media_type_is_sent_right")
class SpellsByTheBook(Working):
    def asked(self, context: AIContext) -> AIContext:
        if any(isinstance(part, AIImagePart) and part.mime_type == "image/JPG" for part in parts_of(context)):
            raise ProviderError("no such image", error_code=ErrorCode.UNSUPPORTED_CONTENT)
        return context


@planted("test_a_broken_conversation_is_refused[empty]")
class AnswersNobody(Working):
    async def generate(self, context: AIContext) -> AIResponse:
        return await super().generate(context) if context.messages else AIResponse(content="")


@planted("test_whatever_is_sent_is_taken")
class StumblesOverStopWords(Working):
    def asked(self, context: AIContext) -> AIContext:
        if context.stop:
            raise ValueError("no stop words")
        return context


@planted("test_a_parameter_is_sent_or_left_out_with_one_warning")
class IgnoresTheTemperature(Working):
    def asked(self, context: AIContext) -> AIContext:
        return dataclasses.replace(context, temperature=None)


# -- failures -------------------------------------------------------------------------------------


@planted("test_a_missing_sdk_says_what_to_install")
class SaysNotWhatToInstall(Working):
    async def generate(self, context: AIContext) -> AIResponse:
        try:
            return await super().generate(context)
        except ImportError as error:
            raise ImportError("No module named 'anthropic'") from error


@planted("test_every_error_is_classified")
class BlamesTheServer(Working):
    def failed(self, error: ProviderError) -> ProviderError:
        return ProviderError(str(error), error_code=ErrorCode.SERVER, provider=error.provider)


@planted("test_a_redirect_is_a_wrong_address[302]")
class TriesRedirectsAgain(Working):
    def failed(self, error: ProviderError) -> ProviderError:
        error.retryable = True
        return error


@planted("test_how_long_to_wait")
class NeverWaits(Working):
    def failed(self, error: ProviderError) -> ProviderError:
        error.retry_after = None
        return error


@planted("test_the_vendor_decides_on_retrying")
class DecidesByClass(Working):
    def failed(self, error: ProviderError) -> ProviderError:
        error.retryable = error.error_code.retryable
        return error


@planted("test_a_refused_connection")
class TakesBreaksForSilence(Working):
    def failed(self, error: ProviderError) -> ProviderError:
        if error.error_code is ErrorCode.CONNECTION:
            error.error_code = ErrorCode.TIMEOUT
        return error


@planted("test_a_stream_that_breaks[dropped]")
class TakesABreakForTheEnd(Working):
    async def generate_structured_stream(self, context: AIContext) -> AsyncIterator[StreamEvent]:
        try:
            async for event in super().generate_structured_stream(context):
                yield event
        except ProviderError:
            yield StreamDone("stop", {}, {})


@planted("test_an_answer_of_the_wrong_shape")
class StumblesOverShapes(Working):
    def failed(self, error: ProviderError) -> ProviderError:
        if error.error_code is ErrorCode.BAD_RESPONSE:
            raise AttributeError("'NoneType' object has no attribute 'content'")
        return error


@planted("test_a_silent_vendor_times_out")
class TakesSilenceForABreak(Working):
    def failed(self, error: ProviderError) -> ProviderError:
        if error.error_code is ErrorCode.TIMEOUT:
            error.error_code = ErrorCode.CONNECTION
        return error


# -- answers of a shape ---------------------------------------------------------------------------


@planted("test_an_answer_of_a_shape[model]")
class GivesTheJSONAlone(Working):
    def heard(self, response: AIResponse) -> AIResponse:
        return dataclasses.replace(response, parsed=None)


@planted("test_prose_is_not_parsed")
class ParsesWhatLooksLikeJSON(Working):
    def heard(self, response: AIResponse) -> AIResponse:
        if response.content.startswith("{"):
            return dataclasses.replace(response, parsed=json.loads(response.content))
        return response


@planted("test_json_streams")
class StreamsTheJSONAlone(Working):
    def streamed(self, event: StreamEvent) -> list[StreamEvent]:
        return [dataclasses.replace(event, parsed=None) if isinstance(event, StreamDone) else event]


class Trusting(Working):
    """Takes the answer as it comes; a subclass says which errors it does not see."""

    unseen: tuple[str, ...] = ()

    async def generate(self, context: AIContext) -> AIResponse:
        try:
            return await super().generate(context)
        except ProviderError as error:
            if any(word in str(error) for word in self.unseen):
                return AIResponse(content="", finish_reason="stop")
            raise


@planted("test_an_answer_that_does_not_fit[another type]")
class ChecksNoTypes(Trusting):
    unseen = ("does not fit at",)


@planted("test_a_value_that_does_not_fit_a_json_schema")
class ChecksModelsAlone(Trusting):
    unseen = ("does not fit at value", "does not fit at serial")


@planted("test_an_answer_that_was_stopped[refusal-refusal]")
class TakesRefusalsForFaults(Working):
    def failed(self, error: ProviderError) -> ProviderError:
        if error.error_code is ErrorCode.REFUSAL:
            error.error_code = ErrorCode.BAD_RESPONSE
        return error


@planted("test_tools_come_first")
class ParsesEachRound(Working):
    def heard(self, response: AIResponse) -> AIResponse:
        if response.tool_calls:
            raise ProviderError("no JSON", error_code=ErrorCode.BAD_RESPONSE, provider="anthropic")
        return response


@planted("test_what_is_no_object_is_refused[list]")
class AsksForLists(Working):
    def asked(self, context: AIContext) -> AIContext:
        if isinstance(context.response_schema, dict) and context.response_schema.get("type") == "array":
            return dataclasses.replace(context, response_schema=None)
        return context


@planted("test_a_shape_is_taken_or_refused[recursive]")
class BlamesItself(Working):
    def failed(self, error: ProviderError) -> ProviderError:
        error.error_code = ErrorCode.SERVER
        return error


@planted("test_a_request_is_counted")
class CountsBehindTheVendorsBack(Working):
    async def count_tokens(self, context: AIContext) -> int | None:
        return 1


# -- many callers, and the end --------------------------------------------------------------------


@planted("test_calls_do_not_mix")
class AnswersTheLastCaller(Working):
    last = AIContext()

    def asked(self, context: AIContext) -> AIContext:
        self.last = context
        return context

    async def generate(self, context: AIContext) -> AIResponse:
        self.last = context
        await asyncio.sleep(0)
        return await super().generate(self.last)


@planted("test_cancelling_lets_the_vendor_go")
class CannotBeCancelled(Working):
    kept: set[asyncio.Task[AIResponse]] = set()  # noqa: RUF012  # planted

    async def generate(self, context: AIContext) -> AIResponse:
        call = asyncio.create_task(super().generate(context))
        self.kept.add(call)
        return await asyncio.shield(call)


@planted("test_leaving_a_stream_lets_the_vendor_go")
class ReadsOnAlone(Working):
    kept: set[asyncio.Task[None]] = set()  # noqa: RUF012  # planted

    async def generate_structured_stream(self, context: AIContext) -> AsyncIterator[StreamEvent]:
        heard: asyncio.Queue[StreamEvent | None] = asyncio.Queue()

        async def read() -> None:
            async for event in super(ReadsOnAlone, self).generate_structured_stream(context):
                heard.put_nowait(event)
            heard.put_nowait(None)

        self.kept.add(asyncio.create_task(read()))
        while (event := await heard.get()) is not None:
            yield event


@planted("test_a_closed_provider_says_so")
class NeverCloses(Working):
    async def close(self) -> None: ...


@planted("test_secrets_stay_out_of_errors_and_logs")
class NamesItsKey(Working):
    def failed(self, error: ProviderError) -> ProviderError:
        return ProviderError(f"{error} (with sk-ant-simulated)", error_code=error.error_code)


@planted("test_an_empty_reason_cuts_nothing")
class EndsAtEveryThirdText(Working):
    count = 0

    def streamed(self, event: StreamEvent) -> list[StreamEvent]:
        self.count += isinstance(event, StreamTextDelta)
        return [] if isinstance(event, StreamTextDelta) and self.count % 3 == 0 else [event]
