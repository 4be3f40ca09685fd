"""VoiceMeUp's errors: in answers with status 200, by words of its own."""

from __future__ import annotations

from collections.abc import Mapping

from roomkit.abc.errors import ErrorCode, ProviderError, code_for_status
from roomkit_plugins.wire.caller import HTTPAnswer
from roomkit_plugins.wire.origin import Origin

__all__ = ["ORIGIN", "http_error", "refusal"]

ORIGIN = Origin("voicemeup", "VoiceMeUp")

_BY_WORD: Mapping[str, ErrorCode] = {
    "destination": ErrorCode.INVALID_RECIPIENT,
    "auth": ErrorCode.AUTH,
    "username": ErrorCode.AUTH,
    "balance": ErrorCode.QUOTA,
    "credit": ErrorCode.QUOTA,
    "attachment": ErrorCode.UNSUPPORTED_CONTENT,
}
"""What a code is about: VoiceMeUp publishes no list of them, and another one is an `invalid_request`."""


def refusal(code: str, said: str, headers: Mapping[str, str]) -> ProviderError:
    """Classify an error that an answer with status 200 reports."""
    kind = next((kind for word, kind in _BY_WORD.items() if word in code), ErrorCode.INVALID_REQUEST)
    return ORIGIN.answered(
        200, kind, said or "no message", headers=headers, codes=[f"voicemeup_{code}"] if code else []
    )


def http_error(answer: HTTPAnswer) -> ProviderError:
    """Classify an answer from 400 on by its status."""
    said = answer.body.decode(errors="replace").strip()
    return ORIGIN.answered(
        answer.status, code_for_status(answer.status), said[:200] or "no message", headers=answer.headers
    )
