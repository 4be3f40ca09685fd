"""WhatsApp's errors: https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes
(June 2026)."""

from __future__ import annotations

from roomkit.abc.errors import ErrorCode
from roomkit_plugins.wire.graph import GraphCodes
from roomkit_plugins.wire.origin import Origin

__all__ = ["CODES", "ORIGIN"]

ORIGIN = Origin("cloud", "WhatsApp")

_PAIR_RATE = 131056
_PAIR_RATE_WAIT = 6.0
"""Seconds: one message to a recipient in six seconds is what lasts (documentation of pair rate limits)."""

CODES = GraphCodes(
    codes={
        33: ErrorCode.PERMISSION,  # the business phone number was deleted
        130429: ErrorCode.RATE_LIMIT,
        130472: ErrorCode.INVALID_RECIPIENT,  # the recipient is part of an experiment of Meta's
        130497: ErrorCode.INVALID_RECIPIENT,  # not to recipients of this country
        131000: ErrorCode.SERVER,
        131005: ErrorCode.PERMISSION,
        131008: ErrorCode.INVALID_REQUEST,
        131009: ErrorCode.INVALID_REQUEST,
        131016: ErrorCode.OVERLOADED,
        131021: ErrorCode.INVALID_RECIPIENT,  # the sender itself
        131026: ErrorCode.INVALID_RECIPIENT,
        131030: ErrorCode.INVALID_RECIPIENT,  # not in the list of a test number
        131031: ErrorCode.PERMISSION,  # the account is locked
        131037: ErrorCode.PERMISSION,  # the display name is not approved
        131042: ErrorCode.QUOTA,
        131045: ErrorCode.PERMISSION,  # the number is not registered
        131047: ErrorCode.WINDOW_CLOSED,
        131048: ErrorCode.QUOTA,  # too many of the number's messages were reported or blocked
        131049: ErrorCode.INVALID_RECIPIENT,  # this recipient got enough marketing; not to be sent again soon
        131050: ErrorCode.OPTED_OUT,
        131051: ErrorCode.UNSUPPORTED_CONTENT,
        131052: ErrorCode.UNSUPPORTED_CONTENT,  # the file could not be downloaded
        131053: ErrorCode.UNSUPPORTED_CONTENT,  # the file could not be uploaded
        _PAIR_RATE: ErrorCode.RECIPIENT_RATE_LIMIT,
        131055: ErrorCode.INVALID_REQUEST,
        131057: ErrorCode.OVERLOADED,  # the account is in maintenance
        131062: ErrorCode.INVALID_RECIPIENT,  # this message cannot go to a business-scoped user id
        131064: ErrorCode.RATE_LIMIT,
        132000: ErrorCode.INVALID_REQUEST,
        132001: ErrorCode.INVALID_REQUEST,
        132005: ErrorCode.TOO_LONG,
        132007: ErrorCode.INVALID_REQUEST,
        132008: ErrorCode.INVALID_REQUEST,
        132012: ErrorCode.INVALID_REQUEST,
        132015: ErrorCode.INVALID_REQUEST,  # the template is paused
        132016: ErrorCode.INVALID_REQUEST,  # the template is disabled
        132018: ErrorCode.INVALID_REQUEST,
        132068: ErrorCode.INVALID_REQUEST,  # the flow is blocked
        132069: ErrorCode.RATE_LIMIT,  # the flow is throttled
        133004: ErrorCode.OVERLOADED,
        133010: ErrorCode.PERMISSION,  # the number is not registered
        134011: ErrorCode.PERMISSION,  # the terms of payments are not accepted
        135000: ErrorCode.INVALID_REQUEST,
    },
    subcodes={33: ErrorCode.NOT_FOUND},  # no such number, template or file, or one that expired
    waits={_PAIR_RATE: _PAIR_RATE_WAIT},
)
