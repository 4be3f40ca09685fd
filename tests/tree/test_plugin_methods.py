"""The methods that plugins add to kits, as checkers and editors see them."""

from __future__ import annotations

from pathlib import Path

import pytest
from mypy import api

from tools.exports import generate, methods

from .test_rules import CLEAN, CODE, plant

CORE = "packages/roomkit-core/src/roomkit"
PLANTED = {
    **CLEAN,
    f"{CODE}/plugin.py": "registry.add_method('place_call', 'roomkit_plugins.sms.calls:place_call')\n",
    f"{CODE}/calls.py": """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from roomkit.kernel.kit import RoomKit
async def place_call(kit: "RoomKit", number: str) -> int:
    return len(number)
""",
    f"{CORE}/kernel/kit.py": """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from roomkit._exports import PluginMethods
else:
    PluginMethods = object
class RoomKit(PluginMethods): ...
""",
}
USE = """
from roomkit.kernel.kit import RoomKit
async def use(kit: RoomKit) -> str:
    await kit.place_call(5)
    return await kit.place_call("+15550100")
"""


def test_a_declared_method_is_typed_without_an_import_at_run_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkers know its arguments and result; the core imports no plugin for it."""
    tree = plant(tmp_path, PLANTED)
    exports = generate(tree)[tmp_path / CORE / "_exports.py"]
    (tmp_path / CORE / "_exports.py").write_text(exports, encoding="utf-8")
    (tmp_path / "use.py").write_text(USE, encoding="utf-8")
    sources = [str(tmp_path / f"packages/roomkit-{name}/src") for name in ("core", "sms")]
    monkeypatch.setenv("MYPYPATH", ":".join(sources))
    monkeypatch.chdir(tmp_path)
    said, _, _ = api.run(["--strict", "--config-file=", "--cache-dir=cache", "--no-site-packages", "use.py"])
    found = [line for line in said.splitlines() if line.startswith("use.py")]
    assert [line.rpartition("[")[2] for line in found] == ["arg-type]", "return-value]"]
    names: dict[str, object] = {}
    exec(exports, names)  # the text that was just generated
    assert "PluginMethods" not in names


def test_one_name_for_two_methods_is_refused(tmp_path: Path) -> None:
    """The message names both functions."""
    other = "packages/roomkit-testing/src/roomkit_plugins/testing/plugin.py"
    twice = {other: "registry.add_method('place_call', 'roomkit_plugins.testing.calls:dial')\n"}
    with pytest.raises(SystemExit, match=r"sms\.calls:place_call and roomkit_plugins\.testing\.calls:dial"):
        dict(methods(plant(tmp_path, PLANTED | twice)))
