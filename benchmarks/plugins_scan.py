"""What sixty installed plugins add to a start: at most 60 ms.

    uv run python benchmarks/plugins_scan.py

Lays out 60 distributions as pip would, each with an entry point, a version range on the core and two
components, and measures whole interpreters that scan them: with none of them, then with all, in turns.
The numbers are the best of the runs, in CPU time.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PLUGINS = 60
BUDGET_MS = 60.0
RUNS = 15

SCAN = "from roomkit.plugins import PluginManager; print(len(PluginManager().plugins()))"
FLOOR = "import pluggy, importlib_metadata; importlib_metadata.entry_points(group='roomkit')"

MODULE = """
from roomkit.plugins import hookimpl

@hookimpl
def roomkit_register(registry):
    registry.add("sms", "vendor{number}", "vendor{number}.sms:Provider", config="vendor{number}.sms:Config")
    registry.add("rcs", "vendor{number}", "vendor{number}.rcs:Provider")
"""


def install(folder: Path, number: int) -> None:
    package = folder / f"vendor{number}"
    package.mkdir()
    (package / "__init__.py").write_text('"""A vendor."""\n')
    (package / "plugin.py").write_text(MODULE.format(number=number))
    info = folder / f"vendor{number}-1.0.dist-info"
    info.mkdir()
    requirements = "".join(f"Requires-Dist: dependency{each}>=1\n" for each in range(4))
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: vendor{number}\nVersion: 1.0\nRequires-Dist: roomkit-core>=0.1,<0.2\n"
        f"{requirements}\n{'A long description, as they have. ' * 60}\n"
    )
    (info / "entry_points.txt").write_text(f"[roomkit]\nvendor{number} = vendor{number}.plugin\n")


def cpu_ms(code: str, path: Path) -> float:
    environment = {**os.environ, "PYTHONPATH": str(path)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main() -> int:
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        none, all_of_them = Path(folder, "none"), Path(folder, "all")
        none.mkdir()
        all_of_them.mkdir()
        for number in range(PLUGINS):
            install(all_of_them, number)
        cases = {
            "bare interpreter": ("pass", none),
            "floor: importlib_metadata alone, no plugin": (FLOOR, none),
            "floor: importlib_metadata alone, 60 plugins": (FLOOR, all_of_them),
            "scan, no plugin": (SCAN, none),
            "scan, 60 plugins": (SCAN, all_of_them),
        }
        best = dict.fromkeys(cases, float("inf"))
        for _ in range(RUNS):
            for name, (code, path) in cases.items():
                best[name] = min(best[name], cpu_ms(code, path))
    for name, milliseconds in best.items():
        print(f"{name:<46}{milliseconds:8.1f} ms")
    all_scanned, none_scanned = best["scan, 60 plugins"], best["scan, no plugin"]
    added = all_scanned - none_scanned
    print(f"{'sixty plugins add':<46}{added:8.1f} ms  (at most {BUDGET_MS:.0f})")
    print(f"{'scan of sixty / scan of none':<46}{all_scanned / none_scanned:8.2f}")
    print(f"{RUNS} runs each, {time.perf_counter() - began:.1f} s")
    return 0 if added <= BUDGET_MS else 1


if __name__ == "__main__":
    sys.exit(main())
