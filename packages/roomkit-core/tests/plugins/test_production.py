"""The profile `prod` refuses settings fit for a laptop alone; each refusal names the line and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel, Field, SecretStr

from roomkit import InMemoryStore, RoomKit
from roomkit.plugins import ConfigError, PluginManager
from roomkit.plugins.production import refused_settings


class Key(BaseModel):
    secret: SecretStr | None = None


class Settings(BaseModel):
    token: SecretStr
    headers: Mapping[str, str | SecretStr] = {}
    keys: Mapping[str, Key] = {}
    shared: Mapping[str, SecretStr] = {}
    open: bool = Field(False, json_schema_extra={"insecure": "anyone may ask; remove it"})


def refusals(settings: Mapping[str, object], *, in_file: bool = True) -> list[str]:
    return [*refused_settings(Settings, settings, "acme", in_file=in_file)]


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"token": "t"}, "acme.token"),
        ({"keys": {"shop": {"secret": "t"}}}, "acme.keys.shop.secret"),
        ({"shared": {"k1": "t"}}, "acme.shared.k1"),
    ],
)
def test_a_secret_in_plain_text_is_refused_wherever_it_stands(
    settings: Mapping[str, object], where: str
) -> None:
    """In a file; a program that hands over a mapping has it from elsewhere. Its text is not repeated."""
    (said,) = refusals(settings)
    assert said == (
        f"{where}: the profile 'prod' refuses a secret that is written into the file: give it as env:NAME or "
        "file:PATH"
    )
    assert refusals(settings, in_file=False) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"token": SecretStr("t")},
        {"headers": {"x-team": "sales"}},
        {"keys": {"shop": {"secret": SecretStr("t")}}},
        {"open": False},
    ],
)
def test_references_and_defaults_are_not_refused(settings: Mapping[str, object]) -> None:
    assert refusals(settings) == []


def test_a_setting_that_its_model_marks_is_refused() -> None:
    assert refusals({"open": True}, in_file=False) == [
        "acme.open: the profile 'prod' refuses it: anyone may ask; remove it"
    ]


def written(folder: Path, text: str) -> Path:
    path = folder / "roomkit.toml"
    path.write_text(text)
    return path


async def test_rooms_in_memory_are_refused_unless_there_is_one_process(tmp_path: Path) -> None:
    """Nor is a store missed that the program hands over; other profiles are free."""
    plugins = PluginManager(entry_points=())
    for table in ("", '[store]\nplugin = "memory"\n'):
        path = written(tmp_path, f"{table}[profiles.prod.kit]\nprocess_timeout = 5.0\n[profiles.dev]\n")
        with pytest.raises(ConfigError, match="store: the profile 'prod' refuses rooms in memory"):
            await RoomKit.from_config(path, profile="prod", plugins=plugins)
        for options in ({"profile": "dev"}, {"profile": "prod", "store": InMemoryStore()}):
            kit = await RoomKit.from_config(path, plugins=plugins, **options)
            await kit.close()
    path = written(tmp_path, "[profiles.prod.kit]\nsingle_process = true\n")
    kit = await RoomKit.from_config(path, profile="prod", plugins=plugins)
    await kit.close()


async def test_a_refusal_names_the_file_and_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chosen by the environment variable, as on a server."""
    monkeypatch.setenv("ROOMKIT_PROFILE", "prod")
    path = written(
        tmp_path, '[kit]\nsingle_process = true\nmedia_key = "canary"\n[profiles.prod.kit]\nmax_claims = 3\n'
    )
    with pytest.raises(ConfigError) as caught:
        await RoomKit.from_config(path, plugins=PluginManager(entry_points=()))
    assert f"{path}:3: kit.media_key: the profile 'prod' refuses a secret" in str(caught.value)
    assert "canary" not in str(caught.value)
