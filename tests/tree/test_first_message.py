"""What the first message imports and compiles, counted, so that a start does not become dearer unseen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from importlib.metadata import entry_points

import pytest

from benchmarks.starting import BYTECODE, FIRST, FIRST_FLOOR

COUNTED = f"""
import json, sys
{FIRST_FLOOR}
texts = []
sys.addaudithook(lambda event, given: texts.append(given[0]) if event == "compile" else None)
{FIRST}
print(json.dumps([sorted(sys.modules), sum(b"def " in text[:4] for text in texts if type(text) is bytes)]))
"""

ROOMS = {
    "roomkit.abc": 43,
    "roomkit.authoring": 8,
    "roomkit.kernel": 174,
    "roomkit.memory": 17,
    "roomkit.models": 38,
    "roomkit.plugins": 14,
    "roomkit_plugins.websocket": 15,
}
"""The most modules of ours; one more is written here, with its reason in the commit."""
FUNCTIONS = 96
"""The most functions that are compiled from text, such as constructors; without those of the floor."""
LATE = (
    "roomkit.kernel.privacy",
    "roomkit.models.rights",
    "roomkit.abc.voice",
    "roomkit_plugins.websocket.serve",
)
"""What a first message never needs."""
FOREIGN = {
    "pydantic": {"annotated_types", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection"},
    "pluggy": {"pluggy"},
    "importlib-metadata": {"importlib_metadata", "lazy_importer", "zipp"},
}
"""What is imported of other projects, by the dependency of the core that brings it."""


@pytest.fixture(scope="module")
def counted() -> tuple[list[str], int]:
    """Return the modules after a first message, without other plugins, and the compiled functions."""
    others = {each.name for each in entry_points(group="roomkit")} - {"websocket"}
    environment = {**os.environ, **BYTECODE, "ROOMKIT_PLUGINS_BLOCK": ",".join(sorted(others))}
    done = subprocess.run(
        [sys.executable, "-c", COUNTED], env=environment, check=True, capture_output=True, text=True
    )
    modules, functions = json.loads(done.stdout)
    return modules, functions


def test_no_more_modules_of_ours_are_imported_than_counted(counted: tuple[list[str], int]) -> None:
    found = Counter(room for name in counted[0] for room in ROOMS if f"{name}.".startswith(f"{room}."))
    assert {room: count for room, count in found.items() if count > ROOMS[room]} == {}


@pytest.mark.skipif(sys.version_info[:2] != (3, 12), reason="the standard library compiles others later")
def test_no_more_functions_are_compiled_from_text_than_counted(counted: tuple[list[str], int]) -> None:
    assert counted[1] <= FUNCTIONS


def test_what_is_used_later_is_imported_later(counted: tuple[list[str], int]) -> None:
    assert [name for name in counted[0] if name.startswith(LATE)] == []


def test_packages_of_other_projects_are_those_of_the_dependencies(counted: tuple[list[str], int]) -> None:
    foreign = {name.partition(".")[0] for name in counted[0]} - sys.stdlib_module_names
    ours = {"__main__", "roomkit", "roomkit_plugins"}
    known = ours.union(*FOREIGN.values())
    assert [name for name in foreign if name not in known and not name.startswith("_")] == []
