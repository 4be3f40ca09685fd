"""The hooks a plugin may implement.

All are optional and synchronous, and each is called once per plugin, plugin by plugin: one that
fails never stops the next. Implement them in the module your entry point of group `roomkit` names:

    from roomkit.plugins import hookimpl

    @hookimpl
    def roomkit_register(registry):
        registry.add("sms", "acme", "acme_roomkit:AcmeSMSProvider")

An implementation may leave out arguments it does not need. pluggy's wrappers are refused: with one
plugin at a time there is nothing to wrap. `tryfirst` and `trylast` order a plugin among the others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, overload

import pluggy

if TYPE_CHECKING:
    from roomkit.abc.route import Route
    from roomkit.abc.services import Services
    from roomkit.kernel.kit import RoomKit
    from roomkit.plugins.commands import Commands
    from roomkit.plugins.doctor import DoctorReport
    from roomkit.plugins.registry import Registry

hookspec = pluggy.HookspecMarker("roomkit")
_marked = pluggy.HookimplMarker("roomkit")


@overload
def hookimpl[F: Callable[..., object]](function: F, /) -> F: ...


@overload
def hookimpl[F: Callable[..., object]](
    *, optional: bool = False, tryfirst: bool = False, trylast: bool = False, wrapper: bool = False
) -> Callable[[F], F]: ...


def hookimpl[F: Callable[..., object]](
    function: F | None = None,
    /,
    *,
    optional: bool = False,
    tryfirst: bool = False,
    trylast: bool = False,
    wrapper: bool = False,
) -> F | Callable[[F], F]:
    """Mark a function of a plugin as the implementation of the hook of its name.

    An `optional` one is ignored by a core that has no such hook yet; any other is an error there, because
    its name is probably misspelt.
    """
    mark = _marked(optionalhook=optional, tryfirst=tryfirst, trylast=trylast, wrapper=wrapper)
    return mark if function is None else mark(function)


@hookspec
def roomkit_register(registry: Registry) -> None:
    """Declare the components the plugin brings, as strings that are imported at first use.

    Called while entry points are scanned. Import no SDK here, nor at the top of the module: sixty
    installed plugins start in the time of their scan.
    """


@hookspec
def roomkit_configure(kit: RoomKit, services: Services, settings: Mapping[str, object]) -> None:
    """Add hooks, resolvers or observers to a kit that is being built.

    `services` are the plugin's own for this kit, the same object as `kit.services_of(name)`: keep them where
    the plugin needs them later. `settings` has the plugin's own tables that the configuration has, each as
    its model, by their names.
    Called once for each kit, before it starts and before its first message. What a plugin adds here
    applies to every room of that kit, whether its components are in use or not: add only what the
    user asked for by installing the plugin.
    """


@hookspec
def roomkit_startup(kit: RoomKit) -> Awaitable[None] | None:
    """Prepare what the plugin needs on the running loop; return an awaitable, or `None`.

    Called by `await kit.start()`, in the order of registration, each with a deadline. A task belongs
    to the kit: never start one of your own that the kit does not know.
    """


@hookspec
def roomkit_shutdown(kit: RoomKit) -> Awaitable[None] | None:
    """Release what the plugin holds for `kit`; return an awaitable, or `None`.

    Called by `await kit.close()` in the reverse order of start-up, each with a deadline, even if
    start-up failed or never ran. All failures are reported together. For one object, such as a server
    that a program starts, use `kit.push_async_callback` instead: no list of kits is needed to find it.
    """


@hookspec
def roomkit_routes(kit: RoomKit, services: Services, settings: Mapping[str, object]) -> Iterable[Route]:
    """Return the routes that a server of this kit is to serve, besides those of the other plugins.

    Called when a server is built, after `roomkit_configure`, with the same `services` and `settings`. Two
    plugins' routes for one method and path are refused with an error that names both.
    """
    return ()


@hookspec
def roomkit_commands(cli: Commands) -> None:
    """Add commands to the `roomkit` command line, as strings that are imported when one is run."""


@hookspec
def roomkit_doctor(report: DoctorReport) -> None:
    """Check what the plugin needs from this machine, and say how to install missing parts.

    Called by `roomkit plugins doctor`. Look at installed files and settings; make no connection.
    """
