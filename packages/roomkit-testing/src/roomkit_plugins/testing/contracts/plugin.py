"""The contract suite of plugins that bring a vendor."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

from roomkit.plugins import Component, DoctorReport, PluginManager

__all__ = ["VendorPluginContract"]


class VendorPluginContract:
    """What holds for every plugin that brings a vendor's SDK, seen from `roomkit plugins`.

    A subclass names the plugin's module, what it needs, and a piece of Python that makes one of
    its objects.
    """

    plugin: ModuleType
    """Its `plugin.py`."""
    sdk: str
    """The module of the vendor's library."""
    key_variable: str
    """The environment variable that holds the key."""
    construction: str
    """Statements that make an object of each class, run in a fresh interpreter."""

    async def test_its_components_are_found_by_name(self) -> None:
        """Each is built from its configuration, which editors can complete."""
        manager = PluginManager()
        await manager.ascan()
        components = list(self._components(manager))
        assert components
        for component in components:
            assert callable(await manager.aget(component.kind, component.name))
            assert component.summary
            schema = _config(component).model_json_schema()
            assert schema["additionalProperties"] is False

    def test_the_doctor_misses_a_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a key it warns and says what to set; with one all is well, and it does not show."""
        monkeypatch.delenv(self.key_variable, raising=False)
        without = self._examined()
        monkeypatch.setenv(self.key_variable, "sk-canary")
        given = self._examined()
        assert [finding.verdict for finding in without.findings] == ["ok", "warning"]
        assert self.key_variable in without.findings[1].next_step
        assert [finding.verdict for finding in given.findings] == ["ok", "ok"]
        assert "canary" not in repr(given.findings)

    def test_the_doctor_misses_the_sdk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the SDK it fails and says what to install."""
        monkeypatch.setattr("roomkit.plugins.doctor.find_spec", lambda name: None)
        report = self._examined()
        assert not report.healthy
        assert report.findings[0].next_step == f"pip install {self._distribution()}"

    def test_the_sdk_is_imported_at_first_use_only(self) -> None:
        """Neither the plugin, nor a class of it, nor an object imports the SDK."""
        program = (
            f"import sys, {self.plugin.__name__}\n"
            "assert 'pydantic' not in sys.modules\n"
            f"{self.construction}\n"
            f"assert {self.sdk!r} not in sys.modules\n"
        )
        subprocess.run([sys.executable, "-c", program], check=True, timeout=30)

    def _components(self, manager: PluginManager) -> Iterator[Component]:
        for plugin in manager.plugins():
            if plugin.module == self.plugin.__name__:
                yield from plugin.components

    def _distribution(self) -> str:
        modules = {plugin.module: plugin.distribution for plugin in PluginManager().plugins()}
        return modules[self.plugin.__name__]

    def _examined(self) -> DoctorReport:
        report = DoctorReport()
        self.plugin.roomkit_doctor(report)
        return report


def _config(component: Component) -> Any:
    assert component.config
    module, _, name = component.config.partition(":")
    return getattr(import_module(module), name)
