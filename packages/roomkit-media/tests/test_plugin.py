"""What the plugin tells RoomKit about itself, and its README's code."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from roomkit.plugins import DoctorReport, PluginManager
from roomkit_plugins.media import DiskMediaConfig, DiskMediaStore, FetchConfig, PinnedFetch, plugin

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
TOML = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize(
    ("kind", "name", "made"), [("media", "disk", DiskMediaStore), ("fetch", "pinned", PinnedFetch)]
)
async def test_the_components_are_found_by_name(kind: str, name: str, made: type) -> None:
    manager = PluginManager()
    await manager.ascan()
    assert await manager.aget(kind, name) is made


def test_registering_imports_no_library() -> None:
    """Not before a component is asked for."""
    code = (
        "import sys; from roomkit.plugins import PluginManager; PluginManager().plugins()\n"
        "import roomkit_plugins.media\n"
        "assert 'roomkit_plugins.media.plugin' in sys.modules\n"
        "assert not {'httpx2', 'pydantic', 'roomkit_plugins.media.fetch'} & sys.modules.keys()\n"
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
    assert [finding.next_step for finding in report.findings] == ["pip install roomkit-media"]


@pytest.mark.parametrize("host", ["http://a.example", "*.example", "A.example", "a.example:", "a b", ""])
def test_a_host_that_cannot_be_allowed_is_refused(host: str) -> None:
    with pytest.raises(ValidationError, match=r"files\.example"):
        FetchConfig(allow_hosts=(host,))


async def test_the_code_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    await asyncio.to_thread(exec, PYTHON[0], {"__name__": "__main__"})
    assert capsys.readouterr().out == "application/pdf 12\nb'1.7 ...'\n"


def test_the_readme_knows_every_option() -> None:
    """Its tables are what the components take."""
    tables = tomllib.loads(TOML[0])
    for name, model in (("media", DiskMediaConfig), ("fetch", FetchConfig)):
        tables[name].pop("plugin")
        model.model_validate(tables[name])
        for option in model.model_fields:
            assert f"| `{option}` |" in README
