"""Whose turn it is: how a conversation's turns are tuned, judged and reported."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import StrEnum, unique
from itertools import pairwise
from math import inf
from typing import Any, ClassVar, Literal

from roomkit._dataclasses import dataclass
from roomkit.abc.voice.checks import Checked, Count, Milliseconds, Positive, PositiveCount, ZeroToOne, wrong

__all__ = [
    "AnsweredBy",
    "BackchannelContext",
    "BackchannelDecision",
    "BackchannelDetector",
    "Endpointing",
    "Interruption",
    "InterruptionConfig",
    "InterruptionStrategy",
    "MuteStrategy",
    "SpeculationPolicy",
    "TurnContext",
    "TurnDecision",
    "TurnDetector",
    "TurnEntry",
    "TurnProfile",
    "TurnReport",
]


@unique
class InterruptionStrategy(StrEnum):
    """The effect of speech over the agent's. All but DISABLED pause the agent at once and judge then."""

    IMMEDIATE = "immediate"
    """Cut."""
    CONFIRMED = "confirmed"
    """Cut once it has lasted for `min_speech_ms`."""
    SEMANTIC = "semantic"
    """Cut with the first words that are not a backchannel."""
    DISABLED = "disabled"
    """Neither pause nor cut; the speech is handled when the agent has finished."""


@unique
class MuteStrategy(StrEnum):
    """When the caller is not listened to."""

    NEVER = "never"
    UNTIL_FIRST_ANSWER = "until_first_answer"
    DURING_TOOLS = "during_tools"
    ALWAYS = "always"
    """While the agent speaks."""


@unique
class AnsweredBy(StrEnum):
    """Who or what answered an outbound call."""

    HUMAN = "human"
    IVR = "ivr"
    VOICEMAIL = "voicemail"
    UNAVAILABLE = "unavailable"
    SCREENING = "screening"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpointing(Checked):
    """When a turn is over.

    Delays count from the last voiced sample. None takes 300 and 2,500 ms with an audio turn model, 500 and
    3,000 without. The delay moves between the two with a moving average of this caller's pauses if
    `learns`, and follows the recognizer's time to final. `VADConfig.silence_threshold_ms` is the least of
    them in effect.
    """

    _ordered: ClassVar = ("min_delay_ms", "max_delay_ms")

    min_delay_ms: Milliseconds | None = None
    max_delay_ms: Milliseconds | None = None
    learns: bool = True
    history_weight: ZeroToOne = 0.9
    """How much the average keeps of itself at each pause, 0 to 1."""
    follows_time_to_final: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption(Checked):
    """The effect of the caller's speech over the agent's.

    Phrases are by language (BCP 47), each a sequence of texts, and compared without case and punctuation.
    """

    strategy: InterruptionStrategy = InterruptionStrategy.CONFIRMED
    min_speech_ms: Milliseconds = 300.0
    min_words: Count = 0
    allow_during_first_ms: Milliseconds = 0.0
    """For so long after its first sample, the agent is neither paused nor cut."""
    resume_after_ms: Milliseconds = 2000.0
    """The agent goes on at the latest so long after the speech, if that was no interruption."""
    ignore_phrases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    interrupt_phrases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    back_off_ms: Milliseconds = 0.0
    """After an interruption the agent waits at least so long before it speaks."""
    echo_tail_ms: Milliseconds = 150.0
    """For so long after the agent's last sample, the caller's audio may be its echo."""
    flush_partial_tts: bool = True
    """False lets the utterance finish while the caller's speech is processed."""
    keep_partial_transcript: bool = True

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        _check_phrases(self, "ignore_phrases")
        _check_phrases(self, "interrupt_phrases")


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptionConfig(Interruption):
    """An `Interruption` with the judge that its SEMANTIC strategy asks; made in Python, not from a file."""

    backchannel_detector: BackchannelDetector | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeculationPolicy(Checked):
    """Whether an answer is begun before the turn is certainly over. It stays unheard until it is."""

    enabled: bool = False
    speech: bool = False
    """Synthesize it, too."""
    max_tries: Count = 3
    """A turn."""
    max_speech_ms: Milliseconds = 10_000.0
    """Not for turns that are longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnProfile(Checked):
    """How turns are taken, for recognized and speech-to-speech calls alike.

    Immutable; an agent, a phase or a tool switches to another one whole. Milliseconds; None is off.
    """

    _ordered: ClassVar = ("soft_limit_ms", "hard_limit_ms")

    endpointing: Endpointing = field(default_factory=Endpointing)
    interruption: Interruption = field(default_factory=Interruption)
    speculation: SpeculationPolicy = field(default_factory=SpeculationPolicy)
    mute: MuteStrategy = MuteStrategy.NEVER
    max_turn_ms: Positive | None = None
    max_turn_words: PositiveCount | None = None
    remind_after_ms: Positive | None = None
    """After so much silence of the caller, the next of `reminders` is said."""
    reminders: tuple[str, ...] = ()
    filler_after_ms: Positive | None = None
    """After so long without an answer, the next of `fillers` is said."""
    fillers: tuple[str, ...] = ()
    soft_limit_ms: Positive | None = None
    """At this length of the call the agent is asked to come to an end."""
    hard_limit_ms: Positive | None = None
    """At this length the call is ended, with cause LIMIT."""
    digits_terminator: Literal["*", "#"] | None = "#"
    digits_gap_ms: Positive = 3000.0
    """Digits are complete after so long without another."""
    digits_max: PositiveCount | None = None
    spelling_patience_ms: Milliseconds = 1500.0
    """What a caller who spells or dictates is given between two characters."""


@dataclass(frozen=True, slots=True)
class TurnEntry(Checked):
    """One turn of the conversation so far; `role` is "user" or "assistant"."""

    text: str
    role: str | None = None
    duration_ms: Milliseconds | None = None


@dataclass(frozen=True, slots=True)
class TurnContext(Checked):
    """The input of a turn detector: the turn that may be over, and the conversation before it."""

    conversation_history: Sequence[TurnEntry] = ()
    """Oldest first, without the turn in question."""
    silence_duration_ms: Milliseconds = 0.0
    transcript: str = ""
    """The turn so far, and whether the recognizer will add to it."""
    is_final: bool = False
    speech_duration_ms: Milliseconds = 0.0
    session_id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)  # Any: facts of the engine
    audio_bytes: bytes | None = None
    """The turn's audio, mono PCM of `audio_sample_rate` Hz; None if it is not kept."""
    audio_sample_rate: int = 16000
    language: str | None = None


@dataclass(frozen=True, slots=True)
class TurnDecision(Checked):
    """Whether a turn is over. If not, the detector is asked again after `suggested_wait_ms` of silence."""

    is_complete: bool
    confidence: ZeroToOne = 1.0
    reason: str | None = None
    suggested_wait_ms: Milliseconds | None = None


class TurnDetector(ABC):
    """Judges whether a speaker has finished. It keeps no state."""

    @abstractmethod
    def evaluate(self, context: TurnContext) -> TurnDecision:
        """Return a decision, on any thread, for several sessions at once.

        Asked after the least delay of silence, and again as it suggests. An answer that raises or takes more
        than 200 ms counts as complete.
        """

    def evaluate_batch(self, contexts: Sequence[TurnContext]) -> Sequence[TurnDecision]:
        """Return the decisions of `evaluate`, in order."""
        return [self.evaluate(context) for context in contexts]

    async def warmup(self) -> None:
        """Load models, so that `evaluate` need not."""

    def close(self) -> None:
        """Release models. Idempotent."""


@dataclass(frozen=True, slots=True)
class BackchannelContext(Checked):
    """Speech of the caller while the agent spoke."""

    transcript: str = ""
    speech_duration_ms: Milliseconds = 0.0
    audio_bytes: bytes | None = None
    """From the onset, mono PCM."""
    bot_speech_progress: ZeroToOne = 0.0
    """How much of its utterance the agent has said, 0 to 1."""
    session_id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)  # Any: facts of the engine
    language: str | None = None


@dataclass(frozen=True, slots=True)
class BackchannelDecision(Checked):
    """Whether the speech only says "I am listening"; `label` classifies it."""

    is_backchannel: bool
    confidence: ZeroToOne = 1.0
    label: Literal["backchannel", "interruption", "noise", "echo", "other_voice", "unsure"] = "unsure"


class BackchannelDetector(ABC):
    """Judges speech over the agent's. It keeps no state."""

    @abstractmethod
    def classify(self, context: BackchannelContext) -> BackchannelDecision:
        """Return a decision within 5 ms, on any thread; asked again with each partial transcript.

        With neither words nor audio to go by, the label is "unsure".
        """

    def close(self) -> None:
        """Release models. Idempotent."""


_MARKS = ("turn_end_ms", "first_token_ms", "first_sentence_ms", "first_audio_ms", "first_sample_ms")


@dataclass(slots=True)
class TurnReport:
    """Where the time of one turn went. Marks are session times, None if not measured; counts are of the turn.

    Filled while the turn goes on, on the home loop.
    """

    turn_id: str
    session_id: str
    speech_start_ms: float | None = None
    speech_end_ms: float | None = None
    """The last voiced sample, not when its silence was noticed."""
    final_ms: float | None = None
    turn_end_ms: float | None = None
    first_token_ms: float | None = None
    first_sentence_ms: float | None = None
    first_audio_ms: float | None = None
    first_sample_ms: float | None = None
    """When the first sample of the answer was heard."""
    interruptions: int = 0
    backchannels: int = 0
    false_alarms: int = 0
    """Pauses of the agent without an interruption."""
    speculations: int = 0
    wasted_chars: int = 0
    """Of answers that were withdrawn."""

    @property
    def gap_ms(self) -> float | None:
        """From the last voiced sample to the first sample heard; None if either was not measured."""
        if self.speech_end_ms is None or self.first_sample_ms is None:
            return None
        return self.first_sample_ms - self.speech_end_ms

    @property
    def parts(self) -> Mapping[str, float]:
        """The parts of the gap, in ms and in order.

        "wait" is from the end of speech to the end of the turn; each other part ends at the mark of its
        name. A part is there only if both its marks were measured; work done before the turn ended counts
        0.
        """
        found: dict[str, float] = {}
        if self.speech_end_ms is not None and self.turn_end_ms is not None:
            found["wait"] = self.turn_end_ms - self.speech_end_ms
        over = -inf if self.turn_end_ms is None else self.turn_end_ms
        for before, after in pairwise(_MARKS):
            start, stop = getattr(self, before), getattr(self, after)
            if start is not None and stop is not None:
                found[after.removesuffix("_ms")] = max(0.0, max(stop, over) - max(start, over))
        return found

    @property
    def unexplained_ms(self) -> float | None:
        """The rest of the gap that no part explains; None without a gap."""
        gap = self.gap_ms
        return None if gap is None else gap - sum(self.parts.values())


def _check_phrases(record: Interruption, name: str) -> None:
    for phrases in getattr(record, name).values():
        if isinstance(phrases, str):
            raise wrong(record, name, phrases, "give a sequence of texts for each language")
