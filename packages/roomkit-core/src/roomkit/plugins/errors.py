"""Errors of plugins, components and configuration files.

Each message says what happened, to which object, and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from roomkit._dataclasses import dataclass
from roomkit.abc.errors import RoomKitError
from roomkit.models.escaping import printable


class PluginError(RoomKitError):
    """Base of everything that goes wrong between the core and a plugin."""

    code = "plugin_error"


class InvalidPluginError(PluginError):
    """What an entry point names is not a plugin: the plugin's mistake, seen at the scan."""

    code = "plugin_invalid"


class RegistrationError(PluginError):
    """A plugin declared a component that cannot be: the plugin's mistake, seen at the scan."""

    code = "plugin_registration"


class ComponentNotFoundError(PluginError):
    """No installed plugin brings the component that was asked for."""

    code = "component_not_found"


class PluginBlockedError(PluginError):
    """The component that was asked for belongs to a plugin the user blocked."""

    code = "plugin_blocked"


class PluginIncompatibleError(PluginError):
    """The component that was asked for belongs to a plugin made for another version of the core."""

    code = "plugin_incompatible"


class PluginBrokenError(PluginError):
    """The component that was asked for cannot be imported or built; `__cause__` says why."""

    code = "plugin_broken"


class MixedInstallationError(PluginError):
    """Files of a foreign distribution called `roomkit` are mixed into the core's folder."""

    code = "mixed_installation"


class RouteClashError(PluginError):
    """Two plugins have routes for one method and path."""

    code = "route_clash"


class BlockingImportError(PluginError):
    """Code on a running event loop asked for a component that is not imported yet."""

    code = "blocking_import"


@dataclass(frozen=True, slots=True)
class PluginFailure:
    """One plugin's hook that failed."""

    plugin: str
    hook: str
    error: BaseException


class PluginHooksError(PluginError):
    """Hooks of one or more plugins failed; all the others ran. `group` holds every failure."""

    code = "plugin_hooks"

    def __init__(self, hook: str, failures: Sequence[PluginFailure]) -> None:
        names = ", ".join(repr(failure.plugin) for failure in failures)
        super().__init__(
            f"{hook} failed in the plugins {names}: "
            + "; ".join(f"{failure.plugin}: {describe(failure.error)}" for failure in failures)
            + f". Block one with ROOMKIT_PLUGINS_BLOCK, or run `roomkit plugins doctor {failures[0].plugin}`."
        )
        self.failures = tuple(failures)
        self.group = BaseExceptionGroup(hook, [failure.error for failure in failures])
        self.__cause__ = self.group


class ConfigError(PluginError):
    """A configuration is wrong. `problems` lists everything found in it, not just the first.

    `lines` has the line of the file that each problem is about, where one is known.
    """

    code = "config"

    def __init__(self, source: str, problems: Iterable[str], lines: Iterable[int | None] = ()) -> None:
        self.source = source
        self.problems = tuple(problems)
        self.lines = (*lines, *[None] * len(self.problems))[: len(self.problems)]
        listed = "".join(
            f"\n  - {self._located(*each)}" for each in zip(self.problems, self.lines, strict=True)
        )
        super().__init__(f"{printable(source)} cannot be used:{listed}")

    def _located(self, problem: str, line: int | None) -> str:
        return printable(problem if line is None else f"{self.source}:{line}: {problem}")


def describe(error: BaseException) -> str:
    """Say an error in one line: its type and its first line, escaped."""
    first = printable(str(error).strip().partition("\n")[0])
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
