"""Under which name a class keeps what it keeps: its plugin's, else one made of its module's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_NAMESPACE = re.compile(r"[A-Za-z0-9]+([-_.][A-Za-z0-9]+)*")
_SHARED = "roomkit_plugins"
present_plugin: ContextVar[str | None] = ContextVar("roomkit_plugin", default=None)
"""The plugin whose hook runs: what it registers with a kit is its own."""


@contextmanager
def acting_as(plugin: str) -> Iterator[None]:
    """Register everything that is registered with a kit in this block as the plugin's."""
    token = present_plugin.set(plugin)
    try:
        yield
    finally:
        present_plugin.reset(token)


def is_namespace(name: str) -> bool:
    """Return whether a text can be the name of a plugin."""
    return _NAMESPACE.fullmatch(name) is not None


def plugin_of(module: str, plugins: Iterable[tuple[str, str]]) -> str | None:
    """Return the name of the plugin that a module belongs to; `plugins` are (name, module).

    Its own module and those below it, else the package that holds it: of two plugins in one package each
    has its own module.
    """
    found: tuple[int, str] | None = None
    for name, plugin_module in plugins:
        for scope in (plugin_module, _package(plugin_module)):
            if f"{module}.".startswith(f"{scope}.") and (found is None or len(scope) > found[0]):
                found = len(scope), name
    return None if found is None else found[1]


def own_namespace(module: str) -> str | None:
    """Return the namespace of a class that no installed plugin has; None for the program's own."""
    first, _, rest = module.partition(".")
    if first == _SHARED and rest:
        first = rest.partition(".")[0]
    name = first.strip("_").lower()
    return name if first not in ("__main__", "roomkit") and is_namespace(name) else None


def _package(module: str) -> str:
    """Return the package of a plugin's module, which is often `<package>.plugin`."""
    return module.rpartition(".")[0] or module
