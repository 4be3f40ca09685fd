"""Microsoft Teams by the Bot Connector, written by one SDK or the other."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, override

from roomkit.abc.errors import ErrorCode, InvalidInputError, ProviderError
from roomkit.abc.teams import TeamsProvider
from roomkit.authoring.payload import VendorPayload
from roomkit.models.content import DeleteContent, EditContent
from roomkit.models.delivery import ProviderResult
from roomkit.models.enums import EventType
from roomkit_plugins.teams.activities import is_bot_removed, parse_teams_activity, read_activity, vendor_id
from roomkit_plugins.teams.compose import TeamsMessageHints, activity_of, members_of, unsupported
from roomkit_plugins.teams.config import TeamsConfig
from roomkit_plugins.teams.connector import Connector, TokenSender
from roomkit_plugins.teams.errors import ORIGIN
from roomkit_plugins.teams.references import (
    ConversationReferenceStore,
    InMemoryConversationReferenceStore,
    KeptConversationReferenceStore,
    reference_of,
)
from roomkit_plugins.teams.tokens import KeySet, TokenProvider, Tokens, check_token, login_api
from roomkit_plugins.wire.vendor_provider import VendorProvider

if TYPE_CHECKING:
    import httpx2

    from roomkit.abc.provider import WebhookPart
    from roomkit.abc.services import Services
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import Hints
    from roomkit.models.webhook import WebhookRequest

__all__ = ["AgentsTeamsProvider", "BotFrameworkTeamsProvider", "TeamsConnectorProvider"]


class TeamsConnectorProvider(VendorProvider[TeamsConfig, Connector], TeamsProvider):
    """Sends as a bot, and takes its activities. The address is a conversation's id.

    Where a conversation is, it says with each activity: `references` keep it, by default among the values of
    the kit's store. To write to a person or a channel first, see `create_personal_conversation` and
    `create_channel_conversation`. Messages can be edited and deleted; reactions only come in. Teams has no
    idempotency key: of a message whose fate is not known none is sent again. `token_provider` returns a token
    for a scope, such as a managed identity's, in place of a secret or certificate. `http_client` replaces the
    connections, for a proxy or other certificates; its maker closes it.
    """

    origin = ORIGIN
    idempotent = False
    hints_type: ClassVar[type[Hints]] = TeamsMessageHints
    typing_seconds = 4.0

    def __init__(
        self,
        config: TeamsConfig,
        *,
        references: ConversationReferenceStore | None = None,
        token_provider: TokenProvider | None = None,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        if config.has_credentials is (token_provider is not None):
            raise InvalidInputError(
                "a bot signs in by app_password, by a certificate, or by a token_provider: give exactly one"
            )
        self._login = login_api(config, type(self).__name__, http_client)
        self._tokens = Tokens(config, self._login, token_provider)
        self._keys = KeySet(config.openid_url or config.addresses.openid, self._login)
        self._own_references = references
        self._references: ConversationReferenceStore = references or InMemoryConversationReferenceStore()
        super().__init__(config, http_client=http_client)

    @override
    def bind(self, services: Services) -> None:
        super().bind(services)
        if self._own_references is None:
            self._references = KeptConversationReferenceStore(services)

    @property
    def references(self) -> ConversationReferenceStore:
        """Where the bot's conversations are."""
        return self._references

    @abstractmethod
    def _connector(self, sender: TokenSender) -> Connector:
        """Return what writes the requests."""

    # -- outbound -----------------------------------------------------------------------------

    @override
    async def send(  # type: ignore[override]  # its hints are derived from the role's
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: TeamsMessageHints | None = None,
    ) -> ProviderResult:
        self._check_recipient(to)
        if event.type is EventType.REACTION:
            raise unsupported("a reaction: bots cannot react")
        if isinstance(event.content, EditContent | DeleteContent):
            return await self._amend(event.content, to, hints)
        activity = activity_of(event.content, _own(hints, to))
        reference = await self._reference(to)
        sent = await self._api.send(_service_url(reference), to, {**_addressed(reference), **activity})
        return ProviderResult(success=True, provider_message_id=vendor_id(to, sent))

    async def _amend(
        self, content: EditContent | DeleteContent, to: str, hints: TeamsMessageHints | None
    ) -> ProviderResult:
        """Change what was sent; all parts but the last of a message that was split are left as they are."""
        if hints is None or not hints.about:
            raise unsupported("a change of a message that it has no id of")
        service_url = _service_url(await self._reference(to))
        if isinstance(content, DeleteContent):
            for each in hints.about:
                await self._api.delete(service_url, to, _activity_id(each))
        else:
            activity = activity_of(content.new_content, None)
            last = _activity_id(hints.about[-1])
            await self._api.update(service_url, to, last, {**activity, "id": last})
        return ProviderResult(success=True, provider_message_id=None)

    async def show_typing(self, to: str, is_typing: bool, *, answering: str | None) -> None:
        """Show that an answer is being written, for some seconds; Teams cannot end it early."""
        if is_typing:
            reference = await self._reference(to)
            await self._api.send(_service_url(reference), to, {**_addressed(reference), "type": "typing"})

    async def create_personal_conversation(
        self, service_url: str, user_id: str, *, tenant_id: str | None = None
    ) -> str:
        """Begin to write to a person, who has the bot installed; return the conversation's id.

        `user_id` is theirs as activities have it (`29:...`), or that of their account. Attach the channel
        with `metadata={"teams_conversation_id": ...}`. Raises ProviderError.
        """
        parameters = {
            **self._beginning(tenant_id),
            "isGroup": False,
            "members": [{"id": user_id}],
        }
        made, _ = await self._api.create(service_url, parameters)
        await self._keep(made, service_url, tenant_id, "personal")
        return made

    async def create_channel_conversation(
        self, service_url: str, channel_id: str, *, text: str, tenant_id: str | None = None
    ) -> str:
        """Begin a thread in a channel (`19:...@thread.tacv2`) with `text`; return the conversation's id.

        Raises ProviderError.
        """
        parameters = {
            **self._beginning(tenant_id),
            "isGroup": True,
            "channelData": {
                "channel": {"id": channel_id},
                **({"tenant": {"id": tenant_id}} if tenant_id else {}),
            },
            "activity": {"type": "message", "text": text},
        }
        made, _ = await self._api.create(service_url, parameters)
        await self._keep(made, service_url, tenant_id, "channel")
        return made

    async def roster(self, conversation_id: str) -> list[dict[str, str]]:
        """Return who is in a conversation: `id`, `name`, `aadObjectId`, `email` where Teams says them."""
        reference = await self._reference(conversation_id)
        return members_of(await self._api.members(_service_url(reference), conversation_id))

    async def probe(self) -> str:
        """Return that Microsoft signs the bot in; nothing is sent. See `SupportsProbe`."""
        try:
            await self._tokens.get()
        except ProviderError as error:
            if error.error_code is ErrorCode.AUTH:
                remedy = "; compare app_id, tenant_id and the secret or certificate with the Azure bot's"
                error.args = (f"{error}{remedy}",)
            raise
        return f"the bot {self._config.app_id} is signed in, for {self._config.tenant_id}"

    def _beginning(self, tenant_id: str | None) -> dict[str, Any]:
        found: dict[str, Any] = {"bot": {"id": f"28:{self._config.app_id}"}}
        if tenant_id and tenant_id != "common":
            found |= {"tenantId": tenant_id, "channelData": {"tenant": {"id": tenant_id}}}
        return found

    async def _keep(self, conversation_id: str, service_url: str, tenant_id: str | None, kind: str) -> None:
        conversation = {"id": conversation_id, "conversationType": kind}
        if tenant_id:
            conversation["tenantId"] = tenant_id
        reference = {
            "bot": {"id": f"28:{self._config.app_id}"},
            "conversation": conversation,
            "channelId": "msteams",
            "serviceUrl": service_url,
        }
        await self._references.save(conversation_id, reference)

    async def _reference(self, conversation_id: str) -> Mapping[str, Any]:
        found = await self._references.get(conversation_id)
        if found is None:
            raise ORIGIN.refused(
                f"the bot does not know where the conversation {conversation_id[:60]!r} is: it has had no "
                "activity from there; begin one by create_personal_conversation",
                error_code=ErrorCode.INVALID_RECIPIENT,
            )
        return found

    # -- inbound ------------------------------------------------------------------------------

    @override
    async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[WebhookPart]:
        """Verify that Microsoft sent the activity, note where its conversation is, return what it says."""
        parts = await super().webhook(request, channel_id=channel_id)
        activity = request.json()
        conversation_id = parse_teams_activity(activity)["conversation_id"]
        if not conversation_id:
            return parts
        if is_bot_removed(activity):
            await self._references.delete(conversation_id)
        else:
            await self._references.save(conversation_id, reference_of(activity))
        return parts

    @override
    async def _verify(self, request: WebhookRequest) -> None:
        await check_token(request, self._config, self._keys)

    @override
    def _read(self, request: WebhookRequest, channel_id: str) -> Sequence[WebhookPart]:
        activity = request.json()
        VendorPayload(ORIGIN.vendor, activity).needed("serviceUrl")
        return read_activity(activity, channel_id)

    def file_headers(self, url: str) -> Mapping[str, str]:
        """Return the headers that an inline image needs, which Teams keeps for the bot alone."""
        token = self._tokens.secret
        return {"Authorization": f"Bearer {token}"} if token and self._config.trusts(url) else {}

    @override
    def _connect(self, http_client: httpx2.AsyncClient | None) -> Connector:
        owner = type(self).__name__
        return self._connector(TokenSender(self._config, self._tokens, owner=owner, http_client=http_client))

    @override
    async def close(self) -> None:
        await super().close()
        await self._login.close()


class BotFrameworkTeamsProvider(TeamsConnectorProvider):
    """Teams by the Bot Framework SDK, whose support ended in 2025; `AgentsTeamsProvider` is for a new bot."""

    @override
    def _connector(self, sender: TokenSender) -> Connector:
        from roomkit_plugins.teams.botframework import BotFrameworkConnector

        return BotFrameworkConnector(sender, owner=type(self).__name__)


class AgentsTeamsProvider(TeamsConnectorProvider):
    """Teams by Microsoft's Agents SDK."""

    @override
    def _connector(self, sender: TokenSender) -> Connector:
        from roomkit_plugins.teams.agents import AgentsConnector

        return AgentsConnector(sender, owner=type(self).__name__)


def _service_url(reference: Mapping[str, Any]) -> str:
    return str(reference.get("serviceUrl", ""))


def _addressed(reference: Mapping[str, Any]) -> dict[str, Any]:
    """Return whom an activity is from and to."""
    names = (("bot", "from"), ("user", "recipient"), ("conversation", "conversation"))
    return {name: dict(found) for key, name in names if isinstance(found := reference.get(key), Mapping)}


def _activity_id(identity: str) -> str:
    """Return the vendor's own id of a message."""
    return identity.rpartition("|")[2]


def _own(hints: TeamsMessageHints | None, to: str) -> TeamsMessageHints | None:
    """Return the hints with the vendor's own id of what is answered."""
    if hints is None or hints.reply_to is None:
        return hints
    return TeamsMessageHints(card=hints.card, mentions=hints.mentions, reply_to=_activity_id(hints.reply_to))
