"""Runs the hooks of plugins, one plugin at a time. The only module that touches pluggy's manager.

pluggy checks signatures and keeps the registrations. Calling is our own loop: pluggy's stops at the first
error, and one broken plugin must not stop the others.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence

import pluggy

from roomkit._names import nearest
from roomkit.abc.namespaces import acting_as
from roomkit.plugins import hookspecs
from roomkit.plugins.components import Plugin
from roomkit.plugins.errors import InvalidPluginError, PluginFailure

type Arguments = Mapping[str, object] | Callable[[Plugin], Mapping[str, object]]
"""What a hook is called with: the same for every plugin, or made for each."""

HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("roomkit_"))


class Hooks:
    """The registered implementations of all hooks."""

    def __init__(self) -> None:
        self._pluggy = pluggy.PluginManager("roomkit")
        self._pluggy.add_hookspecs(hookspecs)
        self._plugins: dict[str, Plugin] = {}  # bound: the installed plugins

    def register(self, plugin: Plugin, module: object) -> None:
        """Take in a plugin's module. Raises, and takes in nothing, if a hook in it is not one of ours."""
        try:
            self._pluggy.register(module, name=plugin.key)
            self._check(module)
        except BaseException:
            self.unregister(plugin)
            raise
        self._plugins[plugin.key] = plugin

    def unregister(self, plugin: Plugin) -> None:
        """Forget a plugin's module."""
        self._pluggy.unregister(name=plugin.key)
        self._plugins.pop(plugin.key, None)

    def call_one(self, plugin: Plugin, hook: str, arguments: Mapping[str, object]) -> None:
        """Call the hook of one plugin, if it implements it. Raises what it raises."""
        for implementation in self._implementations(hook):
            if implementation.plugin_name == plugin.key:
                _call(implementation, arguments)

    def call_each(self, hook: str, arguments: Arguments) -> list[PluginFailure]:
        """Call the hook of every plugin, and return what failed."""
        return self.collect(hook, arguments, lambda plugin, answer: None)[1]

    def collect[T](
        self, hook: str, arguments: Arguments, take: Callable[[Plugin, object], T]
    ) -> tuple[list[T], list[PluginFailure]]:
        """Call the hook of every plugin; return what `take` makes of each answer, and what failed."""
        taken: list[T] = []  # bound: the installed plugins
        failures = []
        for implementation in self._implementations(hook):
            try:
                plugin = self._plugins[implementation.plugin_name]
                with acting_as(plugin.name):
                    answer = _call(implementation, arguments(plugin) if callable(arguments) else arguments)
                taken.append(take(plugin, answer))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - reported with the plugin's name
                failures.append(self._failure(implementation, hook, error))
        return taken, failures

    async def await_each(
        self, hook: str, arguments: Mapping[str, object], *, timeout: float, reverse: bool = False
    ) -> list[PluginFailure]:
        """Call the hook of every plugin and await what it returns; return what failed.

        Each has `timeout` seconds. Cancelling the caller is passed on; a `CancelledError` of a
        plugin's own is a failure like any other.
        """
        failures = []
        implementations = self._implementations(hook)
        for implementation in reversed(implementations) if reverse else implementations:
            try:
                with acting_as(self._plugins[implementation.plugin_name].name):
                    answer = _call(implementation, arguments)
                    if answer is None:
                        continue
                    if not inspect.isawaitable(answer):
                        raise TypeError(f"{hook} returned {type(answer).__name__}, not an awaitable")
                    async with asyncio.timeout(timeout):
                        await answer
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError) and _is_being_cancelled():
                    raise
                failures.append(self._failure(implementation, hook, error))
        return failures

    def _implementations(self, hook: str) -> Sequence[pluggy.HookImpl]:
        """List them in the order of registration, but `tryfirst` before and `trylast` after the rest."""
        place = {name: index for index, (name, _) in enumerate(self._pluggy.list_name_plugin())}
        found: list[pluggy.HookImpl] = getattr(self._pluggy.hook, hook).get_hookimpls()
        return sorted(found, key=lambda impl: (impl.trylast - impl.tryfirst, place[impl.plugin_name]))

    def _failure(self, implementation: pluggy.HookImpl, hook: str, error: BaseException) -> PluginFailure:
        return PluginFailure(self._plugins[implementation.plugin_name].name, hook, error)

    def _check(self, module: object) -> None:
        callers = self._pluggy.get_hookcallers(module) or []
        implemented = {caller.name for caller in callers}
        optional = {
            caller.name
            for caller in callers
            for each in caller.get_hookimpls()
            if each.plugin is module and each.optionalhook
        }
        for name in sorted(implemented - set(HOOKS) - optional):
            close = nearest(name, HOOKS)
            hint = f"did you mean {close!r}?" if close else f"the hooks are {', '.join(HOOKS)}"
            raise InvalidPluginError(f"unknown hook {name!r}; {hint}")
        for name in HOOKS:
            if name not in implemented and callable(getattr(module, name, None)):
                raise InvalidPluginError(f"{name} is not marked; decorate it with @hookimpl")
        if not callers:
            raise InvalidPluginError(
                "it implements no hook; decorate its functions with `roomkit.plugins.hookimpl`"
            )
        for caller in callers:
            for each in caller.get_hookimpls():
                if each.plugin is module and (each.wrapper or each.hookwrapper):
                    raise InvalidPluginError(f"{caller.name} is a wrapper; hooks cannot be wrapped")


def _call(implementation: pluggy.HookImpl, arguments: Mapping[str, object]) -> object:
    """Call one implementation with those of the hook's arguments that it names."""
    return implementation.function(*(arguments[name] for name in implementation.argnames))


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
