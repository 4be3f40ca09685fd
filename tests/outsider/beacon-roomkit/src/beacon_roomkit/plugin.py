"""Registers the package's components, words and table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit import RoomKit
    from roomkit.abc import Route
    from roomkit.abc.services import Services
    from roomkit.plugins import Registry

HERE = "beacon_roomkit"


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the words, the components and the table."""
    registry.add_channel_type("pager", kin="sms", address_type="pager")
    registry.add_event_type("pager_battery", delivered=False)
    registry.add_trigger("on_page", payload=f"{HERE}.alerts:Page")
    registry.add_kind("pager", contract=f"{HERE}.provider:PagerProvider")
    registry.add_table("beacon", config=f"{HERE}.alerts:BeaconConfig")
    registry.add(
        "pager", "beacon", f"{HERE}.provider:BeaconProvider", config=f"{HERE}.provider:BeaconAccount"
    )
    registry.add("channel", "pager", f"{HERE}.channel:PagerChannel", parts={"providers": ["pager"]})
    registry.add("source", "pager-feed", f"{HERE}.source:PagerFeed", config=f"{HERE}.source:FeedConfig")


@hookimpl
def roomkit_configure(kit: RoomKit, services: Services, settings: Mapping[str, object]) -> None:
    """Watch for urgent pages and unanswered ones, if the configuration has the table."""
    from beacon_roomkit.alerts import BeaconConfig, escalate, watch

    config = settings.get("beacon")
    if isinstance(config, BeaconConfig):
        watch(kit, services, config)
        escalate(kit, services, config)


@hookimpl
def roomkit_routes(kit: RoomKit, services: Services) -> Iterable[Route]:
    """Serve the state of the pagers."""
    from beacon_roomkit.alerts import status_route

    return [status_route(services)]


@hookimpl(optional=True)
def roomkit_of_a_newer_core(kit: RoomKit) -> None:
    """Do what only a newer core asks for."""
