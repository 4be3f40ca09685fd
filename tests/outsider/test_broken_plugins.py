"""Six broken plugins, installed together with a good one, never stop a start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REGISTERS = """
from roomkit.plugins import hookimpl

@hookimpl
def roomkit_register(registry):
    registry.add("sms", "{component}", "{target}")
"""

GOOD = REGISTERS.format(component="good", target="collections:OrderedDict")

BROKEN = {
    "import-error": "from nowhere import nothing\n",
    "system-exit": "raise SystemExit(3)\n",
    "wrong-version": "raise AssertionError('imported although it asks for another core')\n",
    "z-clash": REGISTERS.format(component="good", target="collections:UserDict"),
    "bad-hook": GOOD.replace("roomkit_register", "roomkit_regster"),
    "missing-sdk": REGISTERS.format(component="missing-sdk", target="acme_sdk_that_is_not_there:Client"),
}

START = """
import asyncio, json
from roomkit import RoomKit
from roomkit.plugins import default_manager

manager = default_manager()
states = {plugin.name: [plugin.state, plugin.reason] for plugin in manager.plugins()}
clashes = [[clash.name, clash.winner, clash.loser] for clash in manager.clashes()]
asked = {}
for name in ("good", "import-error", "system-exit", "wrong-version", "missing-sdk"):
    try:
        asked[name] = manager.get("sms", name).__name__
    except Exception as error:
        asked[name] = [type(error).__name__, error.code, type(error.__cause__).__name__]

async def start():
    async with RoomKit() as kit:
        await kit.create_room(room_id="r")

asyncio.run(start())
print(json.dumps([states, clashes, asked]))
"""


def install(folder: Path, name: str, code: str, requirement: str = "roomkit-core>=1.0,<2") -> None:
    """Lay out a distribution as pip would."""
    module = f"broken_{name.replace('-', '_')}"
    (folder / f"{module}.py").write_text(code)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\nRequires-Dist: {requirement}\n"
    )
    (info / "entry_points.txt").write_text(f"[roomkit]\n{name} = {module}\n")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    install(tmp_path, "good", GOOD)
    for name, code in BROKEN.items():
        needs = "roomkit-core>=9" if name == "wrong-version" else "roomkit-core>=1.0,<2"
        install(tmp_path, name, code, needs)
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}


def start(environment: dict[str, str]) -> tuple[dict[str, list[str]], list[list[str]], dict[str, object]]:
    answer = subprocess.run(
        [sys.executable, "-c", START], env=environment, capture_output=True, text=True, timeout=200
    )
    assert answer.returncode == 0, answer.stderr
    states, clashes, asked = json.loads(answer.stdout)
    return states, clashes, asked


def test_six_broken_plugins_stop_nobody(environment: dict[str, str]) -> None:
    states, clashes, asked = start(environment)

    assert {name: state for name, (state, _) in states.items() if name == "good" or name in BROKEN} == {
        "good": "loaded",
        "import-error": "broken",
        "system-exit": "broken",
        "wrong-version": "incompatible",
        "z-clash": "loaded",
        "bad-hook": "broken",
        "missing-sdk": "loaded",
    }
    assert "No module named 'nowhere'" in states["import-error"][1]
    assert "did you mean 'roomkit_register'" in states["bad-hook"][1]
    assert "needs roomkit-core >=9, and this is 1." in states["wrong-version"][1]
    assert clashes == [["good", "good", "z-clash"]]
    assert asked == {
        "good": "OrderedDict",
        "import-error": ["PluginBrokenError", "plugin_broken", "ModuleNotFoundError"],
        "system-exit": ["PluginBrokenError", "plugin_broken", "SystemExit"],
        "wrong-version": ["PluginIncompatibleError", "plugin_incompatible", "NoneType"],
        "missing-sdk": ["PluginBrokenError", "plugin_broken", "ModuleNotFoundError"],
    }


def test_blocking_them_all_leaves_them_unimported(environment: dict[str, str]) -> None:
    """One variable is enough to start without them."""
    states, clashes, _ = start({**environment, "ROOMKIT_PLUGINS_BLOCK": ",".join(BROKEN)})

    assert {states[name][0] for name in BROKEN} == {"blocked"}
    assert clashes == []
