"""The wheels of a checkout, and an index that has another project's `roomkit`."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from roomkit_plugins.testing.once import OncePerRun
from tests.conftest import ROOT, uv


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory, once_per_run: OncePerRun) -> Path:
    """Build all distributions as the pages say."""

    def build() -> str:
        folder = tmp_path_factory.mktemp("dist")
        uv("build", "--quiet", "--all-packages", "-o", folder, cwd=ROOT)
        return str(folder)

    return Path(once_per_run("dist", build))


def foreign_wheel(folder: Path) -> Path:
    """Write a wheel as the other project's: `roomkit` 0.109.0, with a package `roomkit` of its own."""
    files = {
        "roomkit/__init__.py": "from roomkit.channels import Channel\n__version__ = '0.109.0'\n",
        "roomkit/channels/__init__.py": "class Channel: ...\n",
        "roomkit/models/__init__.py": "from roomkit.channels import Channel as Model\n",
        "roomkit-0.109.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: roomkit\nVersion: 0.109.0\n",
        "roomkit-0.109.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "roomkit-0.109.0.dist-info/RECORD"
    files[record] = (
        "".join(f"{name},{_digest(text)},{len(text)}\n" for name, text in files.items()) + f"{record},,\n"
    )
    wheel = folder / "roomkit-0.109.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return wheel


def _digest(text: str) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
    return f"sha256={digest.rstrip(b'=').decode()}"


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel of the other project's `roomkit`."""
    return foreign_wheel(tmp_path_factory.mktemp("foreign"))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory, foreign: Path) -> Iterator[str]:
    """Serve a simple index that has the foreign `roomkit`, and nothing else."""
    folder = tmp_path_factory.mktemp("index")
    project = folder / "roomkit"
    project.mkdir()
    (project / foreign.name).write_bytes(foreign.read_bytes())
    (project / "index.html").write_text(f'<a href="{foreign.name}">{foreign.name}</a>')
    handler: Callable[..., SimpleHTTPRequestHandler] = partial(_Quiet, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
