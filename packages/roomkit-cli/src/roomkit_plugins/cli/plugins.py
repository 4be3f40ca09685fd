"""`roomkit plugins list|info|doctor|schema`: installed plugins, their settings and their health."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from roomkit._names import nearest
from roomkit.plugins import (
    ComponentKind,
    ComponentState,
    DoctorReport,
    PluginError,
    PluginManager,
    default_manager,
)
from roomkit.plugins.components import Component, Plugin
from roomkit_plugins.cli.findings import show_findings
from roomkit_plugins.cli.main import OK
from roomkit_plugins.cli.schema import described_schema
from roomkit_plugins.cli.settings import sample_of, settings_of
from roomkit_plugins.cli.terminal import CommandError, Terminal

__all__ = ["configure_doctor", "configure_info", "configure_list", "configure_schema"]

_STATE_STYLES = {
    ComponentState.LOADED: "green",
    ComponentState.DECLARED: "dim",
    ComponentState.BLOCKED: "yellow",
    ComponentState.SHADOWED: "yellow",
    ComponentState.INCOMPATIBLE: "red",
    ComponentState.BROKEN: "red",
}


def configure_list(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit plugins list`."""
    parser.add_argument("--json", action="store_true", help="write one JSON document: plugins, clashes")
    parser.set_defaults(run=run_list)


def configure_info(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit plugins info`."""
    parser.add_argument("name", metavar="NAME", help="a plugin, its distribution, or a component (kind:name)")
    parser.add_argument("--json", action="store_true", help="write one JSON document: the plugin")
    parser.set_defaults(run=run_info)


def configure_schema(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit plugins schema`."""
    parser.description = (
        "Writes the JSON Schema of roomkit.toml for the installed plugins: editors check a file against it."
    )
    parser.add_argument("--output", metavar="FILE", help="write it there; a file that is there is replaced")
    parser.add_argument("--json", action="store_true", help="changes nothing: the schema is JSON")
    parser.set_defaults(run=run_schema)


def configure_doctor(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit plugins doctor`."""
    parser.description = (
        "Runs every plugin's own checks. With a name, also loads what that plugin brings. "
        "Exit code 1 if something failed."
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="look at this plugin only, and load it")
    parser.add_argument("--json", action="store_true", help="write one JSON document: healthy, findings")
    parser.set_defaults(run=run_doctor)


def run_list(options: argparse.Namespace) -> int:
    """Show all plugins."""
    manager, terminal = default_manager(), Terminal(as_json=options.json)
    plugins = manager.plugins()
    if options.json:
        terminal.document(
            {
                "plugins": [_plugin(plugin) for plugin in plugins],
                "clashes": [
                    {
                        "kind": str(clash.kind),
                        "name": clash.name,
                        "winner": clash.winner,
                        "loser": clash.loser,
                    }
                    for clash in manager.clashes()
                ],
            }
        )
        return OK
    good = sum(plugin.state is ComponentState.LOADED for plugin in plugins)
    terminal.line(f"{len(plugins)} plugins, {good} loaded")
    terminal.line()
    _table(terminal, plugins)
    _troubles(terminal, manager)
    return OK


def run_info(options: argparse.Namespace) -> int:
    """Show one plugin, or the plugin of one component, with the settings of what it brings."""
    manager, terminal = default_manager(), Terminal(as_json=options.json)
    plugin = _named(manager, options.name)
    if options.json:
        described = [_described(manager, component) for component in plugin.components]
        terminal.document({**_plugin(plugin), "components": described})
        return OK
    terminal.line(f"{terminal.style(plugin.name, 'bold')}  {_state(terminal, plugin.state)}")
    if plugin.reason:
        terminal.line(f"  {plugin.reason}")
    terminal.line(f"  distribution  {plugin.distribution or '-'} {plugin.version}".rstrip())
    terminal.line(f"  module        {plugin.module}")
    for component in plugin.components:
        terminal.line()
        _show_component(terminal, manager, component)
    return OK


def _show_component(terminal: Terminal, manager: PluginManager, component: Component) -> None:
    terminal.line(f"  {terminal.style(str(component), 'bold')}  {_state(terminal, component.state)}")
    described = _described(manager, component)
    for label, value in (
        ("", component.summary),
        ("why ", component.reason),
        ("class ", component.target),
        ("also called ", ", ".join(component.aliases)),
        ("settings cannot be read: ", described["settings_error"]),
    ):
        if value:
            terminal.line(f"    {label}{value}")
    if not described["settings"] and not described["settings_error"]:
        terminal.line("    settings none")
    for setting in described["settings"]:
        _show_setting(terminal, setting)
    if described["sample"]:
        terminal.line()
        for line in described["sample"].splitlines():
            terminal.line(f"    {terminal.style(line, 'dim')}")


def _show_setting(terminal: Terminal, setting: Mapping[str, Any]) -> None:
    notes = ["required" if setting["required"] else "", "secret" if setting["secret"] else ""]
    if setting["default"] is not None:
        notes.append(f"default {setting['default']}")
    noted = f"  ({', '.join(filter(None, notes))})" if any(notes) else ""
    terminal.line(f"    {terminal.style(setting['name'], 'cyan')}  {setting['type']}{noted}")
    if setting["description"]:
        terminal.line(f"        {setting['description']}")


def _described(manager: PluginManager, component: Component) -> dict[str, Any]:
    """Return a component with its settings; a broken one by its reason."""
    document = {**_component(component), "settings": [], "settings_error": "", "sample": None}
    if component.state not in (ComponentState.DECLARED, ComponentState.LOADED):
        return document
    try:
        settings = settings_of(component)
    except PluginError as error:
        return {**document, "settings_error": str(error)}
    sample = sample_of(component, settings, manager.components(ComponentKind.CHANNEL))
    return {**document, "settings": [each.document() for each in settings], "sample": sample}


def run_schema(options: argparse.Namespace) -> int:
    """Write the schema, on standard output or to a file."""
    text = json.dumps(described_schema(default_manager()), indent=2)
    if options.output is None:
        Terminal(as_json=True).lines(text)
        return OK
    try:
        Path(options.output).write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise CommandError(
            f"{options.output!r} cannot be written: {error.strerror or error}",
            next_step="choose a file in a folder that is there",
            code="output_failed",
        ) from error
    return OK


def run_doctor(options: argparse.Namespace) -> int:
    """Run the checks."""
    manager, terminal = default_manager(), Terminal(as_json=options.json)
    report = DoctorReport()
    plugin = _named(manager, options.name) if options.name else None
    manager.doctor(report)
    findings = list(report.findings)
    if plugin is not None:
        loading = DoctorReport()
        loading.enter(plugin.name)
        _load(manager, plugin, loading)
        findings = [each for each in findings if each.plugin == plugin.name] + list(loading.findings)
    return show_findings(terminal, findings)


def _load(manager: PluginManager, plugin: Plugin, report: DoctorReport) -> None:
    """Import everything the plugin brings, as using it would."""
    for component in plugin.components:
        if component.state not in (ComponentState.DECLARED, ComponentState.LOADED):
            if component.reason != plugin.reason:
                report.warn(plugin.name, component.reason, next_step="block the other plugin to use this one")
            continue
        try:
            manager.get(component.kind, component.name)
        except PluginError as error:
            cause = error.__cause__
            missing = cause.name if isinstance(cause, ModuleNotFoundError) else None
            report.fail(
                plugin.name,
                f"{component} cannot be loaded: {type(cause).__name__}: {cause}",
                next_step=f"install the package that brings the module {missing}"
                if missing
                else "report it to its author",
                error=cause,
            )
        else:
            report.ok(plugin.name, f"{component} loads")


def _named(manager: PluginManager, name: str) -> Plugin:
    """Return the plugin called `name`, or that of the component. Raises CommandError."""
    plugins = manager.plugins()
    for plugin in plugins:
        if name in (plugin.name, plugin.distribution):
            return plugin
    for plugin in plugins:
        for component in plugin.components:
            if name in (str(component), component.name, *component.aliases):
                return plugin
    names = {plugin.name for plugin in plugins} | {str(each) for each in manager.components()}
    close = nearest(name, sorted(names))
    raise CommandError(
        f"plugin {name!r} not found",
        next_step=f"did you mean {close!r}?" if close else "`roomkit plugins list` shows what there is",
        code="plugin_not_found",
    )


def _table(terminal: Terminal, plugins: Sequence[Plugin]) -> None:
    rows = [
        (plugin, f"{plugin.name}", plugin.version or "-", ", ".join(map(str, plugin.components)) or "-")
        for plugin in plugins
    ]
    name_width = max(len(row[1]) for row in rows)
    version_width = max(len(row[2]) for row in rows)
    for plugin, name, version, brings in rows:
        state = terminal.style(f"{plugin.state:<12}", _STATE_STYLES[plugin.state])
        terminal.line(f"  {name:<{name_width}}  {version:<{version_width}}  {state}  {brings}")


def _troubles(terminal: Terminal, manager: PluginManager) -> None:
    reasons = [plugin.reason for plugin in manager.plugins() if plugin.reason]
    reasons += [str(clash) for clash in manager.clashes()]
    if reasons:
        terminal.line()
        for reason in reasons:
            terminal.line(f"  {terminal.style('!', 'yellow')} {reason}")


def _state(terminal: Terminal, state: ComponentState) -> str:
    return terminal.style(str(state), _STATE_STYLES[state])


def _plugin(plugin: Plugin) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "module": plugin.module,
        "state": str(plugin.state),
        "reason": plugin.reason,
        "components": [_component(component) for component in plugin.components],
    }


def _component(component: Component) -> dict[str, Any]:
    return {
        "kind": str(component.kind),
        "name": component.name,
        "aliases": list(component.aliases),
        "state": str(component.state),
        "reason": component.reason,
        "summary": component.summary,
        "target": component.target,
        "config": component.config,
    }
