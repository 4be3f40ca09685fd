"""The README's code runs."""

from __future__ import annotations

import asyncio
import re
import tomllib
from pathlib import Path

import pytest

from roomkit.abc.store import ConversationStore
from roomkit_plugins.sqlite import SQLiteConfig, SQLiteStore, errors

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
TOML = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)


async def test_the_quick_start_finds_what_was_said_the_last_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The block as it stands, run twice."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        await asyncio.to_thread(exec, PYTHON[0], {"__name__": "__main__"})
    lines = capsys.readouterr().out.splitlines()
    said = [line.partition(" ")[2] for line in lines]
    assert said == ["Is anybody there?"] * 3
    assert int(lines[1].split()[0]) > int(lines[2].split()[0])


def test_the_configuration_is_one() -> None:
    """The table of `roomkit.toml` is what the store takes."""
    table = tomllib.loads(TOML[0])["store"]
    assert table.pop("plugin") == "sqlite"
    assert SQLiteConfig.model_validate(table).path == Path("conversations.db")


def test_everything_is_told() -> None:
    """Every option, every error, and every call that other stores do not have."""
    raised = {kind.__name__ for kind, _ in errors._BY_CODE.values()} | {"StoreBusyError", "StoreClosedError"}
    public = {name for name, each in vars(SQLiteStore).items() if callable(each) and name[0] != "_"}
    beyond = public - set(dir(ConversationStore))
    assert beyond >= {"backup", "compact", "open"}
    for name in (*SQLiteConfig.model_fields, *raised):
        assert f"`{name}`" in README
    for name in beyond:
        assert re.search(rf"`(SQLiteStore\.)?{name}\(", README)
