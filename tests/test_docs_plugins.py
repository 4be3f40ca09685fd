"""The pages for plugin authors: every block runs, every hook is described and used."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from roomkit.plugins import ComponentKind, ComponentState, hookspecs
from roomkit.plugins.hooks import HOOKS
from tests.conftest import Environment
from tools.source import Module, Tree

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs/reference/hookspecs.md"
HOW_TO = ROOT / "docs/how-to/write-a-plugin.md"
EXAMPLE = ROOT / "tests/outsider/acme-roomkit"
WITHOUT_USER = {"roomkit_shutdown": "promised to plugins of others; ours push callbacks onto the kit"}
"""Hooks that no plugin of ours implements, each with its reason."""
BLOCK = re.compile(r'^```\w+ title="(?P<file>[^"]+)"\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL)


def blocks() -> dict[str, str]:
    return {found["file"]: found["text"] for found in BLOCK.finditer(HOW_TO.read_text(encoding="utf-8"))}


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_described(hook: str) -> None:
    """The reference has its signature and what its docstring says."""
    specification = getattr(hookspecs, hook)
    arguments = ", ".join(inspect.signature(specification).parameters)
    _, heading, section = words(REFERENCE.read_text(encoding="utf-8")).partition(f"## `{hook}({arguments})`")

    assert heading
    assert words(inspect.getdoc(specification) or "-") in section


def test_nothing_else_is_described_as_a_hook() -> None:
    """A hook that is gone is gone from the reference."""
    assert tuple(re.findall(r"^## `(\w+)\(", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE)) == HOOKS


@pytest.mark.parametrize("term", [*ComponentKind, *ComponentState])
def test_every_kind_and_state_is_described(term: str) -> None:
    """Both vocabularies are closed, and documented whole."""
    assert f"`{term}`" in REFERENCE.read_text(encoding="utf-8")


def implemented(module: Module) -> set[str]:
    if "hookimpl" not in module.text:  # parsing all modules takes seconds
        return set()
    return {
        node.name
        for node in ast.walk(module.syntax)
        if isinstance(node, ast.FunctionDef)
        and any("hookimpl" in ast.unparse(each) for each in node.decorator_list)
    }


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_used(hook: str) -> None:
    """A hook is born with a plugin that uses it: one of ours, or the core's own."""
    users = [module.name for module in Tree().sources if hook in implemented(module)]

    assert bool(users) is (hook not in WITHOUT_USER), f"implementations of {hook}: {users or 'none'}"


def test_the_how_to_shows_the_plugin_that_is_tested() -> None:
    """Its blocks are, to the letter, the files of the outsider's plugin."""
    shown = {name: text for name, text in blocks().items() if name != "try_it.py"}
    real = {
        str(path.relative_to(EXAMPLE)): path.read_text(encoding="utf-8")
        for path in EXAMPLE.rglob("*")
        if path.suffix in (".py", ".toml")
    }
    assert shown == real


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_how_to_ends_in_a_working_plugin(
    fresh: Callable[[], Environment], wheel: Callable[[Path], Path], core_wheel: Path, tmp_path: Path
) -> None:
    """A reader who types it all in gets what it says."""
    for name, text in blocks().items():
        path = tmp_path / "acme" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    environment = fresh()
    environment.install(core_wheel, wheel(tmp_path / "acme"))

    assert environment.run(blocks()["try_it.py"]) == "AcmeSMSProvider loaded\n"
