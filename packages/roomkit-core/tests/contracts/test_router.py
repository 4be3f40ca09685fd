"""The core's default router, under the contract."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from roomkit.abc.store import ConversationStore
from roomkit.kernel.inbound.routing import DefaultInboundRoomRouter
from roomkit_plugins.testing.contracts.router import InboundRoomRouterContract


class TestDefaultInboundRoomRouter(InboundRoomRouterContract):
    @pytest.fixture
    def factory(self, store: ConversationStore) -> Callable[[], DefaultInboundRoomRouter]:
        return lambda: DefaultInboundRoomRouter(store)
