"""The settings of a configuration file: each value, where it comes from, and what reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel

from roomkit.models.options import KitOptions
from roomkit.plugins import PluginError, PluginManager
from roomkit.plugins.components import NAMED_TABLES, SINGLE_TABLES, Component, ComponentKind
from roomkit.plugins.config import BINDING_FIELDS, ConfigTables, SourceOptions
from roomkit.plugins.construction import imported_model
from roomkit_plugins.cli.settings import Setting, settings_of, settings_of_model

__all__ = ["Explained", "explained"]

MASK = "**********"
_REFERENCES = ("env:", "file:")
_NOT_READ = Setting("", "", False, None, True, "")
"""Stands for what no model describes: it may be a secret."""


@dataclass(frozen=True, slots=True)
class Explained:
    """One setting."""

    key: str
    """As `channels.support.provider.auth_token`."""
    value: object
    """As it is written, so a reference stays one; a secret is masked. A default as TOML has it, or None."""
    origin: str
    """`roomkit.toml:12`, with the profile if the line is of one, or `default`."""
    setting: Setting
    read_by: str
    """What reads it; empty where nothing does, or what would do so is not installed."""

    @property
    def given(self) -> bool:
        """Whether the file has it."""
        return self.origin != _DEFAULT

    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        setting = {key: value for key, value in self.setting.document().items() if key != "name"}
        return {
            "key": self.key,
            "value": self.value,
            "origin": self.origin,
            "read_by": self.read_by,
            **setting,
        }


_DEFAULT = "default"


def explained(config: ConfigTables, manager: PluginManager) -> Iterator[Explained]:
    """Yield every setting of what the file names, those at their defaults too, by table.

    Imports the config models: not for a running loop. What cannot be loaded is not an error: its settings
    have an empty `read_by`, and are masked.
    """
    reading = _Reading(config, manager)
    tables = config.tables
    yield from reading.model("kit", KitOptions, tables.get("kit", {}), "the kit")
    for name, table in tables.items():
        if name in SINGLE_TABLES:
            yield from reading.component(name, SINGLE_TABLES[name], table)
        elif name in NAMED_TABLES and isinstance(table, Mapping):
            for each, entry in table.items():
                yield from reading.entry(f"{name}.{each}", name, entry)
        elif name != "kit":
            yield from reading.own_table(name, table)


class _Reading:
    """Reads the tables of one file beside the models that describe them."""

    def __init__(self, config: ConfigTables, manager: PluginManager) -> None:
        self._config = config
        self._manager = manager

    def entry(self, key: str, table: str, value: object) -> Iterator[Explained]:
        """Explain one channel, agent or source with the tables in it that are the core's."""
        kind = ComponentKind.SOURCE if table == "sources" else ComponentKind.CHANNEL
        inner = "run" if table == "sources" else "binding"
        if not isinstance(value, Mapping):
            yield from self._given(key, value, _NOT_READ, "")
            return
        yield from self.component(key, kind, {k: each for k, each in value.items() if k != inner})
        if inner in value and table == "sources":
            yield from self.model(
                f"{key}.run", SourceOptions, value[inner], "the kit, when it runs the source"
            )
        elif inner in value:
            known = [Setting(name, "", False, None, False, about) for name, about in BINDING_FIELDS.items()]
            reader = "the kit, when it attaches the channel"
            written = (each for each in self._settings(f"{key}.binding", known, value[inner], reader))
            yield from (each for each in written if each.given)

    def component(self, key: str, kind: ComponentKind, value: object) -> Iterator[Explained]:
        """Explain one component and its parts."""
        table = {"plugin": value} if isinstance(value, str) else value
        if not isinstance(table, Mapping):
            yield from self._given(key, value, _NOT_READ, "")
            return
        rest = {name: each for name, each in table.items() if name != "plugin"}
        try:
            component = self._manager.find(kind, str(table.get("plugin")))
            known = settings_of(component)
        except PluginError:
            yield from self._given(f"{key}.plugin", table.get("plugin"), replace(_NOT_READ, secret=False), "")
            yield from self._settings(key, (), rest, "")
            return
        reader = f"{component} of plugin {component.plugin!r} ({component.target})"
        named = key if isinstance(value, str) else f"{key}.plugin"
        about = Setting("plugin", "str", True, None, False, component.summary)
        yield from self._given(named, table["plugin"], about, reader)
        parts = {name: each for name, each in rest.items() if name in _parts(component)}
        plain = {name: each for name, each in rest.items() if name not in parts}
        yield from self._settings(key, [each for each in known if each.name not in parts], plain, reader)
        for name, part in parts.items():
            yield from self._part(f"{key}.{name}", _parts(component)[name], part)

    def own_table(self, name: str, table: object) -> Iterator[Explained]:
        """Explain a table that is a plugin's own."""
        if (kind := self._manager.options().get(name)) is not None:
            yield from self.component(name, kind, table)
            return
        try:
            model = imported_model(self._manager.tables()[name], name)
        except (KeyError, PluginError):
            yield from self._settings(name, (), table, "")
        else:
            yield from self.model(name, model, table, f"the plugin that brings [{name}]")

    def model(self, key: str, model: type[BaseModel], value: object, reader: str) -> Iterator[Explained]:
        """Explain the settings of one model."""
        yield from self._settings(key, settings_of_model(model), value, reader)

    def _part(self, key: str, kind: ComponentKind, value: object) -> Iterator[Explained]:
        if isinstance(value, list):
            for index, each in enumerate(value):
                yield from self.component(f"{key}[{index}]", kind, each)
        else:
            yield from self.component(key, kind, value)

    def _settings(
        self, key: str, known: Sequence[Setting], value: object, reader: str
    ) -> Iterator[Explained]:
        given = value if isinstance(value, Mapping) else {}
        for setting in known:
            where = f"{key}.{setting.name}"
            if setting.name in given:
                yield from self._given(where, given[setting.name], setting, reader)
            elif not setting.required:
                yield Explained(where, setting.default, _DEFAULT, setting, reader)
        names = {setting.name for setting in known}
        for name, each in given.items():
            if name not in names:
                yield from self._given(f"{key}.{name}", each, _NOT_READ, "")

    def _given(
        self, key: str, value: object, setting: Setting, reader: str, path: tuple[str, ...] = ()
    ) -> Iterator[Explained]:
        """Explain a value, or each that is inside of it at `path`."""
        if isinstance(value, Mapping):
            for name, inner in value.items():
                yield from self._given(f"{key}.{name}", inner, setting, reader, (*path, str(name)))
            return
        shown = _shown(value, is_hidden=setting.hides(path))
        yield Explained(key, shown, self._origin(key), setting, reader)

    def _origin(self, key: str) -> str:
        written = self._config.written
        line = None if written is None else written.line(key)
        where = self._config.source if line is None else f"{self._config.source}:{line}"
        of_profile = written is not None and written.in_profile(key)
        return f"{where}, profile {self._config.profile}" if of_profile else where


def _parts(component: Component) -> Mapping[str, ComponentKind]:
    return {**component.parts, **component.part_lists}


def _shown(value: object, *, is_hidden: bool) -> object:
    reference = isinstance(value, str) and value.startswith(_REFERENCES)
    return MASK if is_hidden and not reference else value
