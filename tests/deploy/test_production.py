"""The deployed configuration with a mistake in it: `roomkit check` and `serve` refuse it, by its line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.files import DEPLOY

TEXT = (DEPLOY / "roomkit.toml").read_text()
VARIABLES = {"BACKEND_KEY": "b" * 32, "MONITORING_KEY": "m" * 32, "PUBLIC_URL": "https://bot.example"} | {
    "DATABASE_URL": "postgresql://127.0.0.1:1/none",
    "ROOMKIT_PROFILE": "prod",
}


@pytest.mark.parametrize("command", [("check",), ("serve", "--port", "0")], ids=" ".join)
@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        (
            'secret = "env:BACKEND_KEY"',
            f'secret = "{"canary" * 4}"',
            "server.keys.backend.secret: the profile",
        ),
        (
            "drain_seconds",
            'insecure_routes = ["webhooks"]\ndrain_seconds',
            "server.insecure_routes: the profile",
        ),
        ('plugin = "postgres"\ndsn = "env:DATABASE_URL"', 'plugin = "memory"', "store: the profile"),
    ],
    ids=["key in the file", "unverified webhooks", "rooms in memory"],
)
def test_what_is_insecure_is_refused(
    tmp_path: Path, command: tuple[str, ...], right: str, wrong: str, said: str
) -> None:
    assert right in TEXT
    path = tmp_path / "roomkit.toml"
    path.write_text(TEXT.replace(right, wrong, 1))
    done = subprocess.run(
        [sys.executable, "-m", "roomkit_plugins.cli", *command],
        cwd=tmp_path,
        env={**os.environ, **VARIABLES},
        capture_output=True,
        text=True,
        timeout=100,
    )
    told = done.stdout + done.stderr
    assert (done.returncode, said in told) == (1, True), told
    assert "canary" not in told
    if right in ("drain_seconds", 'secret = "env:BACKEND_KEY"'):
        line = path.read_text().splitlines().index(wrong.splitlines()[0]) + 1
        assert f"roomkit.toml:{line}" in told
