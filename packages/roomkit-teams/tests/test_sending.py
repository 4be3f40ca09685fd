"""What a bot sends, by both SDKs, and what the service answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from pydantic import ValidationError

from roomkit.abc import ErrorCode, ProviderError
from roomkit.abc.errors import InvalidInputError
from roomkit.models import (
    AudioContent,
    CompositeContent,
    LocationContent,
    MediaContent,
    RichContent,
    TextContent,
)
from roomkit_plugins.teams import AgentsTeamsProvider, TeamsConfig, TeamsMessageHints
from roomkit_plugins.testing.contracts.base import event
from roomkit_plugins.testing.simulators import Failure, TeamsSimulator

ANN = "a:ann"
PNG = "https://files.example.org/a.png"
THREAD = "19:general123@thread.tacv2;messageid=1795359000000"
LONG = f"a:{'x' * 300};odd=1@thread.v2"


@pytest.fixture
async def bot(teams: TeamsSimulator, configure: Callable[..., TeamsConfig], kind: Any) -> AsyncIterator[Any]:
    """Return a provider of each kind, which knows Ann's conversation and two others."""
    provider = kind(configure())
    for where in (ANN, THREAD, LONG):
        member = teams.person("Ann", conversation_id=where)
        said = teams.activity(member, "message", text="hi")
        await provider.webhook(teams.signed(json.dumps(said).encode()), channel_id="teams")
    yield provider
    await provider.close()


async def send(bot: Any, content: Any = "hello", to: str = ANN, **options: Any) -> Any:
    content = TextContent(body=content) if isinstance(content, str) else content
    return await bot.send(event("room", content=content), to, **options)


def said(teams: TeamsSimulator) -> Any:
    """Return the newest message's activity."""
    return teams.messages[-1].activity


@pytest.mark.parametrize("where", [ANN, THREAD, LONG])
async def test_an_activity_is_sent_to_where_the_conversation_is(
    teams: TeamsSimulator, bot: Any, where: str
) -> None:
    """Whatever the length of its id, and whatever is in it."""
    result = await send(bot, "hello", where)
    message = teams.messages[-1]
    assert (message.conversation_id, message.text) == (where, "hello")
    assert result.provider_message_id == f"{where}|{message.id}"
    assert said(teams)["from"]["id"] == teams.bot_id
    assert said(teams)["recipient"]["id"] == "29:ann"


@pytest.mark.parametrize(
    ("content", "text", "form"),
    [
        (TextContent(body="a * b <c>"), "a * b <c>", "plain"),
        (RichContent(body="**a**"), "**a**", "markdown"),
        (RichContent(body="<b>a</b>", format="html"), "<b>a</b>", "xml"),
    ],
)
async def test_a_text_says_how_it_is_written(
    teams: TeamsSimulator, bot: Any, content: Any, text: str, form: str
) -> None:
    await send(bot, content)
    assert (said(teams)["text"], said(teams)["textFormat"]) == (text, form)


async def test_buttons_and_cards_are_hero_cards(teams: TeamsSimulator, bot: Any) -> None:
    buttons = (
        {"text": "Yes", "payload": "y"},
        {"text": "Site", "url": "https://example.org"},
        {"text": "Call", "phone_number": "+14165550100"},
    )
    card = {"title": "Hat", "description": "Red", "media_url": PNG, "buttons": [{"text": "Buy"}]}
    await send(bot, RichContent(body="Well?", buttons=buttons, cards=(card,)))
    first, second = (each["content"] for each in said(teams)["attachments"])
    assert first == {
        "buttons": [
            {
                "type": "messageBack",
                "title": "Yes",
                "displayText": "Yes",
                "text": "Yes",
                "value": {"payload": "y"},
            },
            {"type": "openUrl", "title": "Site", "value": "https://example.org"},
            {"type": "openUrl", "title": "Call", "value": "tel:+14165550100"},
        ]
    }
    assert (second["title"], second["images"]) == ("Hat", [{"url": PNG}])
    assert said(teams)["attachmentLayout"] == "carousel"


async def test_images_and_words_are_one_message(teams: TeamsSimulator, bot: Any) -> None:
    picture = MediaContent(url=PNG, mime_type="image/png", caption="a cat", filename="a.png")
    await send(bot, CompositeContent(parts=(TextContent(body="Look"), picture)))
    assert said(teams)["text"] == "Look\na cat"
    assert said(teams)["attachments"] == [{"contentType": "image/png", "contentUrl": PNG, "name": "a.png"}]


async def test_an_event_may_have_a_card_and_mentions_of_its_own(teams: TeamsSimulator, bot: Any) -> None:
    card = {"type": "AdaptiveCard", "version": "1.5", "body": [{"type": "TextBlock", "text": "Hello"}]}
    await send(bot, "for other channels", hints=TeamsMessageHints(card=card))
    (shown,) = said(teams)["attachments"]
    assert shown == {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
    mention = TeamsMessageHints(mentions=({"id": "29:ben", "name": "Ben & Co"},), reply_to=f"{ANN}|17")
    await send(bot, "Hello @Ben & Co!", hints=mention)
    assert said(teams)["text"] == "Hello <at>Ben &amp; Co</at>!"
    assert said(teams)["replyToId"] == "17"
    assert said(teams)["entities"][0]["mentioned"] == {"id": "29:ben", "name": "Ben & Co"}
    with pytest.raises(ProviderError, match="write @Eve"):
        await send(bot, "Hello", hints=TeamsMessageHints(mentions=({"id": "29:eve", "name": "Eve"},)))


@pytest.mark.parametrize(
    "content",
    [
        LocationContent(latitude=1, longitude=2),
        AudioContent(url="https://files.example.org/a.ogg"),
        MediaContent(url="https://files.example.org/a.pdf", mime_type="application/pdf"),
        CompositeContent(parts=(TextContent(body="a"), RichContent(body="**b**"))),
    ],
)
async def test_what_teams_has_no_form_for_is_refused_before_it_is_sent(
    teams: TeamsSimulator, bot: Any, content: Any
) -> None:
    with pytest.raises(ProviderError) as caught:
        await send(bot, content)
    assert caught.value.error_code is ErrorCode.UNSUPPORTED_CONTENT
    assert teams.messages == []


async def test_a_conversation_is_begun_with_a_person_or_in_a_channel(teams: TeamsSimulator, bot: Any) -> None:
    """Then it is known, and written to."""
    personal = await bot.create_personal_conversation(teams.origin, "29:eve", tenant_id="t1")
    await send(bot, "Hello Eve", personal)
    assert teams.messages[-1].conversation_id == personal
    thread = await bot.create_channel_conversation(
        teams.origin, "19:general123@thread.tacv2", text="News", tenant_id="t1"
    )
    assert thread.startswith("19:general123@thread.tacv2;messageid=")
    await send(bot, "More", thread)
    assert teams.messages[-1].conversation_id == thread
    known = await bot.references.list_all()
    assert {each["conversation"]["id"] for each in known} >= {personal, thread}


async def test_who_is_in_a_conversation_is_asked(bot: Any) -> None:
    assert await bot.roster(ANN) == [{"id": "29:ann", "name": "Ann", "aadObjectId": "aad-ann"}]


async def test_an_unknown_conversation_is_no_recipient(bot: Any) -> None:
    with pytest.raises(ProviderError, match="does not know where") as caught:
        await send(bot, "hello", "a:stranger")
    assert caught.value.error_code is ErrorCode.INVALID_RECIPIENT


@pytest.mark.parametrize(
    ("status", "code", "found", "retryable"),
    [
        (403, "BotNotInConversationRoster", ErrorCode.INVALID_RECIPIENT, False),
        (403, "ConversationBlockedByUser", ErrorCode.OPTED_OUT, False),
        (403, "MessageWritesBlocked", ErrorCode.INVALID_RECIPIENT, False),
        (404, "ConversationNotFound", ErrorCode.INVALID_RECIPIENT, False),
        (413, "MessageSizeTooBig", ErrorCode.TOO_LONG, False),
        (412, "PreconditionFailed", ErrorCode.OVERLOADED, True),
        (429, "Throttled", ErrorCode.RATE_LIMIT, True),
        (502, "ServiceError", ErrorCode.OVERLOADED, True),
        (504, "", ErrorCode.OVERLOADED, True),
        (400, "BadSyntax", ErrorCode.INVALID_REQUEST, False),
    ],
)
async def test_an_error_is_known_by_its_code(
    teams: TeamsSimulator, bot: Any, status: int, code: str, found: ErrorCode, retryable: bool
) -> None:
    teams.play(Failure(status, {"error": {"code": code, "message": "no"}}, {"retry-after": "7"}))
    with pytest.raises(ProviderError) as caught:
        await send(bot)
    assert (caught.value.error_code, caught.value.retryable) == (found, retryable)
    assert caught.value.retry_after == 7


# -- signing in ---------------------------------------------------------------------------------


async def test_a_token_is_got_once_and_again_when_it_was_refused(teams: TeamsSimulator, bot: Any) -> None:
    await send(bot)
    await send(bot)
    assert len(_sign_ins(teams)) == 1
    teams.revoke_tokens()
    with pytest.raises(ProviderError) as caught:
        await send(bot)
    assert caught.value.error_code is ErrorCode.AUTH
    await send(bot)
    assert len(_sign_ins(teams)) == 2


def _sign_ins(teams: TeamsSimulator) -> list[Any]:
    return [each for each in teams.requests if each.path.endswith("/token")]


async def test_a_certificate_signs_in_by_an_assertion(
    teams: TeamsSimulator, configure: Callable[..., TeamsConfig], kind: Any, certificate: Any
) -> None:
    import jwt

    key, public = certificate
    provider = kind(
        configure(
            app_password=None,
            tenant_id="t1",
            certificate_thumbprint="AB" * 20,
            certificate_private_key=key,
            certificate_public="-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----",
        )
    )
    assert "signed in" in await provider.probe()
    (request,) = _sign_ins(teams)
    assert request.path == "/t1/oauth2/v2.0/token"
    assertion = dict(pair.split("=", 1) for pair in request.body.decode().split("&"))["client_assertion"]
    assert jwt.get_unverified_header(assertion)["x5c"] == ["YWJj"]
    claims = jwt.decode(
        assertion, public, algorithms=["RS256"], audience=f"{teams.origin}/t1/oauth2/v2.0/token"
    )
    assert claims["iss"] == teams.app_id
    await provider.close()


async def test_a_key_that_is_none_is_said_and_not_repeated(configure: Any, kind: Any) -> None:
    fields = {"certificate_thumbprint": "AB" * 20, "certificate_private_key": "not-a-key"}
    provider = kind(configure(app_password=None, **fields))
    with pytest.raises(ProviderError, match="no private key") as caught:
        await provider.probe()
    assert (caught.value.error_code, caught.value.accepted) == (ErrorCode.AUTH, False)
    assert "not-a-key" not in f"{caught.value!r} {vars(caught.value)}"
    await provider.close()


async def test_a_wrong_secret_is_said_and_not_repeated(configure: Any, kind: Any) -> None:
    provider = kind(configure(app_password="a-wrong-secret"))
    with pytest.raises(ProviderError, match="compare app_id") as caught:
        await provider.probe()
    assert caught.value.error_code is ErrorCode.AUTH
    assert "a-wrong-secret" not in f"{caught.value!r} {vars(caught.value)}"
    await provider.close()


async def test_a_token_comes_from_the_host_as_well(teams: TeamsSimulator, configure: Any, kind: Any) -> None:
    asked = []

    async def managed(scope: str) -> str:
        asked.append(scope)
        return "token-of-a-managed-identity"

    provider = kind(configure(app_password=None), token_provider=managed)
    assert "signed in" in await provider.probe()
    assert asked == ["https://api.botframework.com/.default"]
    await provider.close()


async def test_a_token_is_sent_to_no_strange_host(teams: TeamsSimulator, bot: Any) -> None:
    """Also not if an activity says so: only Microsoft's and the configured ones."""
    for url in (
        "https://evil.example/",
        "https://botframework.com.evil.example",
        "http://smba.trafficmanager.net",
    ):
        await bot.references.save("a:x", {"serviceUrl": url})
        with pytest.raises(ProviderError, match="add it to service_urls") as caught:
            await send(bot, "hello", "a:x")
        assert caught.value.accepted is False
    config = TeamsConfig(app_id="a", app_password="p")
    assert config.trusts("https://smba.trafficmanager.net/amer/")
    assert config.trusts("https://europe.api.botframework.com/v3")
    assert not config.trusts("https://smba.trafficmanager.us/")
    assert TeamsConfig(app_id="a", app_password="p", cloud="gov").trusts("https://smba.trafficmanager.us/")


@pytest.mark.parametrize(
    "fields",
    [
        {"app_id": ""},
        {"certificate_thumbprint": "AB" * 20, "certificate_private_key": "k"},
        {"app_password": None, "certificate_thumbprint": "AB" * 20},
        {"certificate_public": "c"},
        {"service_urls": ("http://elsewhere.example",)},
    ],
)
def test_settings_that_cannot_be_are_refused(fields: Any) -> None:
    with pytest.raises(ValidationError):
        TeamsConfig(**{"app_id": "a", "app_password": "p", **fields})


def test_a_bot_signs_in_in_exactly_one_way() -> None:
    async def token(scope: str) -> str:
        return "t"

    with pytest.raises(InvalidInputError, match="exactly one"):
        AgentsTeamsProvider(TeamsConfig(app_id="a", app_password="p"), token_provider=token)
    with pytest.raises(InvalidInputError, match="exactly one"):
        AgentsTeamsProvider(TeamsConfig(app_id="a", app_password=None))
