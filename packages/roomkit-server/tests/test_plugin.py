"""The plugin as RoomKit sees it: its table, its imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

from roomkit import RoomKit
from roomkit.plugins import ConfigError
from roomkit_plugins.server import ServerConfig, create_app

KEY = "a-key-of-the-file"


async def test_the_table_of_a_file_is_what_the_application_goes_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", KEY * 2)
    tables = {
        "server": {
            "port": 9000,
            "public_url": "https://bot.example",
            "keys": {"shop": {"secret": "env:SHOP_KEY", "organization": "shop", "scopes": ["rooms:write"]}},
        }
    }
    kit = await RoomKit.from_config(tables)
    try:
        config = create_app(kit).config
        assert (config.port, config.public_url) == (9000, "https://bot.example")
        assert config.keys["shop"].organization == "shop"
        assert KEY not in repr(config)
    finally:
        await kit.close()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"prot": 1}, "server.prot is unknown; did you mean 'port'?"),
        ({"port": 99999}, "server.port: Input should be less than or equal to 65535"),
        ({"keys": {"a": {"secret": "canary"}}}, "server.keys.a.secret: Value error, a key has 16 characters"),
        ({"public_url": "bot.example"}, "server.public_url"),
    ],
)
async def test_a_wrong_table_is_refused_by_its_place(table: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        await RoomKit.from_config({"server": table})
    assert words in str(refused.value)
    assert "canary" not in str(refused.value)


async def test_a_kit_without_the_table_has_the_defaults() -> None:
    async with RoomKit() as kit:
        assert create_app(kit).config == ServerConfig()


def test_scanning_imports_no_web_server() -> None:
    code = (
        "import sys; from roomkit.plugins import default_manager; default_manager().scan();"
        "import roomkit_plugins.server;"
        "sys.exit(bool({'starlette', 'uvicorn', 'prometheus_client', 'pydantic'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
