"""The contract of AI providers: answers of a shape that the caller asks for."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, RootModel

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import StreamTextDelta
from roomkit.models.generation import AIContext, AIResponse, ResponseSchema
from roomkit_plugins.testing.contracts.ai.asking import (
    WEATHER,
    answered,
    ask,
    ask_streamed,
    ask_whole,
    failure_of,
    listen,
)
from roomkit_plugins.testing.contracts.ai.suite import AISuite
from roomkit_plugins.testing.simulators.ai import AISimulator, Reply, ScriptedToolCall

__all__ = ["AIStructuredContract"]


class _Line(BaseModel):
    article: str
    pieces: int = Field(ge=1, le=99)


class _Order(BaseModel):
    """An order."""

    order_number: str = Field(description="As on the invoice.")
    kind: Literal["sale", "return"]
    lines: list[_Line] = Field(min_length=1, max_length=20)
    note: str | None = None


class _Tree(BaseModel):
    name: str
    branches: list[_Tree] = []


class _Prices(BaseModel):
    prices: dict[str, float]


_FITS = '{"order_number": "A-1", "kind": "sale", "lines": [{"article": "tea", "pieces": 2}], "note": null}'
_SCHEMA: dict[str, Any] = {
    "title": "Reading of a meter",
    "type": "object",
    "properties": {
        "unit": {"const": "kWh"},
        "value": {"type": "number", "minimum": 0, "multipleOf": 0.5},
        "serial": {"type": "string", "pattern": "^[A-Z]{2}[0-9]+$", "minLength": 4},
        "by": {"oneOf": [{"type": "string", "format": "email"}, {"type": "null"}]},
    },
    "required": ["unit", "value", "serial"],
}
_DEFINED: dict[str, Any] = {
    "type": "object",
    "properties": {"point": {"$ref": "#/$defs/point", "description": "Where it is."}},
    "required": ["point"],
    "$defs": {
        "point": {
            "type": "object",
            "properties": {
                "x": {"type": "integer"},
                "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
            },
        }
    },
}
_ASKED: dict[str, tuple[ResponseSchema, str, str]] = {
    "model": (_Order, _FITS, "order_number"),
    "schema": (_SCHEMA, '{"unit": "kWh", "value": 2.5, "serial": "AB12"}', "serial"),
    "definitions": (_DEFINED, '{"point": {"x": 1, "tags": ["a"]}}', "tags"),
    "no fields": ({"type": "object"}, "{}", ""),
}
_MISFITS = {
    "prose": "Sorry, I do not know the order.",
    "cut": _FITS[:-5],
    "another type": _FITS.replace('"A-1"', "7"),
    "out of range": _FITS.replace(": 2", ": 200"),
    "missing": '{"order_number": "A-1"}',
    "nothing": "",
}


def _asking(schema: ResponseSchema, **fields: Any) -> AIContext:
    context = ask("Which order?", **fields)
    context.response_schema = schema
    return context


class AIStructuredContract(AISuite):
    """With a `response_schema` an answer is JSON that fits it, checked, or a typed error."""

    @pytest.mark.parametrize("kind", list(_ASKED))
    async def test_an_answer_of_a_shape(
        self, provider: AIProvider, simulator: AISimulator, kind: str
    ) -> None:
        """The vendor is asked for it, takes the request, and the answer comes parsed, whole and streamed."""
        schema, text, field = _ASKED[kind]
        assert provider.supports_response_schema
        for generate in (ask_whole, ask_streamed):
            simulator.reply(text)
            answer = await generate(provider, _asking(schema))
            assert (answer.content, answer.finish_reason) == (text, "stop")
            if isinstance(schema, type):
                assert answer.parsed == schema.model_validate_json(text)
            else:
                assert isinstance(answer.parsed, dict)
                assert answer.parsed.keys() >= set(schema.get("required", ()))
            assert field.encode() in simulator.requests[-1].body

    async def test_prose_is_not_parsed(self, provider: AIProvider, simulator: AISimulator) -> None:
        for generate in (ask_whole, ask_streamed):
            simulator.reply(_FITS)
            assert (await generate(provider, ask())).parsed is None

    async def test_json_streams(self, provider: AIProvider, simulator: AISimulator) -> None:
        """Pieces are yielded as they come, and the parsed value is in `StreamDone`."""
        simulator.reply(_FITS)
        *pieces, done = await listen(provider, _asking(_Order))
        assert len([piece for piece in pieces if isinstance(piece, StreamTextDelta)]) > 1
        assert done.parsed == _Order.model_validate_json(_FITS)  # type: ignore[union-attr]  # it is StreamDone

    @pytest.mark.parametrize("kind", list(_MISFITS))
    async def test_an_answer_that_does_not_fit(
        self, provider: AIProvider, simulator: AISimulator, kind: str
    ) -> None:
        """It is the provider's failure, and the error names the shape and nothing of the answer."""
        for generate in (ask_whole, ask_streamed):
            simulator.reply(_MISFITS[kind])
            error = await failure_of(generate(provider, _asking(_Order)))
            assert error.error_code is ErrorCode.BAD_RESPONSE
            assert error.provider == provider.name
            assert "_Order" in str(error)
            assert "Sorry" not in str(error)
            assert "A-1" not in str(error)

    async def test_a_value_that_does_not_fit_a_json_schema(
        self, provider: AIProvider, simulator: AISimulator
    ) -> None:
        """What the vendor's subset of JSON Schema cannot say is checked here."""
        for text in (
            '{"unit": "kWh", "value": 2.4, "serial": "AB12"}',
            '{"unit": "kWh", "value": 2, "serial": "AB"}',
        ):
            simulator.reply(text)
            error = await failure_of(provider.generate(_asking(_SCHEMA)))
            assert error.error_code is ErrorCode.BAD_RESPONSE
            assert "value" in str(error) or "serial" in str(error)

    @pytest.mark.parametrize(
        ("finish", "code"),
        [
            ("length", ErrorCode.BAD_RESPONSE),
            ("refusal", ErrorCode.REFUSAL),
            ("content_filter", ErrorCode.CONTENT_FILTER),
        ],
    )
    async def test_an_answer_that_was_stopped(
        self, provider: AIProvider, simulator: AISimulator, finish: str, code: ErrorCode
    ) -> None:
        """Why it was stopped is the class of the error, even if the part that came is whole."""
        if finish not in self.finishes:
            pytest.skip(f"this API has no word for {finish}")
        for generate in (ask_whole, ask_streamed):
            simulator.reply(_FITS, finish=finish)  # type: ignore[arg-type]  # a parametrized Finish
            error = await failure_of(generate(provider, _asking(_Order)))
            assert error.error_code is code
            assert ("max_tokens" in str(error)) is (finish == "length")

    async def test_tools_come_first(self, provider: AIProvider, simulator: AISimulator) -> None:
        """A round of calls is not parsed; the answer after their results is."""
        for generate in (ask_whole, ask_streamed):
            simulator.reply("Let me look.", tool_calls=[ScriptedToolCall("now", {"city": "Bern"})])
            simulator.reply(_FITS)
            context = _asking(_Order, tools=[WEATHER])
            first = await generate(provider, context)
            assert (first.parsed, first.finish_reason) == (None, "tool_calls")
            context.messages += answered(first, "12:00")
            assert isinstance((await generate(provider, context)).parsed, _Order)

    @pytest.mark.parametrize(
        "schema",
        [
            RootModel[list[int]],
            {"type": "array", "items": {}},
            {"type": "object", "properties": {"a": {"type": 5}}},
        ],
        ids=["list model", "list", "no schema"],
    )
    async def test_what_is_no_object_is_refused(
        self, provider: AIProvider, simulator: AISimulator, schema: ResponseSchema
    ) -> None:
        """Before anything is sent, alike for every vendor."""
        for generate in (ask_whole, ask_streamed):
            error = await failure_of(generate(provider, _asking(schema)))
            assert error.error_code is ErrorCode.INVALID_REQUEST
            assert "response_schema" in str(error)
        assert simulator.requests == []

    @pytest.mark.parametrize(
        ("schema", "text"),
        [(_Tree, '{"name": "oak", "branches": [{"name": "twig"}]}'), (_Prices, '{"prices": {"tea": 3.5}}')],
        ids=["recursive", "open"],
    )
    async def test_a_shape_is_taken_or_refused(
        self, provider: AIProvider, simulator: AISimulator, schema: type[BaseModel], text: str
    ) -> None:
        """What a vendor cannot be asked for is refused here, with the reason; the rest is asked."""
        simulator.reply_always(lambda request: Reply(text))
        for generate in (ask_whole, ask_streamed):
            asked = generate(provider, _asking(schema))
            (outcome,) = await asyncio.gather(asked, return_exceptions=True)
            if isinstance(outcome, ProviderError):
                assert outcome.error_code is ErrorCode.INVALID_REQUEST, outcome
                assert simulator.requests == []
            else:
                assert isinstance(outcome, AIResponse)
                assert outcome.parsed == schema.model_validate_json(text)
