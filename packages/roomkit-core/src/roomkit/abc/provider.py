"""What the providers behind text channels have in common."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from roomkit.models.hints import Hints

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from roomkit.abc.services import Services
    from roomkit.models.delivery import DeliveryStatus, InboundMessage, ProviderResult, ReceiptWatermark
    from roomkit.models.event import RoomEvent
    from roomkit.models.invoke import WebhookInvoke
    from roomkit.models.realtime import EphemeralEvent, InboundSignal
    from roomkit.models.webhook import UnparsedPart, WebhookAnswer, WebhookRequest

__all__ = ["MarksRead", "Provider", "ReceivesWebhooks", "SendsToAddress", "ShowsTyping", "WebhookPart"]


class Provider(ABC):
    """The vendor behind a channel.

    Safe for concurrent use by every room of its channel. `send` of each transport's role takes the event to
    carry, already transcoded and within the length limit, `idempotency_key`, stable over retries, for
    vendors that accept one, and the `hints` of its role. It returns a `ProviderResult` with the vendor's
    message id and raises `ProviderError` for a failure, which says in `accepted` whether the vendor may
    have taken the message; it never retries by itself. One that has a method `webhook` receives its
    vendor's requests, see `ReceivesWebhooks`.
    """

    hints_type: ClassVar[type[Hints]] = Hints
    """What `send` takes as `hints`: of the role, or the provider's own type derived from that."""
    idempotent: bool = False
    """Whether the vendor sends one message for several sends of one `idempotency_key`."""
    returns_key: bool = False
    """Whether receipts bring the `idempotency_key` of their message back, as `DeliveryStatus.reference`."""
    retry_status: int | None = 503
    """The status on which the vendor sends a webhook again; None if it repeats none."""
    services: Services | None = None

    @property
    def name(self) -> str:
        """The provider's component name."""
        return type(self).__name__

    def bind(self, services: Services) -> None:
        """Take the kit's services; called when the provider's channel is registered, before `start`.

        They have the provider's own namespace; channel and tasks are those of its channel. No I/O, no tasks.
        A provider behind several channels is bound by each, and by default keeps those of the last.
        """
        self.services = services

    def file_headers(self, url: str) -> Mapping[str, str]:
        """Return the headers that fetching a file of an inbound message needs: see `Channel.file_headers`."""
        return {}

    async def locate_file(self, url: str) -> str | None:
        """Return where a file is now, of a URL that names it; None for others: see `Channel.locate_file`."""
        return None

    async def start(self) -> None:
        """Prepare what the provider needs before its first use; called by its channel's `start`.

        If it raises, the channel is broken. A provider behind several channels is started by each.
        """

    async def close(self) -> None:
        """Release connections. Idempotent."""


class SendsToAddress(Protocol):
    """What every provider role of a transport has in common."""

    hints_type: ClassVar[type[Hints]]
    """See `Provider.hints_type`."""
    idempotent: bool
    """See `Provider.idempotent`."""

    @property
    def name(self) -> str:
        """The provider's component name."""

    async def send(
        self, event: RoomEvent, to: str, *, idempotency_key: str | None = None, hints: Any = None
    ) -> ProviderResult:
        """Send the event to an address; `hints` are of the provider's `hints_type`, None for none."""

    async def close(self) -> None:
        """Release connections."""


@runtime_checkable
class ShowsTyping(Protocol):
    """A provider whose vendor can show a person that an answer is being written.

    Its channel uses it where the binding's capabilities have `supports_typing`.
    """

    typing_seconds: float
    """For how many seconds the vendor shows it after one call, or until a message arrives."""

    async def show_typing(self, to: str, is_typing: bool, *, answering: str | None) -> None:
        """Show, or no longer show, to an address that an answer is being written.

        `answering` is the vendor's id of the newest message that came from there, None without one; a vendor
        that needs it is not asked then. A vendor that cannot end it early ignores `is_typing=False`. The call
        has 10 seconds. Raises ProviderError, with `retry_after` where the vendor says it; nothing is retried.
        """


@runtime_checkable
class MarksRead(Protocol):
    """A provider whose vendor can show a person that their messages were read.

    Its channel uses it where the binding's capabilities have `supports_read_receipts`.
    """

    async def mark_read(self, to: str, message_ids: Sequence[str]) -> None:
        """Mark messages that came from an address as read.

        `message_ids` are the vendor's ids, the newest last, at least one and at most 50; all older messages
        are read too. One that was marked before may be among them. The call has 10 seconds. Raises
        ProviderError, with `retry_after` where the vendor says it; nothing is retried.
        """


type WebhookPart = (
    InboundMessage
    | DeliveryStatus
    | ReceiptWatermark
    | EphemeralEvent
    | InboundSignal
    | UnparsedPart
    | WebhookInvoke
    | WebhookAnswer
)
"""One part of what a vendor's request says, or the answer to it."""


@runtime_checkable
class ReceivesWebhooks(Protocol):
    """A provider whose vendor calls back.

    It may have the attribute `retry_status`: the status on which its vendor sends a request again (503
    without it), or None if the vendor repeats nothing; its README then names the setting that makes it.
    """

    async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[WebhookPart]:
        """Verify the request's signature first, then return what it says, in its order.

        Messages, statuses, watermarks, signals and unparsed parts, and at most one answer: a `WebhookAnswer`,
        or a `WebhookInvoke` that the app answers. Without one the vendor gets an empty 200 once everything is
        committed. An empty list is a request that is ignored on purpose.

        Raises WebhookRejected when it cannot be verified or is not what the vendor sends; WebhookBodyError
        counts as that. Nothing the vendor sent is dropped: an item that is not understood becomes a message
        or status that says so, or an `UnparsedPart` if it is about no message. It is called again for a
        request that the vendor repeats.
        """
