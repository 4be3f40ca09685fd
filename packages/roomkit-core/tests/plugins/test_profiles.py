"""Profiles of `roomkit.toml`: tables that are laid over the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from roomkit import ConsoleTelemetryProvider, RoomKit
from roomkit.plugins import ConfigError, load_config

TEXT = """
[kit]
process_timeout = 5.0
max_chain_depth = 3

[store]
plugin = "sqlite"
path = "rooms.db"

[channels.line]
plugin = "sms"
providers = ["a", "b"]
provider = { plugin = "acme", token = "env:NOT_SET_HERE" }

[profiles.test.channels.line]
providers = ["c"]
provider = { token = "t" }

[profiles.prod.kit]
process_timeout = 9.0

[profiles.prod.store]
plugin = "postgres"
dsn = "env:NOT_SET_EITHER"

[profiles.wrong.kit]
proces_timeout = 1
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "roomkit.toml"
    path.write_text(TEXT)
    return path


def test_a_profile_is_laid_over_the_file_key_by_key(path: Path) -> None:
    """Lists are replaced; references of a profile that is not chosen are not read."""
    plan = load_config(path, profile="test")

    assert plan.profile == "test"
    assert plan.kit.given() == {"process_timeout": 5.0, "max_chain_depth": 3}
    assert plan.channels["line"].settings == {
        "providers": ["c"],
        "provider": {"plugin": "acme", "token": "t"},
    }


def test_another_component_replaces_the_settings_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path of SQLite is no setting of PostgreSQL."""
    monkeypatch.setenv("NOT_SET_HERE", "t")
    monkeypatch.setenv("NOT_SET_EITHER", "d")

    plan = load_config(path, profile="prod")

    assert plan.store is not None
    assert (plan.store.plugin, [*plan.store.settings]) == ("postgres", ["dsn"])
    assert plan.kit.given() == {"process_timeout": 9.0, "max_chain_depth": 3}


def test_the_environment_names_the_profile_of_a_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the caller says goes first; a mapping is not a file."""
    monkeypatch.setenv("ROOMKIT_PROFILE", "test")

    assert load_config(path).profile == "test"
    assert load_config({}).profile is None
    with pytest.raises(ConfigError, match="proces_timeout"):
        load_config(path, profile="wrong")


@pytest.mark.parametrize("profile", ["pord", ""])
def test_an_unknown_profile_is_refused_with_the_nearest(path: Path, profile: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(path, profile=profile)

    (problem,) = raised.value.problems
    assert problem.startswith(f"profiles.{profile} is unknown; ")
    assert "prod" in problem


def test_a_problem_names_the_line_of_the_profile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And problems of the file their own, all together."""
    with pytest.raises(ConfigError) as raised:
        load_config(path, profile="wrong")

    lines = TEXT.split("\n")
    problems = dict(zip(raised.value.problems, raised.value.lines, strict=True))
    unknown = "kit.proces_timeout is unknown; did you mean 'process_timeout'?"
    missing = "channels.line.provider.token: the environment variable NOT_SET_HERE is not set; set it"
    assert problems == {
        unknown: lines.index("proces_timeout = 1") + 1,
        missing: next(n for n, line in enumerate(lines, 1) if "NOT_SET_HERE" in line),
    }
    assert f"  - {path}:{problems[unknown]}: {unknown}" in str(raised.value)


@pytest.mark.parametrize("profiles", [3, "prod", [], {"prod": 3}, {"prod": []}, {1: {}}])
def test_profiles_that_are_no_tables_are_refused(profiles: object) -> None:
    with pytest.raises(ConfigError, match="profiles"):
        load_config({"profiles": profiles}, profile="prod")


def test_a_profile_within_a_profile_is_refused() -> None:
    tables: dict[str, Any] = {"profiles": {"a": {"profiles": {"b": {}}}}}
    with pytest.raises(ConfigError, match=r"profiles\.a\.profiles"):
        load_config(tables, profile="a")


async def test_a_kit_is_built_with_a_profile() -> None:
    tables = {"profiles": {"loud": {"telemetry": {"plugin": "console"}}}}
    kit = await RoomKit.from_config(tables, profile="loud")
    try:
        assert isinstance(kit.telemetry, ConsoleTelemetryProvider)
    finally:
        await kit.close()
