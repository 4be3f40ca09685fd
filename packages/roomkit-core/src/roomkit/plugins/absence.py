"""Why a component that was asked for is not there, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from roomkit._exports import COMPONENTS
from roomkit._names import how_to_get, nearest
from roomkit.models.vocabulary import is_declared, words_of
from roomkit.plugins.components import CORE_TABLES, ComponentKind, ComponentState, Plugin
from roomkit.plugins.errors import (
    ComponentNotFoundError,
    PluginBlockedError,
    PluginBrokenError,
    PluginError,
    PluginIncompatibleError,
)

_REFUSALS: Mapping[ComponentState, type[PluginError]] = {
    ComponentState.BLOCKED: PluginBlockedError,
    ComponentState.INCOMPATIBLE: PluginIncompatibleError,
    ComponentState.BROKEN: PluginBrokenError,
}


def absence(kind: str, name: str, plugins: Iterable[Plugin], known: Iterable[str]) -> PluginError:
    """Build the error for a component that no plugin brought.

    `known` are the names there are of that kind.
    """
    if not is_declared(ComponentKind, kind):
        return ComponentNotFoundError(unknown_kind(str(kind)))
    distribution = COMPONENTS.get(f"{kind}:{name}")
    for plugin in plugins:
        if plugin.state in _REFUSALS and _would_bring(plugin, kind, name, distribution):
            return _refusal(plugin, kind, name)
    if distribution is not None:
        return ComponentNotFoundError(
            f"{kind} {name!r} comes with {distribution}, which is not installed: {how_to_get(distribution)}"
        )
    names = sorted(known)
    if close := nearest(name, names):
        return ComponentNotFoundError(f"there is no {kind} {name!r}. Did you mean {close!r}?")
    choice = f"installed: {', '.join(names)}" if names else f"no {kind} is installed"
    return ComponentNotFoundError(
        f"there is no {kind} {name!r} ({choice}). `roomkit plugins list` shows what there is"
    )


def unknown_kind(kind: str) -> str:
    """Say that there is no such kind of components."""
    kinds = words_of(ComponentKind)
    close = nearest(kind, kinds)
    hint = f"did you mean {close!r}?" if close else f"the kinds are {', '.join(kinds)}"
    return f"unknown component kind {kind!r}; {hint}"


def absent_table(name: str, declared: Iterable[str]) -> str:
    """Say that no installed plugin has a table of that name, and what to do."""
    known = sorted((*CORE_TABLES, *declared))
    distribution = COMPONENTS.get(f"table:{name}")
    if distribution is not None:
        return f"[{name}] is a table of {distribution}, which is not installed: {how_to_get(distribution)}"
    close = nearest(name, known)
    hint = f"did you mean {close!r}?" if close else f"known here: {', '.join(known)}"
    return f"{name} is unknown; {hint}"


def remedy(plugin: Plugin) -> str:
    """Say what to do about a plugin that is out."""
    match plugin.state:
        case ComponentState.BLOCKED:
            return "unblock it to use it"
        case ComponentState.INCOMPATIBLE:
            return how_to_get(plugin.distribution or plugin.name, upgrade=True)
        case _:
            return f"`roomkit plugins doctor {plugin.name}` says more"


def _would_bring(plugin: Plugin, kind: str, name: str, distribution: str | None) -> bool:
    declared = any(
        component.kind == kind and name in (component.name, *component.aliases)
        for component in plugin.components
    )
    return declared or plugin.name == name or plugin.distribution == (distribution or name)


def _refusal(plugin: Plugin, kind: str, name: str) -> PluginError:
    error = _REFUSALS[plugin.state](f"{kind} {name!r} is not there: {plugin.reason}; {remedy(plugin)}")
    error.__cause__ = plugin.cause
    return error
