"""Finding a plugin costs nothing: its `plugin.py` imports the core's marker, and no library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tree.rules.naming import LIBRARIES
from tools.source import Distribution, Tree

ALLOWED = {"roomkit", "roomkit_plugins", "pluggy"}
REGISTERING = [plugin for plugin in Tree().plugins if plugin.name not in LIBRARIES]

PROBE = """
import sys
sys.path.insert(0, sys.argv[2])
before = set(sys.modules)  # what the environment itself loads at start-up
__import__(sys.argv[1])
print(*{name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))
"""


def imported_by(module: str, path: str = "") -> set[str]:
    """Say which libraries importing a module brings in, in a fresh interpreter."""
    answer = subprocess.run(
        [sys.executable, "-c", PROBE, module, path], capture_output=True, text=True, check=True, timeout=200
    )
    return set(answer.stdout.split())


@pytest.mark.parametrize("plugin", REGISTERING, ids=lambda plugin: plugin.name)
def test_registering_imports_no_library(plugin: Distribution) -> None:
    """No SDK, not even pydantic: what a component needs is imported when it is asked for."""
    assert imported_by(f"{plugin.module}.plugin") <= ALLOWED


def test_a_greedy_plugin_is_caught(tmp_path: Path) -> None:
    """The probe sees an import, however deep."""
    (tmp_path / "greedy.py").write_text("from greedy_sdk import client\n")
    (tmp_path / "greedy_sdk.py").write_text("import pydantic\nclient = 1\n")

    assert {"greedy", "greedy_sdk", "pydantic"} <= imported_by("greedy", str(tmp_path))
