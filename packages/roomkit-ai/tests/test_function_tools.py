"""Python functions as tools."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from roomkit import AIChannel, AITool, FunctionTool, InboundMessage, Park, RoomKit, TextContent, ToolUse, tool
from roomkit.abc.errors import ErrorCode, InvalidInputError, ProviderError
from roomkit.models.ai import AIToolCall
from roomkit.models.channel import RetryPolicy
from roomkit.models.generation import AIResponse
from roomkit.models.tool import ToolResult
from roomkit.testing import MockAIProvider, RecordingChannel

pytestmark = pytest.mark.virtual_time


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


class Address(BaseModel):
    """Where it goes."""

    street: str
    number: int = Field(ge=1)


@dataclass
class Point:
    x: float
    y: float


async def order(
    article: str,
    to: Address,
    count: int = 1,
    *,
    size: Size = Size.SMALL,
    notes: Annotated[str | None, Field(description="For the driver.", max_length=20)] = None,
) -> dict[str, Any]:
    """Order an article.

    Ask for the address first.

    Args:
        article: Its number, as `A-1`.
        to: The address.
        notes: Not this.

    Returns:
        What was ordered.
    """
    assert isinstance(to, Address)
    assert isinstance(size, Size)
    return {"article": article, "street": to.street, "count": count, "size": size, "notes": notes}


def test_a_signature_becomes_a_schema() -> None:
    """Types, defaults, limits and nested models; descriptions from the docstring, or from the annotation."""
    made = tool(order).definition

    assert (made.name, made.description) == ("order", "Order an article.\n\nAsk for the address first.")
    schema = made.model_dump()["parameters"]
    address = schema["$defs"].pop("Address")
    assert address["required"] == ["street"] or address["required"] == ["street", "number"]
    assert address["properties"]["number"] == {"minimum": 1, "type": "integer"}
    assert schema == {
        "type": "object",
        "additionalProperties": False,
        "required": ["article", "to"],
        "properties": {
            "article": {"type": "string", "description": "Its number, as `A-1`."},
            "to": {"$ref": "#/$defs/Address", "description": "The address."},
            "count": {"type": "integer", "default": 1},
            "size": {"$ref": "#/$defs/Size", "default": "small"},
            "notes": {
                "anyOf": [{"maxLength": 20, "type": "string"}, {"type": "null"}],
                "default": None,
                "description": "For the driver.",
            },
        },
        "$defs": {"Size": schema["$defs"]["Size"]},
    }


GOOGLE = "Look.\n\nArgs:\n    word: The word."
SPHINX = "Look.\n\n:param word: The word."
NUMPY = "Look.\n\nParameters\n----------\nword : str\n    The word."


@pytest.mark.parametrize("text", [GOOGLE, SPHINX, NUMPY])
def test_docstrings_of_all_styles_describe_parameters(text: str) -> None:
    def look(word: str) -> str:
        return word

    look.__doc__ = text
    made = tool(look).definition

    assert made.description == "Look."
    assert made.parameters["properties"]["word"]["description"] == "The word."


def answering(*calls: tuple[str, dict[str, Any]]) -> MockAIProvider:
    """Make a model that makes these calls at once, and then says so."""
    asked = [AIToolCall(id=str(n), name=name, arguments=given) for n, (name, given) in enumerate(calls)]
    return MockAIProvider(
        ai_responses=[AIResponse(content="", tool_calls=asked), AIResponse(content="Done.")]
    )


async def results(tools: list[Any], *calls: tuple[str, dict[str, Any]], **options: Any) -> list[str]:
    """Have an agent make calls; return what the model was told."""
    model = answering(*calls)
    async with RoomKit() as kit:
        kit.register_channel(RecordingChannel("web"))
        kit.register_channel(AIChannel("bot", model, tools=tools, **options))
        await kit.create_room("r1")
        for channel_id in ("web", "bot"):
            await kit.attach_channel("r1", channel_id)
        said = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body="go"))
        await kit.process_inbound(said, room_id="r1")
    last = model.calls[-1].messages[-1]
    assert last.role == "tool"
    return [part.result for part in last.content]


async def test_an_agent_calls_plain_functions_of_both_kinds() -> None:
    """With values of the annotated types; the model gets the result as JSON, or as it is."""

    def distance(a: Point, b: Point, when: date, unit: Literal["km", "m"] = "km") -> str:
        """Measure."""
        assert threading.current_thread() is not threading.main_thread()
        return f"{a.x - b.x} {unit} on {when:%A}"

    told = await results(
        [order, distance],
        ("order", {"article": "A-1", "to": {"street": "Elm", "number": 4}, "size": "large"}),
        ("distance", {"a": {"x": 3, "y": 1}, "b": {"x": 1, "y": 1}, "when": "2026-11-30"}),
    )

    assert told == [
        '{"article":"A-1","street":"Elm","count":1,"size":"large","notes":null}',
        "2.0 km on Monday",
    ]


async def test_the_call_is_given_to_a_parameter_that_asks_for_it() -> None:
    """It is not the model's to fill."""

    async def whose(use: ToolUse, word: str) -> str:
        return f"{use.room_id} {use.channel_id} {use.call_id} {use.participant_id is not None} {word}"

    made = tool(whose)
    assert list(made.definition.parameters["properties"]) == ["word"]
    assert await results([made], ("whose", {"word": "x"})) == ["r1 bot 0 True x"]
    (refused,) = await results([made], ("whose", {"word": "x", "use": {}}))
    assert "invalid arguments, correct them and call again" in refused


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"article": "A-1"}, "'to' is a required property"),
        ({"article": 3, "to": {"street": "Elm", "number": 4}}, "article: 3 is not of type"),
        ({"article": "A", "to": {"street": "Elm", "number": 0}}, "to.number: "),
        ({"article": "A", "to": {"street": "Elm", "number": 1}, "more": 1}, "more"),
        ({"article": "A", "to": {"street": "Elm", "number": 1}, "size": "huge"}, "size: "),
        ({"article": "A", "to": {"street": "Elm", "number": 1}, "notes": "x" * 21}, "notes: "),
    ],
)
async def test_wrong_arguments_are_refused_in_words_for_the_model(
    arguments: dict[str, Any], said: str
) -> None:
    (told,) = await results([order], ("order", arguments))

    assert "invalid arguments, correct them and call again" in told
    assert said in told


async def test_what_a_schema_cannot_say_is_refused_too() -> None:
    """A validator of the author's own runs before the function does."""

    async def book(day: Annotated[datetime, Field(gt=datetime(2026, 1, 1, tzinfo=UTC))]) -> str:
        raise AssertionError("it must not run")

    (told,) = await results([book], ("book", {"day": "2020-01-01T00:00:00Z"}))

    assert "invalid arguments, correct them and call again: day: " in told


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        ("text", "text"),
        (None, ""),
        (3, "3"),
        ([1, "ü"], '[1,"ü"]'),
        (Address(street="Elm", number=2), '{"street":"Elm","number":2}'),
        (Point(1.0, float("nan")), '{"x":1.0,"y":"NaN"}'),
        (date(2026, 1, 2), '"2026-01-02"'),
        (object, "\"<class 'object'>\""),
        (ToolResult(text="broken", is_error=True), "broken"),
    ],
)
async def test_any_value_can_be_returned(returned: object, told: str) -> None:
    def give() -> object:
        return returned

    assert await results([give], ("give", {})) == [told]


async def test_a_function_may_park_its_call() -> None:
    async def ask(use: ToolUse) -> Park:
        return Park("Waits for a person.", timedelta(hours=1))

    model = answering(("ask", {}))
    async with RoomKit() as kit:
        kit.register_channel(RecordingChannel("web"))
        kit.register_channel(AIChannel("bot", model, tools=[ask]))
        await kit.create_room("r1")
        for channel_id in ("web", "bot"):
            await kit.attach_channel("r1", channel_id)
        said = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body="go"))
        await kit.process_inbound(said, room_id="r1")
        (turn,) = await kit.list_parked_turns()
        assert [call.name for call in turn.calls] == ["ask"]


async def test_a_tool_has_its_own_deadline() -> None:
    @tool(timeout=2.0)
    async def slow() -> str:
        await asyncio.sleep(60)
        return "late"

    (told,) = await results([slow], ("slow", {}))

    assert told == "Error executing tool 'slow': no answer in 2.0 s"


async def test_calls_beyond_the_concurrency_wait() -> None:
    under_way, most = 0, 0

    @tool(concurrency=2)
    async def work(number: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(1)
        under_way -= 1
        return number

    told = await results([work], *(("work", {"number": number}) for number in range(5)))

    assert (told, most) == (["0", "1", "2", "3", "4"], 2)


async def test_a_thread_that_outlives_its_call_counts_until_it_ends() -> None:
    """It cannot be interrupted: the next call of a function that may not run twice at once waits for it."""
    begun: list[int] = []
    has_begun, may_end = threading.Event(), threading.Event()

    @tool(concurrency=1)
    def work(number: int) -> int:
        begun.append(number)
        has_begun.set()
        may_end.wait(30)
        return number

    first = asyncio.create_task(work.handler("work", {"number": 1}))
    assert await asyncio.to_thread(has_begun.wait, 30)
    first.cancel()
    await asyncio.wait([first])
    second = asyncio.create_task(work.handler("work", {"number": 2}))
    for _ in range(100):
        await asyncio.sleep(0)
    before = list(begun)
    may_end.set()

    assert (first.cancelled(), before, await second, begun) == (True, [1], "2", [1, 2])


class Busy(Exception):
    pass


OVERLOADED = ProviderError("busy", error_code=ErrorCode.OVERLOADED, retryable=True)
INVALID = ProviderError("no", error_code=ErrorCode.INVALID_REQUEST, retryable=False)


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (ConnectionResetError("reset"), 3),
        (TimeoutError("late"), 3),
        (OVERLOADED, 3),
        (Busy("busy"), 3),
        (INVALID, 1),
        (ValueError("wrong"), 1),
    ],
)
async def test_what_may_pass_is_tried_again(error: Exception, tries: int) -> None:
    """As often as the policy says; the model reads the last failure."""
    tried = 0

    @tool(retries=RetryPolicy(max_retries=2), retry_on=(Busy,))
    async def call() -> str:
        nonlocal tried
        tried += 1
        raise error

    (told,) = await results([call], ("call", {}))

    assert tried == tries
    assert told == f"Error executing tool 'call': {error}"


async def test_a_retry_that_succeeds_is_the_result() -> None:
    outcomes: list[Any] = [ConnectionError("reset"), "there"]

    @tool(retries=RetryPolicy())
    def call() -> str:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return str(outcome)

    assert await results([call], ("call", {})) == ["there"]


async def test_nothing_is_tried_again_unless_asked_for() -> None:
    """Only the author knows whether a function may run twice."""
    tried = 0

    async def charge() -> str:
        nonlocal tried
        tried += 1
        raise ConnectionError("reset")

    await results([charge], ("charge", {}))

    assert tried == 1


class Shop:
    def __init__(self, name: str) -> None:
        self.name = name

    async def sell(self, article: str) -> str:
        """Sell."""
        return f"{article} of {self.name}"

    def __call__(self, article: str) -> str:
        return f"{article}, called, of {self.name}"


async def test_methods_and_callables_are_functions_too() -> None:
    shop = Shop("Ann")
    partly = functools.partial(shop.sell)

    told = await results(
        [shop.sell, tool(shop, name="shop"), tool(partly, name="partly")],
        ("sell", {"article": "a"}),
        ("shop", {"article": "b"}),
        ("partly", {"article": "c"}),
    )

    assert told == ["a of Ann", "b, called, of Ann", "c of Ann"]


async def test_what_a_partial_has_is_not_the_models_to_fill() -> None:
    """It may be whose account the tool works on."""

    async def transfer(amount: int, account: str) -> str:
        """Transfer."""
        return f"{amount} from {account}"

    bound = tool(functools.partial(transfer, account="ann"), name="transfer")

    assert list(bound.definition.parameters["properties"]) == ["amount"]
    assert bound.definition.description == "Transfer."
    told = await results([bound], ("transfer", {"amount": 4}), ("transfer", {"amount": 4, "account": "bob"}))
    assert told[0] == "4 from ann"
    assert "invalid arguments" in told[1]


async def test_a_decorated_function_can_still_be_called() -> None:
    @tool(name="sum_of", description="Add.", timeout=3)
    async def add(a: int, b: int) -> int:
        return a + b

    assert isinstance(add, FunctionTool)
    assert await add(1, b=2) == 3  # type: ignore[misc]
    assert (add.definition.name, add.definition.description, add.timeout) == ("sum_of", "Add.", 3)
    assert repr(add) == "FunctionTool('sum_of')"


@pytest.mark.parametrize("name", ["schema", "model_config", "copy", "self_", "_private", "class_", "json"])
async def test_a_parameter_may_have_any_name(name: str) -> None:
    namespace: dict[str, Any] = {}
    exec(f"def give({name}: int) -> int:\n    return {name}", namespace)

    assert await results([namespace["give"]], ("give", {name: 7})) == ["7"]


def untyped(a) -> str:  # type: ignore[no-untyped-def]
    return str(a)


def starred(*a: int) -> str:
    return ""


def doubly_starred(**a: int) -> str:
    return ""


def positional(a: int, /) -> str:
    return ""


def twice(a: ToolUse, b: ToolUse) -> str:
    return ""


def uncarried(a: Callable[[], None]) -> str:
    return ""


def threaded(a: threading.Lock) -> str:
    return ""


def unknown(a: Missing) -> str:  # type: ignore[name-defined]  # noqa: F821
    return ""


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (untyped, "the function 'untyped' cannot be a tool: the parameter 'a' has no type; annotate it"),
        (starred, "a model names its arguments, so *a: 'int' cannot be filled"),
        (doubly_starred, "a model names its arguments, so **a: 'int' cannot be filled"),
        (positional, "cannot be filled"),
        (twice, "the call is asked for more than once: a, b"),
        (uncarried, "a parameter has a type that JSON cannot carry"),
        (threaded, "a parameter has a type that JSON cannot carry"),
        (unknown, "an annotation cannot be read (name 'Missing' is not defined); import its types outside"),
        (lambda: "", "has no name that a model can call"),
        (Shop("x"), "has no name that a model can call"),
        (Shop, "is not a tool: pass a function"),
        (3, "is not a tool: pass a function"),
        (print, "cannot be filled"),
    ],
)
def test_what_cannot_be_described_is_refused(function: Any, why: str) -> None:
    """When the agent is made, not in its first turn."""
    with pytest.raises(InvalidInputError) as raised:
        AIChannel("bot", MockAIProvider(["x"]), tools=[function])
    assert why in str(raised.value)


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": float("nan")},
        {"concurrency": 0},
        {"name": "a b"},
        {"name": ""},
    ],
)
def test_wrong_options_are_refused_when_the_tool_is_made(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        tool(order, **options)


def test_a_definition_beside_a_function_keeps_its_meaning() -> None:
    """A pair is a definition with its handler, whatever the handler's signature."""
    given = AITool(name="pair")

    async def handler(name: str, arguments: dict[str, Any]) -> str:
        return name

    agent = AIChannel("bot", MockAIProvider(["x"]), tools=[(given, handler)])

    assert agent is not None
