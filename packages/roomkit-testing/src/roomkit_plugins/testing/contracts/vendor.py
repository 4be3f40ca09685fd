"""What the suite of a provider needs of its vendor, where that is a simulator."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from roomkit.models.webhook import WebhookAnswer, WebhookRequest
from roomkit_plugins.testing.contracts.base import unsaid
from roomkit_plugins.testing.simulators.ai import Drop

if TYPE_CHECKING:
    from roomkit_plugins.testing.simulators.vendor import VendorSimulator

__all__ = ["MakesProvider", "SimulatedVendor"]


class MakesProvider(Protocol):
    """Makes a provider with the simulator's settings, and others in their place: `base_url` is one."""

    def __call__(self, **settings: Any) -> Any:
        """Make it."""


class SimulatedVendor:
    """The fixtures of a `ProviderContract` over a vendor's simulator; stands before it among the bases.

    class TestAcmeSMSProvider(SimulatedVendor, SMSProviderContract):
        @pytest.fixture
        def simulator(self, acme): return acme

        @pytest.fixture
        def make_provider(self, configure): return lambda **fields: AcmeSMSProvider(configure(**fields))
    """

    vendor: Any
    returning_settings: Mapping[str, Any] | None = None
    """The settings with which receipts bring the idempotency key back; None if they never do."""

    @pytest.fixture
    def simulator(self) -> VendorSimulator[Any]:
        """Return the vendor, running."""
        raise unsaid(self, "simulator", "which simulator is the vendor")

    @pytest.fixture
    def make_provider(self) -> MakesProvider:
        """Return a function that makes a provider of the simulator's account."""
        raise unsaid(self, "make_provider", "how a provider of the simulator's account is made")

    @pytest.fixture(autouse=True)
    def keep_vendor(self, simulator: VendorSimulator[Any]) -> None:
        """Keep the vendor at hand as `vendor`."""
        self.vendor = simulator

    @pytest.fixture
    def factory(self, make_provider: MakesProvider) -> Callable[[], Any]:
        return lambda: make_provider()

    @pytest.fixture
    def failing(self, simulator: VendorSimulator[Any], make_provider: MakesProvider) -> Callable[[int], Any]:
        def make(status: int) -> Any:
            simulator.fail(status, 99999)
            return make_provider()

        return make

    @pytest.fixture
    def refusing(self, simulator: VendorSimulator[Any], make_provider: MakesProvider) -> Callable[[int], Any]:
        def make(status: int) -> Any:
            simulator.refuse_all(status, 99999)
            return make_provider()

        return make

    @pytest.fixture
    def breaking_off(
        self, simulator: VendorSimulator[Any], make_provider: MakesProvider
    ) -> Callable[[], Any]:
        def make() -> Any:
            simulator.play(Drop())
            return make_provider()

        return make

    @pytest.fixture
    def unreachable(self, make_provider: MakesProvider) -> Callable[[], Any]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        return lambda: make_provider(base_url=f"http://127.0.0.1:{port}")

    @pytest.fixture
    def returning_key(self, make_provider: MakesProvider) -> Callable[[], Any] | None:
        settings = self.returning_settings
        return None if settings is None else lambda: make_provider(**settings)

    async def last_receipt(self, provider: Any) -> WebhookRequest:
        taken: list[WebhookRequest] = []

        async def take(request: WebhookRequest) -> WebhookAnswer:
            taken.append(request)
            return WebhookAnswer()

        self.vendor.connect(take)
        await self.vendor.report("delivered")
        return taken[-1]

    async def sent_texts(self, provider: Any) -> list[str]:
        return [message.text for message in self.vendor.messages]
