"""Runs the suite that a page ends with, in a process forked from one that has imported pytest."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from roomkit_plugins.testing.forks import forks_with

__all__ = ["run_suite"]

_CONFIG = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\npythonpath = .\n"
_FORKS = forks_with("pytest", "pytest_asyncio.plugin", "hypothesis", "roomkit_plugins.testing.contracts")
_PATIENCE = 120.0


def run_suite(page: Path, folder: Path, module: str, code: str, only: str = "") -> tuple[int, str]:
    """Run a page's suite `tests/test_MODULE.py` on `MODULE.py`; return its exit code and what it printed.

    `only` chooses tests as `-k` does.
    """
    name = f"test_{module}.py"
    found = re.search(
        rf'```python title="tests/{name}"\n(.*?)```', page.read_text(encoding="utf-8"), re.DOTALL
    )
    assert found is not None, f"{page} has no suite tests/{name}"
    for file, text in (("pytest.ini", _CONFIG), (f"{module}.py", code), (name, found[1])):
        (folder / file).write_text(text, encoding="utf-8")
    process = _FORKS.Process(target=_become_pytest, args=(folder, ["-q", name, "-k", only]))
    process.start()
    process.join(_PATIENCE)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"the suite of {page} did not end")
    return process.exitcode, (folder / "printed").read_text(encoding="utf-8")


def _become_pytest(folder: Path, words: list[str]) -> None:
    os.chdir(folder)
    printed = os.open("printed", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(printed, descriptor)
    os.close(printed)
    os.environ.pop("PYTEST_CURRENT_TEST", None)
    os._exit(pytest.main(["-p", "no:cacheprovider", *words]))
