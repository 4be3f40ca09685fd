"""No setting that says where a vendor is reached holds a secret, whichever plugin it is of."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

PACKAGES = Path(__file__).parents[2] / "packages"
SECRETS = [
    "https://ann:SECRET@host.example/v1",
    "https://SECRET@host.example/v1",
    "https://host.example/v1?api_key=SECRET",
    "https://host.example/v1#SECRET",
    "https://[SECRET/v1",
]


def configs() -> list[type[BaseModel]]:
    """Every model of settings in the tree with a `base_url`."""
    modules = [
        importlib.import_module(f"roomkit_plugins.{path.parent.name}.config")
        for path in sorted(PACKAGES.glob("*/src/roomkit_plugins/*/config.py"))
    ]
    models = [model for module in modules for _, model in inspect.getmembers(module, inspect.isclass)]
    return [each for each in models if issubclass(each, BaseModel) and "base_url" in each.model_fields]


def test_the_settings_of_every_vendor_are_found() -> None:
    names = {model.__name__ for model in configs()}
    assert {"AnthropicConfig", "OpenAIConfig", "VLLMConfig"} <= names


@pytest.mark.parametrize("model", configs(), ids=lambda model: model.__name__)
@pytest.mark.parametrize("url", SECRETS)
def test_an_address_with_a_secret_is_refused_and_not_repeated(model: type[BaseModel], url: str) -> None:
    """Neither in the message nor in what the exception carries with it; a plain one is taken."""
    values = {"model": "m", "api_key": "k", "account_sid": f"AC{'0' * 32}", "auth_token": "t"}
    values |= {"messaging_service_sid": f"MG{'0' * 32}", "messaging_profile_id": "p", "agent_id": "a"}
    values |= {"service_plan_id": "p", "api_token": "t", "username": "u"}
    values |= {"access_token": "t", "phone_number_id": "1", "page_access_token": "t"}
    values |= {"bot_token": "123456:token", "channel_id": "c"}
    fields = {name: value for name, value in values.items() if name in model.model_fields}
    with pytest.raises(ValidationError, match="base_url") as caught:
        model(base_url=url, **fields)
    assert "SECRET" not in f"{caught.value} {caught.value!r}"
    assert model(base_url="https://host.example/v1", **fields)
