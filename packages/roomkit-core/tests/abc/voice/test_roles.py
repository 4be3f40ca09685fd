"""Every role can be implemented from its contract, and an unclaimed method says so.

The classes here are the smallest whole implementations; `nox -s types` checks this file strictly.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

import roomkit.abc
from roomkit.abc import (
    AECProvider,
    AECStream,
    AGCProvider,
    AudioChunk,
    AudioFormat,
    AudioFrame,
    AudioPostProcessor,
    AudioRecorder,
    BackchannelContext,
    BackchannelDecision,
    BackchannelDetector,
    BackendCapacity,
    CallDecision,
    CallRequest,
    DenoiserProvider,
    DiarizationProvider,
    DiarizationResult,
    DiarizationStream,
    DTMFDetector,
    DTMFEvent,
    DTMFStream,
    EndCause,
    Flushed,
    FrameSource,
    FrameStream,
    HeardText,
    MixerProvider,
    PlaybackEnd,
    PlaybackMark,
    PlaybackPosition,
    PlaybackState,
    Playout,
    RealtimeAudio,
    RealtimeConfig,
    RealtimeItem,
    RealtimeResponse,
    RealtimeSession,
    RealtimeVoiceProvider,
    Recording,
    RecordingConfig,
    RecordingConsent,
    RecordingResult,
    ResamplerProvider,
    StageStream,
    StreamInfo,
    STTCapabilities,
    STTOptions,
    STTProvider,
    STTStream,
    TimedWord,
    TranscriptionResult,
    TTSOptions,
    TTSProvider,
    TTSStream,
    TTSStreamFilter,
    TurnContext,
    TurnDecision,
    TurnDetector,
    Utterance,
    VADConfig,
    VADEvent,
    VADEventType,
    VADProvider,
    VADStream,
    VoiceBackend,
    VoiceCapability,
    VoiceSession,
    VoiceSessionState,
    VoiceUnsupportedError,
)
from roomkit.models.content import AudioContent

FORMAT = AudioFormat()
INFO = StreamInfo("s1")
FRAME = AudioFrame(bytes(640))


def session() -> VoiceSession:
    return VoiceSession("s1", "r1", "p1", "voice")


# -- stages -----------------------------------------------------------------------------------------


class Passing(AECStream):
    """Passes audio on. An echo canceller's stream is a frame stream, too."""

    def __init__(self) -> None:
        self.heard = 0
        self.active = False

    def process(self, frame: AudioFrame) -> AudioFrame:
        return frame

    def flush(self) -> AudioFrame | None:
        return None

    def reset(self) -> None:
        self.heard = 0

    def feed_reference(self, frame: AudioFrame) -> None:
        self.heard += frame.samples

    def set_active(self, active: bool) -> None:
        self.active = active


class Denoiser(DenoiserProvider):
    name = "passing"

    def open(self, format: AudioFormat, info: StreamInfo) -> FrameStream:
        return Passing()


class Gain(AGCProvider):
    name = "passing"

    def open(self, format: AudioFormat, info: StreamInfo) -> FrameStream:
        return Passing()


class Louder(AudioPostProcessor):
    name = "passing"

    def open(self, format: AudioFormat, info: StreamInfo) -> FrameStream:
        return Passing()


class Echo(AECProvider):
    name = "passing"
    sample_rates = (16000,)

    def open(self, format: AudioFormat, info: StreamInfo) -> AECStream:
        return Passing()


class Resampler(ResamplerProvider):
    name = "passing"

    def open(self, source: AudioFormat, target: AudioFormat) -> FrameStream:
        return Passing()


class Loudness(VADStream):
    """Speech is any sound."""

    def __init__(self) -> None:
        self.speaking = False

    def process(self, frame: AudioFrame) -> Sequence[VADEvent]:
        voiced = any(frame.data)
        if voiced is self.speaking:
            return ()
        self.speaking = voiced
        if voiced:
            return (VADEvent(VADEventType.SPEECH_START, frame.data, sample_rate=frame.sample_rate),)
        return (VADEvent(VADEventType.SPEECH_END, frame.data, sample_rate=frame.sample_rate),)

    def flush(self) -> Sequence[VADEvent]:
        return (VADEvent(VADEventType.SPEECH_END),) if self.speaking else ()

    def reset(self) -> None:
        self.speaking = False


class Voice(VADProvider):
    name = "loudness"

    def __init__(self) -> None:
        self.silence_threshold_ms = 500.0

    def configure(self, config: VADConfig) -> Voice:
        made = Voice()
        if config.silence_threshold_ms is not None:
            made.silence_threshold_ms = config.silence_threshold_ms
        return made

    def open(self, format: AudioFormat, info: StreamInfo) -> VADStream:
        return Loudness()


class Ones(DTMFStream):
    def process(self, frame: AudioFrame) -> Sequence[DTMFEvent]:
        return (DTMFEvent("1", frame.duration_ms),)

    def reset(self) -> None: ...


class Digits(DTMFDetector):
    name = "ones"

    def open(self, format: AudioFormat, info: StreamInfo) -> DTMFStream:
        return Ones()


class OneSpeaker(DiarizationStream):
    def process(self, frame: AudioFrame) -> DiarizationResult | None:
        return DiarizationResult("speaker_1", 1.0, False)

    def reset(self) -> None: ...


class Speakers(DiarizationProvider):
    name = "one"

    def open(self, format: AudioFormat, info: StreamInfo) -> DiarizationStream:
        return OneSpeaker()


class First(MixerProvider):
    name = "first"

    def mix(self, frames: Sequence[AudioFrame]) -> AudioFrame:
        return frames[0]


STAGES: Mapping[str, Callable[[], StageStream[Any]]] = {
    "denoiser": lambda: Denoiser().open(FORMAT, INFO),
    "agc": lambda: Gain().open(FORMAT, INFO),
    "postprocessor": lambda: Louder().open(FORMAT, INFO),
    "aec": lambda: Echo().open(FORMAT, INFO),
    "resampler": lambda: Resampler().open(FORMAT, FORMAT),
    "vad": lambda: Voice().open(FORMAT, INFO),
    "dtmf": lambda: Digits().open(FORMAT, INFO),
    "diarization": lambda: Speakers().open(FORMAT, INFO),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_gives_each_session_a_stream_of_its_own(stage: str) -> None:
    one, other = STAGES[stage](), STAGES[stage]()
    assert one is not other
    one.process(AudioFrame(bytes(640)))
    one.reset()
    one.close()


def test_a_batch_has_the_results_of_single_calls_in_order() -> None:
    stage, loud, quiet = Voice(), Loudness(), Loudness()
    voiced = AudioFrame(b"\x01\x00" * 320)
    both = stage.process_batch([(loud, voiced), (quiet, FRAME)])
    assert list(both) == [Loudness().process(voiced), ()]


def test_a_detector_takes_the_settings_that_are_given_and_keeps_its_own() -> None:
    assert Voice().configure(VADConfig(silence_threshold_ms=200)).silence_threshold_ms == 200
    assert Voice().configure(VADConfig()).silence_threshold_ms == 500


def test_a_stage_whose_streams_hold_the_state_is_its_own_clone() -> None:
    stage = Denoiser()
    assert stage.clone() is stage


def test_a_mixer_is_a_function_of_its_frames() -> None:
    assert First().mix([FRAME]) is FRAME


# -- recognition and synthesis ----------------------------------------------------------------------


class Counting(STTStream):
    """Understands how many samples it was given."""

    def __init__(self) -> None:
        self.samples = 0
        self.results: asyncio.Queue[TranscriptionResult | None] = asyncio.Queue(1000)

    def push(self, frame: AudioFrame) -> None:
        self.samples += frame.samples

    def finalize(self) -> None:
        self.results.put_nowait(TranscriptionResult(str(self.samples), finalized=True))

    def update(self, options: STTOptions) -> bool:
        return False

    def end(self) -> None:
        self.results.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[TranscriptionResult]:
        while (result := await self.results.get()) is not None:
            yield result

    async def aclose(self) -> None:
        self.end()


class Recognizer(STTProvider):
    capabilities = STTCapabilities(streaming=True, finalize=True)

    def open(self, format: AudioFormat, options: STTOptions, info: StreamInfo) -> STTStream:
        return Counting()

    async def transcribe(self, audio: AudioContent | AudioChunk | AudioFrame) -> TranscriptionResult:
        return TranscriptionResult("")


class Spelling(TTSStream):
    """Speaks a sample a character."""

    def __init__(self) -> None:
        self.text: asyncio.Queue[str | None] = asyncio.Queue(1000)

    def push(self, text: str) -> None:
        self.text.put_nowait(text)

    def flush(self) -> None: ...

    def end(self) -> None:
        self.text.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[AudioChunk]:
        piece = 0
        while (text := await self.text.get()) is not None:
            yield AudioChunk(b"\x01\x00" * len(text), piece=piece)
            piece += 1
        yield AudioChunk(b"", is_final=True)

    async def aclose(self) -> None:
        self.end()


class Synthesizer(TTSProvider):
    def open(self, options: TTSOptions, info: StreamInfo) -> TTSStream:
        return Spelling()

    async def synthesize(self, text: str, *, voice: str | None = None) -> AudioContent:
        return AudioContent(url="data:audio/pcm;base64,AAA=", mime_type="audio/pcm", transcript=text)

    async def synthesize_stream(self, text: str, *, voice: str | None = None) -> AsyncIterator[AudioChunk]:
        yield AudioChunk(b"\x01\x00" * len(text), is_final=True)


class Upper(TTSStreamFilter):
    def feed(self, token: str) -> str:
        return token.upper()

    def flush(self) -> str:
        return "."

    def reset(self) -> None: ...


async def test_a_recognizer_answers_finalize_and_ends_after_the_last_final() -> None:
    stream = Recognizer().open(FORMAT, STTOptions(), INFO)
    stream.push(FRAME)
    stream.finalize()
    stream.end()
    assert [(result.text, result.finalized) async for result in stream] == [("320", True)]


async def test_another_task_ends_the_iteration_by_closing_the_stream() -> None:
    stream = Recognizer().open(FORMAT, STTOptions(), INFO)

    async def collected() -> list[TranscriptionResult]:
        return [result async for result in stream]

    reading = asyncio.ensure_future(collected())
    await asyncio.sleep(0)
    await stream.aclose()
    assert await reading == []


async def test_a_synthesizer_ends_an_utterance_with_one_final_chunk() -> None:
    stream = Synthesizer().open(TTSOptions(voice="a"), INFO)
    stream.push("hey")
    stream.end()
    chunks = [chunk async for chunk in stream]
    assert [(len(chunk.data), chunk.is_final, chunk.piece) for chunk in chunks] == [
        (6, False, 0),
        (0, True, None),
    ]
    whole = [chunk async for chunk in Synthesizer().synthesize_stream("hey")]
    assert [chunk.is_final for chunk in whole] == [True]


def test_a_filter_takes_a_whole_text_at_once() -> None:
    assert Upper()("hey") == "HEY."


# -- playback ---------------------------------------------------------------------------------------


class Speech(Utterance):
    def __init__(self, utterance_id: str) -> None:
        self.id = utterance_id
        self.pcm = b""
        self.text = ""

    def write(self, pcm: bytes) -> None:
        self.pcm += pcm

    async def ready(self) -> None: ...

    def say(self, text: str, words: Sequence[TimedWord] = ()) -> None:
        self.text += text

    def mark(self, name: str) -> None: ...

    def end(self) -> None: ...

    def release(self) -> None: ...

    def withdraw(self) -> bool:
        return False

    async def wait(self) -> PlaybackEnd:
        position = PlaybackPosition(self.id, len(self.pcm) // 2, len(self.pcm) / 32)
        return PlaybackEnd(self.id, "finished", position, HeardText(self.text, len(self.text)))


class Speaker(Playout):
    def __init__(self) -> None:
        self.said: list[Speech] = []

    @property
    def state(self) -> PlaybackState:
        return PlaybackState.PLAYING if self.said else PlaybackState.IDLE

    def begin(self, utterance_id: str, *, held: bool = False, protected: bool = False) -> Utterance:
        self.said.append(Speech(utterance_id))
        return self.said[-1]

    def pause(self) -> PlaybackPosition | None:
        return None

    def resume(self) -> None: ...

    def cut(self, *, fade_ms: float = 5.0) -> PlaybackEnd | None:
        return None

    def position(self) -> PlaybackPosition | None:
        return None

    def on_mark(self, callback: Callable[[PlaybackMark], None]) -> None: ...

    def pull(self, samples: int) -> bytes:
        return bytes(2 * samples)


async def test_a_playout_is_a_source_and_says_how_an_utterance_ended() -> None:
    playout = Speaker()
    utterance = playout.begin("u1")
    utterance.say("hello")
    utterance.write(bytes(3200))
    utterance.end()
    ended = await utterance.wait()
    assert (ended.reason, ended.position.played_ms, ended.heard) == ("finished", 100.0, HeardText("hello", 5))
    assert isinstance(playout, FrameSource)
    assert playout.pull(160) == bytes(320)


# -- judges, recorders, models ----------------------------------------------------------------------


class Patient(TurnDetector):
    def evaluate(self, context: TurnContext) -> TurnDecision:
        return TurnDecision(context.is_final, suggested_wait_ms=None if context.is_final else 200)


class Listening(BackchannelDetector):
    def classify(self, context: BackchannelContext) -> BackchannelDecision:
        is_one = context.transcript == "uh-huh"
        return BackchannelDecision(is_one, label="backchannel" if is_one else "unsure")


class Kept(Recording):
    def __init__(self, recording_id: str) -> None:
        self.id = recording_id
        self.size = 0

    def write(self, direction: str, frame: AudioFrame) -> None:
        self.size += len(frame.data)

    def suspend(self, suspended: bool) -> None: ...

    async def discard(self, since_ms: float = 0.0) -> None:
        self.size = 0

    async def stop(self) -> RecordingResult:
        return RecordingResult(self.id, (), self.size / 32000, "wav", "both", self.size)


class Recorder(AudioRecorder):
    name = "kept"

    def open(self, session: VoiceSession, consent: RecordingConsent, config: RecordingConfig) -> Recording:
        return Kept(session.id)


class Talking(RealtimeSession):
    def __init__(self) -> None:
        self.items: asyncio.Queue[RealtimeItem | None] = asyncio.Queue(1000)

    def push_audio(self, pcm: bytes) -> None:
        self.items.put_nowait(RealtimeAudio(pcm, "resp_1", "item_1"))

    async def __aiter__(self) -> AsyncIterator[RealtimeItem]:
        while (item := await self.items.get()) is not None:
            yield item

    async def inject_text(self, text: str, *, role: str = "user", respond: bool = True) -> None: ...

    async def say(self, text: str) -> None: ...

    async def submit_tool_results(self, results: Mapping[str, str], *, respond: bool = True) -> None: ...

    async def truncate(self, item_id: str, played_ms: float) -> None: ...

    async def interrupt(self) -> None:
        self.items.put_nowait(RealtimeResponse("end", "resp_1", "cancelled"))

    async def update(self, config: RealtimeConfig) -> bool:
        return True

    async def aclose(self) -> None:
        self.items.put_nowait(None)


class Model(RealtimeVoiceProvider):
    name = "echo"

    async def open(self, session: VoiceSession, config: RealtimeConfig) -> RealtimeSession:
        return Talking()


def test_judges_answer_batches_in_order() -> None:
    contexts = [TurnContext(is_final=True), TurnContext(transcript="well")]
    assert [decision.is_complete for decision in Patient().evaluate_batch(contexts)] == [True, False]
    assert Listening().classify(BackchannelContext("uh-huh")).is_backchannel


async def test_a_recording_needs_consent_and_returns_what_it_kept() -> None:
    consent = RecordingConsent("agent", "asked at the start", datetime.now(UTC))
    recording = Recorder().open(session(), consent, RecordingConfig())
    recording.write("inbound", FRAME)
    recording.suspend(True)
    assert (await recording.stop()).size_bytes == 640
    await recording.discard()
    assert (await recording.stop()).size_bytes == 0
    assert await Recorder().adopt(RecordingConfig()) == ()


async def test_a_model_yields_everything_by_one_iterator() -> None:
    talk = await Model().open(session(), RealtimeConfig(system_prompt="be brief"))
    talk.push_audio(bytes(2))
    await talk.interrupt()
    await talk.aclose()
    assert [type(item).__name__ async for item in talk] == ["RealtimeAudio", "RealtimeResponse"]


# -- backends ---------------------------------------------------------------------------------------


class Line(VoiceBackend):
    """A backend with an engine's clock that can hold and be counted."""

    name = "line"
    capabilities = VoiceCapability.HOLD | VoiceCapability.INTERRUPTION

    def __init__(self) -> None:
        self.sent: list[AudioFrame] = []
        self.sessions: dict[str, VoiceSession] = {}

    @property
    def capacity(self) -> BackendCapacity:
        return BackendCapacity(len(self.sessions), 10)

    async def authorize(self, request: CallRequest) -> CallDecision:
        return CallDecision(True) if self.gate is None else await self.gate(request)

    async def connect(
        self,
        room_id: str,
        participant_id: str,
        channel_id: str,
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> VoiceSession:
        made = VoiceSession("s1", room_id, participant_id, channel_id, VoiceSessionState.ACTIVE)
        self.sessions[made.id] = made
        self.emit("ready", made)
        return made

    async def disconnect(self, session: VoiceSession, *, cause: EndCause = EndCause.LOCAL) -> None:
        session.end(cause)
        self.sessions.pop(session.id, None)

    def send_frame(self, session: VoiceSession, frame: AudioFrame) -> None:
        self.sent.append(frame)

    def flush(self, session: VoiceSession) -> Flushed:
        return Flushed(sum(frame.samples for frame in self.sent), exact=True)

    async def set_hold(self, session: VoiceSession, held: bool) -> None:
        session.state = VoiceSessionState.PAUSED if held else VoiceSessionState.ACTIVE
        self.emit("hold", session, held)


async def test_a_backend_lets_in_sends_holds_and_ends_a_call() -> None:
    line = Line()
    ready: list[VoiceSession] = []
    held: list[bool] = []
    line.on_session_ready(ready.append)
    line.on_hold(lambda _, now: held.append(now))
    assert (await line.authorize(CallRequest("line", "192.0.2.1:5060"))).accept
    call = await line.connect("r1", "p1", "voice")
    line.send_frame(call, FRAME)
    await line.set_hold(call, True)
    assert (ready, held, call.state) == ([call], [True], VoiceSessionState.PAUSED)
    assert line.flush(call) == Flushed(320, exact=True)
    await line.disconnect(call)
    await line.disconnect(call, cause=EndCause.ERROR)
    assert (call.ended, line.capacity) == (EndCause.LOCAL, BackendCapacity(0, 10))


# -- all of them ------------------------------------------------------------------------------------


def bare(role: type) -> Any:
    """Return an object that implements the abstract methods only."""
    empty = {name: (lambda *_: "bare") for name in getattr(role, "__abstractmethods__", ())}
    if "name" in empty:
        empty["name"] = property(lambda _: "bare")  # type: ignore[assignment]
    return type("Bare", (role,), empty)()


OPTIONAL: Sequence[tuple[type, str, Sequence[object]]] = [
    *[
        (role, "open", (FORMAT, INFO))
        for role in (DenoiserProvider, AGCProvider, AudioPostProcessor, AECProvider, VADProvider)
    ],
    (DTMFDetector, "open", (FORMAT, INFO)),
    (DiarizationProvider, "open", (FORMAT, INFO)),
    (DiarizationProvider, "enroll", ("anna", ())),
    (DiarizationProvider, "forget", ("anna",)),
    (ResamplerProvider, "open", (FORMAT, FORMAT)),
    (STTProvider, "open", (FORMAT, STTOptions(), INFO)),
    (STTProvider, "transcribe", (FRAME,)),
    (STTProvider, "transcribe_stream", (None,)),
    (TTSProvider, "open", (TTSOptions(), INFO)),
    (TTSProvider, "synthesize", ("hello",)),
    (TTSProvider, "synthesize_stream", ("hello",)),
    (AudioRecorder, "open", (None, None, RecordingConfig())),
    (RealtimeVoiceProvider, "open", (session(), RealtimeConfig())),
    (VoiceBackend, "drain", (1.0,)),
    (VoiceBackend, "authorize", (CallRequest("line", ""),)),
    (VoiceBackend, "connect", ("r1", "p1", "voice")),
    (VoiceBackend, "accept", (session(), None)),
    *[
        (VoiceBackend, name, (session(), value))
        for name, value in (
            ("send_frame", FRAME),
            ("set_source", None),
            ("send_audio", b""),
            ("set_input_muted", True),
            ("set_input_gated", True),
            ("send_dtmf", "1"),
            ("set_hold", True),
            ("transfer", "sip:b@example.org"),
            ("send_message", {}),
        )
    ],
    (VoiceBackend, "flush", (session(),)),
    (VoiceBackend, "cancel_audio", (session(),)),
]


@pytest.mark.parametrize(("role", "method", "arguments"), OPTIONAL)
async def test_a_method_that_is_not_implemented_says_so_and_does_nothing(
    role: type, method: str, arguments: Sequence[object]
) -> None:
    async def called() -> None:
        answer = getattr(bare(role), method)(*arguments)
        if inspect.isawaitable(answer):
            await answer

    with pytest.raises(VoiceUnsupportedError, match=rf"Bare does not support {method}\(\)"):
        await called()


def test_a_backend_without_a_limit_on_calls_says_that_it_has_no_count() -> None:
    with pytest.raises(VoiceUnsupportedError, match="capacity"):
        bare(VoiceBackend).capacity  # noqa: B018


def contracts() -> list[type]:
    found = (getattr(roomkit.abc, name) for name in dir(roomkit.abc))
    return [one for one in found if inspect.isclass(one) and one.__module__.startswith("roomkit.abc.voice.")]


@pytest.mark.parametrize("role", [one for one in contracts() if inspect.isabstract(one)])
def test_every_abstract_role_is_implemented_here(role: type) -> None:
    """So that a method added to a contract is tried here."""
    here = [one for one in globals().values() if inspect.isclass(one) and one.__module__ == __name__]
    whole = [one for one in here if issubclass(one, role) and not inspect.isabstract(one)]
    assert whole, f"{role.__name__} has no implementation in this file"


def test_every_public_method_says_what_it_does() -> None:
    """A contract is its docstrings, on every name that an implementer meets."""
    silent = [
        f"{one.__name__}.{name}"
        for one in contracts()
        for name, value in vars(one).items()
        if not name.startswith("_") and inspect.isfunction(value) and not value.__doc__
    ]
    assert (silent, len(contracts()) > 100) == ([], True)
