"""Sinch's errors: https://developers.sinch.com/docs/sms/api-reference/status-codes (Nov 2026)."""

from __future__ import annotations

from roomkit.abc.errors import ProviderError, code_for_status
from roomkit_plugins.wire.caller import HTTPAnswer
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.reading import json_value

__all__ = ["ORIGIN", "api_error"]

ORIGIN = Origin("sinch", "Sinch")


def api_error(answer: HTTPAnswer) -> ProviderError:
    """Classify an error answer by its HTTP status, which says all that is to know; 401 has an empty body."""
    try:
        said = json_value(answer.body)
    except ValueError:
        said = None
    found = said if isinstance(said, dict) else {}
    code, text = found.get("code"), found.get("text")
    known = code if isinstance(code, str) else None
    return ORIGIN.answered(
        answer.status,
        code_for_status(answer.status),
        text if isinstance(text, str) else "no message",
        headers=answer.headers,
        codes=[] if known is None else [f"sinch_{known}"],
    )
