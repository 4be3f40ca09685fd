"""One call: who is in it, what state it is in, and its timeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime
from enum import StrEnum, unique
from functools import partial
from typing import Any, Literal

from roomkit._dataclasses import dataclass
from roomkit.abc.errors import InvalidInputError
from roomkit.abc.log import get_logger
from roomkit.abc.voice.audio import AudioFormat
from roomkit.abc.voice.checks import Checked
from roomkit.abc.voice.errors import VoiceError, VoiceSessionEndedError

__all__ = ["CallParty", "EndCause", "VoiceSession", "VoiceSessionState"]

_log = get_logger("roomkit.voice")


@unique
class VoiceSessionState(StrEnum):
    """The states of a session; ENDED is the last.

    CONNECTING becomes ACTIVE or ENDED, ACTIVE and PAUSED become each other or ENDED.
    """

    CONNECTING = "connecting"
    ACTIVE = "active"
    PAUSED = "paused"
    """On hold by signalling. Paused playback does not change the state of a session."""
    ENDED = "ended"


_MOVES = {
    VoiceSessionState.CONNECTING: (VoiceSessionState.ACTIVE, VoiceSessionState.ENDED),
    VoiceSessionState.ACTIVE: (VoiceSessionState.PAUSED, VoiceSessionState.ENDED),
    VoiceSessionState.PAUSED: (VoiceSessionState.ACTIVE, VoiceSessionState.ENDED),
}


@unique
class EndCause(StrEnum):
    """Why a session ended."""

    REMOTE = "remote"
    """The peer hung up."""
    LOCAL = "local"
    """This side hung up."""
    REJECTED = "rejected"
    NO_ANSWER = "no_answer"
    NETWORK = "network"
    TRANSFERRED = "transferred"
    DRAINED = "drained"
    """The backend closed while the call was still up."""
    LIMIT = "limit"
    """A limit on its length was reached."""
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class CallParty(Checked):
    """The peer's claims about itself, which prove nothing.

    `address` is where it calls from (a number, a SIP URI), `called` what it called; for an outbound call the
    other way round: `address` is always the peer's. `headers` are the signalling's own, by lower-case name.
    """

    address: str = ""
    display_name: str = ""
    called: str = ""
    direction: Literal["inbound", "outbound"] = "inbound"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, eq=False, weakref_slot=True)
class VoiceSession:
    """A live connection of audio with one peer.

    It is one object from `connect` to the end of the call, compared by identity and made by the backend or
    the channel, never copied. `id` is made here; an id from a peer is a request. `input_format` is the
    format of the frames that the backend emits, `output_format` that of the frames it takes. `ready_at` is
    the time of the home loop, in seconds, at which media could flow both ways; None until then.

    Backends also fill the documented keys of `metadata` ("input_sample_rate", "output_sample_rate", "caller",
    "callee", "call_id", "backend" ...), for people to read: nothing decides by them.

    Read and changed on the home loop only.
    """

    id: str
    room_id: str
    participant_id: str
    channel_id: str
    state: VoiceSessionState = VoiceSessionState.CONNECTING
    provider_session_id: str | None = None
    created_at: datetime = field(default_factory=partial(datetime.now, UTC))
    metadata: dict[str, Any] = field(default_factory=dict)  # Any: facts of the backend
    input_format: AudioFormat = field(default_factory=AudioFormat)
    output_format: AudioFormat = field(default_factory=AudioFormat)
    party: CallParty | None = None
    ended: EndCause | None = None
    """Why it ended; None while it has not, or if no cause was given."""
    ready_at: float | None = None

    def __setattr__(self, name: str, value: Any) -> None:  # Any: the value of any field
        """Set a field; a new `state` is checked.

        Raises VoiceSessionEndedError if it leaves ENDED, InvalidInputError if it is not a state. Another move
        that `VoiceSessionState` does not name is logged, and made.
        """
        if name == "state":
            value = _member(VoiceSessionState, value)
            self._check_move(getattr(self, "state", value), value)
        object.__setattr__(self, name, value)

    def end(self, cause: EndCause) -> bool:
        """End the session; return whether this call gave the cause, so that its end is handled once.

        The first cause is kept. Idempotent.
        """
        if self.ended is not None:
            return False
        self.ended = _member(EndCause, cause)
        self.state = VoiceSessionState.ENDED
        return True

    def renegotiate(self) -> None:
        """Return to CONNECTING while a provider reconnects. Raises VoiceSessionEndedError after the end."""
        if self.state is VoiceSessionState.ENDED:
            raise self._has_ended("be renegotiated")
        object.__setattr__(self, "state", VoiceSessionState.CONNECTING)

    def ms_at(self, loop_time: float) -> float:
        """Return the session time, in ms, of a time of the home loop, in seconds.

        Negative for times before media flowed both ways. Raises VoiceError until then.
        """
        if self.ready_at is None:
            raise VoiceError(f"session {self.id!r} has no timeline yet: wait until it is ready")
        return (loop_time - self.ready_at) * 1000

    def _check_move(self, old: VoiceSessionState, new: VoiceSessionState) -> None:
        if old is new:
            return
        if old is VoiceSessionState.ENDED:
            raise self._has_ended(f"become {new}")
        if new not in _MOVES[old]:
            _log.warning("session %s went from %s to %s, which no session does", self.id, old, new)

    def _has_ended(self, change: str) -> VoiceSessionEndedError:
        return VoiceSessionEndedError(f"session {self.id!r} has ended and cannot {change}: open another")


def _member[Word: StrEnum](kind: type[Word], value: str) -> Word:
    try:
        return kind(value)
    except ValueError:
        words = ", ".join(kind)
        raise InvalidInputError(f"{value!r} is no {kind.__name__}: use one of {words}") from None
