"""Methods that plugins add to kits."""

from __future__ import annotations

import sys
from functools import reduce
from types import ModuleType
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.plugins import PluginManager, hookimpl


class _EntryPoint:
    def __init__(self, name: str, module: str, plugin: object) -> None:
        self.name = name
        self.value = module
        self._plugin = plugin

    def load(self) -> object:
        return self._plugin


class Adding:
    """A plugin that adds the methods of a test."""

    def __init__(self, **methods: str) -> None:
        self.methods = methods

    @hookimpl
    def roomkit_register(self, registry: Any) -> None:
        for name, target in self.methods.items():
            registry.add_method(name, target)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module with a method, which is imported under the name `acme_calls`."""
    module = ModuleType("acme_calls")

    async def place_call(kit: RoomKit, number: str) -> tuple[RoomKit, str]:
        return kit, number

    module.place_call = place_call  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "acme_calls", module)
    return module


def kit_with(*plugins: tuple[str, str, Adding]) -> RoomKit:
    return RoomKit(plugins=PluginManager(entry_points=[_EntryPoint(*each) for each in plugins]))


async def test_a_method_is_found_by_its_plugin(calls: ModuleType) -> None:
    """Bound to the kit, and listed; a dash in the plugin's name is an underscore."""
    kit = kit_with(("acme-calls", "acme.plugin", Adding(place_call="acme_calls:place_call")))
    assert await kit.ext.acme_calls.place_call("+1416") == (kit, "+1416")
    assert dir(kit.ext.acme_calls) == ["place_call"]
    assert not hasattr(kit, "place_call")


async def test_a_method_of_our_own_plugin_is_the_kits(calls: ModuleType) -> None:
    """It is imported at first use, and kept."""
    kit = kit_with(("calls", "roomkit_plugins.calls.plugin", Adding(place_call="acme_calls:place_call")))
    method: Any = getattr(kit, "place_call")  # noqa: B009  # checkers do not know it
    assert await method("+1416") == (kit, "+1416")
    assert getattr(kit, "place_call") is method  # noqa: B009  # likewise


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nothing", "no installed plugin adds it"),
        ("ext.acme_cals.place_call", "did you mean 'acme-calls'"),
        ("ext.acme_calls.place_cal", "did you mean 'place_call'"),
        ("ext.acme_calls.hang_up", "it adds place_call"),
    ],
)
def test_a_method_that_is_not_there_is_an_attribute_error(path: str, words: str, calls: ModuleType) -> None:
    """So `hasattr` is False; the error says what there is."""
    found: Any = kit_with(("acme-calls", "acme.plugin", Adding(place_call="acme_calls:place_call")))
    with pytest.raises(AttributeError, match=words):
        reduce(getattr, path.split("."), found)


@pytest.mark.parametrize(
    ("name", "target"), [("two words", "acme:f"), ("_own", "acme:f"), ("call", "no reference")]
)
async def test_what_cannot_be_a_method_breaks_its_plugin_alone(name: str, target: str) -> None:
    """The plugin is reported as broken, and the kit runs."""
    async with kit_with(("acme", "acme.plugin", Adding(**{name: target}))) as kit:
        (plugin,) = (each for each in kit.plugins.plugins() if each.name == "acme")
        assert "broken" in plugin.reason
