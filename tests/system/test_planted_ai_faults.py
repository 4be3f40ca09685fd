"""The contract of AI providers finds faults: each planted fault fails the test for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from roomkit_plugins.testing.contracts.ai_provider import AIProviderContract
from roomkit_plugins.testing.contracts.life import ProviderLifeContract
from roomkit_plugins.testing.once import OncePerRun
from tests.system.planted_ai_faults import FAULTS

pytestmark = pytest.mark.timeout(300)  # one run of all faults, on a machine that may be busy

_FILE = Path(__file__).with_name("planted_ai_faults.py")
_CONFIG = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
timeout = 20
"""


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory, once_per_run: OncePerRun) -> set[str]:
    """Run the tests that must fail once, in a process of their own; return what failed."""
    return set(once_per_run("planted-ai-faults", lambda: found(tmp_path_factory.mktemp("faults"))))


def found(folder: Path) -> list[str]:
    """Run the tests that must fail; return which did."""
    (folder / "pytest.ini").write_text(_CONFIG, encoding="utf-8")
    options = ["-c", str(folder / "pytest.ini"), "-q", "-rf", "--tb=no", "-p", "no:cacheprovider"]
    options += ["--import-mode=importlib"]
    tests = [f"{_FILE}::{name}::{test}" for name, test in FAULTS.items()]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "ROOMKIT_PATIENCE": "2.0"},
        check=False,
    )
    failed = [line for line in run.stdout.splitlines() if line.startswith("FAILED")]
    assert failed, run.stdout + run.stderr
    return [line.split(" - ")[0].partition("::")[2] for line in failed]


@pytest.mark.parametrize(("name", "test"), FAULTS.items())
def test_a_planted_fault_is_found(name: str, test: str, failures: set[str]) -> None:
    """By the test that is there for it."""
    assert any(each.startswith(f"{name}::{test}") for each in failures)


def test_every_promise_has_a_planted_fault() -> None:
    """A test of this contract that no fault fails might not be able to fail."""
    names = {name for name in dir(AIProviderContract) if name.startswith("test_")}
    promises = names - set(dir(ProviderLifeContract))
    assert promises == {test.partition("[")[0] for test in FAULTS.values()}
