"""What an activity says, and who is believed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from roomkit.abc.errors import InvalidInputError, WebhookRejected
from roomkit.models import (
    CompositeContent,
    CustomContent,
    EphemeralEventType,
    EventType,
    InboundMessage,
    MediaContent,
    ReceiptState,
    SystemContent,
    TextContent,
    text_of,
)
from roomkit.models.delivery import ReceiptWatermark
from roomkit.models.invoke import WebhookInvoke
from roomkit.models.realtime import InboundSignal
from roomkit.models.webhook import UnparsedPart
from roomkit_plugins.teams import (
    AgentsTeamsProvider,
    is_bot_added,
    is_bot_removed,
    parse_teams_activity,
    parse_teams_reactions,
    parse_teams_webhook,
)
from roomkit_plugins.teams.activities import read_activity
from roomkit_plugins.testing.simulators import TeamsSimulator

BOT = "28:11112222-3333-4444-5555-666677778888"
HEAD: dict[str, Any] = {
    "type": "message",
    "id": "1795359845123",
    "timestamp": "2026-11-22T15:04:05.123Z",
    "serviceUrl": "https://smba.trafficmanager.net/amer/",
    "channelId": "msteams",
    "from": {"id": "29:1AbC-dEf", "name": "Ana Diaz", "aadObjectId": "5b1c0d2e"},
    "recipient": {"id": BOT, "name": "HelpBot"},
    "conversation": {"conversationType": "personal", "id": "a:1xyz", "tenantId": "t1"},
    "channelData": {"tenant": {"id": "t1"}},
}
GROUP = {
    "isGroup": True,
    "conversationType": "channel",
    "id": "19:general123@thread.tacv2;messageid=1795359000000",
    "tenantId": "t1",
}
MENTION = {
    "type": "mention",
    "text": '<at id="0">HelpBot</at>',
    "mentioned": {"id": BOT, "name": "HelpBot"},
}


def read(**fields: Any) -> Any:
    """Return the one part of an activity."""
    (part,) = read_activity({**HEAD, **fields}, "teams")
    return part


def test_a_message_is_of_its_conversation() -> None:
    """Ids are unique on the channel; answers go to the conversation."""
    found = read(text="Hello", replyToId="1795359840000")
    assert isinstance(found, InboundMessage)
    assert (found.sender_id, found.conversation, found.content) == (
        "29:1AbC-dEf",
        "a:1xyz",
        TextContent(body="Hello"),
    )
    assert found.external_id == found.idempotency_key == "a:1xyz|1795359845123"
    assert found.in_reply_to == ("a:1xyz|1795359840000",)
    assert found.metadata["sender_name"] == "Ana Diaz"
    assert found.metadata["bot_mentioned"] is True
    assert found.extra["aad_object_id"] == "5b1c0d2e"


@pytest.mark.parametrize(
    ("text", "entities", "words"),
    [
        ('<at id="0">HelpBot</at> reset my VPN', [MENTION], "reset my VPN"),
        ("<at>Ben</at>, ask <at>HelpBot</at>", [], "Ben, ask HelpBot"),
        ("a &lt; b &amp;&nbsp;c", [], "a < b & c"),
    ],
)
def test_only_the_bots_own_mention_goes(text: str, entities: Any, words: str) -> None:
    found = read(text=text, entities=entities, conversation=GROUP)
    assert text_of(found.content) == words
    assert found.metadata["bot_mentioned"] is bool(entities)
    assert (found.thread_id, found.metadata["is_group"]) == ("1795359000000", True)


FILE = {
    "contentType": "application/vnd.microsoft.teams.file.download.info",
    "name": "plan.pdf",
    "content": {"downloadUrl": "https://tenant.sharepoint.com/plan?x=1", "uniqueId": "u"},
}


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        (
            {"attachments": [FILE]},
            MediaContent(
                url="https://tenant.sharepoint.com/plan?x=1", mime_type="application/pdf", filename="plan.pdf"
            ),
        ),
        (
            {
                "text": "look",
                "attachments": [
                    {"contentType": "image/*", "contentUrl": "https://smba.trafficmanager.net/a"},
                    {"contentType": "text/html", "content": "<p>look</p>"},
                ],
            },
            MediaContent(url="https://smba.trafficmanager.net/a", mime_type="image/jpeg", caption="look"),
        ),
        (
            {"value": {"choice": "a", "count": 2}},
            CustomContent(kind="teams.submit", body="choice: a\ncount: 2", data={"choice": "a", "count": 2}),
        ),
        (
            {"text": "Yes", "value": {"payload": "y"}},
            CustomContent(kind="teams.submit", body="Yes", data={"payload": "y"}),
        ),
        ({}, SystemContent(body="A message without text or file", code="unparsed")),
    ],
)
def test_files_and_forms_are_kept(fields: Any, content: Any) -> None:
    assert read(**fields).content == content


def test_a_card_of_an_unknown_kind_is_said_to_be_there() -> None:
    found = read(text="x", attachments=[{"contentType": "application/x.card", "content": {}}])
    assert isinstance(found.content, CompositeContent)
    assert "application/x.card" in text_of(found.content)


def test_edits_and_deletions_name_their_message() -> None:
    edit = read(type="messageUpdate", text="new", channelData={"eventType": "editMessage"})
    assert (edit.event_type, edit.in_reply_to) == (EventType.EDIT, ("a:1xyz|1795359845123",))
    assert edit.external_id not in (None, "a:1xyz|1795359845123")
    gone = read(type="messageDelete", channelData={"eventType": "softDeleteMessage"})
    assert (gone.event_type, gone.in_reply_to) == (EventType.DELETE, ("a:1xyz|1795359845123",))
    back = read(type="messageUpdate", text="new", channelData={"eventType": "undeleteMessage"})
    assert back.event_type is EventType.MESSAGE


def test_each_reaction_is_an_event() -> None:
    payload = {
        **HEAD,
        "type": "messageReaction",
        "replyToId": "17",
        "reactionsAdded": [{"type": "like"}, {"type": "1f440_eyes"}],
        "reactionsRemoved": [{"type": "sad"}],
    }
    found = read_activity(payload, "teams")
    assert [(each.metadata["emoji"], each.metadata["action"]) for each in found] == [  # type: ignore[union-attr]
        ("👍", "add"),
        ("1f440_eyes", "add"),
        ("🙁", "remove"),
    ]
    assert {each.in_reply_to for each in found if isinstance(each, InboundMessage)} == {("a:1xyz|17",)}
    assert [each["action"] for each in parse_teams_reactions(payload)] == ["add", "add", "remove"]


def test_typing_and_reading_are_signals_and_receipts() -> None:
    typing = read(type="typing")
    assert isinstance(typing, InboundSignal)
    assert (typing.type, typing.conversation) == (EphemeralEventType.TYPING_START, "a:1xyz")
    mark = read(
        type="event",
        name="application/vnd.microsoft.readReceipt",
        value={"lastReadMessageId": "1795359845123"},
    )
    assert isinstance(mark, ReceiptWatermark)
    assert (mark.recipient, mark.status) == ("a:1xyz", ReceiptState.READ)
    assert mark.at.timestamp() == 1795359845.123


def test_an_invoke_waits_for_the_app() -> None:
    found = read(type="invoke", name="task/fetch", value={"x": 1})
    assert isinstance(found, WebhookInvoke)
    assert (found.name, found.value, found.default.status) == ("task/fetch", {"x": 1}, 501)
    assert found.message.content == CustomContent(
        kind="teams.invoke", body="[task/fetch]", data={"name": "task/fetch", "value": {"x": 1}}
    )


@pytest.mark.parametrize(
    ("fields", "reason", "added", "removed"),
    [
        ({"type": "conversationUpdate", "membersAdded": [{"id": BOT}]}, "bot was added", True, False),
        ({"type": "conversationUpdate", "membersRemoved": [{"id": BOT}]}, "bot was removed", False, True),
        (
            {"type": "conversationUpdate", "membersAdded": [{"id": "29:x"}]},
            "conversationUpdate",
            False,
            False,
        ),
        ({"type": "installationUpdate", "action": "add"}, "bot was added", True, False),
        ({"type": "installationUpdate", "action": "remove"}, "bot was removed", False, True),
        ({"type": "endOfConversation"}, "endOfConversation", False, False),
    ],
)
def test_notices_on_the_bot_are_reported(fields: Any, reason: str, added: bool, removed: bool) -> None:
    found = read(**fields)
    assert isinstance(found, UnparsedPart)
    assert reason in found.reason
    assert (is_bot_added({**HEAD, **fields}), is_bot_removed({**HEAD, **fields})) == (added, removed)


def test_an_activity_is_read_by_hand() -> None:
    assert parse_teams_activity({**HEAD, "conversation": GROUP}) == {
        "activity_type": "message",
        "conversation_id": GROUP["id"],
        "conversation_type": "channel",
        "conversation_name": "",
        "is_group": True,
        "service_url": "https://smba.trafficmanager.net/amer/",
        "tenant_id": "t1",
        "sender_id": "29:1AbC-dEf",
        "sender_name": "Ana Diaz",
        "bot_id": BOT,
        "reply_to_id": "",
        "members_added": [],
        "members_removed": [],
    }
    (message,) = parse_teams_webhook({**HEAD, "text": "hi"}, "teams")
    assert message.channel_id == "teams"
    assert parse_teams_webhook({**HEAD, "type": "typing"}, "teams") == []


@pytest.mark.parametrize(
    "fields",
    [
        {"from": {}},
        {"conversation": {}},
        {"id": None},
        {
            "type": "event",
            "name": "application/vnd.microsoft.readReceipt",
            "value": {"lastReadMessageId": "x"},
        },
        {"type": "messageReaction", "reactionsAdded": [{}], "replyToId": "1"},
        {"attachments": "x"},
    ],
)
def test_what_teams_does_not_send_is_refused(fields: Any) -> None:
    with pytest.raises(InvalidInputError):
        read(**fields)


@pytest.mark.parametrize("sdk", ["botbuilder", "agents"])
def test_the_simulators_activities_are_what_the_sdks_read(sdk: str) -> None:
    """The oracle of the simulator."""
    teams = TeamsSimulator()
    teams._base_url = "http://127.0.0.1:1"  # type: ignore[attr-defined]
    activity = {**HEAD, "text": "hi", "entities": [MENTION], "attachments": [FILE]}
    if sdk == "agents":
        from microsoft_agents.activity import Activity

        found = Activity.model_validate(activity)
        assert (found.text, found.from_property.id) == ("hi", "29:1AbC-dEf")  # type: ignore[union-attr]
    else:
        from botbuilder.schema import Activity as Older

        older = Older().deserialize(activity)
        assert (older.text, older.from_property.id) == ("hi", "29:1AbC-dEf")


# -- who is believed ----------------------------------------------------------------------------


@pytest.fixture
async def bot(configure: Any) -> AsyncIterator[Any]:
    provider = AgentsTeamsProvider(configure())
    yield provider
    await provider.close()


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"aud": "another-bot"}, "Audience"),
        ({"iss": "https://evil.example"}, "issuer"),
        ({"serviceurl": "https://evil.example/"}, "another service URL"),
        ({"exp": 1}, "another time"),
        ({"nbf": 4_000_000_000}, "another time"),
        ({"exp": "x"}, "until when"),
    ],
)
async def test_a_token_for_something_else_is_refused(
    teams: TeamsSimulator, bot: Any, claims: Any, why: str
) -> None:
    said = teams.activity(teams.person("Ann"), "message", text="hi")
    with pytest.raises(WebhookRejected, match=why):
        await bot.webhook(teams.signed(json.dumps(said).encode(), **claims), channel_id="teams")


async def test_a_token_without_a_signature_or_of_another_algorithm_is_refused(
    teams: TeamsSimulator, bot: Any
) -> None:
    import jwt

    said = teams.activity(teams.person("Ann"), "message", text="hi")
    request = teams.signed(json.dumps(said).encode())
    claims = {"aud": teams.app_id, "iss": "https://api.botframework.com", "exp": 4_000_000_000}
    tokens = [
        jwt.encode(claims, None, algorithm="none", headers={"kid": "simulated-key"}),
        jwt.encode(claims, "k" * 32, algorithm="HS256", headers={"kid": "simulated-key"}),
        jwt.encode(claims, "k" * 32, algorithm="HS256", headers={"kid": "another-key"}),
    ]
    for token in tokens:
        forged = {**request.headers, "Authorization": f"Bearer {token}"}
        with pytest.raises(WebhookRejected):
            await bot.webhook(_with(request, forged), channel_id="teams")


def _with(request: Any, headers: Any) -> Any:
    from dataclasses import replace

    return replace(request, headers=headers)


async def test_keys_are_asked_for_once(teams: TeamsSimulator, bot: Any) -> None:
    """Also where many tokens name an unknown key: a stranger cannot make us ask."""
    import jwt

    said = json.dumps(teams.activity(teams.person("Ann"), "message", text="hi")).encode()
    for _ in range(3):
        await bot.webhook(teams.signed(said), channel_id="teams")
    for number in range(5):
        token = jwt.encode({}, "k" * 32, algorithm="HS256", headers={"kid": f"unknown-{number}"})
        request = teams.signed(said)
        with pytest.raises(WebhookRejected, match="not Microsoft's"):
            await bot.webhook(_with(request, {"Authorization": f"Bearer {token}"}), channel_id="teams")
    assert len([each for each in teams.requests if each.path == "/v1/keys"]) == 1
