"""Methods that plugins add to a kit: `kit.ext.<plugin>.<name>`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypedDict

from roomkit._names import nearest

__all__ = ["Extensions", "PluginMethods", "PluginOptions"]

type Find = Callable[[str, str], Callable[..., Any] | None]
type Names = Callable[[], dict[str, list[str]]]


class PluginOptions(TypedDict, total=False):
    """The arguments of a kit that RoomKit's own plugins declare, for type checkers: none so far.

    Those of others are given by `tables=`, or with a comment for the checker.
    """


class Extensions:
    """The plugins' methods, by the name of the plugin; a dash in it is an underscore here."""

    def __init__(self, kit: object, find: Find, names: Names) -> None:
        self._kit = kit
        self._find = find
        self._names = names

    def __getattr__(self, plugin: str) -> PluginMethods:
        known = self._names()
        name = next((each for each in known if plugin in (each, each.replace("-", "_"))), None)
        if name is None:
            close = nearest(plugin, known)
            hint = (
                f"did you mean {close!r}?"
                if close
                else "install it; `roomkit plugins list` shows what there is"
            )
            raise AttributeError(f"no plugin {plugin!r} adds methods to kits: {hint}")
        methods = PluginMethods(self._kit, name, self._find, known[name])
        setattr(self, plugin, methods)
        return methods


class PluginMethods:
    """The methods that one plugin adds."""

    def __init__(self, kit: object, plugin: str, find: Find, names: list[str]) -> None:
        self._kit = kit
        self._plugin = plugin
        self._find = find
        self._names = names

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = None if name.startswith("_") else self._find(self._plugin, name)
        if function is None:
            close = nearest(name, self._names)
            hint = f"did you mean {close!r}?" if close else f"it adds {', '.join(sorted(self._names))}"
            raise AttributeError(f"plugin {self._plugin!r} adds no method {name!r}: {hint}")
        method = partial(function, self._kit)
        setattr(self, name, method)
        return method

    def __dir__(self) -> list[str]:
        return sorted(self._names)
