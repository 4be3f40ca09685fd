"""Registers what `roomkit-cli` brings; imports nothing but the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit.plugins import Commands


@hookimpl
def roomkit_commands(cli: Commands) -> None:
    """Add the commands of this distribution."""
    cli.add(
        "demo",
        "roomkit_plugins.cli.demo:configure",
        summary="Talk in a room on this machine: two people and an assistant.",
    )
    cli.add(
        "chat",
        "roomkit_plugins.cli.chat:configure",
        summary="Talk to an assistant, or to the agents of a configuration file.",
    )
    cli.add(
        "serve",
        "roomkit_plugins.cli.serve:configure",
        summary="Serve the kit of a configuration file: webhooks, API, web sockets.",
    )
    cli.add(
        "plugins list",
        "roomkit_plugins.cli.plugins:configure_list",
        summary="Show the installed plugins and what they bring.",
    )
    cli.add(
        "plugins info",
        "roomkit_plugins.cli.plugins:configure_info",
        summary="Show one plugin with the settings of what it brings, and a sample.",
    )
    cli.add(
        "plugins doctor",
        "roomkit_plugins.cli.plugins:configure_doctor",
        summary="Check that plugins can work on this machine.",
    )
    cli.add(
        "plugins schema",
        "roomkit_plugins.cli.plugins:configure_schema",
        summary="Write the JSON Schema of roomkit.toml, for editors.",
    )
    cli.add(
        "check",
        "roomkit_plugins.cli.configuration:configure_check",
        summary="Check a configuration file, and with --live what it names.",
    )
    cli.add(
        "config show",
        "roomkit_plugins.cli.configuration:configure_show",
        summary="Show the settings in force, and where each comes from.",
    )
    cli.add(
        "config why",
        "roomkit_plugins.cli.configuration:configure_why",
        summary="Show one setting: its value, its line, and what reads it.",
    )
    for name, target, summary in _OPERATORS:
        cli.add(name, f"roomkit_plugins.cli.{target}", summary=summary)


_OPERATORS = (
    ("timers list", "timers:configure_list", "Show the timers that kept killing their workers."),
    ("timers retry", "timers:configure_retry", "Have dead timers fired again."),
    ("timers drop", "timers:configure_drop", "Remove dead timers."),
    ("turns list", "turns:configure_list", "Show agents' turns that wait for results of their tools."),
    ("turns show", "turns:configure_show", "Show one turn that waits."),
    ("turns resume", "turns:configure_resume", "Give a turn the results that it waits for."),
    ("turns serve", "serving:configure", "Ask the models of agents for workers on other machines."),
    ("turns cancel", "turns:configure_cancel", "Drop turns that wait."),
    ("scheduled list", "scheduled:configure_list", "Show events that are sent later."),
    ("scheduled show", "scheduled:configure_show", "Show one event that is sent later."),
    ("scheduled cancel", "scheduled:configure_cancel", "Have events not sent."),
    ("deliveries list", "deliveries:configure_list", "Show the ledger of deliveries."),
    ("deliveries show", "deliveries:configure_show", "Show one delivery."),
    ("deliveries retry", "deliveries:configure_retry", "Have failed deliveries carried out again."),
    ("deliveries drop", "deliveries:configure_drop", "Give failed deliveries up."),
    ("privacy export", "privacy:configure_export", "Write all that is kept of a room or a person."),
    ("privacy erase", "privacy:configure_erase", "Erase a room or a person, with a receipt."),
    ("privacy retain", "privacy:configure_retain", "Say how long a room keeps its events."),
    ("store backup", "upkeep:configure_backup", "Copy the store to a file while it is in use."),
    ("store check", "upkeep:configure_check", "Read the whole store and report damage."),
    ("store plan", "upkeep:configure_plan", "Show the migration that opening the store would make."),
    ("store migrate", "upkeep:configure_migrate", "Make the store, or migrate it, before workers start."),
)
