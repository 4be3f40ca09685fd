"""Wheels, and fresh environments to install them in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def uv(*arguments: str | Path, cwd: Path | None = None) -> str:
    """Run uv with this very interpreter: elsewhere than in the repository, nothing else chooses one."""
    environment = {**os.environ, "UV_PYTHON": sys.executable}
    for name in ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT"):  # they name the environment of this run
        environment.pop(name, None)
    answer = subprocess.run(
        ["uv", *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@dataclass
class Environment:
    """A fresh virtual environment."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin/python"

    def install(self, *wheels: Path) -> None:
        uv("pip", "install", "--quiet", "--python", self.python, *wheels, cwd=self.folder)

    def run(self, code: str) -> str:
        """Run code and return what it prints; away from the repository, with nothing of its environment."""
        environment = {"PATH": os.environ["PATH"]}
        answer = subprocess.run(
            [self.python, "-c", code],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert answer.returncode == 0, answer.stderr
        return answer.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Build a wheel from a copy of a project, as if it came from anywhere; each project once."""
    built: dict[Path, Path] = {}

    def build(project: Path) -> Path:
        if project not in built:
            copy = tmp_path_factory.mktemp("project") / project.name
            shutil.copytree(project, copy, ignore=shutil.ignore_patterns("__pycache__", "tests"))
            out = copy / "dist"
            uv("build", "--quiet", "--wheel", "--out-dir", out, copy, cwd=copy)
            (built[project],) = out.glob("*.whl")
        return built[project]

    return build


@pytest.fixture(scope="session")
def core_wheel(wheel: Callable[[Path], Path]) -> Path:
    return wheel(ROOT / "packages/roomkit-core")


@pytest.fixture(scope="session")
def outsider_wheel(wheel: Callable[[Path], Path]) -> Path:
    return wheel(ROOT / "tests/outsider/acme-roomkit")


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Environment]:
    """Make an empty environment."""

    def make() -> Environment:
        folder = tmp_path_factory.mktemp("venv")
        uv("venv", "--quiet", folder, cwd=folder)
        return Environment(folder)

    return make
