"""What the providers behind text channels have alike: an account, its connections, and verified webhooks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol, override
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from roomkit.abc.errors import ErrorCode, WebhookRejected
from roomkit.abc.provider import Provider
from roomkit_plugins.wire.json_api import JSONAPI
from roomkit_plugins.wire.reading import readable_webhook

if TYPE_CHECKING:
    import httpx2

    from roomkit.abc.errors import ProviderError
    from roomkit.abc.provider import WebhookPart
    from roomkit.models.webhook import WebhookRequest
    from roomkit_plugins.wire.caller import HTTPAnswer
    from roomkit_plugins.wire.origin import Origin

__all__ = [
    "Closable",
    "JSONProvider",
    "VendorConfig",
    "VendorProvider",
    "check_age",
    "reference_of",
    "with_reference",
]

_REFERENCE = "reference"
_TOLERANCE = 300.0
"""Seconds that a signed request may be old, or ahead."""


class VendorConfig(BaseModel):
    """The settings of one account: frozen, without unknown names, and no value of theirs in an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    timeout: float = Field(default=10.0, gt=0, le=300)
    """Seconds for one request to the API."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret of the settings, to be kept out of messages."""
        return tuple(_secrets(dict(self).values()))


class Closable(Protocol):
    """What a provider calls its vendor by."""

    async def close(self) -> None:
        """Close the connections; requests under way fail. Idempotent."""


class VendorProvider[Config: VendorConfig, API: Closable](Provider):
    """A provider over `_api`, which calls the account of `_config`; stands before the role among the bases.

        class AcmeSMSProvider(VendorProvider[AcmeConfig, AcmeAPI], SMSProvider): ...

    A subclass gives `origin`, whose name is the provider's, and implements `_connect`, `_verify` and `_read`,
    beside `send` of its role. `http_client` replaces the connections, for a proxy or other certificates; its
    maker closes it. For a vendor with a JSON API, see `JSONProvider`.
    """

    origin: ClassVar[Origin]
    """Whose answers are read."""

    def __init__(self, config: Config, *, http_client: httpx2.AsyncClient | None = None) -> None:
        self._config = config
        self._api = self._connect(http_client)

    @abstractmethod
    def _connect(self, http_client: httpx2.AsyncClient | None) -> API:
        """Return what calls the vendor. No I/O and no import of an SDK: both at the first call."""

    @abstractmethod
    async def _verify(self, request: WebhookRequest) -> None:
        """Raise WebhookRejected for a request that the vendor did not sign; read nothing of its body."""

    @abstractmethod
    def _read(self, request: WebhookRequest, channel_id: str) -> Sequence[WebhookPart]:
        """Return what a verified request says. A KeyError or ValueError is a body that cannot be read."""

    @property
    @override
    def name(self) -> str:
        return self.origin.provider

    async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[WebhookPart]:
        """Verify that the vendor sent the request, then return what it says. See `ReceivesWebhooks`."""
        await self._verify(request)
        with readable_webhook(self.origin.vendor):
            return self._read(request, channel_id)

    @override
    async def close(self) -> None:
        await self._api.close()

    def _check_recipient(self, to: str) -> None:
        """Raise ProviderError for an empty address."""
        if not to.strip():
            raise self.origin.refused(
                "there is no recipient to send to", error_code=ErrorCode.MISSING_RECIPIENT
            )


class JSONProvider[Config: VendorConfig](VendorProvider[Config, JSONAPI]):
    """A `VendorProvider` over a JSON API.

    A subclass gives `distribution` too, and implements `_headers` and `_refusal`; `_secrets` are those of the
    settings unless it has more, such as a token that it got.
    """

    distribution: ClassVar[str]
    """What brings it: an import that fails says to install that."""

    @abstractmethod
    def _headers(self) -> Mapping[str, str]:
        """Return what is sent with each request."""

    @abstractmethod
    def _refusal(self, answer: HTTPAnswer) -> ProviderError:
        """Classify an answer from 400 on."""

    def _secrets(self) -> Iterable[str]:
        """Return what is kept out of messages."""
        return self._config.secrets

    @override
    def _connect(self, http_client: httpx2.AsyncClient | None) -> JSONAPI:
        return JSONAPI(
            self.origin,
            owner=type(self).__name__,
            distribution=self.distribution,
            timeout=self._config.timeout,
            headers=self._headers,
            refusal=self._refusal,
            secrets=self._secrets,
            http_client=http_client,
        )


def check_age(request: WebhookRequest, header: str) -> str:
    """Return the POSIX seconds of a header that the vendor signs, as they were received.

    Raises WebhookRejected if they are not there, or not within five minutes of the request's arrival.
    """
    said = request.header(header) or ""
    if not (said.isascii() and said.isdigit() and len(said) <= 12):
        raise WebhookRejected(f"the webhook has no {header}")
    if abs(request.received_at - int(said)) > _TOLERANCE:
        raise WebhookRejected("the webhook is of another time: check the clock of this machine")
    return said


def with_reference(url: str, key: str | None) -> str:
    """Return a URL for receipts with the key of their message, for vendors that return it in no other way."""
    return url if key is None else f"{url}?{urlencode({_REFERENCE: key})}"


def reference_of(request: WebhookRequest) -> str | None:
    """Return the key in the URL of a verified receipt; None without one."""
    return request.query().get(_REFERENCE) or None


def _secrets(values: Iterable[object]) -> Iterator[str]:
    for value in values:
        if isinstance(value, SecretStr):
            yield value.get_secret_value()
        elif isinstance(value, Mapping):
            yield from _secrets(value.values())
