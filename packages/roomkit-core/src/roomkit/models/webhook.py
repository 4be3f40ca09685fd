"""A vendor's HTTP request, free of any web framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl

from pydantic_core import from_json

from roomkit.models.base import utcnow

__all__ = ["WebhookRequest"]


@dataclass(slots=True, frozen=True, kw_only=True)
class WebhookRequest:
    """One request, exactly as received: signatures are computed over `url` and `body`.

    `url` is the public URL the vendor called, with its query. Header names are matched without
    regard to case. `received_at` is POSIX seconds.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)
    received_at: float = field(default_factory=lambda: utcnow().timestamp())
    client_host: str | None = None

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


class WebhookBodyError(ValueError):
    """The body of a webhook is not in the format it should be; `webhook()` turns it into a rejection."""
