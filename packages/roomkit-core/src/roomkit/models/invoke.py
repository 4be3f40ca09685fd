"""Requests of a vendor that the app answers, such as an invoke of Teams or the start of a call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Self

from roomkit._dataclasses import dataclass
from roomkit.models.delivery import InboundMessage
from roomkit.models.webhook import WebhookAnswer

__all__ = ["Invoke", "InvokeAnswer", "WebhookInvoke"]


@dataclass(slots=True, frozen=True, kw_only=True)
class InvokeAnswer:
    """The app's answer to an invoke: a status and what the vendor reads, such as a JSON value or TwiML."""

    status: int = 200
    body: object = None


@dataclass(slots=True, frozen=True, kw_only=True)
class Invoke:
    """The payload of ON_INVOKE: the request, and the answer that the gates have given so far.

    `sender` is the sender's address on the channel. `room_id` is the room that the invoke will be committed
    to, None if that room is still to be made.
    """

    channel_id: str
    name: str
    value: object
    sender: str
    room_id: str | None = None
    answer: InvokeAnswer | None = None

    def answered(self, body: object = None, *, status: int = 200) -> Self:
        """Return the invoke with an answer, for `HookResult.modify`."""
        return replace(self, answer=InvokeAnswer(status=status, body=body))


def _as_json(answer: InvokeAnswer) -> WebhookAnswer:
    if answer.body is None:
        return WebhookAnswer(status=answer.status)
    return WebhookAnswer.of_json(answer.body, status=answer.status)


@dataclass(slots=True, frozen=True, kw_only=True)
class WebhookInvoke:
    """What a provider's `webhook` returns for a request that the app is to answer.

    The kit puts it to the ON_INVOKE gates of the room that `message` belongs to, then commits `message`
    whatever was answered. `default` is the answer when no gate gives one in `answer_timeout` seconds, or one
    blocks or fails. `render` makes the vendor's answer of the app's; without it the body is JSON.
    """

    message: InboundMessage
    name: str
    value: object = None
    default: InvokeAnswer = InvokeAnswer(status=501)
    answer_timeout: float = 8.0
    render: Callable[[InvokeAnswer], WebhookAnswer] = _as_json
