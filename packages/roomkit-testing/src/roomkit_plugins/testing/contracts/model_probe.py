"""The contract suite of AI providers that can say whether their model is there: `roomkit check --live`."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.abc.probe import SupportsProbe
from roomkit_plugins.testing.contracts.base import unsaid

__all__ = ["ModelProbeContract"]


class ModelProbeContract:
    """A probe is one read of the model; what it says of a failure names what to set, and no key.

    A subclass gives the simulator's class, how a provider is made with its settings (`model`, `api_key`,
    `base_url`), and the path that is read.
    """

    simulator: Callable[[], Any]
    """Makes the vendor's simulator, which has `models`."""

    @property
    def path(self) -> str:
        """The path of the model, which stands as `{model}`."""
        raise unsaid(self, "path", "which path has a model")

    def make(self, **settings: Any) -> Any:
        """Make a provider with settings."""
        raise unsaid(self, "make", "how a provider is made with settings")

    def made_for(self, simulator: Any, **settings: Any) -> Any:
        """Make a provider of the simulator's account, with other settings in the place of its."""
        base = {"model": simulator.models[0], "api_key": simulator.api_key, "base_url": simulator.base_url}
        return self.make(**{**base, **settings})

    async def test_a_probe_finds_the_model_and_generates_nothing(self) -> None:
        async with type(self).simulator() as simulator:
            provider = self.made_for(simulator)
            assert isinstance(self.made_for(simulator), SupportsProbe)
            assert await provider.probe() == f"127.0.0.1 takes the key and has model {simulator.models[0]}"
            await provider.close()
            assert [(each.method, each.path) for each in simulator.requests] == [
                ("GET", self.path.format(model=simulator.models[0]))
            ]

    @pytest.mark.parametrize(
        ("settings", "code", "says"),
        [
            ({"api_key": "canary-of-a-wrong-key"}, ErrorCode.AUTH, "; set a key that 127.0.0.1 made"),
            ({"model": "none-such"}, ErrorCode.NOT_FOUND, "; 127.0.0.1 has no model none-such for this key"),
            ({"base_url": "http://127.0.0.1:9"}, ErrorCode.CONNECTION, "; check that base_url is the API"),
        ],
    )
    async def test_a_probe_that_fails_says_what_to_do(
        self, settings: dict[str, str], code: ErrorCode, says: str
    ) -> None:
        async with type(self).simulator() as simulator:
            provider = self.made_for(simulator, **settings)
            with pytest.raises(ProviderError) as caught:
                await provider.probe()
            await provider.close()
        assert caught.value.error_code is code
        assert says in str(caught.value)
        assert "canary" not in "".join(traceback.format_exception(caught.value))
