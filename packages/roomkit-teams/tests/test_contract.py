"""The contracts of Teams providers and of webhooks, over real sockets, for both SDKs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest

from roomkit.models.enums import EventType, ReceiptState
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.teams import AgentsTeamsProvider, BotFrameworkTeamsProvider, TeamsConfig
from roomkit_plugins.testing.contracts import SimulatedVendor, TeamsProviderContract, WebhookContract
from roomkit_plugins.testing.simulators import TeamsSimulator

ANN = "a:ann"
SECRET = "canary-of-the-app-password"


class WebhooksOfTeams(WebhookContract):
    """The keys are asked for at the simulator, which runs beside."""

    signature_headers = ("Authorization",)
    retry_status = 503
    has_answers = False
    signs_time = True
    signs_body = False
    signs_url = False
    secrets = (SECRET,)
    receipt_words: Mapping[str, ReceiptState] = {}
    kind: Any
    vendor: TeamsSimulator

    @pytest.fixture(autouse=True)
    def run_vendor(self, teams: TeamsSimulator) -> None:
        self.vendor = teams

    @pytest.fixture
    def factory(self, teams: TeamsSimulator) -> Callable[[], Any]:
        config = TeamsConfig(
            app_id=teams.app_id,
            app_password=SECRET,
            service_urls=(teams.origin,),
            openid_url=teams.openid_url,
        )
        return lambda: self.kind(config)

    @pytest.fixture
    def sign(self, teams: TeamsSimulator) -> Callable[[float], WebhookRequest]:
        said = teams.activity(teams.person("Ann"), "message", text="Hello & good bye: 100 %, ünïcode 👋")
        return lambda moment: teams.signed(json.dumps(said).encode(), moment)

    @pytest.fixture
    def sign_body(self, teams: TeamsSimulator) -> Callable[[float, bytes], WebhookRequest]:
        return lambda moment, body: teams.signed(body, moment)


class TestAgentsWebhooks(WebhooksOfTeams):
    kind = AgentsTeamsProvider


class TestBotFrameworkWebhooks(WebhooksOfTeams):
    kind = BotFrameworkTeamsProvider


class ProviderOfTeams(SimulatedVendor, TeamsProviderContract):
    """A conversation is known from the person's first message."""

    honours_idempotency = False
    recipient = ANN
    max_length = 1600
    amends = frozenset({EventType.EDIT, EventType.DELETE})
    kind: Any

    @property
    def secrets(self) -> Sequence[str]:
        return (self.vendor.app_password,)

    async def shown(self, provider: Any, message_id: str) -> str | None:
        own = message_id.rpartition("|")[2]
        texts: Sequence[str | None] = [each.text for each in self.vendor.messages if each.id == own]
        return texts[0]

    async def shown_signals(self, provider: Any) -> Sequence[tuple[str, str]]:
        found: Sequence[tuple[str, str]] = self.vendor.signals
        return found

    @pytest.fixture
    def refusing(self, teams: TeamsSimulator, make_provider: Callable[..., Any]) -> Callable[[int], Any]:
        async def make(status: int) -> Any:
            provider = await make_provider()
            teams.refuse_all(status, 99999)
            return provider

        return make

    @pytest.fixture
    def simulator(self, teams: TeamsSimulator) -> TeamsSimulator:
        teams.person("Ann")
        return teams

    @pytest.fixture
    def make_provider(
        self, teams: TeamsSimulator, configure: Callable[..., TeamsConfig]
    ) -> Callable[..., Awaitable[Any]]:
        async def make(base_url: str | None = None, **fields: Any) -> Any:
            provider = self.kind(configure(**fields, **({} if base_url is None else {"base_url": base_url})))
            said = teams.activity(teams.person("Ann"), "message", text="hi")
            await provider.webhook(teams.signed(json.dumps(said).encode()), channel_id="teams")
            if base_url is not None:
                known = dict(await provider.references.get(ANN))
                await provider.references.save(ANN, {**known, "serviceUrl": base_url})
            return provider

        return make


class TestAgentsTeamsProvider(ProviderOfTeams):
    kind = AgentsTeamsProvider
    webhook_contract = TestAgentsWebhooks


class TestBotFrameworkTeamsProvider(ProviderOfTeams):
    kind = BotFrameworkTeamsProvider
    webhook_contract = TestBotFrameworkWebhooks


type Vendor = AsyncIterator[TeamsSimulator]
