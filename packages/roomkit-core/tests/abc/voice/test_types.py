"""The types of voice: made of their documented fields, and of nothing that their docstrings forbid."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import math
import pickle
from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

import roomkit.abc
from roomkit.abc import (
    AGCConfig,
    AudioChunk,
    AudioFormat,
    AudioFormatError,
    AudioFrame,
    BackchannelContext,
    BackchannelDecision,
    BackendCapacity,
    BargeInEvent,
    CallDecision,
    CallParty,
    CallRequest,
    DialError,
    DiarizationResult,
    DTMFEvent,
    Endpointing,
    ErrorCode,
    Flushed,
    HeardText,
    Interruption,
    InterruptionConfig,
    InterruptionStrategy,
    InvalidInputError,
    MuteStrategy,
    PlaybackEnd,
    PlaybackMark,
    PlaybackPosition,
    ProviderError,
    RealtimeCapabilities,
    RealtimeConfig,
    RealtimeNotice,
    RealtimeResponse,
    RealtimeSpeech,
    RealtimeTranscript,
    RecordingConfig,
    RecordingConsent,
    RecordingResult,
    SpeculationPolicy,
    SpeechSegment,
    StreamInfo,
    STTCapabilities,
    STTOptions,
    TimedWord,
    TranscriptionResult,
    TTSCapabilities,
    TTSOptions,
    TurnContext,
    TurnDecision,
    TurnEntry,
    TurnProfile,
    TurnReport,
    VADConfig,
    VADEvent,
    VADEventType,
    VoiceProviderError,
    VoiceSession,
)
from roomkit.abc.voice.checks import Checked

POSITION = PlaybackPosition("u1", 160, 10.0)
NOW = datetime.now(UTC)
MADE: Mapping[str, Checked] = {
    type(one).__name__: one
    for one in (
        AudioFormat(8000, 1, 1, "ulaw"),
        SpeechSegment(b"", AudioFormat(), -300.0, 500.0, 200.0, "silence"),
        CallParty("+14165550123", "Anna", "+14165550100", "inbound", {"x-id": "1"}),
        Flushed(160, exact=True),
        POSITION,
        PlaybackMark("u1", "half", 80),
        HeardText("hello", 5, estimated=True),
        PlaybackEnd("u1", "cut", POSITION, HeardText("hello", 5)),
        StreamInfo("s1", "outbound", "en"),
        VADEvent(VADEventType.SPEECH_END, b"", 0.9, 700.0, -20.0, 16000, 1000.0),
        DTMFEvent("#", 160.0, 0.8, 20.0, "rfc4733"),
        DiarizationResult("anna", 0.7, is_new_speaker=True),
        VADConfig(200, 300, 250, {"model": "x"}),
        AGCConfig(-20.0),
        TranscriptionResult("hi", True, 0.9, "en", (TimedWord("hi", 0, 200),), end_of_turn="confirmed"),
        STTOptions("en", ("RoomKit",), eager_end_of_turn=True),
        STTCapabilities(streaming=True, languages=("en",), sample_rates=(16000,)),
        TTSOptions("anna", "en", AudioFormat(24000), 1.5),
        TTSCapabilities(text_input="tokens", words=True, voices=("anna",)),
        Endpointing(min_delay_ms=300, max_delay_ms=2500),
        Interruption(strategy=InterruptionStrategy.SEMANTIC, ignore_phrases={"en": ("uh huh",)}),
        InterruptionConfig(min_words=2),
        SpeculationPolicy(enabled=True),
        TurnProfile(mute=MuteStrategy.DURING_TOOLS, soft_limit_ms=1, hard_limit_ms=2, reminders=("Hello?",)),
        TurnEntry("hi", "user", 300),
        TurnContext((TurnEntry("hi"),), 300, "well", True, 900, "s1", language="en"),
        TurnDecision(False, 0.6, "no full stop", 400),
        BackchannelContext("uh-huh", 300, None, 0.5, "s1"),
        BackchannelDecision(True, 0.9, "backchannel"),
        RecordingConfig("inbound_only", "speech_only", "stereo", retention_days=30),
        RecordingConsent("caller", "asked at the start", NOW, "discard"),
        RecordingResult("rec1", ("file:///a.wav",), 1.5, "wav", "both", 48000),
        CallRequest("sip", "192.0.2.1:5060", CallParty("anna"), {"user": "anna"}, "r1"),
        CallDecision(False, 486, "busy"),
        BackendCapacity(1, 10),
        RealtimeTranscript("hi", "user", True, "item_1", 200.0),
        RealtimeSpeech("start", 200.0),
        RealtimeResponse("end", "resp_1", "completed", {"input_tokens": 3}),
        RealtimeNotice("error", "overloaded", ErrorCode.OVERLOADED),
        RealtimeCapabilities(manual_turns=True, max_session_s=3600),
    )
}
FROM_A_FILE = (
    AudioFormat, VADConfig, AGCConfig, STTOptions, TTSOptions, Endpointing, Interruption, SpeculationPolicy,
    TurnProfile, RecordingConfig,
)  # fmt: skip


def checked_types() -> list[type[Checked]]:
    found = (getattr(roomkit.abc, name) for name in dir(roomkit.abc))
    return [one for one in found if inspect.isclass(one) and issubclass(one, Checked)]


def with_field(record: Any, name: str, value: object) -> object:
    return dataclasses.replace(record, **{name: value})


@pytest.mark.parametrize("name", [one.__name__ for one in checked_types()])
def test_every_type_is_made_copied_and_sent_to_another_process(name: str) -> None:
    record = MADE[name]
    assert deepcopy(record) == record
    assert pickle.loads(pickle.dumps(record)) == record
    assert (
        type(record)(**{one.name: getattr(record, one.name) for one in dataclasses.fields(record)}) == record
    )


@pytest.mark.parametrize("name", [one.__name__ for one in checked_types()])
def test_every_type_is_frozen_and_slotted(name: str) -> None:
    record: Any = MADE[name]
    field = dataclasses.fields(record)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, field, None)
    assert not hasattr(record, "__dict__")


def limits() -> list[tuple[str, str, float]]:
    """Return a number that each limited field does not take."""
    wrong: Mapping[str, float] = {
        "Milliseconds": -1,
        "Positive": 0,
        "PositiveCount": 0,
        "Count": -1,
        "ZeroToOne": 1.5,
    }
    return [
        (one.__name__, field.name, wrong[word])
        for one in checked_types()
        for field in dataclasses.fields(one)
        if (word := str(field.type).removesuffix(" | None")) in wrong
    ]


def kind_of(name: str, field: str) -> str:
    return next(str(one.type) for one in dataclasses.fields(MADE[name]) if one.name == field)


LIMITED = limits()


@pytest.mark.parametrize(("name", "field", "wrong"), LIMITED)
def test_a_number_outside_its_limits_is_refused_and_named(name: str, field: str, wrong: float) -> None:
    for value in (wrong, math.nan, math.inf, True, "1"):
        with pytest.raises(InvalidInputError, match=rf"^{name}\.{field} cannot be .+: use a finite number"):
            with_field(MADE[name], field, value)


@pytest.mark.parametrize(
    ("name", "field"), [(name, field) for name, field, _ in LIMITED if "Count" in kind_of(name, field)]
)
def test_a_count_is_a_whole_number(name: str, field: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"{name}\.{field} cannot be 2\.5: .* whole"):
        with_field(MADE[name], field, 2.5)


def test_the_limited_fields_are_found() -> None:
    assert len(LIMITED) > 60


def words() -> list[tuple[str, str]]:
    return [
        (one.__name__, field.name)
        for one in checked_types()
        for field in dataclasses.fields(one)
        if str(field.type).startswith("Literal")
        or str(field.type) in ("InterruptionStrategy", "MuteStrategy")
    ]


@pytest.mark.parametrize(("name", "field"), words())
def test_a_word_that_is_none_of_a_few_is_refused_with_them(name: str, field: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"^{name}\.{field} cannot be a str: use one of .+"):
        with_field(MADE[name], field, "nonsense")
    with pytest.raises(InvalidInputError, match=rf"{name}\.{field} cannot be 7"):
        with_field(MADE[name], field, 7)


def test_an_error_of_a_field_does_not_quote_text() -> None:
    with pytest.raises(InvalidInputError) as caught:
        with_field(MADE["PlaybackEnd"], "reason", "my card is 4111")
    assert "4111" not in str(caught.value)


def test_a_word_of_an_enum_becomes_its_member() -> None:
    profile = TurnProfile(mute="always")  # type: ignore[arg-type]
    assert profile.mute is MuteStrategy.ALWAYS


@pytest.mark.parametrize(
    ("make", "first"),
    [
        (lambda: Endpointing(min_delay_ms=500, max_delay_ms=300), "min_delay_ms"),
        (lambda: TurnProfile(soft_limit_ms=2, hard_limit_ms=1), "soft_limit_ms"),
        (lambda: TranscriptionResult("hi", start_ms=2, end_ms=1), "start_ms"),
        (lambda: SpeechSegment(b"", AudioFormat(), 2, 1, 0, "max"), "start_ms"),
    ],
    ids=["endpointing", "limits", "transcript", "segment"],
)
def test_two_fields_in_the_wrong_order_are_refused(make: Any, first: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"{first} cannot be .*: use at most "):
        make()


def test_phrases_of_a_language_are_a_sequence() -> None:
    with pytest.raises(InvalidInputError, match="give a sequence of texts for each language"):
        Interruption(interrupt_phrases={"en": "stop"})


def test_consent_says_who_on_what_basis_and_when() -> None:
    with pytest.raises(InvalidInputError, match="say who decided it"):
        RecordingConsent("", "law", NOW)
    with pytest.raises(InvalidInputError, match="on what basis"):
        RecordingConsent("caller", "", NOW)
    with pytest.raises(InvalidInputError, match="use an aware datetime"):
        RecordingConsent("caller", "law", NOW.replace(tzinfo=None))


def test_a_gate_answers_yes_or_no_with_a_status_of_a_refusal() -> None:
    with pytest.raises(InvalidInputError, match="True or False"):
        CallDecision("yes")  # type: ignore[arg-type]
    for status in (200, 700):
        with pytest.raises(InvalidInputError, match="from 300 to 699"):
            CallDecision(False, status)


def test_a_temperature_is_a_number_that_is_not_negative() -> None:
    assert RealtimeConfig(temperature=0.7).output_format.sample_rate == 24000
    with pytest.raises(InvalidInputError, match=r"RealtimeConfig\.temperature cannot be -1"):
        RealtimeConfig(temperature=-1)


def test_the_documented_second_homes_have_the_names_that_are_built() -> None:
    interruption = importlib.import_module("roomkit.voice.interruption")
    pipeline = importlib.import_module("roomkit.voice.pipeline")
    assert interruption.InterruptionConfig is InterruptionConfig
    assert pipeline.VADConfig is VADConfig


# -- audio ------------------------------------------------------------------------------------------

LAYOUTS = [
    ({"sample_rate": 0}, "1 to 192000 Hz"),
    ({"sample_rate": 192_001}, "1 to 192000 Hz"),
    ({"sample_rate": 8000.5}, "1 to 192000 Hz"),
    ({"sample_rate": "8000"}, "1 to 192000 Hz"),
    ({"channels": 3}, "use 1 or 2"),
    ({"channels": 0}, "use 1 or 2"),
    ({"sample_width": 3}, "use 1, 2 or 4"),
]


@pytest.mark.parametrize(
    "kind", [AudioFormat, lambda **layout: AudioFrame(b"", **layout)], ids=["format", "frame"]
)
@pytest.mark.parametrize(("layout", "advice"), LAYOUTS, ids=lambda one: str(one))
def test_a_layout_that_no_audio_has_is_refused(kind: Any, layout: dict[str, Any], advice: str) -> None:
    with pytest.raises(AudioFormatError, match=advice):
        kind(**layout)


def test_a_codec_has_its_width() -> None:
    with pytest.raises(AudioFormatError, match="ulaw has 1 bytes a sample, not 2"):
        AudioFormat(8000, codec="ulaw")
    assert AudioFormat(48000, codec="opus").block_size == 2


@given(
    rate=st.integers(1, 192_000),
    channels=st.sampled_from([1, 2]),
    width=st.sampled_from([1, 2, 4]),
    size=st.integers(0, 4000),
)
def test_a_frame_is_whole_samples(rate: int, channels: int, width: int, size: int) -> None:
    block = channels * width
    if size % block:
        with pytest.raises(AudioFormatError, match="carry the rest over"):
            AudioFrame(bytes(size), rate, channels, width)
        return
    frame = AudioFrame(bytes(size), rate, channels, width)
    assert (frame.samples, len(frame.data)) == (size // block, frame.samples * block)
    assert frame.duration_ms == frame.samples * 1000 / rate


def test_a_frame_holds_bytes_that_nothing_else_can_change() -> None:
    with pytest.raises(AudioFormatError, match="not a bytearray"):
        AudioFrame(bytearray(2))  # type: ignore[arg-type]


def test_a_frame_and_a_chunk_are_changed_in_place() -> None:
    frame, chunk = AudioFrame(bytes(4)), AudioChunk(bytes(3), format="mp3")
    frame.data, frame.metadata["concealed"] = bytes(2), True
    chunk.is_final = True
    assert (frame.samples, chunk.is_final, AudioFrame(b"").metadata) == (1, True, {})


# -- files and other processes ----------------------------------------------------------------------

number = st.floats(0, 1e6, allow_nan=False)
positive = st.floats(0.001, 1e6)
text = st.text(max_size=10)
texts = st.lists(text, max_size=3).map(tuple)
endpointing = st.builds(
    Endpointing,
    min_delay_ms=st.none() | st.floats(0, 10),
    max_delay_ms=st.none() | st.floats(10, 20),
    learns=st.booleans(),
    history_weight=st.floats(0, 1),
)
interruption = st.builds(
    Interruption,
    strategy=st.sampled_from(InterruptionStrategy),
    min_speech_ms=number,
    min_words=st.integers(0, 9),
    ignore_phrases=st.dictionaries(text, st.lists(text, max_size=2), max_size=2),
)
profiles = st.builds(
    TurnProfile,
    endpointing=endpointing,
    interruption=interruption,
    speculation=st.builds(SpeculationPolicy, enabled=st.booleans(), max_tries=st.integers(0, 9)),
    mute=st.sampled_from(MuteStrategy),
    remind_after_ms=st.none() | positive,
    reminders=texts,
    fillers=texts,
    digits_terminator=st.sampled_from(["#", "*", None]),
    digits_max=st.none() | st.integers(1, 20),
)
options = st.one_of(
    profiles,
    st.builds(AudioFormat, sample_rate=st.integers(1, 192_000), channels=st.sampled_from([1, 2])),
    st.builds(
        VADConfig, silence_threshold_ms=st.none() | number, extra=st.dictionaries(text, text, max_size=2)
    ),
    st.builds(AGCConfig, target_level_dbfs=st.floats(-100, 0), attack_ms=number),
    st.builds(STTOptions, language=st.none() | text, key_terms=texts, interim=st.booleans()),
    st.builds(TTSOptions, voice=st.none() | text, speed=positive),
    st.builds(
        RecordingConfig, mode=st.sampled_from(["inbound_only", "both"]), storage=text, retention_days=positive
    ),
)


@given(options)
def test_options_survive_a_file_and_another_process(record: Any) -> None:
    adapter = TypeAdapter(type(record))
    assert adapter.validate_python(json.loads(adapter.dump_json(record))) == record
    assert pickle.loads(pickle.dumps(record)) == record
    assert deepcopy(record) == record


@pytest.mark.parametrize("kind", FROM_A_FILE)
def test_an_unknown_key_in_a_file_is_an_error(kind: type) -> None:
    adapter = TypeAdapter(kind)
    assert adapter.validate_python({}) == kind()
    with pytest.raises(ValidationError, match="Unexpected keyword argument"):
        adapter.validate_python({"silense_threshold_ms": 1})


def test_a_wrong_value_in_a_file_is_an_error_that_names_it() -> None:
    with pytest.raises(ValidationError, match=r"endpointing\n.*Endpointing\.history_weight cannot be 2"):
        TypeAdapter(TurnProfile).validate_python({"endpointing": {"history_weight": 2}})


# -- reports, events, errors ------------------------------------------------------------------------


def test_a_report_splits_the_gap_between_two_people_speaking() -> None:
    report = TurnReport("t1", "s1", speech_end_ms=1000, turn_end_ms=1300, first_token_ms=1500)
    assert (report.gap_ms, report.unexplained_ms) == (None, None)
    report.first_sentence_ms, report.first_audio_ms, report.first_sample_ms = 1600, 1650, 1700
    assert report.gap_ms == 700
    assert report.parts == {
        "wait": 300, "first_token": 200, "first_sentence": 100, "first_audio": 50, "first_sample": 50,
    }  # fmt: skip
    assert report.unexplained_ms == 0


def test_work_done_before_the_turn_ended_counts_nothing() -> None:
    report = TurnReport(
        "t1",
        "s1",
        speech_end_ms=1000,
        turn_end_ms=1300,
        first_token_ms=1100,
        first_sentence_ms=1200,
        first_audio_ms=1250,
        first_sample_ms=1340,
    )
    assert (report.parts["first_token"], report.parts["first_audio"], report.parts["first_sample"]) == (
        0,
        0,
        40,
    )
    assert report.unexplained_ms == 0


def test_a_part_without_both_its_marks_is_left_unexplained() -> None:
    report = TurnReport("t1", "s1", speech_end_ms=0, turn_end_ms=100, first_audio_ms=300, first_sample_ms=350)
    assert report.parts == {"wait": 100, "first_sample": 50}
    assert report.unexplained_ms == 200


marks = st.none() | st.floats(0, 10_000)


@given(st.lists(marks, min_size=6, max_size=6))
def test_parts_are_never_negative_and_the_rest_completes_the_gap(times: list[float | None]) -> None:
    names = ("turn_end_ms", "first_token_ms", "first_sentence_ms", "first_audio_ms", "first_sample_ms")
    report = TurnReport("t1", "s1", speech_end_ms=times[0], **dict(zip(names, times[1:], strict=True)))
    parts = dict(report.parts)
    parts.pop("wait", None)
    assert all(part >= 0 for part in parts.values())
    if report.gap_ms is not None and report.unexplained_ms is not None:
        assert math.isclose(sum(report.parts.values()) + report.unexplained_ms, report.gap_ms, abs_tol=1e-6)


def test_every_event_has_its_session_and_an_aware_time() -> None:
    session = VoiceSession("s1", "r1", "p1", "voice")
    found = (getattr(roomkit.abc, name) for name in dir(roomkit.abc))
    kinds = [one for one in found if inspect.isclass(one) and one.__module__ == "roomkit.abc.voice.events"]
    for kind in kinds:
        needed = [one for one in dataclasses.fields(kind) if one.default is dataclasses.MISSING]
        event = kind(session, *[None for one in needed if one.name not in ("session", "timestamp")])
        assert (event.session, event.timestamp.tzinfo) == (session, UTC)
        with pytest.raises(dataclasses.FrozenInstanceError):
            event.session = None
    assert len(kinds) > 18


def test_a_gate_changes_an_event_by_a_copy() -> None:
    session = VoiceSession("s1", "r1", "p1", "voice")
    event = BargeInEvent(session, "hello", 200.0)
    assert dataclasses.replace(event, interrupted_text="").timestamp == event.timestamp


def test_a_failure_of_a_vendor_is_a_provider_error_that_says_what_was_handed_over() -> None:
    error = VoiceProviderError(
        "the connection was lost",
        operation="synthesize",
        yielded=True,
        error_code=ErrorCode.CONNECTION,
        provider="acme",
    )
    assert isinstance(error, ProviderError)
    assert (error.operation, error.yielded, error.retryable, error.provider) == (
        "synthesize",
        True,
        True,
        "acme",
    )
    assert error.code == "voice_provider_error"


def test_a_call_that_is_not_answered_says_what_the_peer_said() -> None:
    error = DialError(
        "sip:b@example.org did not answer: busy; dial again later", status=486, reason="Busy Here"
    )
    assert (error.status, error.reason, error.code) == (486, "Busy Here", "dial_failed")
