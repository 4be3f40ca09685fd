"""Records that a newer version stored, and vocabularies with words of others."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import to_json

from roomkit.abc.errors import HookRegistrationError
from roomkit.kernel.commit.registrations import HookRegistration
from roomkit.models import (
    Access,
    ChannelBinding,
    ChannelType,
    CompositeContent,
    Delivery,
    DeliveryStatus,
    EphemeralEvent,
    EphemeralEventType,
    EventContent,
    EventSource,
    EventType,
    HookTrigger,
    Identity,
    InboundMessage,
    Observation,
    Participant,
    RateLimit,
    ReceiptState,
    Record,
    Room,
    RoomEvent,
    RoomStatus,
    Task,
    TextContent,
    Timer,
    UnknownContent,
    text_of,
    vocabulary,
)
from roomkit.models.vocabulary import OpenVocabulary, Vocabulary
from roomkit_plugins.testing.contracts.newer import NEWS, POLL, newer, news_of
from roomkit_plugins.testing.contracts.strategies import examples, records

STORED: list[type[Record]] = [
    Room,
    RoomEvent,
    ChannelBinding,
    Participant,
    Identity,
    Task,
    Observation,
    Delivery,
    DeliveryStatus,
    Timer,
    EphemeralEvent,
]
CLOSED = [each for each in Vocabulary.__subclasses__() if each is not OpenVocabulary]
OPEN = OpenVocabulary.__subclasses__()
SOME = examples(4)  # generated records are whole: the first ones have every field


@pytest.mark.parametrize("model", STORED, ids=lambda model: model.__name__)
@given(data=st.data())
@SOME
def test_a_stored_record_keeps_what_it_does_not_know(model: type[Record], data: st.DataObject) -> None:
    """Through a copy, a change and a second storing; a record without news reads as ever."""
    plain = data.draw(records(model))
    assert model.from_stored(to_json(plain)) == plain
    given_record = newer(plain)
    assert given_record != plain
    for again in (
        model.from_stored(to_json(given_record)),
        given_record.replace(),
        given_record.kept(),
        given_record.model_copy(),
        copy.deepcopy(given_record),
        pickle.loads(pickle.dumps(given_record)),
    ):
        assert again == given_record
        assert json.loads(to_json(again)) == json.loads(to_json(given_record))
        assert news_of(again) == NEWS
    assert given_record.without_unknown().__pydantic_extra__ is None


@pytest.mark.parametrize("model", STORED, ids=lambda model: model.__name__)
@given(data=st.data())
@SOME
def test_a_constructor_accepts_no_unknown_field(model: type[Record], data: st.DataObject) -> None:
    """Whatever was read before: a misspelling is found where it is made."""
    fields = json.loads(to_json(newer(data.draw(records(model)))))
    constructs: list[Callable[[Any], object]] = [
        model.model_validate,
        lambda given: model(**given),
        lambda given: model.model_validate_json(json.dumps(given)),
        lambda given: TypeAdapter(model).validate_python(given),
    ]
    for construct in constructs:
        with pytest.raises(ValidationError, match="news"):
            construct(fields)


def test_what_is_unknown_is_read_only() -> None:
    room = newer(Room(id="r"))
    with pytest.raises(TypeError, match="read-only"):
        news_of(room)["text"] = "x"
    with pytest.raises(ValidationError, match="frozen"):
        room.news = 1  # type: ignore[attr-defined]  # that is the point


def test_a_changed_copy_keeps_what_is_unknown() -> None:
    """Of the record and of those within it, with validation and without."""
    binding = newer(
        ChannelBinding(
            channel_id="c", room_id="r", channel_type="sms", rate_limit=RateLimit(max_per_second=1)
        )
    )
    for changed in (binding.replace(muted=True), binding.model_copy(update={"muted": True})):
        assert changed.muted
        assert news_of(changed) == NEWS
        assert changed.rate_limit is not None
        assert news_of(changed.rate_limit) == NEWS


def test_a_foreign_model_around_records_stays_strict() -> None:
    """A plugin's configuration that has records in it refuses misspellings."""

    class Settings(BaseModel):
        model_config = ConfigDict(extra="ignore")
        limit: RateLimit

    with pytest.raises(ValidationError, match="max_per_secnd"):
        Settings.model_validate({"limit": {"max_per_secnd": 1}})
    assert Settings.model_json_schema()["$defs"]["RateLimit"]["additionalProperties"] is False


# -- contents -------------------------------------------------------------------------------------


def test_unknown_content_comes_from_a_store_only() -> None:
    """A message cannot be made of it: contents are a closed set where they are made."""
    adapter: TypeAdapter[Any] = TypeAdapter(EventContent)
    for given_content in (POLL, {"type": "unknown", "original": POLL}):
        with pytest.raises(ValidationError):
            InboundMessage(channel_id="c", sender_id="s", content=given_content)
        with pytest.raises(ValidationError):
            adapter.validate_python(given_content)
    with pytest.raises(ValidationError, match="cannot be made: use one of audio, composite"):
        UnknownContent(original=POLL)


@pytest.mark.parametrize(
    ("stored", "known"),
    [
        (POLL, 0),
        ({"type": "text", "body": {"new": "shape"}}, 0),
        ({"type": "rich", "body": "x", "format": "asciidoc"}, 0),
        ({"body": "without a type"}, 0),
        ({"type": "composite", "parts": [{"type": "text", "body": "a"}, POLL]}, 1),
        ({"type": "composite", "parts": [{"type": "composite", "parts": [POLL]}], "news": 1}, 0),
        ({"type": "edit", "target_event_id": "e", "new_content": POLL}, 0),
    ],
)
def test_unknown_content_is_written_back_as_it_came(stored: Any, known: int) -> None:
    """Also within contents that are known, and where a known one has a shape of the future."""
    event = _event()
    read = RoomEvent.from_stored(json.dumps({**json.loads(to_json(event)), "content": stored}))
    assert json.loads(to_json(read, exclude_none=True))["content"] == stored
    assert read.replace(content=TextContent(body="x")) == event
    parts = read.content.parts if isinstance(read.content, CompositeContent) else ()
    assert sum(isinstance(part, TextContent) for part in parts) == known
    assert "Unsupported content" in text_of(read.content)


def test_a_client_sees_no_unknown_field() -> None:
    """Whether it is private is not known; the content is for those who see the event."""
    event = newer(_event().replace(source=newer(_event().source), content=UnknownContent.of(POLL)))
    inner = RoomEvent.from_stored(to_json(_event().replace(source=newer(_event().source))))
    for each in (event, inner):
        seen = each.client_view()
        assert seen == json.loads(each.json_bytes)
        assert "news" not in seen.keys() | seen["source"].keys()
        assert "news" not in each.source.client_view()
    assert event.client_view()["content"] == POLL
    assert news_of(event) == news_of(event.source) == news_of(inner.source) == NEWS


def test_what_is_no_record_is_refused_as_ever() -> None:
    whole = json.loads(to_json(_event()))
    for damaged in ('{"id": "e"', "[]", "null", json.dumps({**whole, "source": None}), b"\xff"):
        with pytest.raises(ValidationError):
            RoomEvent.from_stored(damaged)


# -- words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", OPEN)
def test_an_open_vocabulary_takes_words_of_others(words: type[OpenVocabulary]) -> None:
    word = words("acme_special")
    assert word is words("acme_special") is copy.deepcopy(word) is pickle.loads(pickle.dumps(word))
    assert isinstance(word, words)
    assert (word, word.value, word.name, str(word)) == (
        "acme_special",
        "acme_special",
        "ACME_SPECIAL",
        "acme_special",
    )
    assert json.loads(to_json({word: [word]})) == {"acme_special": ["acme_special"]}
    assert TypeAdapter(words).validate_json('"acme_special"') is word
    assert word not in list(words)
    for no_word in ("", "Acme", "9", "a b", "a" * 65, "\ud83d", 1, None):
        with pytest.raises(ValueError, match="is not a valid"):
            words(no_word)  # type: ignore[arg-type]


def test_words_from_outside_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a bound a word is not interned; it is equal all the same."""
    monkeypatch.setattr(vocabulary, "_words", {})
    for number in range(3000):
        EventType(f"word_{number}")
    assert len(vocabulary._words) <= vocabulary._MOST_WORDS
    assert EventType("word_2999") == EventType("word_2999")
    assert hash(EventType("word_2999")) == hash(EventType("word_2999"))


@pytest.mark.parametrize("words", CLOSED)
def test_a_closed_vocabulary_is_open_in_what_is_stored(words: type[Vocabulary]) -> None:
    """An unknown word is none of the declared ones, and is written back."""
    with pytest.raises(ValueError, match="is not a valid"):
        words("word_of_2030")
    word = words.from_stored("word_of_2030")
    assert all(word is not each for each in words)
    assert TypeAdapter(words).dump_json(word) == b'"word_of_2030"'
    with pytest.raises(ValueError, match="is not a valid"):
        words("word_of_2030")


def test_unknown_words_mean_the_least() -> None:
    """No right, not open, a receipt that anything may follow."""
    assert not RoomStatus.from_stored("hibernating").is_open
    assert not Access.from_stored("read_some").can_read
    assert not Access.from_stored("read_some").can_write
    receipt = ReceiptState.from_stored("glanced_at")
    assert (receipt, receipt.value) == (ReceiptState.UNKNOWN, "glanced_at")
    assert ReceiptState.DELIVERED.follows(receipt)
    assert not receipt.follows(ReceiptState.SENT)


@pytest.mark.parametrize(
    ("fields", "advice"),
    [
        ({"trigger": "before_brodcast"}, "did you mean 'before_broadcast'?"),
        ({"channel_types": ["smss"]}, "did you mean 'sms'?"),
        ({"channel_types": ["zzzz"]}, "use a member of ChannelType"),
    ],
)
def test_a_misspelt_word_of_a_hook_is_refused(fields: dict[str, Any], advice: str) -> None:
    async def on_event(payload: Any, context: Any) -> None: ...

    given_fields = {"trigger": HookTrigger.AFTER_BROADCAST, **fields}
    with pytest.raises(HookRegistrationError, match="hook 'on_event' would never run") as caught:
        HookRegistration(fn=on_event, **given_fields)
    assert advice in str(caught.value)


def test_a_signal_of_a_newer_worker_is_read() -> None:
    signal = EphemeralEvent(room_id="r", type=EphemeralEventType.CUSTOM, user_id="u")
    read = EphemeralEvent.from_stored(
        json.dumps({**signal.to_dict(), "type": "screen_shared", "urgency": "high"})
    )
    assert (read.type.value, read.__pydantic_extra__) == ("screen_shared", {"urgency": "high"})


def _event() -> RoomEvent:
    return RoomEvent(
        room_id="r",
        source=EventSource(channel_id="sms", channel_type=ChannelType.SMS),
        content=TextContent(body="x"),
    )
