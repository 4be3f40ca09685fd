"""A vendor's HTTP request and the answer to it, free of any web framework."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, parse_qsl

from pydantic_core import from_json

from roomkit._dataclasses import dataclass
from roomkit.models.base import EMPTY, utcnow

if TYPE_CHECKING:
    from roomkit.models.delivery import Delivery, InboundResult

__all__ = ["UnparsedPart", "WebhookAnswer", "WebhookOutcome", "WebhookRequest"]


@dataclass(slots=True, frozen=True, kw_only=True)
class WebhookRequest:
    """One request, exactly as received: signatures are computed over `url` and `body`.

    `url` is the public URL the vendor called, with its query. Header names are matched without
    regard to case. `received_at` is POSIX seconds. `path_params` are the placeholders of the route's path.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)
    received_at: float = field(default_factory=lambda: utcnow().timestamp())
    client_host: str | None = None
    path_params: Mapping[str, str] = EMPTY

    def header(self, name: str, default: str | None = None) -> str | None:
        """Return the header `name`, whatever its case."""
        wanted = name.lower()
        return next((value for key, value in self.headers.items() if key.lower() == wanted), default)

    def query(self) -> dict[str, str]:
        """Return the query's parameters; the last of a repeated one wins."""
        return dict(parse_qsl(self.url.partition("?")[2], keep_blank_values=True))

    def json(self) -> Any:
        """Return the body as JSON. Raises WebhookBodyError when it is not."""
        try:
            return from_json(self.body, allow_inf_nan=False)
        except ValueError as error:
            raise WebhookBodyError(f"the webhook's body is not JSON: {error}") from error

    def form(self) -> dict[str, list[str]]:
        """Return the body as a URL-encoded form. Raises WebhookBodyError when it is not."""
        try:
            return parse_qs(self.body.decode(), keep_blank_values=True, max_num_fields=1000)
        except ValueError as error:
            raise WebhookBodyError(f"the webhook's body is not a form: {error}") from error


@dataclass(slots=True, frozen=True, kw_only=True)
class WebhookAnswer:
    """What to answer to a vendor's request. `body` is sent as it is; text as UTF-8."""

    status: int = 200
    body: bytes | str = field(default=b"", repr=False)
    content_type: str = "text/plain"
    headers: Mapping[str, str] = EMPTY

    @classmethod
    def of_json(cls, value: object, *, status: int = 200) -> Self:
        """Return an answer with a JSON body. Raises TypeError for what JSON cannot carry."""
        return cls(status=status, body=json.dumps(value), content_type="application/json")


@dataclass(slots=True, frozen=True, kw_only=True)
class UnparsedPart:
    """A part of a genuine request that is about no message: a notice on the account, or a kind not known yet.

    The kit publishes it as the framework event `webhook_unparsed`, and answers the vendor as for a part that
    was taken. A person's part is a message in any case, and a part about a message is a receipt.
    `reason` says what it is, in one line; `raw` is what the vendor sent, which JSON can carry.
    """

    channel_id: str
    reason: str
    raw: Mapping[str, Any] = field(default=EMPTY, repr=False)


@dataclass(slots=True, frozen=True, kw_only=True)
class WebhookOutcome:
    """What to answer to a vendor's request, and what became of its parts.

    `answer` is complete: with 2xx everything is committed, or ignored on purpose. `results` has one entry
    for each part that was handled, in the vendor's order: None for a signal, for a status that matches no
    delivery, and for an `UnparsedPart`. `error` is why a request was refused or not completely stored.
    `retry_after` is in how many seconds the vendor is to send the request again; the answer's header
    Retry-After says it as well.
    """

    answer: WebhookAnswer
    results: Sequence[InboundResult | Delivery | None] = ()
    error: Exception | None = None
    retry_after: float | None = None

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return self.answer.status


class WebhookBodyError(ValueError):
    """The body of a webhook is not in the format it should be; the kit answers 400."""
