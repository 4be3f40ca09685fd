"""Microsoft Teams: the login server, the keys, the Bot Connector, and people in conversations.

https://learn.microsoft.com/azure/bot-service/rest-api/bot-framework-rest-connector-api-reference (Nov 2026).
"""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, override
from urllib.parse import parse_qs, unquote

from roomkit.models.base import utcnow
from roomkit.models.webhook import WebhookAnswer, WebhookOutcome, WebhookRequest
from roomkit_plugins.testing.simulators.ai import Failure
from roomkit_plugins.testing.simulators.http import Exchange, ReceivedRequest
from roomkit_plugins.testing.simulators.vendor import SimulatedPerson, VendorSimulator

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

__all__ = ["TeamsMember", "TeamsMessage", "TeamsSimulator"]

TENANT = "aaaabbbb-cccc-dddd-eeee-ffff00001111"
_LARGEST = 100_000
_FORMATS = ("plain", "markdown", "xml")
_ISSUER = "https://api.botframework.com"


@dataclass(slots=True, eq=False)
class TeamsMessage:
    """A message that the bot sent; `text` is None once it was deleted."""

    id: str
    conversation_id: str
    text: str | None
    activity: Mapping[str, Any]
    edits: list[str] = field(default_factory=list)


class _Refused(Exception):
    def __init__(self, status: int, code: str, words: str) -> None:
        super().__init__(words)
        self.failure = Failure(status, {"error": {"code": code, "message": words}})


class TeamsMember(SimulatedPerson[TeamsMessage]):
    """A person in a conversation with the bot. `has_seen_typing` counts what the bot showed."""

    def __init__(self, teams: TeamsSimulator, name: str, conversation_id: str, kind: str) -> None:
        super().__init__(conversation_id)
        self._teams = teams
        self.name = name
        self.id = f"29:{name.lower()}"
        self.conversation_id = conversation_id
        self.kind = kind
        self.has_seen_typing = 0

    @property
    def texts(self) -> list[str]:
        """The texts of what came, as it is now."""
        return [message.text or "" for message in self.received]

    async def write(self, text: str, **fields: Any) -> WebhookOutcome | WebhookAnswer:
        """Write into the conversation; `fields` are further ones of the activity."""
        return await self.send("message", text=text, textFormat="plain", **fields)

    async def mention(self, text: str) -> WebhookOutcome | WebhookAnswer:
        """Write to the bot by its name, as in a group."""
        tag = f"<at>{self._teams.bot_name}</at>"
        bot = {"id": self._teams.bot_id, "name": self._teams.bot_name}
        entity = {"type": "mention", "text": tag, "mentioned": bot}
        return await self.write(f"{tag} {text}", entities=[entity])

    async def press(self, title: str) -> WebhookOutcome | WebhookAnswer:
        """Press a button of a card that came."""
        buttons = [
            button
            for message in self.received
            for card in message.activity.get("attachments", ())
            for button in card["content"].get("buttons", ())
        ]
        button = next(each for each in reversed(buttons) if each["title"] == title)
        return await self.write(button["text"], value=button["value"])

    async def edit(self, activity_id: str, text: str) -> WebhookOutcome | WebhookAnswer:
        """Change a message of theirs."""
        data = {"eventType": "editMessage"}
        return await self.send("messageUpdate", id=activity_id, text=text, channelData=data)

    async def delete(self, activity_id: str) -> WebhookOutcome | WebhookAnswer:
        """Delete a message of theirs."""
        return await self.send(
            "messageDelete", id=activity_id, channelData={"eventType": "softDeleteMessage"}
        )

    async def react(self, activity_id: str, kind: str, *, put: bool = True) -> WebhookOutcome | WebhookAnswer:
        """Put a reaction on a message, or take it back."""
        name = "reactionsAdded" if put else "reactionsRemoved"
        return await self.send("messageReaction", replyToId=activity_id, **{name: [{"type": kind}]})

    async def read(self, activity_id: str) -> WebhookOutcome | WebhookAnswer:
        """Read everything up to a message."""
        return await self.send(
            "event",
            name="application/vnd.microsoft.readReceipt",
            value={"lastReadMessageId": activity_id},
        )

    async def send(self, kind: str, **fields: Any) -> WebhookOutcome | WebhookAnswer:
        """Have an activity of this person's sent to the bot."""
        return await self._teams.post(self._teams.activity(self, kind, **fields))


class TeamsSimulator(VendorSimulator[TeamsMessage]):
    """Teams on a free local port, with people whom the bot talks to.

        async with TeamsSimulator() as teams:
            config = TeamsConfig(
                app_id=teams.app_id, app_password=teams.app_password, service_urls=(teams.origin,),
                login_url=teams.origin, openid_url=teams.openid_url,
            )
            teams.connect(lambda request: kit.process_webhook(request, "teams"))
            ann = teams.person("Ann")
            await ann.write("Hello")
            print((await ann.receive()).text)

    Tokens are asked for and signed as Microsoft's are; activities are checked for what the service checks.
    `conversations` are those that the bot is in, `signals` what it showed there beside messages.
    """

    def __init__(
        self,
        *,
        app_id: str = "11112222-3333-4444-5555-666677778888",
        app_password: str = "simulated-app-password",
        bot_name: str = "HelpBot",
        webhook_url: str = "https://chat.example.org/webhooks/teams",
    ) -> None:
        super().__init__(webhook_url=webhook_url)
        self.app_id = app_id
        self.app_password = app_password
        self.bot_name = bot_name
        self.bot_id = f"28:{app_id}"
        self.token_seconds = 3600
        self.signals: list[tuple[str, str]] = []  # bound: one test
        self.conversations: dict[str, TeamsMember] = {}  # bound: one test
        self._tokens: list[str] = []  # bound: one test
        self._issued = 0

    @property
    def openid_url(self) -> str:
        """Where the keys of the activities' signatures are found."""
        return f"{self.origin}/v1/.well-known/openidconfiguration"

    # -- what a test says ---------------------------------------------------------------------

    def person(self, name: str, *, conversation_id: str = "", kind: str = "personal") -> TeamsMember:
        """Return a person in their chat with the bot, or in another conversation."""
        where = conversation_id or f"a:{name.lower()}"
        member = self.conversations.get(where)
        if member is None or member.name != name:
            member = TeamsMember(self, name, where, kind)
            self.conversations.setdefault(where, member)
        return member

    @override
    def failure(self, status: int, code: int, headers: Mapping[str, str]) -> Failure:
        return Failure(status, {"error": {"code": f"Simulated{code}", "message": "Simulated"}}, headers)

    def revoke_tokens(self) -> None:
        """End all tokens that were given out."""
        self._tokens.clear()

    def new_id(self) -> str:
        """Return the id of a message that was not given out: milliseconds."""
        self._issued += 1
        return str(int(time.time() * 1000) + self._issued)

    def activity(self, member: TeamsMember, kind: str, **fields: Any) -> dict[str, Any]:
        """Return an activity of a person's, as Teams writes it."""
        is_group = member.kind != "personal"
        said = {
            "type": kind,
            "id": self.new_id(),
            "timestamp": utcnow().isoformat(),
            "serviceUrl": f"{self.origin}/",
            "channelId": "msteams",
            "from": {"id": member.id, "name": member.name, "aadObjectId": f"aad-{member.name.lower()}"},
            "recipient": {"id": self.bot_id, "name": self.bot_name},
            "conversation": {
                "id": member.conversation_id,
                "conversationType": member.kind,
                "tenantId": TENANT,
                **({"isGroup": True} if is_group else {}),
            },
        }
        data = {"tenant": {"id": TENANT}, **fields.pop("channelData", {})}
        return {**said, "channelData": data, **fields}

    async def post(self, activity: Mapping[str, Any]) -> WebhookOutcome | WebhookAnswer:
        """Sign an activity and have it taken; return the answer."""
        return await self.hand_over(self.signed(json.dumps(activity).encode()))

    def signed(self, body: bytes, at: float | None = None, **claims: Any) -> WebhookRequest:
        """Return a request with this body and a token for it, of now by default."""
        try:
            said = json.loads(body)
        except (ValueError, RecursionError):
            said = None
        service_url = said.get("serviceUrl") if isinstance(said, dict) else None
        moment = int(time.time() if at is None else at)
        given = {
            "iss": _ISSUER,
            "aud": self.app_id,
            "nbf": moment - 60,
            "exp": moment + 1800,
            "serviceurl": service_url or f"{self.origin}/",
            **claims,
        }
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._jwt(given)}"}
        return WebhookRequest(method="POST", url=self.webhook_url, headers=headers, body=body)

    def _jwt(self, claims: Mapping[str, Any]) -> str:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        head = {"typ": "JWT", "alg": "RS256", "kid": "simulated-key"}
        signed = b".".join(_base64(json.dumps(part).encode()) for part in (head, claims))
        signature = _signing_key().sign(signed, padding.PKCS1v15(), hashes.SHA256())
        return b".".join((signed, _base64(signature))).decode()

    @property
    def keys(self) -> list[dict[str, Any]]:
        """The keys, as Microsoft publishes them."""
        numbers = _signing_key().public_key().public_numbers()
        return [
            {
                "kty": "RSA",
                "use": "sig",
                "kid": "simulated-key",
                "n": _base64(numbers.n.to_bytes(256)).decode(),
                "e": _base64(numbers.e.to_bytes(3)).decode(),
                "endorsements": ["msteams"],
            }
        ]

    # -- the servers --------------------------------------------------------------------------

    @override
    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        try:
            await self._answer_to(request, exchange)
        except _Refused as error:
            await exchange.send_json(error.failure.status, error.failure.body)

    async def _answer_to(self, request: ReceivedRequest, exchange: Exchange) -> None:
        match request.path.strip("/").split("/"):
            case ["v1", ".well-known", "openidconfiguration"]:
                await exchange.send_json(200, {"issuer": _ISSUER, "jwks_uri": f"{self.origin}/v1/keys"})
            case ["v1", "keys"]:
                await exchange.send_json(200, {"keys": self.keys})
            case [_, "oauth2", "v2.0", "token"]:
                await self._sign_in(request, exchange)
            case ["v3", "conversations", *rest]:
                self._check_token(request)
                await self._connector(request, exchange, [unquote(part) for part in rest])
            case _:
                raise _Refused(404, "NotFound", "There is no such operation")

    async def _sign_in(self, request: ReceivedRequest, exchange: Exchange) -> None:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        is_ours = form.get("client_id") == self.app_id and form.get("grant_type") == "client_credentials"
        has_secret = form.get("client_secret") == self.app_password or form.get("client_assertion", "")
        if not is_ours or not has_secret or not form.get("scope", "").endswith("/.default"):
            said = {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret."}
            await exchange.send_json(401, said)
            return
        self._tokens.append(f"simulated-token-{len(self._tokens) + self._issued}")
        answer = {"token_type": "Bearer", "expires_in": self.token_seconds, "access_token": self._tokens[-1]}
        await exchange.send_json(200, answer)

    def _check_token(self, request: ReceivedRequest) -> None:
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self._tokens:
            raise _Refused(401, "Unauthorized", "Authorization has been denied for this request.")

    async def _connector(self, request: ReceivedRequest, exchange: Exchange, path: list[str]) -> None:
        match (request.method, path):
            case ("POST", []):
                await self._create(request, exchange)
            case ("GET", [conversation_id, "members"]):
                member = self._member(conversation_id)
                said = {"id": member.id, "name": member.name, "aadObjectId": f"aad-{member.name.lower()}"}
                await exchange.send_json(200, [said])
            case ("POST", [conversation_id, "activities"]):
                await self._send(request, exchange, self._member(conversation_id))
            case ("PUT", [conversation_id, "activities", activity_id]):
                message = self._own(conversation_id, activity_id)
                message.edits.append(message.text or "")
                message.activity = _checked(request)
                message.text = _text_of(message.activity)
                await exchange.send_json(200, {"id": activity_id})
            case ("DELETE", [conversation_id, "activities", activity_id]):
                self._own(conversation_id, activity_id).text = None
                await exchange.send_bytes(200, b"")
            case _:
                raise _Refused(405, "MethodNotAllowed", "The operation is not known")

    async def _create(self, request: ReceivedRequest, exchange: Exchange) -> None:
        said = request.json()
        if said.get("bot", {}).get("id") != self.bot_id:
            raise _Refused(400, "BadArgument", "Unknown bot")
        if said.get("isGroup"):
            channel = said.get("channelData", {}).get("channel", {}).get("id")
            text = said.get("activity", {}).get("text")
            if not channel or not text:
                raise _Refused(400, "BadSyntax", "A thread needs a channel, and a first activity with text")
            identity = self.new_id()
            made = f"{channel};messageid={identity}"
            self.person("Team", conversation_id=made, kind="channel")
            await exchange.send_json(201, {"id": made, "activityId": identity})
            return
        members = said.get("members") or []
        if len(members) != 1 or not members[0].get("id"):
            raise _Refused(400, "BadArgument", "A personal conversation has one member")
        name = members[0]["id"].removeprefix("29:").title()
        await exchange.send_json(201, {"id": self.person(name).conversation_id})

    async def _send(self, request: ReceivedRequest, exchange: Exchange, member: TeamsMember) -> None:
        activity = _checked(request)
        if activity["type"] == "typing":
            member.has_seen_typing += 1
            self.signals.append(("typing", member.conversation_id))
            await exchange.send_json(201, {"id": self.new_id()})
            return
        fault = self.next_fault()
        if isinstance(fault, Failure):
            await exchange.send_bytes(fault.status, json.dumps(fault.body).encode(), fault.headers)
            return
        message = TeamsMessage(self.new_id(), member.conversation_id, _text_of(activity), activity)
        self.messages.append(message)
        member.show(message)
        await self.answer(exchange, 201, {"id": message.id}, fault)

    def _member(self, conversation_id: str) -> TeamsMember:
        member = self.conversations.get(conversation_id)
        if member is None:
            raise _Refused(
                403, "BotNotInConversationRoster", "The bot is not part of the conversation roster."
            )
        return member

    def _own(self, conversation_id: str, activity_id: str) -> TeamsMessage:
        found = next((each for each in self.messages if each.id == activity_id), None)
        if found is None or found.conversation_id != conversation_id or found.text is None:
            raise _Refused(404, "ActivityNotFoundInConversation", "There is no such activity")
        return found


@cache
def _signing_key() -> RSAPrivateKey:
    """The key of this process's simulators: making one takes a tenth of a second and more."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _base64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def _text_of(activity: Mapping[str, Any]) -> str:
    cards = [each.get("content", {}) for each in activity.get("attachments", ())]
    words = [activity.get("text", ""), *(card.get("title", "") for card in cards)]
    return "\n".join(filter(None, words))


def _checked(request: ReceivedRequest) -> dict[str, Any]:
    """Return an activity. Raises _Refused where the service refuses."""
    try:
        said = request.json()
    except ValueError:
        said = None
    if not isinstance(said, dict) or said.get("type") not in ("message", "typing"):
        raise _Refused(400, "BadSyntax", "The activity is of no known type")
    if len(request.body) > _LARGEST:
        raise _Refused(413, "MessageSizeTooBig", "Message size too large.")
    if said["type"] == "message" and not said.get("text") and not said.get("attachments"):
        raise _Refused(400, "BadSyntax", "Activity must have text or attachments")
    if said.get("textFormat", "plain") not in _FORMATS:
        raise _Refused(400, "BadSyntax", "Unknown textFormat")
    for each in said.get("attachments") or ():
        if not each.get("contentType") or not (each.get("content") or each.get("contentUrl")):
            raise _Refused(400, "BadSyntax", "An attachment needs a contentType, and a content or contentUrl")
    for each in said.get("entities") or ():
        if each.get("type") == "mention" and each.get("text", "") not in said.get("text", ""):
            raise _Refused(400, "BadSyntax", "The text of a mention is not in the activity's text")
    return said
