"""Routes of plugins, and hooks that an older core does not know."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

from roomkit import RoomKit
from roomkit.abc.errors import InvalidInputError
from roomkit.abc.route import Route
from roomkit.models.webhook import WebhookAnswer, WebhookRequest
from roomkit.plugins import ComponentState, PluginManager, RouteClashError, hookimpl


async def hello(request: WebhookRequest) -> WebhookAnswer:
    return WebhookAnswer(body=request.path_params["name"])


async def app(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application."""


HELLO = Route(method="GET", path="/hello/{name}", name="hello", handler=hello)
MOUNT = Route(method="*", path="/files", name="files", asgi=app)


def manager_of(make: Any, **routes: list[Any]) -> PluginManager:
    """Return a manager with a plugin for each name, and these routes."""
    points = []
    for name, own in routes.items():
        points.append(make.EntryPoint(name, make.module(roomkit_routes=lambda own=own: own)))
    return make.manager(*points)  # type: ignore[no-any-return]


async def test_routes_come_from_plugins(make: Any) -> None:
    """Each gets the kit and its own services; the core's own are those of webhooks."""
    seen = {}

    def routes(kit: Any, services: Any) -> Any:
        seen[kit] = services
        yield HELLO
        yield MOUNT

    manager = make.manager(make.EntryPoint("acme", make.module(roomkit_routes=routes)))
    async with RoomKit(plugins=manager) as kit:
        found = manager.routes(kit)
        assert seen == {kit: kit.services_of("acme")}
        assert {HELLO, MOUNT} < set(found)
        paths = {(each.method, each.path) for each in found if each not in (HELLO, MOUNT)}
        assert paths == {
            (method, path)
            for method in ("GET", "POST")
            for path in ("/webhooks/{channel}", "/webhooks/{channel}/{provider}")
        }
        assert all(each.secure for each in found)


class Desk(BaseModel):
    """A table of a plugin's own."""

    path: str = "/desk"


async def test_routes_are_made_of_the_plugins_own_table(make: Any, acme: ModuleType) -> None:
    """Those of each kit of its own; a kit without the table has no settings."""
    acme.Desk = Desk  # type: ignore[attr-defined]  # the vendor's module

    def register(registry: Any) -> None:
        registry.add_table("desk", config="acme:Desk")

    def routes(settings: Any) -> Any:
        for table in settings.values():
            yield Route(method="GET", path=table.path, name="desk", handler=hello)

    module = make.module(roomkit_register=register, roomkit_routes=routes)
    manager = make.manager(make.EntryPoint("acme", module))
    for tables, expected in (({"desk": Desk(path="/a")}, ["/a"]), ({"desk": Desk()}, ["/desk"]), (None, [])):
        async with RoomKit(plugins=manager, tables=tables) as kit:
            assert [each.path for each in manager.routes(kit) if each.name == "desk"] == expected


async def test_the_webhooks_route_answers(make: Any) -> None:
    """As `process_webhook` does."""
    manager = make.manager()
    async with RoomKit(plugins=manager) as kit:
        (route,) = [
            each
            for each in manager.routes(kit)
            if (each.method, each.path) == ("POST", "/webhooks/{channel}")
        ]
        assert route.handler is not None
        request = WebhookRequest(
            method="POST", url="/webhooks/sms", headers={}, path_params={"channel": "sms"}
        )
        assert (await route.handler(request)).status == 404


@pytest.mark.parametrize(
    "other",
    [
        HELLO,
        Route(method="GET", path="/hello/{who}", name="other", handler=hello),
        Route(method="*", path="/hello/{name}", name="app", asgi=app),
    ],
    ids=lambda route: route.name,
)
async def test_routes_that_collide_name_both_plugins(make: Any, other: Route) -> None:
    manager = manager_of(make, acme=[HELLO], beta=[other])
    async with RoomKit(plugins=manager) as kit:
        with pytest.raises(RouteClashError, match=r"plugin 'acme' and of plugin 'beta': block acme or beta"):
            manager.routes(kit)


async def test_routes_of_other_paths_and_methods_do_not_collide(make: Any) -> None:
    post = Route(method="POST", path="/hello/{name}", name="post", handler=hello)
    manager = manager_of(make, acme=[HELLO, MOUNT], beta=[post])
    async with RoomKit(plugins=manager) as kit:
        assert {HELLO, MOUNT, post} < set(manager.routes(kit))


@pytest.mark.parametrize(
    "answer", [None, "routes", [hello], 7], ids=["nothing", "text", "functions", "number"]
)
async def test_something_other_than_routes_is_the_plugins_failure(
    make: Any, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It is reported, and the others' are served."""
    manager = manager_of(make, acme=answer, beta=[HELLO])
    async with RoomKit(plugins=manager) as kit:
        assert HELLO in manager.routes(kit)
    assert "roomkit_routes of plugin 'acme' failed" in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": "hello", "handler": hello},
        {"path": "/a b", "handler": hello},
        {"path": "/{}", "handler": hello},
        {"path": "/a", "handler": hello, "method": "post"},
        {"path": "/a"},
        {"path": "/a", "handler": hello, "asgi": app},
        {"path": "/a", "asgi": app, "method": "GET"},
        {"path": "/a", "handler": hello, "method": "*"},
    ],
    ids=lambda wrong: ", ".join(f"{name} {getattr(each, '__name__', each)}" for name, each in wrong.items()),
)
def test_a_route_that_no_server_could_serve_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="route 'wrong'"):
        Route(name="wrong", **wrong)


def plugin_with(optional: bool) -> ModuleType:
    """Return a plugin with a hook that this core does not have."""
    module = ModuleType("newer")

    @hookimpl
    def roomkit_register(registry: Any) -> None:
        registry.add("sms", "acme", "acme:Provider")

    @hookimpl(optional=optional)
    def roomkit_of_tomorrow(kit: Any) -> None:
        raise AssertionError("nothing calls it")

    module.roomkit_register = roomkit_register  # type: ignore[attr-defined]
    module.roomkit_of_tomorrow = roomkit_of_tomorrow  # type: ignore[attr-defined]
    return module


def test_an_optional_hook_that_the_core_does_not_know_is_ignored(make: Any) -> None:
    """The plugin's others are called; an unmarked one is a misspelling."""
    newer, misspelt = (
        make.manager(make.EntryPoint("acme", plugin_with(optional=optional))).plugins()[1]
        for optional in (True, False)
    )
    assert (newer.state, len(newer.components)) == (ComponentState.LOADED, 1)
    assert misspelt.state is ComponentState.BROKEN
    assert "unknown hook 'roomkit_of_tomorrow'" in misspelt.reason
