"""Find the installed plugins, and take each in, one at a time.

Whatever one plugin does wrong here ends in its own record. Nothing but the user's Ctrl-C leaves
these functions.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from roomkit._dataclasses import dataclass
from roomkit.models.vocabulary import is_declared
from roomkit.plugins.absence import unknown_kind
from roomkit.plugins.components import ComponentKind, ComponentState, Plugin
from roomkit.plugins.errors import RegistrationError, describe
from roomkit.plugins.hooks import Hooks
from roomkit.plugins.registry import Registry
from roomkit.plugins.versions import core_specifiers, satisfies

if TYPE_CHECKING:
    from email.message import Message
    from importlib.metadata import Distribution

GROUP = "roomkit"
"""The entry-point group. Its name is the generation of the plugin API."""


class EntryPoint(Protocol):
    """The part of `importlib.metadata.EntryPoint` that discovery uses."""

    @property
    def name(self) -> str:
        """The plugin's name."""

    @property
    def value(self) -> str:
        """The module that implements the hooks."""

    def load(self) -> object:
        """Import that module."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A plugin that was found: its record, and what decides whether it is let in."""

    plugin: Plugin
    load: Callable[[], object]
    """Imports and returns the module that implements the hooks."""
    requirements: tuple[str, ...] = ()
    """The `Requires-Dist` lines of its distribution."""


def installed_entry_points() -> tuple[EntryPoint, ...]:
    """Scan the installed distributions."""
    import importlib_metadata  # here, because it costs more than `import roomkit` may

    return tuple(importlib_metadata.entry_points(group=GROUP))


def candidates(entry_points: Iterable[EntryPoint]) -> list[Candidate]:
    """Read the metadata of each entry point, in the one order that does not depend on the machine."""
    found = [_candidate(entry_point) for entry_point in entry_points]
    return sorted(found, key=lambda c: (c.plugin.name, c.plugin.distribution, c.plugin.module))


def blocked_names(block: Iterable[str]) -> frozenset[str]:
    """Join `block` with what `ROOMKIT_PLUGINS_BLOCK` lists, separated by commas."""
    listed = os.environ.get("ROOMKIT_PLUGINS_BLOCK", "").split(",")
    return frozenset(_normal(name) for name in (*block, *listed) if name.strip())


def admit(candidate: Candidate, hooks: Hooks, *, blocked: frozenset[str], core: str) -> None:
    """Take one plugin in, and write down in its record how far that went.

    Blocked and incompatible plugins are omitted before anything of theirs is imported. `core` is
    this core's version.
    """
    plugin = candidate.plugin
    if blocked & {_normal(plugin.name), _normal(plugin.distribution)}:
        plugin.state = ComponentState.BLOCKED
        plugin.reason = f"{plugin} is blocked, by block= or ROOMKIT_PLUGINS_BLOCK"
        return
    if misfit := _misfit(core, candidate.requirements):
        plugin.state = ComponentState.INCOMPATIBLE
        plugin.reason = f"{plugin} {misfit}"
        return
    try:
        hooks.register(plugin, candidate.load())
        hooks.call_one(plugin, "roomkit_register", {"registry": Registry(plugin)})
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a plugin's SystemExit must not end the start
        _break(plugin, hooks, error)
    else:
        plugin.state = ComponentState.LOADED


def check_kinds(plugin: Plugin, hooks: Hooks) -> None:
    """Record that a plugin is broken if it names a kind of components that no plugin has declared."""
    if plugin.state is not ComponentState.LOADED:
        return
    for component in plugin.components:
        for kind in (component.kind, *component.parts.values(), *component.part_lists.values()):
            if not is_declared(ComponentKind, kind):
                _break(plugin, hooks, RegistrationError(unknown_kind(kind.value)))
                return


def _break(plugin: Plugin, hooks: Hooks, error: BaseException) -> None:
    plugin.state = ComponentState.BROKEN
    plugin.reason = f"{plugin} is broken: {describe(error)}"
    plugin.cause = error
    hooks.unregister(plugin)
    for component in plugin.components:
        component.state, component.reason, component.cause = plugin.state, plugin.reason, error


def _misfit(core: str, requirements: tuple[str, ...]) -> str | None:
    specifiers = core_specifiers(requirements)
    if specifiers is None:
        return None
    try:
        if satisfies(core, specifiers):
            return None
    except ValueError as error:
        return f"asks for a roomkit-core that cannot be read: {error}; report it to its author"
    return (
        f"needs roomkit-core {specifiers}, and this is {core}; "
        "install the version of the plugin that was made for it"
    )


def _candidate(entry_point: EntryPoint) -> Candidate:
    plugin = Plugin(name=str(entry_point.name), module=str(entry_point.value))
    requirements: tuple[str, ...] = ()
    try:
        if (distribution := getattr(entry_point, "dist", None)) is not None:
            metadata = _headers(distribution)
            plugin.distribution = str(metadata["Name"] or "")
            plugin.version = str(metadata["Version"] or "")
            requirements = tuple(metadata.get_all("Requires-Dist") or ())
    except KeyboardInterrupt:
        raise
    except Exception as error:  # noqa: BLE001 - unreadable metadata is the plugin's, not ours
        plugin.reason = f"{plugin} has unreadable metadata: {describe(error)}"
    return Candidate(plugin, entry_point.load, requirements)


def _headers(distribution: Distribution) -> Message:
    """Read the headers of a distribution's metadata.

    `distribution.metadata` would parse the README as well, and import what reads every kind of message.
    """
    from email.parser import HeaderParser  # here, as with the scan

    text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    return HeaderParser().parsestr(text)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()
