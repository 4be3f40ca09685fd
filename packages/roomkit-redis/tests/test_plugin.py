"""What the plugin tells RoomKit about itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from roomkit.abc.errors import InvalidInputError
from roomkit.kernel.kit import RoomKit
from roomkit.plugins import ConfigError, DoctorReport, PluginManager
from roomkit_plugins.redis import RedisConfig, RedisLockManager, RedisRealtime, RedisTurnExecutor, plugin


@pytest.mark.parametrize(
    ("kind", "made", "config"),
    [("locks", RedisLockManager, "RedisLockConfig"), ("realtime", RedisRealtime, "RedisRealtimeConfig")],
)
async def test_the_components_are_found_by_name(kind: str, made: type, config: str) -> None:
    """`redis` is a lock manager and a realtime backend, each built from options of its own."""
    manager = PluginManager()
    await manager.ascan()
    component = manager.find(kind, "redis")
    assert component.config == f"roomkit_plugins.redis:{config}"
    assert await manager.aget(kind, "redis") is made


@pytest.mark.parametrize(
    ("kind", "option"),
    [("locks", "max_outbox"), ("realtime", "lock_seconds"), ("executor", "lock_seconds")],
)
async def test_an_option_of_another_component_is_refused(kind: str, option: str) -> None:
    """It would do nothing."""
    with pytest.raises(ConfigError, match=f"{option} is unknown"):
        await PluginManager().acreate(kind, "redis", {option: 5})


def test_one_config_object_serves_all_that_use_redis() -> None:
    config = RedisConfig(prefix="acme", lock_seconds=7, max_outbox=9)
    assert RedisLockManager(config).config.lock_seconds == 7
    assert RedisRealtime(config).config.max_outbox == 9
    assert RedisTurnExecutor(config).config.prefix == "acme"


async def test_a_kit_is_configured_with_it(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From `roomkit.toml`, with the url in the environment."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    toml = tmp_path / "roomkit.toml"
    toml.write_text(
        '[locks]\nplugin = "redis"\nurl = "env:REDIS_URL"\nlock_seconds = 5\n'
        '[realtime]\nplugin = "redis"\nurl = "env:REDIS_URL"\n'
    )
    kit = await RoomKit.from_config(toml)
    async with kit:
        await kit.create_room("room")
        assert isinstance(kit.lock_manager, RedisLockManager)
        assert kit.lock_manager.config.lock_seconds == 5
        assert not kit.lock_manager.is_process_local


def test_registering_imports_no_library() -> None:
    """Not before a component is asked for."""
    code = (
        "import sys; from roomkit.plugins import PluginManager; PluginManager().plugins()\n"
        "import roomkit_plugins.redis\n"
        "assert 'roomkit_plugins.redis.plugin' in sys.modules\n"
        "assert not {'redis', 'pydantic', 'roomkit_plugins.redis.locks'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_doctor_is_content_here() -> None:
    report = DoctorReport()
    plugin.roomkit_doctor(report)
    assert [finding.verdict for finding in report.findings] == ["ok"]


def test_the_doctor_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "find_spec", lambda name: None)
    report = DoctorReport()
    plugin.roomkit_doctor(report)
    assert not report.healthy
    assert [finding.next_step for finding in report.findings] == ["pip install roomkit-redis"]


@pytest.mark.parametrize(
    "url",
    ["http://:secret@host", "redis://:secret@host?bogus=1", "redis://:sec/ret@host", "redis://host/secret"],
)
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    """When it is given, and without showing it."""
    with pytest.raises((ValidationError, InvalidInputError), match="redis://user:password@host") as caught:
        RedisLockManager(url)
    assert "sec" not in str(caught.value).replace("secret@host:port", "")
    assert caught.value.__context__ is None


def test_the_password_shows_nowhere() -> None:
    """Not where the url does."""
    config = RedisConfig.model_validate({"url": "rediss://ann:secret@example.org:7000/3"})
    for each in (config, RedisLockManager(config), RedisRealtime(config)):
        assert "secret" not in f"{each!r}{each}"
    assert repr(RedisRealtime(config)) == "RedisRealtime(redis at example.org:7000/3)"


@pytest.mark.parametrize("prefix", ["", "a b", "{tag}", "*", "x" * 65])
def test_a_prefix_is_one_word(prefix: str) -> None:
    """It must not be able to mean another's keys."""
    with pytest.raises(ValidationError, match="prefix"):
        RedisConfig(prefix=prefix)
