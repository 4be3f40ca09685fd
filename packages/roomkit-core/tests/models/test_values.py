"""The door: which texts, ids and numbers a record takes, repairs and refuses."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from roomkit import models
from roomkit.models import (
    AIToolCall,
    AIToolCallPart,
    ChannelData,
    DeliveryStatus,
    EventSource,
    Generation,
    InboundMessage,
    ProviderResult,
    ReceiptWatermark,
    Record,
    SourceHealth,
    TextContent,
    error_text,
    freeze,
)
from roomkit.models.values import (
    LONGEST_KEY,
    LONGEST_SUMMARY,
    Id,
    Int,
    Key,
    Label,
    Reference,
    Summary,
    Text,
    VendorJson,
    VendorKey,
    findable,
    vendor_json,
)
from roomkit.models.vocabulary import as_stored
from roomkit_plugins.testing.contracts.strategies import PROPERTY

WILD = st.text(st.characters(), max_size=30)
"""Any Python string: lone surrogates and NUL included."""


class Values(Record):
    key: Key = "k"
    id: Id = "i"
    reference: Reference = "r"
    vendor: VendorKey = "v"
    text: Text = "t"
    label: Label = "l"
    summary: Summary = "s"
    number: Int = 0


REFUSING = ("key", "id", "reference")
REPAIRING = ("vendor", "text", "label", "summary")


@pytest.mark.parametrize("name", REFUSING)
@pytest.mark.parametrize("value", ["\ud83d", "a\udcff", "a\0b", 5, None, ["x"]])
def test_an_id_that_no_store_can_hold_is_refused(name: str, value: Any) -> None:
    """By name, with one error that says what it should be."""
    with pytest.raises(ValidationError, match=r"valid Unicode|850 bytes of UTF-8") as caught:
        Values(**{name: value})
    (error,) = caught.value.errors()
    assert error["loc"] == (name,)


def test_ids_are_bounded_in_bytes() -> None:
    """Three of the longest fit in a row of PostgreSQL's index, which holds 2,704 bytes."""
    assert 3 * LONGEST_KEY < 2_704
    for longest in ("x" * LONGEST_KEY, "é" * (LONGEST_KEY // 2)):
        assert Values(key=longest, id=longest).key == longest
        for name in ("key", "id"):
            with pytest.raises(ValidationError):
                Values(**{name: longest + "x"})
    assert Values(reference="x" * 10_000).reference
    assert Values(key="").key == ""
    with pytest.raises(ValidationError):
        Values(id="")


@pytest.mark.parametrize("name", REPAIRING)
@pytest.mark.parametrize(
    ("value", "repaired"),
    [
        ("a\ud83db", "a\ufffdb"),
        ("\ud83d\ude00", "\U0001f600"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("é\udcff", "é\ufffd"),
    ],
)
def test_text_that_is_no_unicode_is_repaired(name: str, value: str, repaired: str) -> None:
    """Halves of a character are joined, lone ones become U+FFFD."""
    assert getattr(Values(**{name: value}), name) == repaired


def test_a_nul_is_kept_in_what_people_say_and_nowhere_else() -> None:
    """Contents are kept as JSON, which can hold it; a column of text cannot."""
    assert Values(text="a\0b").text == "a\0b"
    for name in ("vendor", "label", "summary"):
        assert getattr(Values(**{name: "a\0b"}), name) == "a\ufffdb"


@given(value=WILD)
@PROPERTY
def test_what_is_accepted_can_be_written_and_read(value: str) -> None:
    """Whatever the text, and a second trip changes nothing."""
    for name in (*REFUSING, *REPAIRING):
        try:
            made = Values(**{name: value})
        except ValidationError:
            assert name in REFUSING
            continue
        assert Values.model_validate_json(made.model_dump_json()) == made
        if value.isprintable():
            assert getattr(made, name) == value


def test_a_vendors_id_that_is_too_long_is_cut_the_same_everywhere() -> None:
    """The receipt that comes later finds the message; two long ids stay two."""
    one, other = "x" * 5_000, "x" * 5_001
    cut = Values(vendor=one).vendor
    assert len(cut.encode()) <= LONGEST_KEY
    assert Values(vendor=one).vendor == cut != Values(vendor=other).vendor
    assert Values(vendor=cut).vendor == cut
    assert len(Values(vendor="é" * 5_000).vendor.encode()) <= LONGEST_KEY


def test_a_summary_is_bounded_and_says_so() -> None:
    """An error text may quote a whole answer."""
    cut = Values(summary="x" * 5_000_000).summary
    assert len(cut) == LONGEST_SUMMARY
    assert cut.endswith("… (5000000 characters)")


@pytest.mark.parametrize("number", [10**4300, 2**63, -(2**63) - 1], ids=["huge", "above", "below"])
def test_numbers_have_64_bits(number: int) -> None:
    """What no column and no JSON reader holds is refused."""
    with pytest.raises(ValidationError):
        Values(number=number)


def test_json_holds_no_number_that_cannot_be_read() -> None:
    """4,300 digits are what Python and pydantic read."""
    assert sys.get_int_max_str_digits() == 4300
    longest = 10**4300 - 1
    content = TextContent(body="x")
    for number in (longest, -longest):
        message = InboundMessage(channel_id="c", sender_id="s", content=content, metadata={"n": number})
        assert InboundMessage.model_validate_json(message.model_dump_json()) == message
    for value in ({"a": [10**4300]}, {"a": {"b": -(10**4300)}}):
        with pytest.raises(ValueError, match=r"a(\.b|\[0\]) is a number of more than 4300 digits"):
            freeze(value)


def test_what_a_vendor_says_of_a_sent_message_is_never_refused() -> None:
    """It was sent: refusing the answer would have it sent again."""
    result = ProviderResult(
        success=True, provider_message_id="\0", error="\ud83d", parts=("\ud83d", "x" * 9_000)
    )
    assert result.provider_message_id == "\ufffd"
    assert json.loads(result.model_dump_json())["error"] == "\ufffd"


VENDORS_JSON: dict[type[Record], tuple[str, ...]] = {
    ProviderResult: ("metadata",),
    DeliveryStatus: ("raw",),
    ReceiptWatermark: ("raw",),
    InboundMessage: ("extra", "raw_payload"),
    EventSource: ("raw_payload",),
    ChannelData: ("extra",),
    Generation: ("usage",),
    SourceHealth: ("metadata",),
    AIToolCallPart: ("metadata",),
    AIToolCall: ("metadata",),
}
"""JSON from a vendor: it is repaired. All other JSON is a program's, and refused."""
NEEDED: dict[str, Any] = {
    "at": "2026-03-01T12:00:00Z",
    "channel_id": "c",
    "channel_type": "sms",
    "code": "c",
    "content": TextContent(body="x"),
    "id": "i",
    "message_id": "m",
    "name": "n",
    "recipient": "r",
    "sender_id": "s",
    "status": "connected",
    "success": True,
}
NO_JSON = {
    "half a character": "a\ud83d",
    "a key with half a character": {"\ud83d": 1},
    "huge number": [10**4300],
    "NaN": float("nan"),
    "infinity": {"a": [-float("inf")]},
    "bytes": b"\xff",
    "object": object(),
    "a key that is not text": {5: {None: 1}},
    "deep": json.loads("[" * 900 + "]" * 900),
}


def json_fields() -> set[tuple[type[Record], str]]:
    """Return each field of a public record that takes a vendor's JSON."""
    return {
        (model, name)
        for model in vars(models).values()
        if isinstance(model, type) and issubclass(model, Record)
        for name, field in model.model_fields.items()
        if field.annotation is VendorJson
    }


def test_each_field_with_a_vendors_json_is_tested() -> None:
    """A new one is added to the table above."""
    for name in models.__all__:
        getattr(models, name)
    assert json_fields() == {(model, name) for model, names in VENDORS_JSON.items() for name in names}


@pytest.mark.parametrize("value", NO_JSON.values(), ids=NO_JSON)
@pytest.mark.parametrize("model", VENDORS_JSON, ids=lambda model: model.__name__)
def test_a_vendors_json_is_repaired_and_never_refused(model: type[Record], value: Any) -> None:
    needed = {name: given for name, given in NEEDED.items() if name in model.model_fields}
    for name in VENDORS_JSON[model]:
        made = model(**needed, **{name: {"k": value, "kept": "a\0b"}})
        assert getattr(made, name)["kept"] == "a\0b"
        assert model.model_validate_json(made.model_dump_json()) == made
        assert model(**needed, **{name: getattr(made, name)}) == made


@pytest.mark.parametrize("value", NO_JSON.values(), ids=NO_JSON)
def test_a_programs_json_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        InboundMessage(channel_id="c", sender_id="s", content=TextContent(body="x"), metadata={"k": value})


def test_a_vendors_json_is_repaired_the_same_everywhere() -> None:
    """By its content alone, without losing a key."""
    given = {
        "\ud83d\ude00": 1,
        "\ud83d": 2,
        chr(0xDCFF): 3,
        "n": -(10**4300),
        "f": float("nan"),
        "at": datetime(2026, 1, 2, tzinfo=UTC),
        "of": object(),
    }
    repaired = vendor_json(given)
    assert repaired == vendor_json(dict(given)) == vendor_json(repaired)
    assert repaired["\U0001f600"] == 1
    assert repaired["\ufffd"] == 2
    assert [key[:2] for key, value in repaired.items() if value == 3] == ["\ufffd~"]
    assert repaired["n"] == "-1" + "0" * 4300
    assert (repaired["f"], repaired["at"], repaired["of"]) == ("nan", "2026-01-02T00:00:00Z", "object")
    with pytest.raises(TypeError, match="read-only"):
        repaired["n"] = 1


@given(value=st.dictionaries(WILD, st.recursive(WILD | st.floats() | st.integers(), st.lists, max_leaves=5)))
@PROPERTY
def test_any_json_of_a_vendor_can_be_written_and_read(value: dict[str, Any]) -> None:
    repaired = vendor_json(value)
    assert len(repaired) == len(value)
    assert json.loads(json.dumps(repaired, ensure_ascii=False).encode()) == repaired
    try:
        assert freeze(value) == repaired
    except ValueError:
        assert repaired != value


class _Opaque:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_an_object_in_a_vendors_json_cannot_fail_it() -> None:
    """An SDK's own values, and such as refer to themselves."""
    loop: dict[str, Any] = {}
    loop["again"] = loop
    assert vendor_json({"o": _Opaque(), "l": loop})["o"] == "_Opaque"
    assert json.dumps(vendor_json(loop)).count("again") == 64


def test_a_stored_value_is_not_judged_again() -> None:
    """An older version had other rules; its records stay readable."""
    with as_stored():
        assert Values(key="x" * 10_000, id="", vendor="v" * 9_000).key == "x" * 10_000


def test_a_lookup_is_asked_for_what_can_be() -> None:
    """What no store can hold is replaced by an id that nothing has."""
    nowhere = findable("\0")
    assert nowhere == findable("\ud83d") != "\0"
    assert nowhere.encode()
    assert findable(["a", "\0", 5]) == ["a", nowhere, 5]
    assert repr(nowhere) == repr("\0")  # an error names the id that was asked for


# -- exceptions -----------------------------------------------------------------------------------


class _Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class _Liar(Exception):
    def __str__(self) -> str:
        return None  # type: ignore[return-value]  # that is the fault


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no such file"), "ValueError: no such file"),
        (ValueError(), "ValueError"),
        (RuntimeError("no such file: a\udcff.txt"), "RuntimeError: no such file: a\ufffd.txt"),
        (RuntimeError("a\0b"), "RuntimeError: a\ufffdb"),
        (_Silent(), "_Silent without a text: its __str__ raised RuntimeError"),
        (_Liar(), "_Liar without a text: its __str__ raised TypeError"),
        (UnicodeEncodeError("utf-8", "\ud83d", 0, 1, "surrogates"), None),
        (ExceptionGroup("\ud83d", [ValueError("\ud83d")]), None),
        (KeyError("\ud83d"), None),
        (RuntimeError("x" * 5_000_000), None),
    ],
)
def test_any_exception_becomes_text_that_can_be_stored(error: Exception, text: str | None) -> None:
    """Whatever its own text is, or if it has none."""
    told = error_text(error)
    assert told.startswith(type(error).__name__)
    assert len(told.encode()) <= 4 * LONGEST_SUMMARY
    assert "\0" not in told
    assert Values(summary=told).summary == told
    assert text in (None, told)
