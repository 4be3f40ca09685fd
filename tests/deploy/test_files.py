"""The files fit each other and the software: a name, port or deadline that drifts fails here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from roomkit.models.options import KitOptions
from roomkit.plugins.config import load_config
from roomkit_plugins.server import ServerConfig
from tests.deploy.files import DEPLOY, ROOT, compose, containerfile, environment_of, references, unit

GIVEN = {"POSTGRES_PASSWORD": "p" * 32, "BACKEND_KEY": "b" * 32, "MONITORING_KEY": "m" * 32} | {
    "PUBLIC_URL": "https://bot.example"
}
SERVICES = compose()["services"]
COMMAND = ["serve", "--host", "0.0.0.0", "--port", "8080"]


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment_of(SERVICES["worker"], GIVEN).items():
        monkeypatch.setenv(name, value)


def _longest_stop() -> float:
    """Return how long a worker may take to stop, by its settings."""
    tables = tomllib.loads((DEPLOY / "roomkit.toml").read_text())
    server = ServerConfig(
        drain_seconds=tables["server"]["drain_seconds"], stop_timeout=tables["server"]["stop_timeout"]
    )
    return server.drain_seconds + server.stop_timeout + KitOptions().close_timeout


def test_the_configuration_is_understood(configured: None) -> None:
    """With the environment that Compose gives, and no reference that it does not give."""
    plan = load_config(DEPLOY / "roomkit.toml")
    assert (plan.profile, plan.store.plugin if plan.store else None) == ("prod", "postgres")
    needed = references((DEPLOY / "roomkit.toml").read_text())
    for service in ("worker", "migrate"):
        assert needed <= {*environment_of(SERVICES[service], GIVEN)}


def test_everything_that_compose_refers_to_is_there() -> None:
    example = (DEPLOY / "environment.example").read_text()
    assert references((DEPLOY / "compose.yaml").read_text()) == {*re.findall(r"^(\w+)=", example, re.M)}
    named = set(compose()["volumes"])
    for service in SERVICES.values():
        assert {*service.get("depends_on", ())} <= {*SERVICES}
        for mount in service.get("volumes", ()):
            source = mount.partition(":")[0]
            assert (DEPLOY / source).exists() if source.startswith("./") else source in named
    context = (DEPLOY / SERVICES["worker"]["build"]["context"]).resolve()
    assert context == ROOT
    assert (context / SERVICES["worker"]["build"]["dockerfile"]).is_file()


def test_workers_start_after_the_migration_and_are_three() -> None:
    worker, migrate = SERVICES["worker"], SERVICES["migrate"]
    assert worker["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert migrate["depends_on"]["db"] == {"condition": "service_healthy"}
    assert (migrate["command"], worker["command"]) == (["store", "migrate"], COMMAND)
    assert worker["deploy"]["replicas"] == "${WORKERS:-3}"


def test_a_stopping_worker_is_given_the_time_that_its_settings_take() -> None:
    assert int(SERVICES["worker"]["stop_grace_period"].removesuffix("s")) > _longest_stop()
    assert int(unit("roomkit@.service")["TimeoutStopSec"][0]) > _longest_stop()


def test_the_balancer_asks_for_readiness_at_the_workers_port_before_a_drain_ends() -> None:
    written = (DEPLOY / "haproxy.cfg").read_text()
    assert "option httpchk GET /health/ready" in written
    assert re.search(r"server-template worker \d+ worker:(\d+)", written)[1] == COMMAND[-1]  # type: ignore[index]
    assert re.search(r"bind :(\d+)", written)[1] == SERVICES["balancer"]["ports"][0].rpartition(":")[2]  # type: ignore[index]
    interval = int(re.search(r"inter (\d+)s fall 1", written)[1])  # type: ignore[index]
    tables = tomllib.loads((DEPLOY / "roomkit.toml").read_text())
    assert tables["server"]["drain_seconds"] > 2 * interval


def test_the_image_runs_what_compose_runs_as_no_root() -> None:
    said = containerfile()
    last = dict(said[max(at for at, (word, _) in enumerate(said) if word == "FROM") :])
    assert json.loads(last["ENTRYPOINT"]) == ["roomkit"]
    assert json.loads(last["CMD"]) == COMMAND
    assert last["EXPOSE"] == COMMAND[-1]
    assert last["USER"] not in ("", "0", "root")
    packages = re.findall(r"--package (\S+)", dict(said)["ARG"])
    assert packages
    assert {name for name in packages if not (ROOT / "packages" / name.strip('"')).is_dir()} == set()


def test_units_name_commands_that_are_there() -> None:
    worker, migrate = unit("roomkit@.service"), unit("roomkit-migrate.service")
    assert worker["ExecStart"] == ["/opt/roomkit/bin/roomkit serve --port %i"]
    assert migrate["ExecStart"] == ["/opt/roomkit/bin/roomkit store migrate"]
    assert worker["SuccessExitStatus"] == ["143"]
    assert worker["Requires"] == ["roomkit-migrate.service"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")
def test_systemd_takes_the_units_and_finds_them_little_exposed(tmp_path: Path) -> None:
    """The command is one that is there; else systemd would only say that it is not."""
    for name in ("roomkit@.service", "roomkit-migrate.service"):
        text = (DEPLOY / name).read_text().replace("/opt/roomkit/bin/roomkit", sys.executable)
        (tmp_path / name).write_text(text)
    shutil.copy(tmp_path / "roomkit@.service", tmp_path / "roomkit@8081.service")
    files = [tmp_path / "roomkit@8081.service", tmp_path / "roomkit-migrate.service"]
    found = _run("systemd-analyze", "verify", "--man=no", *map(str, files))
    assert (found.returncode, [line for line in found.stderr.splitlines() if "roomkit" in line]) == (0, [])
    rated = _run(
        "systemd-analyze", "security", "--offline=true", "--threshold=25", "--no-pager", str(files[0])
    )
    assert rated.returncode == 0, rated.stdout[-300:]


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_the_steps_of_the_image_give_a_roomkit_that_serves(
    tmp_path: Path, configured: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Carried out one by one in a plain folder: there is no container engine on every machine."""
    source, target = tmp_path / "src", tmp_path / "roomkit"
    here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, "UV_PYTHON": sys.executable, "PATH": here}
    for name in ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT"):
        variables.pop(name, None)
    for word, rest in containerfile():
        rest = rest.replace("/opt/roomkit", str(target)).replace("/src", str(source))
        if word == "ARG":
            name, _, value = rest.partition("=")
            variables[name] = value.strip('"')
        elif word == "COPY" and rest.startswith(". "):
            _copy_tracked(source)
        elif word == "RUN" and "uv sync" in rest:
            done = subprocess.run(
                ["sh", "-c", rest.replace("--compile-bytecode ", "")],
                cwd=source,
                env=variables,
                capture_output=True,
                text=True,
                timeout=250,
            )
            assert done.returncode == 0, done.stderr
    listed = _run(str(target / "bin/roomkit"), "plugins", "list", "--json")
    found = json.loads(listed.stdout)
    states = {plugin["name"]: plugin["state"] for plugin in found["plugins"]}
    assert {"postgres", "websocket", "sms", "twilio", "server", "agents"} <= {*states}
    checked = _run(str(target / "bin/roomkit"), "check", "--config", str(DEPLOY / "roomkit.toml"))
    assert checked.returncode == 0, checked.stdout + checked.stderr


_OPTIONS = ("--cached", "--others", "--exclude-standard")


def _copy_tracked(target: Path) -> None:
    """Copy the files of the repository that Containerfile.dockerignore lets through."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *_OPTIONS, "packages", "*.toml", "uv.lock", "README.md", "LICENSE"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in {*listed.stdout.decode().split("\0")} - {""}:
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
