"""The README's code runs."""

from __future__ import annotations

import asyncio
import re
import tomllib
from pathlib import Path

import pytest

from roomkit_plugins.postgres import PostgresConfig, errors

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
TOML = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)


async def test_the_quick_start_enters_a_room(postgres_dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The block as it stands, but for the address."""
    code = re.sub(r'DSN = ".*"', f"DSN = {postgres_dsn!r}", PYTHON[0])
    await asyncio.to_thread(exec, code, {"__name__": "__main__"})
    first, second = capsys.readouterr().out.splitlines()
    assert int(first.rpartition(" ")[2]) > 1_700_000_000_000_000
    assert second == "0 subscriptions"


def test_the_configuration_is_one() -> None:
    """The tables of `roomkit.toml` are what both take."""
    for table in tomllib.loads(TOML[0]).values():
        assert table.pop("plugin") == "postgres"
        assert set(table) <= PostgresConfig.model_fields.keys()


def test_everything_is_told() -> None:
    """Every option and every error."""
    named = re.findall(r"\bStore\w+Error\b", Path(errors.__file__).read_text(encoding="utf-8"))
    for name in (*PostgresConfig.model_fields, *named):
        assert f"`{name}`" in README
