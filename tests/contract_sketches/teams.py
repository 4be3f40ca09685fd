"""Teams: invokes that the app answers, and contacts made by us, whose conversation is kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from roomkit import (
    ChannelBinding,
    ChannelOutput,
    ChannelType,
    EphemeralEvent,
    EphemeralEventType,
    Hints,
    InboundMessage,
    InvokeAnswer,
    ProviderResult,
    RoomContext,
    RoomEvent,
    TeamsHints,
    TextContent,
    WebhookAnswer,
    WebhookInvoke,
    WebhookRequest,
    text_of,
)
from roomkit.abc import TeamsProvider, TransportChannel, WebhookPart, WebhookRejected

type Call = Callable[..., Awaitable[str]]


@dataclass(slots=True, frozen=True, kw_only=True)
class BotHints(TeamsHints):
    """`conversation` is where to send; None begins one with the person."""

    conversation: str | None = None


class BotProvider(TeamsProvider):
    """The Bot Framework: a bearer token in, activities out. Equal keys are one activity."""

    hints_type: ClassVar[type[Hints]] = BotHints
    idempotent = True

    def __init__(self, begin: Call, post: Call, *, token: str = "token") -> None:
        self._begin = begin
        self._post = post
        self._token = token

    @property
    def name(self) -> str:
        return "bot"

    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: TeamsHints | None = None,
    ) -> ProviderResult:
        conversation = hints.conversation if isinstance(hints, BotHints) else None
        begun = conversation or await self._begin(f"conversation:{idempotency_key}", text=to)
        sent = await self._post(idempotency_key, conversation=begun, text=text_of(event.content))
        facts = {} if conversation else {"conversation": begun}
        return ProviderResult(success=True, provider_message_id=sent, metadata=facts)

    async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[WebhookPart]:
        if request.header("authorization") != f"Bearer {self._token}":
            raise WebhookRejected("the token is not the Bot Framework's")
        activity = request.json()
        match activity["type"]:
            case "message":
                return [_message(activity, channel_id)]
            case "invoke":
                return [_invoke(activity, channel_id)]
            case "typing" if activity.get("room"):
                kind = EphemeralEventType.TYPING_START
                who = activity["from"]
                return [
                    EphemeralEvent(room_id=activity["room"], type=kind, user_id=who, channel_id=channel_id)
                ]
            case "validation":
                return [WebhookAnswer(body=activity["token"])]
        return []


def _message(activity: Mapping[str, Any], channel_id: str, text: str | None = None) -> InboundMessage:
    return InboundMessage(
        channel_id=channel_id,
        sender_id=activity["from"],
        content=TextContent(body=activity["text"] if text is None else text),
        external_id=activity["id"],
        idempotency_key=activity["id"],
        thread_id=activity["conversation"],
        organization_id=activity["tenant"],
    )


def _invoke(activity: Mapping[str, Any], channel_id: str) -> WebhookInvoke:
    return WebhookInvoke(
        message=_message(activity, channel_id, f"[{activity['name']}]"),
        name=activity["name"],
        value=activity["value"],
        default=InvokeAnswer(status=200, body={"statusCode": 202}),
        answer_timeout=8.0,
    )


class TeamsBotChannel(TransportChannel):
    """One bot. The binding's state has the conversation, however it began."""

    def __init__(self, channel_id: str, provider: BotProvider) -> None:
        super().__init__(channel_id, ChannelType.TEAMS, provider=provider, recipient_key="teams_user")

    def binding_state(self, message: InboundMessage) -> Mapping[str, Any]:
        return {"conversation": message.thread_id} if message.thread_id else {}

    def hints(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> Mapping[str, Any]:
        return {"conversation": binding.state.get("conversation")}

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        output = await super().deliver(event, binding, context)
        if output.provider_result is not None and output.provider_result.metadata:
            output.binding_state = dict(output.provider_result.metadata)
        return output
