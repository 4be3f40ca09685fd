"""What the plugin tells RoomKit about itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

from roomkit.plugins import ConfigError, DoctorReport, PluginManager
from roomkit_plugins.postgres import (
    PostgresConfig,
    PostgresLockManager,
    PostgresMediaStore,
    PostgresRealtime,
    PostgresTurnExecutor,
    plugin,
)


async def test_the_components_are_found_by_name() -> None:
    """`postgres` is a lock manager and a realtime backend."""
    manager = PluginManager()
    await manager.ascan()
    assert await manager.aget("locks", "postgres") is PostgresLockManager
    assert await manager.aget("realtime", "postgres") is PostgresRealtime


DSN = "postgresql://ann@db.example/rooms"


@pytest.mark.parametrize(
    ("kind", "option"),
    [("locks", "max_size"), ("realtime", "schema_name"), ("media", "namespace"), ("executor", "min_size")],
)
def test_an_option_of_another_component_is_refused(kind: str, option: str) -> None:
    """It would do nothing there."""
    with pytest.raises(ConfigError, match=f"{option} is unknown"):
        PluginManager().create(kind, "postgres", {"dsn": DSN, option: 5})


def test_one_object_is_taken_by_all() -> None:
    """Each component takes the options that it has."""
    config = PostgresConfig.model_validate({"dsn": DSN, "namespace": "one", "schema_name": "rooms"})
    assert PostgresLockManager(config).namespace == PostgresRealtime(config).namespace == "one"
    assert PostgresTurnExecutor(config).config.schema_name == "rooms"
    assert PostgresMediaStore(config).config is config


def test_registering_imports_no_library() -> None:
    """Not before something is asked for."""
    code = (
        "import sys; from roomkit.plugins import PluginManager; PluginManager().plugins()\n"
        "import roomkit_plugins.postgres\n"
        "assert 'roomkit_plugins.postgres.plugin' in sys.modules\n"
        "assert not {'asyncpg', 'pydantic', 'roomkit_plugins.postgres.locks'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_doctor_is_content_here() -> None:
    report = DoctorReport()
    plugin.roomkit_doctor(report)
    assert report.healthy


def test_the_doctor_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "find_spec", lambda name: None)
    report = DoctorReport()
    plugin.roomkit_doctor(report)
    assert not report.healthy
    assert "pip install roomkit-postgres" in [finding.next_step for finding in report.findings]
