"""The errors of a call. Their messages never quote speech."""

from __future__ import annotations

from typing import Any

from roomkit.abc.errors import ProviderError, RoomKitError

__all__ = [
    "AudioFormatError",
    "CapacityError",
    "DialError",
    "SharedStageError",
    "VoiceBackendNotConfiguredError",
    "VoiceError",
    "VoiceNotConfiguredError",
    "VoiceProviderError",
    "VoiceSessionEndedError",
    "VoiceUnsupportedError",
]


class VoiceError(RoomKitError):
    """The base of every error of the voice roles. Cancellation is never one."""

    code = "voice_error"


class VoiceNotConfiguredError(RoomKitError):
    """The kit was given no speech-to-text or text-to-speech provider."""

    code = "voice_not_configured"


class VoiceBackendNotConfiguredError(RoomKitError):
    """The kit was given no voice backend."""

    code = "voice_backend_not_configured"


class AudioFormatError(VoiceError, ValueError):
    """Audio of a sample rate, width, codec or size that cannot be used.

    Raised by `open`, it fails the start of a channel or session; for one frame, that frame is skipped and
    the error is reported once.
    """

    code = "audio_format"


class VoiceSessionEndedError(VoiceError):
    """The session has ended, and a session that has ended stays so."""

    code = "voice_session_ended"


class VoiceUnsupportedError(VoiceError):
    """The backend or provider does not claim the capability that the call needs; nothing was done."""

    code = "voice_unsupported"

    @classmethod
    def of(cls, part: object, method: str) -> VoiceUnsupportedError:
        """Return the error of a method that the class of `part` does not implement."""
        name = type(part).__name__
        return cls(f"{name} does not support {method}(): implement it, or ask another {name}")


class SharedStageError(VoiceError):
    """A stage keeps a session's state on itself and cannot be copied, so sessions would share it."""

    code = "shared_stage"


class CapacityError(VoiceError):
    """No more fits: calls of a backend, of one that drains, or audio of one utterance."""

    code = "voice_capacity"


class DialError(VoiceError):
    """An outbound call was not answered; the session, if there was one, has ended.

    `status` is the peer's SIP status or its like, None if there was no answer at all; `reason` its words.
    """

    code = "dial_failed"

    def __init__(self, message: str, *, status: int | None = None, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class VoiceProviderError(VoiceError, ProviderError):
    """A failure of the vendor behind a voice role, classified by its `error_code`.

    `operation` says which: "connect", "transcribe", "synthesize" ...; `yielded` whether results were handed
    over before. The same call may be retried only if it is `retryable` and nothing was yielded; else the
    engine turns to the next provider, and without one reports `stt_error` or `tts_error` while the call
    goes on.
    """

    code = "voice_provider_error"

    def __init__(
        self,
        message: str,
        *,
        operation: str,
        yielded: bool = False,
        **details: Any,  # Any: those of ProviderError
    ) -> None:
        super().__init__(message, **details)
        self.operation = operation
        self.yielded = yielded
