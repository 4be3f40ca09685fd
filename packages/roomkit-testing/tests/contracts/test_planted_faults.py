"""The contract suites find faults: each planted fault fails the tests that are there for it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from roomkit_plugins.testing.contracts.base import ContractSuite
from roomkit_plugins.testing.once import OncePerRun

pytestmark = pytest.mark.timeout(300)  # one run of all faults, on a machine that may be busy

_HERE = Path(__file__).parent
_CONFIG = f"""
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
timeout = 20
pythonpath = {_HERE}
"""
_MODULES = sorted(path.stem for path in _HERE.glob("planted_*.py"))


def faults() -> dict[str, str]:
    """List the tests that must fail, as `Class::test`, and the files they are in."""
    sys.path.insert(0, str(_HERE))
    try:
        planting = importlib.import_module("planting")
        for module in _MODULES:
            importlib.import_module(module)
    finally:
        sys.path.remove(str(_HERE))
    return {
        f"{name}::{test}": f"{module}.py"
        for module, classes in planting.FAULTS.items()
        for name, found_by in classes.items()
        for test in sorted(found_by)
    }


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory, once_per_run: OncePerRun) -> set[str]:
    """Run those tests once, in a process of their own; return what failed."""
    return set(once_per_run("planted-faults", lambda: found(tmp_path_factory.mktemp("faults"))))


def found(folder: Path) -> list[str]:
    """Run the tests that must fail; return which did, as `Class::test`."""
    config = folder / "pytest.ini"
    config.write_text(_CONFIG, encoding="utf-8")
    options = ["-c", str(config), "-q", "-rf", "--tb=no", "-p", "no:cacheprovider", "--import-mode=importlib"]
    options.append("--hypothesis-profile=only-find")
    files = (str(_HERE / file) for file in sorted(set(faults().values())))
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    failed = [line for line in run.stdout.splitlines() if line.startswith("FAILED")]
    assert failed, run.stdout + run.stderr
    return [line.split(" - ")[0].partition("::")[2] for line in failed]


@pytest.mark.parametrize("fault", faults())
def test_a_planted_fault_is_found(fault: str, failures: set[str]) -> None:
    """By the test that is there for it."""
    assert fault in failures


def test_a_test_of_the_contract_is_not_replaced_in_silence() -> None:
    """A subclass that overrides a test, or switches it off, does not come into being."""

    class Suite(ContractSuite):
        def test_something(self) -> None:
            """Assert something."""

    for replacement in (lambda self: None, None):
        with pytest.raises(TypeError, match=r"Sub\.test_something replaces a test of the contract"):
            type("Sub", (Suite,), {"test_something": replacement})


def test_a_marked_test_may_be_replaced() -> None:
    """With a reason, which is then in the code for everybody to read."""

    @pytest.mark.overrides_contract("this role closes by itself")
    def replacement(self: ContractSuite) -> None:
        """Assert something else."""

    sub = type("Sub", (ContractSuite,), {"test_closing_twice_is_closing_once": replacement})
    assert vars(sub)["test_closing_twice_is_closing_once"] is replacement
