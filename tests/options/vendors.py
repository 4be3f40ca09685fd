"""Vendors of models: a setting changes the request, which the vendor's simulator takes by a socket."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import ProviderError
from roomkit.models.ai import AIImagePart, AIMessage, AITextPart, AIThinkingPart, AITool
from roomkit.models.generation import AIContext
from roomkit.plugins import default_manager
from roomkit_plugins.testing.simulators import (
    AISimulator,
    AnthropicSimulator,
    AzureSimulator,
    GeminiSimulator,
    MistralSimulator,
    NeverAnswer,
    OpenAISimulator,
    Reply,
    VLLMSimulator,
)
from tests.options.mechanism import Change, Observe, Settings, Subject

__all__ = ["VENDORS"]

_TALK = AIContext(
    messages=[
        AIMessage(role="user", content="Hi"),
        AIMessage(role="assistant", content=(AIThinkingPart(thinking="Hm."), AITextPart(text="Hello"))),
        AIMessage(role="user", content="Well?"),
    ],
    tools=[AITool(name="now")],
)
_PICTURE = AIContext(
    messages=[AIMessage(role="user", content=(AIImagePart(url="data:image/png;base64,iVBORw0KGgo="),))]
)
_NOISE = {"host", "content-length", "x-stainless-retry-count", "traceparent"}


def _asking(simulated: Callable[..., AISimulator], name: str, context: AIContext = _TALK) -> Observe:
    """Return an observation of the requests at a simulator's socket, and of the user's answer."""

    async def observe(settings: Settings) -> object:
        async with simulated(allow_unused=True) as simulator:
            given = {key: _filled(value, simulator) for key, value in settings.items()}
            provider = await default_manager().acreate("ai", name, given)
            assert isinstance(provider, AIProvider)
            simulator.reply("<think>Hm.</think>Hi")
            heard: list[str] = []
            try:
                async for event in provider.generate_structured_stream(context):
                    heard.append(type(event).__name__)  # noqa: PERF401  # those before a failure count
            except ProviderError as error:
                heard.append(str(error.error_code))
            await provider.close()
            return [
                (
                    request.path,
                    sorted(dict(request.query).items()),
                    {key: value for key, value in request.headers.items() if key not in _NOISE},
                    request.body,
                )
                for request in simulator.requests
            ], heard

    return observe


def _unanswered(simulated: Callable[..., AISimulator], name: str) -> Observe:
    """Return an observation of a setting that says how long a silent server is waited for."""

    async def observe(settings: Settings) -> object:
        async with simulated(allow_unused=True) as simulator:
            given = {key: _filled(value, simulator) for key, value in settings.items()}
            provider = await default_manager().acreate("ai", name, given)
            assert isinstance(provider, AIProvider)
            simulator.reply_with(Reply(fault=NeverAnswer()))
            is_short = "timeout" in settings
            try:
                async with asyncio.timeout(60 if is_short else 0.1):  # the default is minutes
                    await provider.generate(_TALK)
            except ProviderError as error:
                return str(error.error_code)
            except TimeoutError:
                return "still waiting"
            finally:
                await provider.close()
        return "answered"

    return observe


def _filled(value: object, simulator: AISimulator) -> object:
    if not isinstance(value, str):
        return value
    return value.replace("{base_url}", simulator.base_url).replace("{api_key}", simulator.api_key)


def _vendor(
    name: str,
    simulated: Callable[..., AISimulator],
    base: Settings,
    changes: Mapping[str, Change],
    vision: Change,
) -> Subject:
    pictured = replace(vision, observe=_asking(simulated, name, _PICTURE))
    asked = _asking(simulated, name)
    return Subject(f"ai:{name}", {**changes, "vision": pictured}, asked, base, real_time=True)


def _anthropic() -> Subject:
    old = {"model": "claude-haiku-4-5", "api_version": "2023-06-01"}
    base = {"model": "claude-sonnet-5-5", "api_key": "{api_key}", "base_url": "{base_url}"}
    changes = {
        "model": Change("claude-haiku-4-5"),
        "api_key": Change("sk-other"),
        "base_url": Change("{base_url}/proxy"),
        "api_version": Change("2023-06-01"),
        "timeout": Change(33.0),
        "max_tokens": Change(77),
        "temperature": Change(0.5, old),
        "thinking": Change("adaptive"),
        "thinking_budget": Change(2000),
        "thinking_display": Change("summarized", {"thinking": "adaptive"}),
        "effort": Change("low"),
        "cache_ttl": Change("1h"),
        "service_tier": Change("standard_only"),
        "user_id": Change("u-1"),
        "parallel_tool_calls": Change(False),
        "extra_headers": Change({"x-extra": "1"}),
        "extra_body": Change({"speed": "fast"}),
    }
    return _vendor("anthropic", AnthropicSimulator, base, changes, Change(False))


def _gemini() -> Subject:
    base = {"model": "gemini-3.8-flash", "api_key": "{api_key}", "base_url": "{base_url}"}
    changes = {
        "model": Change("gemini-2.5-flash"),
        "api_key": Change("other"),
        "base_url": Change("{base_url}/proxy"),
        "api_version": Change("v1"),
        "timeout": Change(0.05, observe=_unanswered(GeminiSimulator, "gemini")),
        "max_tokens": Change(77),
        "temperature": Change(0.5),
        "thinking_level": Change("low"),
        "thinking_budget": Change(100, {"model": "gemini-2.5-flash"}),
        "include_thoughts": Change(True),
        "safety": Change({"harassment": "none"}),
        "cached_content": Change("cachedContents/x"),
        "service_tier": Change("flex"),
        "extra_headers": Change({"x-extra": "1"}),
        "extra_body": Change({"labels": {"a": "b"}}),
    }
    return _vendor("gemini", GeminiSimulator, base, changes, Change(False))


def _mistral() -> Subject:
    base = {"model": "magistral-medium-latest", "api_key": "{api_key}", "base_url": "{base_url}"}
    changes = {
        "model": Change("mistral-large-latest"),
        "api_key": Change("other"),
        "base_url": Change("{base_url}/proxy"),
        "timeout": Change(0.05, observe=_unanswered(MistralSimulator, "mistral")),
        "max_tokens": Change(77),
        "temperature": Change(0.5),
        "reasoning_effort": Change("high"),
        "prompt_mode": Change("reasoning"),
        "random_seed": Change(7),
        "safe_prompt": Change(True),
        "parallel_tool_calls": Change(False),
        "prompt_cache_key": Change("k"),
        "service_tier": Change("priority"),
        "extra_headers": Change({"x-extra": "1"}),
    }
    return _vendor("mistral", MistralSimulator, base, changes, Change(False))


def _openai() -> Subject:
    base = {"model": "gpt-4.1", "api": "chat", "api_key": "{api_key}", "base_url": "{base_url}"}
    reasoning = {"model": "gpt-5.5", "api": "responses"}
    changes = {
        "model": Change("gpt-5.5"),
        "api_key": Change("sk-other"),
        "base_url": Change("{base_url}/proxy"),
        "api": Change("responses"),
        "organization": Change("org-1"),
        "project": Change("proj-1"),
        "timeout": Change(33.0),
        "max_tokens": Change(77),
        "max_tokens_field": Change("max_completion_tokens", {"max_tokens": 77}),
        "temperature": Change(0.5),
        "reasoning_model": Change(True, {"api": "responses"}),
        "reasoning_effort": Change("low", reasoning),
        "reasoning_summary": Change("auto", reasoning),
        "reasoning_field": Change("reasoning"),
        "think_tags": Change("inline"),
        "verbosity": Change("low"),
        "parallel_tool_calls": Change(False),
        "service_tier": Change("flex"),
        "safety_identifier": Change("u-1"),
        "prompt_cache_key": Change("k"),
        "store": Change(True),
        "include_usage": Change(False),
        "extra_headers": Change({"x-extra": "1"}),
        "extra_body": Change({"seed": 1}),
    }
    return _vendor("openai", OpenAISimulator, base, changes, Change(False))


def _azure() -> Subject:
    base = {"model": "gpt-4.1", "api_key": "{api_key}", "azure_endpoint": "{base_url}"}
    reasoning = {"model": "gpt-5.5", "api": "responses"}
    changes = {
        "model": Change("gpt-5.5"),
        "azure_endpoint": Change("{base_url}/proxy"),
        "api_key": Change("sk-other"),
        "api_version": Change("2024-10-21"),
        "api": Change("responses"),
        "timeout": Change(33.0),
        "max_tokens": Change(77),
        "temperature": Change(0.5),
        "reasoning_model": Change(False, reasoning),
        "reasoning_effort": Change("low", {"model": "gpt-5.5"}),
        "verbosity": Change("low"),
        "parallel_tool_calls": Change(False),
        "prompt_cache_key": Change("k"),
        "include_usage": Change(False),
        "extra_headers": Change({"x-extra": "1"}),
        "extra_body": Change({"seed": 1}),
    }
    return _vendor("azure", AzureSimulator, base, changes, Change(False))


def _vllm() -> Subject:
    base = {"model": "qwen/qwen3-8b", "base_url": "{base_url}"}
    changes = {
        "model": Change("other"),
        "base_url": Change("{base_url}/proxy"),
        "api_key": Change("sk-other"),
        "timeout": Change(33.0),
        "max_tokens": Change(77),
        "temperature": Change(0.5),
        "enable_thinking": Change(True),
        "think_tags": Change("inline"),
        "reasoning_field": Change("reasoning_content"),
        "include_usage": Change(False),
        "extra_body": Change({"top_k": 5}),
    }
    return _vendor("vllm", VLLMSimulator, base, changes, Change(True))


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set variables that the library of Pydantic AI reads; tests of one process run one after another."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def _pydantic_ai() -> Subject:
    def through(context: AIContext) -> Observe:
        async def observe(settings: Settings) -> object:
            async with OpenAISimulator(allow_unused=True) as simulator:
                with _environment(OPENAI_API_KEY=simulator.api_key, OPENAI_BASE_URL=simulator.base_url):
                    provider = await default_manager().acreate("ai", "pydantic-ai", settings)
                    assert isinstance(provider, AIProvider)
                    simulator.reply("Hi")
                    heard = ""
                    try:
                        heard = (await provider.generate(context)).content
                    except ProviderError as error:
                        heard = str(error.error_code)
                    await provider.close()
                headers = [request.headers.get("x-stainless-read-timeout") for request in simulator.requests]
                return [(request.path, request.body) for request in simulator.requests], headers, heard

        return observe

    changes = {
        "model": Change("openai-responses:gpt-4.1"),
        "timeout": Change(33.0),
        "max_tokens": Change(77),
        "temperature": Change(0.5),
        "settings": Change({"seed": 1}),
        "vision": Change(False, observe=through(_PICTURE)),
    }
    base = {"model": "openai-chat:gpt-4.1"}
    return Subject("ai:pydantic-ai", changes, through(_TALK), base, real_time=True)


VENDORS = (_anthropic(), _gemini(), _mistral(), _openai(), _azure(), _vllm(), _pydantic_ai())
