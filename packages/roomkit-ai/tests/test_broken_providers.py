"""What a provider or memory says or returns that its contract does not allow fails what needed it, typed."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import ForeignCodeError
from roomkit.models.ai import AIThinkingPart, AIToolCall, StreamDone, StreamTextDelta, StreamThinkingDelta
from roomkit.models.generation import AIResponse
from roomkit_plugins.ai import AIChannel
from roomkit_plugins.testing import MockAIProvider, MockMemoryProvider

ATTRIBUTES = [name for name, value in vars(AIProvider).items() if isinstance(value, property)]
every_attribute = pytest.mark.parametrize("name", ATTRIBUTES)


class Wrong:
    """A value of a type that no contract has."""


def broken(provider: Any, name: str, *, raises: bool) -> Any:
    """Break an attribute of a provider."""

    def act(_: object) -> object:
        if raises:
            raise ValueError("broken")
        return Wrong()

    kind = type(provider)
    provider.__class__ = type("Broken", (kind,), {name: property(act)})
    return provider


@pytest.mark.parametrize("place", ["provider", "fallback_provider"])
@pytest.mark.parametrize("raises", [True, False])
@every_attribute
def test_a_channel_is_not_made_with_a_broken_provider(name: str, raises: bool, place: str) -> None:
    """The error names the provider, the channel and the attribute."""
    providers = {"provider": MockAIProvider(["hello"]), "fallback_provider": MockAIProvider(["hello"])}
    broken(providers[place], name, raises=raises)
    with pytest.raises(ForeignCodeError, match=f"{name} of provider Broken of AI channel 'agent'"):
        AIChannel("agent", **providers)


@every_attribute
async def test_a_provider_that_breaks_later_fails_its_turn(stage: Any, name: str) -> None:
    """With an error that names it, and never with the property's own."""
    provider = stage.provider("hello", "again")
    agent = stage.agent(provider)
    whole = type(provider)
    broken(provider, name, raises=True)
    heard = await stage.ask(agent, "Hi", catch=True)
    if heard.error is not None:
        assert isinstance(heard.error, ForeignCodeError), repr(heard.error)
        assert f"{name} of provider Broken of AI channel 'agent'" in str(heard.error)
        assert isinstance(heard.error.__cause__, ValueError)
    # not asked by who streams structured, and without a schema; asked when the channel is made
    unasked = ("supports_streaming", "supports_response_schema", "runs_tools")
    assert heard.error is not None or name in unasked
    provider.__class__ = whole
    assert (await stage.ask(agent, "Hi")).error is None


class Returning(MockAIProvider):
    """Returns what it is given to return."""

    response: Any = None

    async def generate(self, context: Any) -> Any:
        return self.response


FIELDS = [name for name in inspect.signature(AIResponse).parameters if name != "parsed"]  # of any type


@pytest.mark.parametrize("name", [*FIELDS, "AIResponse"])
async def test_a_wrong_response_fails_its_turn(new_stage: Any, name: str) -> None:
    """Each field, also after responses that were right."""
    stage = new_stage()
    provider = Returning()
    agent = stage.agent(provider)
    provider.response = AIResponse(content="hello")
    assert (await stage.ask(agent, "Hi")).text == "hello"
    provider.response = 5 if name == "AIResponse" else AIResponse(**{"content": "hello", name: Wrong()})
    heard = await stage.ask(agent, "Hi", catch=True)
    assert isinstance(heard.error, ForeignCodeError), repr(heard.error)
    assert "provider Returning" in str(heard.error)
    assert name in str(heard.error)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("tool_calls", 5),
        ("tool_calls", Wrong()),
        ("tool_calls", AIToolCall.model_construct(id="1", name="look", arguments=5)),
        ("tool_calls", AIToolCall.model_construct(id=5, name="look")),
        ("tool_calls", AIThinkingPart(thinking="hm")),
        ("thinking_parts", "hm"),
        ("thinking_parts", AIThinkingPart.model_construct(thinking=5)),
        ("thinking_parts", AIToolCall(id="1", name="look")),
    ],
    ids=[
        "a number for a call",
        "an object for a call",
        "arguments that are none",
        "an id that is none",
        "reasoning for a call",
        "text for reasoning",
        "reasoning without text",
        "a call for reasoning",
    ],
)
async def test_a_wrong_part_of_a_response_fails_its_turn(new_stage: Any, name: str, part: Any) -> None:
    """Also after one that was right; the error names the list, the provider and the channel."""
    stage = new_stage()
    provider = Returning()
    agent = stage.agent(provider)
    right = AIThinkingPart(thinking="well")
    provider.response = AIResponse(content="hello", thinking_parts=[right])
    assert (await stage.ask(agent, "Hi")).text == "hello"
    provider.response = AIResponse(**{"content": "hello", name: [part]})
    heard = await stage.ask(agent, "Hi", catch=True)
    assert isinstance(heard.error, ForeignCodeError), repr(heard.error)
    assert f"{name} of the answer of provider Returning to AI channel 'agent'" in str(heard.error)


class Streaming(MockAIProvider):
    """Streams the items that it is given."""

    items: tuple[Any, ...] = ()

    async def generate_structured_stream(self, context: Any) -> Any:
        for item in self.items:
            yield item


@pytest.mark.parametrize(
    "item",
    [
        5,
        "text",
        StreamTextDelta(5),
        StreamThinkingDelta(5),
        StreamDone("stop", 5),
    ],
    ids=repr,
)
async def test_a_wrong_stream_event_fails_its_turn(new_stage: Any, item: Any) -> None:
    stage = new_stage(streaming=True)
    provider = Streaming(["hello"], streaming=True)
    provider.items = (StreamTextDelta("hello"), item, StreamDone("stop"))
    heard = await stage.ask(stage.agent(provider), "Hi", catch=True)
    assert isinstance(heard.error, ForeignCodeError), repr(heard.error)
    assert type(item).__name__ in str(heard.error)


class Forgetful(MockMemoryProvider):
    """Returns no result."""

    async def retrieve(self, *_arguments: Any, **_options: Any) -> Any:
        return None


async def test_a_memory_without_a_result_fails_the_turn(stage: Any) -> None:
    heard = await stage.ask(stage.agent(stage.provider("hello"), memory=Forgetful()), "Hi", catch=True)
    assert isinstance(heard.error, ForeignCodeError)
    assert "memory Forgetful is NoneType" in str(heard.error)
