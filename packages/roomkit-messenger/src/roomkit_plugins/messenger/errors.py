"""Messenger's errors: https://developers.facebook.com/docs/messenger-platform/error-codes (2026)."""

from __future__ import annotations

from roomkit.abc.errors import ErrorCode
from roomkit_plugins.wire.graph import GraphCodes
from roomkit_plugins.wire.origin import Origin

__all__ = ["CODES", "ORIGIN"]

ORIGIN = Origin("facebook", "Messenger")

CODES = GraphCodes(
    codes={
        230: ErrorCode.PERMISSION,
        551: ErrorCode.INVALID_RECIPIENT,  # the person is not available
        1200: ErrorCode.OVERLOADED,
        1545041: ErrorCode.INVALID_RECIPIENT,  # the same, by another of Meta's systems
    },
    subcodes={
        33: ErrorCode.NOT_FOUND,
        2018001: ErrorCode.INVALID_RECIPIENT,  # no such person for this page
        2018008: ErrorCode.UNSUPPORTED_CONTENT,  # a file's URL cannot be fetched
        2018047: ErrorCode.UNSUPPORTED_CONTENT,  # a file of another type
        2018065: ErrorCode.WINDOW_CLOSED,
        2018074: ErrorCode.NOT_FOUND,  # an upload that expired
        2018108: ErrorCode.INVALID_RECIPIENT,  # the person receives no messages now
        2018278: ErrorCode.WINDOW_CLOSED,
        1893063: ErrorCode.PERMISSION,  # the page is restricted for now
    },
)
