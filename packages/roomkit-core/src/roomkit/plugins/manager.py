"""Finds components by name, and runs the hooks of plugins.

A broken plugin is fatal only if the user names it, with its cause and a next
step. No other module touches pluggy's own manager.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import roomkit
from roomkit.abc.log import get_logger
from roomkit.abc.namespaces import plugin_of
from roomkit.plugins.absence import absence, remedy
from roomkit.plugins.components import Clash, Component, ComponentKind, ComponentState, Plugin
from roomkit.plugins.discovery import (
    Candidate,
    EntryPoint,
    admit,
    blocked_names,
    candidates,
    check_kinds,
    installed_entry_points,
)
from roomkit.plugins.errors import (
    BlockingImportError,
    InvalidPluginError,
    MixedInstallationError,
    PluginBrokenError,
    PluginFailure,
    PluginHooksError,
    RouteClashError,
    describe,
)
from roomkit.plugins.hooks import Hooks
from roomkit.plugins.mixture import mixture
from roomkit.plugins.references import resolve

if TYPE_CHECKING:
    from roomkit.abc.route import Route
    from roomkit.abc.services import Services
    from roomkit.kernel.kit import RoomKit
    from roomkit.plugins.commands import Commands
    from roomkit.plugins.doctor import DoctorReport

logger = get_logger("roomkit.plugins")

_CORE = "core"

_NO_SETTINGS: Mapping[str, object] = MappingProxyType({})

HOOK_TIMEOUT = 30.0
"""Seconds that one plugin's start-up or shutdown may take."""


class PluginManager:
    """The installed plugins of a process, or of one kit that wants its own set.

    Nothing is scanned before it is needed; then once. All methods may be called from any thread.

    `block` names plugins (by entry point or by distribution) to leave out unimported, besides those
    in `ROOMKIT_PLUGINS_BLOCK`. `entry_points` replaces the scan of installed distributions.
    """

    def __init__(self, block: Iterable[str] = (), entry_points: Iterable[EntryPoint] | None = None) -> None:
        self._block = blocked_names(block)
        self._entry_points = None if entry_points is None else tuple(entry_points)
        self._hooks = Hooks()
        self._lock = threading.RLock()  # a plugin may ask for this manager while it is imported
        self._scanned = False
        self._scanning = False
        self._plugins: dict[str, Plugin] = {}  # bound: the installed plugins, as the three below
        self._index: dict[tuple[str, str], Component] = {}
        self._loaded: dict[Component, Callable[..., Any]] = {}
        self._clashes: list[Clash] = []
        self._tables: dict[str, Plugin] = {}
        self._settings: WeakKeyDictionary[RoomKit, Mapping[str, object]] = WeakKeyDictionary()
        self._mixture: str | None = None

    # What there is

    def scan(self) -> None:
        """Find the plugins and register their components. Does nothing the second time."""
        if not self._scanned:
            with self._lock:
                self._scan_once()

    async def ascan(self) -> None:
        """Do `scan` without blocking the loop."""
        if not self._scanned:
            await asyncio.to_thread(self.scan)

    def plugins(self) -> tuple[Plugin, ...]:
        """List every plugin found, whatever became of it: the core's own first, then by name."""
        self.scan()
        return tuple(self._plugins.values())

    def components(self, kind: ComponentKind | str | None = None) -> tuple[Component, ...]:
        """List every component declared, of one kind or of all, whatever became of it."""
        self.scan()
        return tuple(
            component
            for plugin in self._plugins.values()
            for component in plugin.components
            if kind is None or component.kind == kind
        )

    def tables(self) -> Mapping[str, str]:
        """Return plugins' own tables of the configuration file, each with its model's reference."""
        self.scan()
        return {name: plugin.tables[name] for name, plugin in self._tables.items() if name in plugin.tables}

    def options(self) -> Mapping[str, ComponentKind]:
        """Return plugins' own arguments of the kit's constructor, each with the kind of its component."""
        self.scan()
        return {name: plugin.options[name] for name, plugin in self._tables.items() if name in plugin.options}

    def clashes(self) -> tuple[Clash, ...]:
        """List the names that two plugins claim."""
        self.scan()
        return tuple(self._clashes)

    def namespace_of(self, module: str) -> str | None:
        """Return the name of the plugin that a module belongs to, None if no plugin has it."""
        self.scan()
        known = ((each.name, each.module) for each in self._plugins.values() if each.name != _CORE)
        return plugin_of(module, known)

    def method(self, namespace: str, name: str) -> Callable[..., Any] | None:
        """Return the function behind a method that a plugin adds to kits, imported; None if it adds none."""
        target = next((each.methods.get(name) for each in self.plugins() if each.name == namespace), None)
        return None if target is None else resolve(target)

    def merge(self, namespace: str) -> Callable[..., Any] | None:
        """Return the function with which a plugin merges its state of two rooms; None if it adds none."""
        target = next((each.merge for each in self.plugins() if each.name == namespace), None)
        return None if target is None else resolve(target)

    def own_method(self, name: str) -> str | None:
        """Return which plugin of RoomKit's own adds a method of that name."""
        own = (each for each in self.plugins() if each.module.startswith("roomkit_plugins."))
        return next((each.name for each in own if name in each.methods), None)

    def find(self, kind: ComponentKind | str, name: str) -> Component:
        """Return the record of the component called `name`, or by that alias.

        Raises `ComponentNotFoundError`, or if its plugin is known to be out, `PluginBlockedError`,
        `PluginIncompatibleError` or `PluginBrokenError`.
        """
        self.scan()
        component = self._index.get((kind, name))
        if component is None:
            names = [known for known_kind, known in self._index if known_kind == kind]
            raise absence(kind, name, self._plugins.values(), names)
        return component

    # What it is made of

    def get(self, kind: ComponentKind | str, name: str) -> Callable[..., Any]:
        """Return the class (or factory) of a component, importing it at first use.

        On a running event loop an import would stop every room for as long as it takes, so there
        `BlockingImportError` is raised unless it is loaded already: use `aget`.
        """
        self._refuse_on_loop(kind, name)
        return self._load(self.find(kind, name))

    async def aget(self, kind: ComponentKind | str, name: str) -> Callable[..., Any]:
        """Do `get`, importing in a worker thread."""
        await self.ascan()
        if (loaded := self._loaded.get(self.find(kind, name))) is not None:
            return loaded
        return await asyncio.to_thread(self.get, kind, name)

    def create(
        self,
        kind: ComponentKind | str,
        name: str,
        settings: Mapping[str, object] | None = None,
        **wiring: object,
    ) -> object:
        """Build a component from its settings, as a configuration file would.

        `wiring` holds constructor arguments that no file can say, such as `channel_id`. Raises
        `ConfigError` with everything that is wrong with the settings, and what `get` raises.
        """
        from roomkit.plugins.construction import Drawing, construct  # brings pydantic

        self._refuse_on_loop(kind, name)
        drawing = Drawing(self)
        blueprint = drawing.required(kind, name, settings or {})
        return construct(blueprint, **wiring)

    async def acreate(
        self,
        kind: ComponentKind | str,
        name: str,
        settings: Mapping[str, object] | None = None,
        **wiring: object,
    ) -> object:
        """Do `create` in a worker thread. Constructors run there: they need no loop and do no I/O."""
        return await asyncio.to_thread(self.create, kind, name, settings, **wiring)

    # The hooks

    def configure(
        self, kit: RoomKit, settings: Mapping[str, object] = _NO_SETTINGS
    ) -> tuple[PluginFailure, ...]:
        """Let every plugin add to a kit that is being built; `settings` are the plugins' own tables.

        Returns the failures. Raises `PluginHooksError` for those of plugins that are in use: with a
        component loaded or a table given, and `MixedInstallationError` if a foreign `roomkit` is mixed into
        the core.
        """
        self.scan()
        if self._mixture is not None:
            raise MixedInstallationError(self._mixture)
        self._settings[kit] = settings
        arguments = partial(self._configuration, kit, settings)
        failures = self._hooks.call_each("roomkit_configure", arguments)
        named = {self._tables[table].name for table in settings if table in self._tables}
        return self._settle("roomkit_configure", failures, named)

    def routes(self, kit: RoomKit) -> tuple[Route, ...]:
        """Return the routes of every plugin, for a server of a kit that is configured.

        Raises `PluginHooksError` for failures of plugins that are in use; others' are logged, and
        `RouteClashError` for two routes for one method and path.
        """
        self.scan()
        arguments = partial(self._configuration, kit, self._settings.get(kit, _NO_SETTINGS))
        owned, failures = self._hooks.collect("roomkit_routes", arguments, _routes_of)
        self._settle("roomkit_routes", failures)
        found: list[tuple[Plugin, Route]] = []  # bound: the routes of installed plugins
        for plugin, routes in owned:
            for route in routes:
                for holder, other in found:
                    if route.collides_with(other):
                        raise RouteClashError(
                            f"{route.method} {route.path} is a route of {holder} and of {plugin}: "
                            f"block {holder.name} or {plugin.name}"
                        )
                found.append((plugin, route))
        return tuple(route for _, route in found)

    def _configuration(
        self, kit: RoomKit, settings: Mapping[str, object], plugin: Plugin
    ) -> Mapping[str, object]:
        """Return what a plugin's `roomkit_configure` and `roomkit_routes` are called with."""
        own = {name: table for name, table in settings.items() if self._tables.get(name) is plugin}
        return {"kit": kit, "services": _services_of(kit, plugin), "settings": MappingProxyType(own)}

    async def startup(self, kit: RoomKit, *, timeout: float = HOOK_TIMEOUT) -> tuple[PluginFailure, ...]:
        """Let every plugin prepare, one after the other, each within `timeout` seconds.

        Returns and raises as `configure` does.
        """
        await self.ascan()
        failures = await self._hooks.await_each("roomkit_startup", {"kit": kit}, timeout=timeout)
        return self._settle("roomkit_startup", failures)

    async def shutdown(self, kit: RoomKit, *, timeout: float = HOOK_TIMEOUT) -> None:
        """Let every plugin release what it holds, in reverse order, each within `timeout` seconds.

        Raises one `PluginHooksError` with all failures, after every plugin had its turn. Nothing that
        was not looked for is looked for now.
        """
        if not self._scanned:
            return
        failures = await self._hooks.await_each(
            "roomkit_shutdown", {"kit": kit}, timeout=timeout, reverse=True
        )
        if failures:
            raise PluginHooksError("roomkit_shutdown", failures)

    def commands(self, cli: Commands) -> tuple[PluginFailure, ...]:
        """Let every plugin add its commands. Returns the failures."""
        self.scan()
        return self._report("roomkit_commands", self._hooks.call_each("roomkit_commands", {"cli": cli}))

    def doctor(self, report: DoctorReport) -> tuple[PluginFailure, ...]:
        """Report the state of every plugin, then let each add its own checks. Returns the failures."""
        self.scan()
        if self._mixture is not None:
            report.fail("installation", self._mixture, next_step="pip uninstall -y roomkit roomkit-core")
        for plugin in self.plugins():
            report.enter(plugin.name)
            if plugin.state is ComponentState.LOADED:
                report.ok(plugin.name, f"{plugin} brings {len(plugin.components)} components")
            elif plugin.state is ComponentState.BLOCKED:
                report.warn(plugin.name, plugin.reason, next_step=remedy(plugin))
            else:
                broken = plugin.state is ComponentState.BROKEN
                next_step = "report it to its author" if broken else remedy(plugin)
                report.fail(plugin.name, plugin.reason, next_step=next_step, error=plugin.cause)
        for clash in self._clashes:
            report.enter(clash.loser)
            report.warn(clash.loser, str(clash), next_step=f"block {clash.winner} or {clash.loser}")
        failures = self._report(
            "roomkit_doctor", self._hooks.call_each("roomkit_doctor", partial(_examination, report))
        )
        for failure in failures:
            report.enter(failure.plugin)
            report.fail(
                failure.plugin,
                f"its check failed: {describe(failure.error)}",
                next_step="report it to its author",
                error=failure.error,
            )
        return failures

    # Inside

    def _scan_once(self) -> None:
        if self._scanned or self._scanning:  # by another thread; or a plugin asks while it is imported
            return
        self._scanning = True
        try:
            self._scan()
            self._scanned = True
        finally:
            self._scanning = False

    def _scan(self) -> None:
        self._hooks = Hooks()
        for container in (self._plugins, self._index, self._clashes, self._tables):
            container.clear()  # what an interrupted scan left behind
        entry_points = self._entry_points
        if entry_points is None:
            entry_points, self._mixture = installed_entry_points(), mixture()
        admitted = [self._admit(candidate) for candidate in (_builtin(), *candidates(entry_points))]
        for plugin in admitted:
            if plugin is not None:
                self._take_in(plugin)

    def _admit(self, candidate: Candidate) -> Plugin | None:
        plugin = candidate.plugin
        if self._plugins.setdefault(plugin.key, plugin) is not plugin:
            logger.warning("%s is installed twice; the first is used", plugin)
            return None
        admit(candidate, self._hooks, blocked=self._block, core=roomkit.__version__)
        return plugin

    def _take_in(self, plugin: Plugin) -> None:
        """Claim the names of a plugin, once every plugin has declared its words."""
        check_kinds(plugin, self._hooks)
        if plugin.reason:
            level = logging.INFO if plugin.state is ComponentState.BLOCKED else logging.WARNING
            logger.log(level, "%s", plugin.reason)
        if plugin.state is not ComponentState.LOADED:
            return
        for component in plugin.components:
            self._claim(component)
        for name in (*plugin.tables, *plugin.options):
            holder = self._tables.setdefault(name, plugin)
            if holder is not plugin:
                logger.warning(
                    "the table [%s] is claimed by %s and %s; the first has it", name, holder, plugin
                )

    def _claim(self, component: Component) -> None:
        for name in (component.name, *component.aliases):
            holder = self._index.setdefault((component.kind, name), component)
            if holder is component:
                continue
            clash = Clash(component.kind, name, winner=holder.plugin, loser=component.plugin)
            self._clashes.append(clash)
            logger.warning("%s", clash)
            if name == component.name:
                component.state, component.reason = ComponentState.SHADOWED, str(clash)
                return

    def _load(self, component: Component) -> Callable[..., Any]:
        if (loaded := self._loaded.get(component)) is not None:
            return loaded
        try:
            target = resolve(component.target)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            component.state = ComponentState.BROKEN
            component.reason = f"{component} of plugin {component.plugin!r}: {describe(error)}"
            component.cause = error
            raise PluginBrokenError(
                f"{component} of plugin {component.plugin!r} cannot be loaded: {describe(error)}. "
                f"`roomkit plugins doctor {component.plugin}` says more"
            ) from error
        component.state, component.reason, component.cause = ComponentState.LOADED, "", None
        self._loaded[component] = target
        return target

    def _refuse_on_loop(self, kind: ComponentKind | str, name: str) -> None:
        if self._scanned and self.find(kind, name) in self._loaded:
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        raise BlockingImportError(
            f"loading {kind} {name!r} would import its code on the running event loop; "
            f"write `await kit.plugins.aget({str(kind)!r}, {name!r})`, or acreate"
        )

    def _settle(
        self, hook: str, failures: list[PluginFailure], named: Collection[str] = ()
    ) -> tuple[PluginFailure, ...]:
        in_use = {component.plugin for component in self._loaded} | {*named}
        if fatal := [failure for failure in failures if failure.plugin in in_use]:
            raise PluginHooksError(hook, fatal)
        return self._report(hook, failures)

    def _report(self, hook: str, failures: list[PluginFailure]) -> tuple[PluginFailure, ...]:
        for failure in failures:
            logger.warning("%s of plugin %r failed: %s", hook, failure.plugin, describe(failure.error))
        return tuple(failures)


def _services_of(kit: RoomKit, plugin: Plugin) -> Services:
    services = kit.services if plugin.name == _CORE else kit.services_of(plugin.name)
    if plugin.name != _CORE and services is kit.services:
        raise InvalidPluginError(f"{plugin.name!r} is the namespace of the program: rename its entry point")
    return services


def _routes_of(plugin: Plugin, answer: object) -> tuple[Plugin, Sequence[Route]]:
    from roomkit.abc.route import Route

    routes = [*answer] if isinstance(answer, Iterable) else answer
    if not isinstance(routes, list) or not all(isinstance(route, Route) for route in routes):
        raise TypeError("roomkit_routes returned something other than routes")
    return plugin, routes


def _examination(report: DoctorReport, plugin: Plugin) -> Mapping[str, object]:
    """Return what a plugin's `roomkit_doctor` is called with; the findings are entered under its name."""
    report.enter(plugin.name)
    return {"report": report}


_default_lock = threading.Lock()
_default: PluginManager | None = None


def default_manager() -> PluginManager:
    """Return the manager of this process; distributions are scanned once, at its first use."""
    global _default
    with _default_lock:
        if _default is None:
            _default = PluginManager()
        return _default


def _builtin() -> Candidate:
    def load() -> object:
        from roomkit.plugins import builtin

        return builtin

    plugin = Plugin(_CORE, "roomkit.plugins.builtin", "roomkit-core", roomkit.__version__)
    return Candidate(plugin, load)
