"""Answers of a shape: an agent that says JSON, checked before anything of it is said."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import ErrorCode, ForeignCodeError, InvalidInputError, ProviderError
from roomkit.models.generation import AIResponse

pytestmark = pytest.mark.virtual_time


class Ticket(BaseModel):
    """What support works on."""

    topic: str
    urgent: bool


FITS = '{"topic": "invoice", "urgent": true}'
NUMBER = {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]}


async def test_an_answer_is_the_json_that_was_asked_for(stage):
    """One event, whose text is read with the same model."""
    provider = stage.provider(FITS, chunk_size=4)
    heard = await stage.ask(stage.agent(provider, response_schema=Ticket), "My invoice is wrong!")
    assert Ticket.model_validate_json(heard.text) == Ticket(topic="invoice", urgent=True)
    assert len(heard.pieces) == 1
    assert provider.calls[0].response_schema is Ticket


@pytest.mark.parametrize("answer", ["I do not know.", '{"topic": 1}', FITS[:-3]])
async def test_what_does_not_fit_is_not_said(stage, answer):
    """It is the provider's failure, and nothing of it reaches the room."""
    agent = stage.agent(stage.provider(answer, chunk_size=4), response_schema=Ticket)
    heard = await stage.ask(agent, "Hi", catch=True)
    assert heard.text == ""
    assert isinstance(heard.error, ProviderError)
    assert heard.error.error_code is ErrorCode.BAD_RESPONSE


async def test_the_fallback_is_asked_for_what_did_not_fit(stage):
    provider, fallback = stage.provider("No."), stage.provider(FITS)
    agent = stage.agent(provider, fallback_provider=fallback, response_schema=Ticket)
    assert (await stage.ask(agent, "Hi")).text == FITS
    assert fallback.calls[0].response_schema is Ticket


async def test_words_beside_tool_calls_are_not_said(stage, script):
    """The JSON stands alone, and tools run before it as ever."""

    async def look(name, arguments):
        return "an invoice"

    provider = stage.provider(script.calls("look", text="Let me look at it closely."), FITS)
    agent = stage.agent(provider, response_schema=Ticket, tools=[(script.tool("look"), look)])
    heard = await stage.ask(agent, "Hi")
    assert (heard.text, heard.tool_rounds) == (FITS, 1)
    assert provider.calls[1].response_schema is Ticket


async def test_the_same_json_twice_is_said_once_and_whole(stage, script):
    """A model may give its answer beside a call and again after it."""

    async def note(name, arguments):
        return "noted"

    provider = stage.provider(script.calls("note", text=FITS), FITS)
    agent = stage.agent(provider, response_schema=Ticket, tools=[(script.tool("note"), note)])
    assert (await stage.ask(agent, "Hi")).text == FITS


async def test_a_room_and_a_binding_may_ask_for_another_shape(stage):
    """Binding, room, agent: the first that says something. An empty schema asks for prose."""
    provider = stage.provider(FITS, '{"number": 1}', "Hello.")
    agent = stage.agent(provider, response_schema=Ticket)
    await stage.ask(agent, "One")
    stage.configure(response_schema=NUMBER)
    assert json.loads((await stage.ask(agent, "Two")).text) == {"number": 1}
    stage.bind(response_schema={})
    assert (await stage.ask(agent, "Three")).text == "Hello."
    schemas = [context.response_schema for context in provider.calls]
    assert schemas[0] is Ticket
    assert schemas[1] == NUMBER
    assert schemas[2] is None


class Plain(AIProvider):
    """A provider of earlier days."""

    model_name = "plain"

    async def generate(self, context):
        return AIResponse(content="Hello.", finish_reason="stop")


async def test_a_provider_that_gives_no_shape_is_refused(stage):
    """When the agent is made, and when a room asks for one; a fallback that gives none is not asked."""
    with pytest.raises(InvalidInputError, match="'agent' has a response_schema, and its provider 'Plain'"):
        stage.agent(Plain(), response_schema=Ticket)
    stage.configure(response_schema=NUMBER)
    heard = await stage.ask(stage.agent(Plain()), "Hi", catch=True)
    assert isinstance(heard.error, InvalidInputError)
    failing = stage.provider(ProviderError("busy", error_code=ErrorCode.OVERLOADED))
    heard = await stage.ask(stage.agent(failing, fallback_provider=Plain()), "Hi", catch=True)
    assert heard.error.error_code is ErrorCode.OVERLOADED


class Boasting(Plain):
    """Says that it gives a shape, and checks nothing."""

    supports_response_schema = True


async def test_an_answer_that_was_not_checked_is_not_said(stage):
    """A provider that does not keep its promise is named."""
    heard = await stage.ask(stage.agent(Boasting(), response_schema=Ticket), "Hi", catch=True)
    assert isinstance(heard.error, ForeignCodeError)
    assert "Boasting" in str(heard.error)
    assert heard.text == ""


@pytest.mark.parametrize("schema", ["object", 5, [NUMBER], str])
def test_what_is_no_schema_is_refused(new_stage, schema):
    stage = new_stage()
    with pytest.raises(InvalidInputError, match="it is a pydantic model or a JSON Schema; pass one"):
        stage.agent(stage.provider(), response_schema=schema)
