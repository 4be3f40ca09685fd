"""Plugins made on the spot: a module, an entry point and the metadata of a distribution."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType

import pytest

from roomkit.plugins import PluginManager, hookimpl


@dataclass
class Distribution:
    """What importlib.metadata would say of an installed distribution."""

    metadata: str

    @classmethod
    def of(cls, name: str, *requirements: str, version: str = "1.0") -> Distribution:
        fields = [f"Name: {name}", f"Version: {version}"]
        fields += [f"Requires-Dist: {requirement}" for requirement in requirements]
        return cls("\n".join([*fields, "", "Requires-Dist: a README, roomkit-core<0.1"]))

    def read_text(self, filename: str) -> str | None:
        return self.metadata if filename == "METADATA" else None


@dataclass
class EntryPoint:
    """An entry point whose module is given, or whose import fails."""

    name: str
    module: object = None
    error: BaseException | None = None
    dist: Distribution | None = None
    imported: list[str] = field(default_factory=list)

    @property
    def value(self) -> str:
        return f"{self.name}_plugin"

    def load(self) -> object:
        self.imported.append(self.name)
        if self.error is not None:
            raise self.error
        return self.module


def plugin_module(**hooks: Callable[..., object]) -> ModuleType:
    """Make a plugin's module of functions named as hooks."""
    module = ModuleType("made_for_a_test")
    for name, function in hooks.items():
        function.__name__ = name
        setattr(module, name, hookimpl(function))
    return module


def declares(*components: tuple[str, str, str], **options: object) -> ModuleType:
    """Make a plugin's module that declares components."""

    def register(registry: object) -> None:
        for kind, name, target in components:
            registry.add(kind, name, target, **options)  # type: ignore[attr-defined]

    return plugin_module(roomkit_register=register)


@pytest.fixture(autouse=True)
def no_blocklist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own blocklist out of the tests."""
    monkeypatch.delenv("ROOMKIT_PLUGINS_BLOCK", raising=False)


@pytest.fixture
def acme(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """A vendor's module that can be imported by name while the test runs: `acme`."""
    module = ModuleType("acme")
    sys.modules["acme"] = module
    yield module
    del sys.modules["acme"]


@pytest.fixture
def make() -> type:
    """What the tests make plugins with."""

    class Make:
        Distribution = Distribution
        EntryPoint = EntryPoint
        module = staticmethod(plugin_module)
        declares = staticmethod(declares)

        @staticmethod
        def manager(*entry_points: EntryPoint, block: tuple[str, ...] = ()) -> PluginManager:
            return PluginManager(block=block, entry_points=entry_points)

    return Make
