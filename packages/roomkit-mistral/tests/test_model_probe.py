"""What `roomkit check --live` finds out about a model: a read, which generates nothing."""

from __future__ import annotations

import traceback

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.abc.probe import SupportsProbe
from roomkit_plugins.mistral import MistralAIProvider, MistralConfig
from roomkit_plugins.testing.simulators import MistralSimulator


def make(simulator: MistralSimulator, **fields: object) -> MistralAIProvider:
    base = {"model": simulator.models[0], "api_key": simulator.api_key, "base_url": simulator.base_url}
    return MistralAIProvider(MistralConfig.model_validate({**base, **fields}))


async def test_a_probe_finds_the_model_and_generates_nothing() -> None:
    async with MistralSimulator() as simulator:
        provider = make(simulator)
        assert isinstance(provider, SupportsProbe)
        assert await provider.probe() == f"127.0.0.1 takes the key and has model {simulator.models[0]}"
        await provider.close()
        assert [(each.method, each.path) for each in simulator.requests] == [
            ("GET", f"/v1/models/{simulator.models[0]}")
        ]


@pytest.mark.parametrize(
    ("fields", "code", "says"),
    [
        ({"api_key": "canary-of-a-wrong-key"}, ErrorCode.AUTH, "; set a key that 127.0.0.1 made"),
        ({"model": "none-such"}, ErrorCode.NOT_FOUND, "; 127.0.0.1 has no model none-such for this key"),
        ({"base_url": "http://127.0.0.1:9"}, ErrorCode.CONNECTION, "; check that base_url is the API"),
    ],
)
async def test_a_probe_that_fails_says_what_to_do(fields: dict[str, str], code: ErrorCode, says: str) -> None:
    async with MistralSimulator() as simulator:
        provider = make(simulator, **fields)
        with pytest.raises(ProviderError) as caught:
            await provider.probe()
        await provider.close()
    assert caught.value.error_code is code
    assert says in str(caught.value)
    assert "canary" not in "".join(traceback.format_exception(caught.value))
