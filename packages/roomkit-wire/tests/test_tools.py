"""Tools: their names on the wire and back, which may be chosen, and what they are called with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import AITool
from roomkit.models.generation import AIContext
from roomkit_plugins.testing.contracts.strategies import PROPERTY
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.tools import CallIds, ToolNames, arguments, object_schema, tool_choice

ORIGIN = Origin("acme")


@PROPERTY
@given(st.lists(st.text(alphabet="ab. _-é", min_size=1, max_size=80), unique=True), st.sampled_from([20, 64]))
def test_names_go_round(names: list[str], longest: int) -> None:
    """Each gets a name the API takes, always the same, never that of another, and found again."""
    known = ToolNames(longest)
    written = [known.to_wire(name) for name in names]
    assert written == [known.to_wire(name) for name in names]
    assert len(set(written)) == len(names)
    assert all(len(name) <= longest and name.isascii() and " " not in name for name in written)
    assert [known.from_wire(name) for name in written] == names
    assert known.from_wire("invented by the model") == "invented by the model"


@PROPERTY
@given(st.lists(st.text(alphabet="ab.:é _\ud83d", max_size=80), unique=True))
def test_ids_of_calls_are_taken_and_pairs_match(ids: list[str]) -> None:
    """Each gets an id the API takes, the same in every request, and never that of another."""
    written = [CallIds(r"[a-zA-Z0-9_-]{1,64}").to_wire(one) for one in ids]
    assert written == [CallIds(r"[a-zA-Z0-9_-]{1,64}").to_wire(one) for one in ids]
    assert len(set(written)) == len(ids)
    assert all(0 < len(one) <= 64 and one.isascii() and not set(one) & set(".: ") for one in written)


@PROPERTY
@given(st.lists(st.text(alphabet="a1_-é", min_size=1, max_size=12), unique=True))
def test_a_name_can_have_to_begin_with_a_letter(names: list[str]) -> None:
    """Or an underscore; two names still never become one."""
    known = ToolNames(10, letter_first=True)
    written = [known.to_wire(name) for name in names]
    assert len(set(written)) == len(names)
    assert all(len(name) <= 10 and (name[0].isalpha() or name[0] == "_") for name in written)
    assert [known.from_wire(name) for name in written] == names


@PROPERTY
@given(st.lists(st.text(alphabet="ab.:é _\ud83d", max_size=80), unique=True))
def test_ids_of_calls_can_be_short(ids: list[str]) -> None:
    """Nine letters and digits, as one vendor wants them; two ids still differ."""
    written = [CallIds(r"[a-zA-Z0-9]{9}", letters=9).to_wire(one) for one in ids]
    assert len(set(written)) == len(ids)
    assert all(len(one) == 9 and one.isascii() and one.isalnum() for one in written)


def test_an_id_that_the_api_takes_stays() -> None:
    assert CallIds(r"(?s:.){1,40}").to_wire("functions.weather:0") == "functions.weather:0"


def test_the_choice_is_among_the_tools() -> None:
    """Words for it stay, names are the wire's, and none is said when none is needed."""
    names = ToolNames(64)
    tools = [AITool(name="a.b")]
    choices = {None: None, "auto": "auto", "none": "none", "required": "required"}
    for given_choice, written in choices.items():
        assert tool_choice(AIContext(tools=tools, tool_choice=given_choice), names, ORIGIN) == written
    assert tool_choice(AIContext(tools=tools, tool_choice="a.b"), names, ORIGIN) == names.to_wire("a.b")
    assert tool_choice(AIContext(tool_choice="auto"), names, ORIGIN) is None


@pytest.mark.parametrize(
    ("tools", "choice", "said"),
    [([], "required", "no tool is offered"), ([AITool(name="a")], "b", "not among the tools: \\['a'\\]")],
)
def test_any_other_choice_is_refused(tools: list[AITool], choice: str, said: str) -> None:
    """Before anything is sent, with what to do."""
    with pytest.raises(ProviderError, match=said) as caught:
        tool_choice(AIContext(tools=tools, tool_choice=choice), ToolNames(64), ORIGIN)
    assert caught.value.error_code is ErrorCode.INVALID_REQUEST


def test_parameters_are_an_object() -> None:
    """A tool without any takes an empty one; another type is refused with the tool's name."""
    assert object_schema(AITool(name="a"), ORIGIN) == {"type": "object", "properties": {}}
    with pytest.raises(ProviderError, match="tool 'a' are a JSON Schema of type 'string'"):
        object_schema(AITool(name="a", parameters={"type": "string"}), ORIGIN)


@pytest.mark.parametrize("nothing", [None, "", "  ", "null", "{}", {}])
def test_a_call_with_nothing(nothing: object) -> None:
    """Vendors say it in many ways."""
    assert arguments(nothing) == ({}, None)


def test_arguments_are_an_object_or_its_json() -> None:
    assert arguments('{"a": [1]}') == arguments({"a": [1]}) == ({"a": [1]}, None)


@pytest.mark.parametrize("given_text", ["{", "[1]", '"x"', '{"a": NaN}', "[" * 3000])
def test_arguments_that_cannot_be_used(given_text: str) -> None:
    kept, problem = arguments(given_text)
    assert kept == {"raw": given_text}
    assert problem
    assert arguments([1]) == ({"raw": "[1]"}, "the arguments are a JSON list, not an object")


@pytest.mark.parametrize(
    ("given_text", "city"),
    [
        ('{"city": "\ud83d\ude00"}', "\U0001f600"),
        ('{"city": "\ud83d"}', "\ufffd"),
        ('{"city": "\\ud83d\\ude00"}', "\U0001f600"),
        ('{"city": "\\ud83d"}', "\ufffd"),
    ],
)
def test_half_characters_in_arguments_join_or_are_replaced(given_text: str, city: str) -> None:
    """Whether the vendor sent them as they are or escaped."""
    assert arguments(given_text) == ({"city": city}, None)


def test_half_characters_in_unusable_arguments_are_repaired() -> None:
    kept, problem = arguments('{"city": "\ud83d')
    assert kept == {"raw": '{"city": "\ufffd'}
    assert problem
