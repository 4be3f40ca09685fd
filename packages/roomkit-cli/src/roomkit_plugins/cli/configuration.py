"""`roomkit check` and `roomkit config show|why`: the settings of a file, and whether it would work."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from roomkit._names import nearest
from roomkit.abc.errors import RoomKitError
from roomkit.abc.probe import SupportsProbe
from roomkit.plugins import ConfigError, DoctorReport, PluginManager, default_manager
from roomkit.plugins.config import KitPlan, read_config, read_tables
from roomkit.plugins.construction import Blueprint, check_components, construct
from roomkit.plugins.errors import describe
from roomkit_plugins.cli.explained import Explained, explained
from roomkit_plugins.cli.findings import show_findings
from roomkit_plugins.cli.main import OK
from roomkit_plugins.cli.stores import DEFAULT_FILE
from roomkit_plugins.cli.terminal import CommandError, Terminal

__all__ = ["add_config_options", "config_file", "configure_check", "configure_show", "configure_why"]

_DEADLINE = 30.0
"""Seconds for one component: to import its SDK takes some on a busy machine."""


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which configuration is meant."""
    parser.add_argument(
        "--config", metavar="FILE", default=DEFAULT_FILE, help=f"the file (default: {DEFAULT_FILE})"
    )
    parser.add_argument(
        "--profile", metavar="NAME", help="lay this profile over it (default: what ROOMKIT_PROFILE says)"
    )


def configure_check(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit check`."""
    parser.description = (
        "Checks a configuration file with the installed plugins: every key, reference and component, and the "
        "plugins' own checks. Nothing is opened or sent. With --live it also asks each store and vendor that "
        "can be asked whether it accepts the settings. Exit code 1 if something failed."
    )
    add_config_options(parser)
    parser.add_argument("--live", action="store_true", help="ask stores and vendors too; changes nothing")
    parser.add_argument("--json", action="store_true", help="write one JSON document: healthy, findings")
    parser.set_defaults(run=run_check)


def configure_show(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit config show`."""
    parser.description = (
        "Shows the settings that are in force and the line each comes from. References stay references, and "
        "secrets are masked."
    )
    add_config_options(parser)
    parser.add_argument("--defaults", action="store_true", help="show settings at their defaults, too")
    parser.add_argument("--json", action="store_true", help="write one JSON document: source, settings")
    parser.set_defaults(run=run_show)


def configure_why(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `roomkit config why`."""
    parser.description = "Shows one setting: its value, the line it comes from, and what reads it."
    parser.add_argument("key", metavar="KEY", help="as `roomkit config show` has it: kit.process_timeout")
    add_config_options(parser)
    parser.add_argument("--json", action="store_true", help="write one JSON document: the setting")
    parser.set_defaults(run=run_why)


# -- check ----------------------------------------------------------------------------------------


def run_check(options: argparse.Namespace) -> int:
    """Check a file, and the plugins that it uses."""
    manager, report = default_manager(), DoctorReport()
    plan = read_config(config_file(options), profile=options.profile)
    asyncio.run(_check(plan, manager, report, live=options.live))
    return show_findings(Terminal(as_json=options.json), report.findings)


async def _check(plan: KitPlan, manager: PluginManager, report: DoctorReport, *, live: bool) -> None:
    try:
        components = await check_components(plan, manager)
    except ConfigError as error:
        for problem, line in zip(error.problems, error.lines, strict=True):
            report.fail(plan.source if line is None else f"{plan.source}:{line}", problem, next_step="")
        return
    report.ok(plan.source, _understood(plan, components))
    if plan.store is None:
        report.warn(
            plan.source,
            "there is no [store]: rooms are in memory, and gone with their process",
            next_step='add a table [store] with plugin = "sqlite"',
        )
    used = {blueprint.component.plugin for blueprint in components.values()}
    doctor = DoctorReport()
    await asyncio.to_thread(manager.doctor, doctor)
    report.extend(finding for finding in doctor.findings if finding.plugin in used)
    if live:
        for key, blueprint in components.items():
            await _probe(key, blueprint, report)


def _understood(plan: KitPlan, components: Mapping[str, Blueprint]) -> str:
    profile = "" if plan.profile is None else f" with profile {plan.profile!r}"
    names = ", ".join(dict.fromkeys(str(blueprint.component) for blueprint in components.values()))
    return f"every setting is understood{profile}; it builds {names or 'a kit of defaults'}"


async def _probe(key: str, blueprint: Blueprint, report: DoctorReport) -> None:
    """Ask one component, if it can be asked, within a deadline."""
    if isinstance(blueprint.factory, type) and not hasattr(blueprint.factory, "probe"):
        return
    made = None
    try:
        made = await asyncio.to_thread(construct, blueprint)
        if not isinstance(made, SupportsProbe):  # what a function makes shows once it is made
            return
        async with asyncio.timeout(_DEADLINE):
            report.ok(key, await made.probe())
    except TimeoutError:
        report.fail(
            key, f"no answer within {_DEADLINE:g} s", next_step="check its address, and that it is reachable"
        )
    except RoomKitError as error:
        report.fail(key, str(error), next_step="")
    except Exception as error:  # noqa: BLE001  # a plugin's probe may raise anything; the others are asked too
        report.fail(key, describe(error), next_step="report it to the plugin's author", error=error)
    finally:
        await _close(key, made, report)


async def _close(key: str, made: object, report: DoctorReport) -> None:
    close = getattr(made, "close", None)
    if close is None:
        return
    try:
        async with asyncio.timeout(_DEADLINE):
            await close()
    except Exception as error:  # noqa: BLE001  # as of a probe: the findings of the others are shown
        report.warn(
            key, f"it cannot be closed: {describe(error)}", next_step="report it to the plugin's author"
        )


# -- show and why ---------------------------------------------------------------------------------


def run_show(options: argparse.Namespace) -> int:
    """Show all settings."""
    terminal = Terminal(as_json=options.json)
    config = read_tables(config_file(options), profile=options.profile)
    shown = [each for each in _settings(options) if each.given or options.defaults]
    if options.json:
        terminal.document(
            {
                "source": config.source,
                "profile": config.profile,
                "settings": [each.document() for each in shown],
            }
        )
        return OK
    widths = [max((len(text) for text in column), default=0) for column in _columns(shown)]
    for each in shown:
        key = terminal.style(f"{each.key:<{widths[0]}}", "cyan")
        note = "" if each.read_by else "  nothing reads it"
        terminal.line(f"{key}  {_text(each):<{widths[1]}}  {terminal.style(each.origin + note, 'dim')}")
    return OK


def run_why(options: argparse.Namespace) -> int:
    """Show one setting, or those below a table."""
    settings = list(_settings(options))
    found = next((each for each in settings if each.key == options.key), None)
    if found is None:
        raise _unknown(options, settings)
    terminal = Terminal(as_json=options.json)
    if options.json:
        terminal.document(found.document())
        return OK
    terminal.line(f"{terminal.style(found.key, 'bold')} = {_text(found)}")
    setting = found.setting
    kind = ", ".join(filter(None, [setting.type, "secret" if setting.secret and setting.type else ""]))
    default = "required" if setting.required else setting.default
    for label, text in (
        ("from", found.origin),
        ("type", kind),
        ("default", default),
        ("what for", setting.description),
        ("read by", found.read_by or "nothing: `roomkit check` says why"),
    ):
        if text:
            terminal.line(f"  {label:<9} {text}")
    return OK


def _settings(options: argparse.Namespace) -> Iterator[Explained]:
    return explained(read_tables(config_file(options), profile=options.profile), default_manager())


def _unknown(options: argparse.Namespace, settings: Sequence[Explained]) -> CommandError:
    keys = [each.key for each in settings]
    below = [key for key in keys if key.startswith((f"{options.key}.", f"{options.key}["))]
    close = nearest(options.key, keys)
    if below:
        next_step = f"ask for one of its settings: {', '.join(below)}"
    elif close:
        next_step = f"did you mean {close!r}?"
    else:
        next_step = "`roomkit config show --defaults` lists the keys"
    what = "is a table" if below else "is unknown"
    return CommandError(
        f"{options.key!r} {what} in {options.config}", next_step=next_step, code="unknown_key"
    )


def _columns(settings: Sequence[Explained]) -> tuple[list[str], list[str]]:
    return [each.key for each in settings], [_text(each) for each in settings]


def _text(setting: Explained) -> str:
    if not setting.given:
        return "-" if setting.value is None else str(setting.value)
    return json.dumps(setting.value, ensure_ascii=False, default=str)


def config_file(options: argparse.Namespace) -> Path:
    """Return the configuration file that was named. Raises CommandError for a default that is not there."""
    file = Path(options.config)
    if options.config == DEFAULT_FILE and not file.is_file():
        raise CommandError(
            f"there is no {DEFAULT_FILE} here",
            next_step="go to the folder that has it, or add --config FILE",
            code="no_config",
        )
    return file
